"""Device, precision, seeds and the two modes."""

import contextlib
import functools
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

MODES = ("quick", "full")
_run: dict[str, Any] = {"clock": time.perf_counter(), "device": torch.device("cpu")}


@functools.cache
def pick_device() -> torch.device:
    """Return the first of CUDA, MPS and CPU that multiplies two matrices correctly."""
    for name, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        if not backend.is_available():
            continue
        try:
            ones = torch.ones(8, 8, device=name)
            if (ones @ ones).sum().item() == 512:
                return torch.device(name)
            reason = "a matrix product came out wrong"
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
        print(f"{name} is present but does not work ({reason}); trying the next device.")
    return torch.device("cpu")


def mode() -> str:
    """Return DL_MODE, "quick" or "full"; unset means full on a working CUDA GPU, quick elsewhere.

    Raises ValueError if DL_MODE is anything else.
    """
    value = os.environ.get("DL_MODE", "").strip().lower()
    if not value:
        return "full" if pick_device().type == "cuda" else "quick"
    if value not in MODES:
        raise ValueError(f"DL_MODE is {value!r}; set it to quick or full, or leave it unset.")
    return value


def pick(*, full, quick, cpu=None):
    """Return the value for the current mode, as in `epochs = pick(full=30, quick=3)`.

    `cpu`, if given, replaces `full` where there is no GPU, for runs that would take many hours
    there.
    """
    if mode() == "quick":
        return quick
    return cpu if cpu is not None and pick_device().type == "cpu" else full


def native_bf16(device: torch.device) -> bool:
    """Return whether the device computes bfloat16 natively (NVIDIA since Ampere, x86 with AMX)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere the answer is no
    if device.type != "cpu" or not cpuinfo.exists():
        return False
    flags = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    return bool({"amx_bf16", "avx512_bf16"} & flags)


def precision(device: torch.device) -> str:
    """Return "bf16" where `autocast` uses bfloat16 (on a CPU only in full mode), else "fp32"."""
    fast = native_bf16(device) and (device.type == "cuda" or mode() == "full")
    return "bf16" if fast else "fp32"


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return the mixed-precision context: bfloat16 where `precision` says so, else no change.

    bfloat16 has the exponent range of float32, so no gradient scaler is needed.
    """
    if precision(device) == "fp32":
        return contextlib.nullcontext()  # torch below 2.5 knows no autocast on MPS
    return torch.autocast(device.type, dtype=torch.bfloat16)


def setup(seed: int = 0) -> torch.device:
    """Seed all random generators, start the clock, print one line and return the device."""
    device = pick_device()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")  # TF32 for what stays in float32 on a GPU
    # Input shapes are fixed, so the search for fast kernels pays.
    torch.backends.cudnn.benchmark = True
    if device.type == "cpu" and mode() == "quick":
        torch.set_num_threads(1)  # for networks this small, threads cost more than they gain
    start_clock(device)
    versions = f"torch {torch.__version__.partition('+')[0]}, Python {platform.python_version()}"
    print(f"{device_name(device)} | {precision(device)} | {versions} | {mode()} mode | seed {seed}")
    return device


def to_device(
    module: torch.nn.Module, device: torch.device, compile_model: bool = False
) -> torch.nn.Module:
    """Move a module to the device with channels_last convolution weights; compile it if asked to.

    Where Triton is missing torch.compile cannot work: the module is returned as it is, with a
    printed sentence.
    """
    module = module.to(device).to(memory_format=torch.channels_last)
    if not compile_model:
        return module
    try:
        import triton  # noqa: F401
    except ImportError:
        print("torch.compile is off because Triton is not installed; training is slower.")
        return module
    return torch.compile(module)  # type: ignore[return-value]


def start_clock(device: torch.device) -> None:
    """Start the clock and the count of peak GPU memory; `setup` calls this."""
    _run.update(clock=time.perf_counter(), device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_name(device: torch.device) -> str:
    """Return a name to print: "NVIDIA GeForce RTX 4090", "Apple GPU (MPS)" or "CPU, 2 cores"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU (MPS)"
    can_count = hasattr(os, "sched_getaffinity")  # Linux: the cores that this process may use
    cores = len(os.sched_getaffinity(0)) if can_count else os.cpu_count()
    return f"CPU, {cores} core{'s' if cores != 1 else ''}"


def used() -> tuple[torch.device, float, float | None]:
    """Return the run's device, its seconds since `setup`, and its peak memory in GiB.

    The memory is the GPU's or else the process's; None where it is unknown.
    """
    device, seconds = _run["device"], time.perf_counter() - _run["clock"]
    if device.type == "cuda":
        return device, seconds, torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return device, seconds, None
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return device, seconds, peak
