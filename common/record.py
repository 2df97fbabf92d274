"""Check the result of a run and hand it to `tools run`."""

import contextlib
import json
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from common.device import device_name, mode, precision, used


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
    In quick mode it may equal the baseline as printed: some models solve the small data alike.
    Under `tools run` and in the tests a violation raises AssertionError; otherwise it is printed.
    """
    device, seconds, memory = used()
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
        "versions": {"torch": torch.__version__.split("+")[0], "python": platform.python_version()},
    }
    about = f"This {mode()} run on {data}: {metric} {value:.4g} {unit}"
    beaten = f"({baseline_name}: {baseline_value:.4g})"
    print(about, beaten, sep=" " if len(f"{about} {beaten}") <= 100 else "\n")
    peak = f", peak memory {memory:.1f} GiB" if memory else ""
    print(
        f"training {train_seconds:.0f} s, whole notebook {seconds:.0f} s, "
        f"{sum(flops.values()):.2g} FLOPs{peak} | {device_name(device)}, {precision(device)}"
    )
    wrong = []
    tied = mode() == "quick" and f"{value:.4g}" == f"{baseline_value:.4g}"
    if not math.isfinite(value):
        wrong.append(f"{metric} is {value}: training diverged.")
    elif not tied and not (value > baseline_value if higher_is_better else value < baseline_value):
        wrong.append(f"{metric} {value:.4g} does not beat {baseline_name}, {baseline_value:.4g}.")
    if device.type == "cuda" and memory and memory > 22:
        wrong.append(f"Peak memory {memory:.1f} GiB does not fit a card of 24 GB.")
    if path := os.environ.get("DL_RECORD"):  # set by tools run and by the tests
        Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        assert not wrong, " ".join(wrong)
        return
    print("\n".join(wrong) or "The result beats its baseline.")
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # none, or half a file
        results = json.loads(Path("results.json").read_text(encoding="utf-8"))
        run = results[results["stored"]]
        figure = f"{run['metric']} {run['value']:.4g} {run['unit']}"
        print(f"The stored {run['mode']} run on {run['data']}: {figure}")


def _rounded(number: float) -> float:
    return float(f"{float(number):.6g}")
