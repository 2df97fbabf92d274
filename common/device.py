"""Device, precision and seeds."""

import platform
import random

import numpy as np
import torch

from common.record import device_name, start
from common.settings import mode


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
        print(f"{name} is present but does not compute ({reason}); trying the next device.")
    return torch.device("cpu")


def native_bf16(device: torch.device) -> bool:
    """Tell whether the device computes bfloat16 in hardware: NVIDIA GPUs from Ampere on (RTX 30, A100)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def autocast(device: torch.device) -> torch.autocast:
    """Return the mixed-precision context: bfloat16 where the GPU has it, else float32 (no change).

    bfloat16 keeps the exponent range of float32, so no gradient scaler is needed.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=native_bf16(device))


def setup(seed: int = 0) -> torch.device:
    """Seed everything, switch on fast matrix products, start the clock and return the device.

    Prints one line with device, precision, versions, mode and seed.
    """
    device = pick_device()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")  # TF32 for what stays in float32
    torch.backends.cudnn.benchmark = True  # shapes are fixed, so trying out the algorithms pays
    if device.type == "cpu" and mode() == "quick":
        torch.set_num_threads(1)  # splitting the work of networks this small costs more than it saves
    start(device)
    precision = "bf16 autocast" if native_bf16(device) else "fp32"
    versions = f"torch {torch.__version__.partition('+')[0]}, Python {platform.python_version()}"
    print(f"{device_name(device)} | {precision} | {versions} | mode {mode()} | seed {seed}")
    if device.type == "mps":
        print("The figures in this repository were not measured on MPS; expect small differences.")
    return device


def prepare(module: torch.nn.Module, device: torch.device, compile: bool = False) -> torch.nn.Module:
    """Move a module to the device, its 4-D weights in channels_last order; compile it if asked to.

    Convolutions on tensor cores want channels_last. Where torch.compile cannot work (no Triton), the module
    comes back uncompiled and a sentence says so.
    """
    module = module.to(device, memory_format=torch.channels_last)
    if not compile:
        return module
    try:
        import triton  # noqa: F401  (what torch.compile generates GPU code with)
    except ImportError:
        print("torch.compile is off: Triton is not installed. The run is slower, its result the same.")
        return module
    torch._dynamo.config.suppress_errors = True  # a graph that fails to compile runs as plain PyTorch
    return torch.compile(module)
