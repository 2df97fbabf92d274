"""The clock of a benchmark: training seconds without evaluation, a budget, a learning curve."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from common import count_flops, progress


def descend(optimizer, loss, rate: float | None = None) -> None:
    """Take one step down the gradient of `loss`, at this learning rate if one is given."""
    if rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def nats_per_character(test: torch.Tensor, context: int, logits_of: Callable) -> float:
    """Return the mean cross-entropy of characters (N,), as the notebooks measure it.

    Windows of `context` from an empty state; every character but the first is scored, once.
    """
    total = 0.0
    windows = [test[start : start + context + 1] for start in range(0, len(test) - 1, context)]
    for same in (torch.stack(windows[:-1]), windows[-1][None]):
        for ids in same.split(64):
            logits, target = logits_of(ids[:, :-1]), ids[:, 1:].flatten()
            total += F.cross_entropy(logits.flatten(0, 1), target, reduction="sum").item()
    return total / (len(test) - 1)


class Clock:
    """Calls a recipe's training step until its budget is used, and measures it along the way.

    `budget` is in seconds of training; None means the recipe's own length, `steps`. The recipe
    reads `progress`, from 0 to 1, to set its learning rate: a schedule ends with the budget.
    The metric is evaluated `points` times along the way, the last time at the end.
    """

    def __init__(
        self, budget: float | None, steps: int, device: torch.device, points: int = 8
    ) -> None:
        self.budget, self.steps, self.device, self.points = budget, steps, device, points
        self.seconds, self.done, self.flops, self.curve = 0.0, 0, 0, []

    @property
    def progress(self) -> float:
        """The used share of the budget, or of the recipe's own steps."""
        used = self.seconds / self.budget if self.budget else self.done / self.steps
        return min(1.0, used)

    def run(
        self, step: Callable[[], object], evaluate: Callable[[], float], uncounted: int = 0
    ) -> None:
        """Call `step()` until the budget ends; `evaluate()` does not count as training.

        `uncounted` are a step's FLOPs that PyTorch's counter does not see (`nn.LSTM`'s).
        """
        self.flops = count_flops(lambda: self._timed(step)) + uncounted
        with progress(None, "baseline", total=100) as bar:
            while self.progress < 1 or not self.curve:
                if self.progress < 1:
                    self._timed(step)
                bar.update(round(100 * self.progress) - bar.n)
                if self.progress >= (len(self.curve) + 1) / self.points or self.progress >= 1:
                    value = float(evaluate())
                    self.curve.append([round(self.seconds, 1), self.done * self.flops, value])
                    bar.write(f"{self.seconds:8.0f} s {self.done:7d} steps  {value:.4g}")

    def _timed(self, step: Callable[[], object]) -> None:
        begin = time.perf_counter()
        step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - begin
        self.done += 1
