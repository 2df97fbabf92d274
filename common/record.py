"""Check the result of a run and hand it to `tools.run`."""

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

_run = {"clock": time.perf_counter(), "device": torch.device("cpu")}


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


def count_flops(step: Callable[[], object]) -> int:
    """Run `step()` once and return its floating-point operations (a multiply-add counts as two).

    PyTorch's counter sees matrix products, convolutions and attention, forward and backward; it
    does not see element-wise work or the loops inside `nn.LSTM`, which need a formula.
    """
    from torch.utils.flop_counter import FlopCounterMode

    # Fused attention computes its scores again in the backward pass, and the counter adds that:
    # without it the count is that of the formula, the same on every device.
    kernels, before = torch.backends.cuda, {}
    for name in ("flash", "mem_efficient", "cudnn"):
        if hasattr(kernels, f"{name}_sdp_enabled"):  # torch 2.2 has no cuDNN attention
            before[name] = getattr(kernels, f"{name}_sdp_enabled")()
    try:
        for name in before:
            getattr(kernels, f"enable_{name}_sdp")(False)
        with FlopCounterMode(display=False) as counter:
            step()
    finally:
        for name, enabled in before.items():
            getattr(kernels, f"enable_{name}_sdp")(enabled)
    return counter.get_total_flops()


def peak_memory_gib() -> float | None:
    """Return the peak memory in GiB, on the GPU or else of the process; None where unknown."""
    if _run["device"].type == "cuda":
        return torch.cuda.max_memory_allocated(_run["device"]) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def record(
    *,
    data: str,
    parameters: int,
    metric: str,
    value: float,
    unit: str,
    baseline: tuple[str, float],
    reference: str,
    train_seconds: float,
    flops: dict[str, float],
    higher_is_better: bool = False,
    extra: dict[str, float] | None = None,
) -> None:
    """Check and print the result of the run. Every notebook calls this in its last cell.

    `baseline` is the name and the value of the strongest baseline that the notebook computes, in
    the metric's unit. `reference` is a published figure with its source. `flops` names the
    notebook's floating-point operations by part; "training" is the training that gave the result.
    `extra` holds further figures by name; the comparison tables of README.md collect them by these
    names.

    The result must be finite and better than the baseline, and a GPU run must fit a card of 24 GB.
    Under `tools.run` and in the tests a violation raises AssertionError; otherwise it is printed.
    """
    from common.device import mode, precision

    seconds, memory, device = time.perf_counter() - _run["clock"], peak_memory_gib(), _run["device"]
    baseline_name, baseline_value = baseline
    result = {
        "mode": mode(),
        "data": data,
        "metric": metric,
        "value": _rounded(value),
        "unit": unit,
        "baseline": {"name": baseline_name, "value": _rounded(baseline_value)},
        "reference": reference,
        "higher_is_better": higher_is_better,
        "parameters": int(parameters),
        "flops": {part: _rounded(count) for part, count in flops.items()},
        "train_seconds": round(float(train_seconds), 1),
        "seconds": round(seconds, 1),
        "peak_memory_gib": memory and round(memory, 2),
        "extra": {name: _rounded(number) for name, number in (extra or {}).items()},
        "device": device_name(device),
        "precision": precision(device),
        "versions": {
            "torch": torch.__version__.partition("+")[0],
            "python": platform.python_version(),
        },
    }
    about = f"This {mode()} run on {data}: {metric} {value:.4g} {unit}"
    print(f"{about} ({baseline_name}: {baseline_value:.4g})")
    peak = f", peak memory {memory:.1f} GiB" if memory else ""
    print(
        f"training {train_seconds:.0f} s, whole notebook {seconds:.0f} s, "
        f"{sum(flops.values()):.2g} FLOPs{peak} | {device_name(device)}, {precision(device)}"
    )
    wrong = []
    if not math.isfinite(value):
        wrong.append(f"{metric} is {value}: training diverged.")
    elif not (value > baseline_value if higher_is_better else value < baseline_value):
        wrong.append(f"{metric} {value:.4g} does not beat {baseline_name}, {baseline_value:.4g}.")
    if device.type == "cuda" and memory > 22:
        wrong.append(f"Peak memory {memory:.1f} GiB does not fit a card of 24 GB.")
    if path := os.environ.get("DL_RECORD"):  # set by tools.run and by the tests
        Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        assert not wrong, " ".join(wrong)
        return
    print("\n".join(wrong) or "The result beats its baseline.")
    if (stored := Path("results.json")).exists():  # a notebook runs in its own folder
        results = json.loads(stored.read_text(encoding="utf-8"))
        run = results[results["stored"]]
        figure = f"{run['metric']} {run['value']:.4g} {run['unit']}"
        print(f"The stored {run['mode']} run on {run['data']}: {figure}")


def _rounded(number: float) -> float:
    return float(f"{float(number):.6g}")
