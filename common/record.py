"""What a run came to: metric, time, memory, device; checked against a baseline and, in full mode, a band."""

import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import torch

from common.settings import mode

_start = {"clock": time.perf_counter(), "device": torch.device("cpu")}


def start(device: torch.device) -> None:
    """Start the clock and the count of peak memory; `setup` calls this."""
    _start.update(clock=time.perf_counter(), device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_name(device: torch.device) -> str:
    """Return a name to print: "NVIDIA GeForce RTX 4090", "Apple GPU (MPS)" or "CPU, 2 cores"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device.type == "mps" else f"CPU, {os.cpu_count()} cores"


def peak_memory() -> tuple[float, str] | None:
    """Return the peak memory in GiB and what it is the peak of; None where the system does not tell."""
    if _start["device"].type == "cuda":
        return torch.cuda.max_memory_allocated(_start["device"]) / 2**30, "on the GPU"
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, "of the process"


def _tidy(number: float) -> float:
    return float(f"{float(number):.6g}")


def record(
    *,
    task: str,
    paper: str,
    url: str,
    data: str,
    parameters: int,
    metric: str,
    value: float,
    unit: str,
    baseline: tuple[str, float],
    band: tuple[float, float],
    reference: str,
    higher_is_better: bool = False,
    train_seconds: float,
    extra: dict[str, float] | None = None,
) -> None:
    """Check the result, print it in one line and hand it to `tools.run`. The last cell of each notebook.

    In both modes `value` must be finite and better than `baseline` (name and value, computed in the notebook,
    never typed in); in full mode it must also lie in `band` (lowest and highest expected value), and the peak
    memory on a GPU below 22 GiB, so that the run fits a 24 GB card.

    Raises AssertionError, naming the figure that is off.
    """
    seconds = time.perf_counter() - _start["clock"]
    memory = peak_memory()
    name, reached = baseline
    result = {
        "task": task,
        "paper": paper,
        "url": url,
        "data": data,
        "parameters": parameters,
        "metric": metric,
        "value": _tidy(value),
        "unit": unit,
        "baseline": {"name": name, "value": _tidy(reached)},
        "band": list(band),
        "reference": reference,
        "higher_is_better": higher_is_better,
        "train_seconds": round(float(train_seconds), 1),
        "seconds": round(seconds, 1),
        "peak_memory_gib": memory and round(memory[0], 2),
        "extra": {key: _tidy(number) for key, number in (extra or {}).items()},
        "mode": mode(),
        "device": device_name(_start["device"]),
        "versions": {"torch": torch.__version__.partition("+")[0], "python": platform.python_version()},
    }
    peak = f"peak memory {memory[0]:.1f} GiB {memory[1]}" if memory else "peak memory not measured"
    print(
        f"{task}, {mode()} mode on {data}: {metric} {result['value']:.4g} {unit} ({name}: {reached:.4g}) | "
        f"training {train_seconds:.0f} s, whole notebook {seconds:.0f} s, {peak} | {result['device']}"
    )
    assert math.isfinite(value), f"{metric} is {value}: the run diverged."
    better = value > reached if higher_is_better else value < reached
    assert better, f"{metric} {value:.4g} does not beat the baseline {name}, {reached:.4g}."
    if mode() == "full":
        low, high = band
        assert low <= value <= high, f"{metric} {value:.4g} lies outside its band, {low} to {high}."
        on_gpu = _start["device"].type == "cuda"
        assert not on_gpu or memory[0] < 22, f"Peak memory {memory[0]:.1f} GiB does not fit a 24 GB card."
    if path := os.environ.get("DL_RECORD"):  # set by tools.run
        Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
