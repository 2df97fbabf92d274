"""The clock, the curve and the row of one side of a pair. Both sides are measured by this code."""

import gc
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

import common
import common.device
from common.record import peak_memory
from tests.benchmarks import notebooks

CALIBRATION = 3.0  # seconds at least, in which the time of a step is found out
MANY = 10**6  # steps; more than calibration will see
SHARE = 0.97  # of the budget that the planned number of steps should take


class Enough(Exception):
    """Ends a training loop from within."""


class Clock:
    """Counts wall time and process time (of this process and its ended children) while it runs."""

    def __init__(self):
        self.seconds = self.process_seconds = 0.0
        self.since = None

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), sum(os.times()[:4])

    def start(self) -> None:
        self.since = self._now()

    def stop(self) -> None:
        if self.since:
            wall, process = self._now()
            self.seconds += wall - self.since[0]
            self.process_seconds += process - self.since[1]
        self.since = None

    def read(self) -> float:
        """Return the seconds so far; does not stop."""
        return self.seconds + (time.perf_counter() - self.since[0] if self.since else 0.0)


class Space:
    """A notebook's global names as attributes; setting one changes what the notebook's functions see."""

    def __init__(self, names: dict):
        self.__dict__ = names


class Bar:
    """Stands in for the notebooks' progress bar: iterates and prints nothing."""

    def __init__(self, iterable):
        self.iterable = iterable

    def __iter__(self):
        return iter(self.iterable)

    def write(self, text: str) -> None:
        pass


def digest(*tensors: torch.Tensor) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the tensors' bytes."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


class Side:
    """One side of a pair, in a process of its own."""

    def __init__(self, pair, device: torch.device, seed: int, budget: float, born: float | None = None):
        self.pair, self.device, self.seed, self.budget = pair, device, seed, budget
        self.born = born or time.time()  # when the process was started, in seconds since 1970
        self.clock, self.steps, self.curve, self.extra = Clock(), 0, [], {}
        self.compile_seconds, self.calibration_seconds = 0.0, 0.0
        self.state = "idle"  # or "calibrating" or "training"
        self.rates = None  # of the data path, which trains nothing

    # ---- what a pair's module uses

    @property
    def settings(self) -> dict:
        """The pair's settings in place of the notebook's own: SETTINGS_CPU on a CPU, none on a GPU."""
        return {} if self.device.type == "cuda" else self.pair.SETTINGS_CPU

    def setup(self) -> torch.device:
        """Seed, set fast matrix products, start counting memory: the notebooks' own `setup` with this side's seed."""
        common.device.pick_device = lambda: self.device
        return common.device.setup(self.seed)

    def data(self, name: str):
        """Return the real data "mnist", "cifar10" or "shakespeare", in whatever mode; note their hash.

        Raises DataError if they are not there.
        """
        mode = os.environ.get("DL_MODE")
        os.environ["DL_MODE"] = "full"
        try:
            data = getattr(common, name)(self.device)
        finally:
            os.environ.pop("DL_MODE") if mode is None else os.environ.update(DL_MODE=mode)
        parts = ("train", "test") if name == "shakespeare" else ("x_train", "y_train", "x_test", "y_test")
        self.data_hash, self.data_name = digest(*(getattr(data, part) for part in parts)), data.name
        return data

    def notebook(self, *, watch: str = "", **given) -> Space:
        """Run the part of the pair's notebook that its `NAMES` need, on real data; return the global names.

        `watch` says which of common's iterators stands around the steps: "progress" or "batches". `given` are
        settings in place of the notebook's own.
        """

        def progress(iterable, label="", total=None):
            return Bar(self.watch(iterable) if watch == "progress" else iterable)

        def batches(*tensors, **options):
            drawn = common.batches(*tensors, **options)
            return self.watch(drawn) if watch == "batches" else drawn

        loader = self.pair.DATA
        given |= {"setup": lambda seed=0: self.device, loader: lambda device, **sizes: self.data(loader)}
        given |= {"progress": progress, "batches": batches}
        return Space(notebooks.execute(self.pair.NOTEBOOK, self.pair.NAMES, given, self.seed))

    def watch(self, iterable: Iterable) -> Iterator:
        """Yield the steps of a training loop, with the clock stopped while the model is evaluated in between."""
        if self.state == "idle":
            yield from iterable
            return
        for item in iterable:
            self._before_step(sys._getframe(1).f_locals)
            yield item
            self.steps += 1

    def run(
        self,
        train: Callable[[int], nn.Module],
        evaluate: Callable[[nn.Module], float],
        *,
        batch: int,
        points: int,
        subject: str = "model",
        compiled: bool = False,
        reference_step: int | None = None,
    ) -> nn.Module:
        """Find out how many steps fit the budget, train for so many and evaluate at `points` times.

        `train(steps)` makes a new model, trains it in a loop over `watch` (in which it is called `subject`) and
        returns it; `evaluate` gets it in evaluation mode, without gradients, from the same random state each time.
        `batch` is the number of samples in a step. With `compiled` the first step counts as compilation.
        `reference_step` is the step whose metric the other side has to reach; the last one if left out.
        """
        self.evaluate, self.subject, self.compiled, self.reference_step = evaluate, subject, compiled, reference_step
        self.reference = None
        began = time.perf_counter()
        self._loop("calibrating", train, MANY)
        self.calibration_seconds = time.perf_counter() - began
        times = self.times[1:]  # without the first step, which is slower
        steps = max(1, int(SHARE * self.budget / ((times[-1] - times[0]) / (len(times) - 1))))
        torch.manual_seed(self.seed)
        self.due = [self.budget * number / points for number in range(1, points)]
        self.setup_seconds = time.time() - self.born - self.calibration_seconds
        model = self._loop("training", train, steps)
        self._synchronise()
        gc.collect()  # ends a data loader's workers, whose process time counts only then
        self.clock.stop()
        self.due = []
        self._note(model)
        self.samples = (self.steps - compiled) * batch
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        return model

    def row(self) -> dict:
        """Return the figures of this side, ready for JSON. Raises ValueError if the metric is not a number."""
        if self.rates:
            return {"rates": self.rates}
        if not all(math.isfinite(value) for _, value in self.curve):
            raise ValueError(f"the metric is not a number: {self.curve[-1][1]}.")
        memory = peak_memory()
        return {
            "metric": self.curve[-1][1],
            "seconds": round(self.clock.seconds, 2),
            "reference": self.reference or self.curve[-1],
            "steps": self.steps,
            "samples_per_second": round(self.samples / self.clock.seconds, 1),
            "setup_seconds": round(self.setup_seconds, 2),
            "calibration_seconds": round(self.calibration_seconds, 2),
            "compile_seconds": round(self.compile_seconds, 2),
            "process_seconds": round(self.clock.process_seconds, 2),
            "peak_memory_gib": memory and round(memory[0], 2),
            "parameters": self.parameters,
            "curve": self.curve,
            **self.extra,
        }

    # ---- the machinery

    def _loop(self, state, train, steps):
        self.state, self.steps, self.times, self.clock = state, 0, [], Clock()
        try:
            return train(steps)
        except Enough:
            return None
        finally:
            self.state = "idle"

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _before_step(self, local: dict) -> None:
        if self.state == "calibrating":
            self._synchronise()
            self.times.append(time.perf_counter())
            if len(self.times) > 2 and self.times[-1] - self.times[1] > CALIBRATION:
                raise Enough
        elif self.state == "training":
            if self.steps == 0:
                self.clock.start()
            elif self.compiled and self.steps == 1:
                self._synchronise()
                self.compile_seconds, self.clock = self.clock.read(), Clock()
                self.clock.start()
            at_reference = self.steps == self.reference_step
            if at_reference or (self.due and self.clock.read() >= self.due[0]):
                self._synchronise()
                self.clock.stop()
                self._note(local[self.subject])
                if at_reference:
                    self.reference = self.curve[-1]
                self.clock.start()

    @torch.no_grad()
    def _note(self, model: nn.Module) -> None:
        """Append the metric and the time to the curve; the random state stays untouched."""
        was, training = self.state, model.training
        self.state = "idle"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.eval()
            self.curve.append([round(self.clock.seconds, 2), round(float(self.evaluate(model)), 5)])
        model.train(training)
        self.state = was
        while self.due and self.due[0] <= self.clock.seconds:
            self.due.pop(0)
