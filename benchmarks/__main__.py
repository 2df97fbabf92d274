"""Train a recipe that learners often begin with, beside our notebook on the same subject.

    python -m benchmarks vae --seeds 3      as long as its authors train, with seeds 0, 1 and 2
    python -m benchmarks vae --equal-time   as long as our notebook trained in its stored run
    python -m benchmarks --page             write docs/benchmarks.md and its figure

A row in benchmarks/results is not run again unless its file is deleted.
"""

import argparse
import importlib
import json
import os
import sys
import time
from datetime import date

import torch

from benchmarks import page
from common import count_flops, setup
from common.record import device_name
from tools.command import explained


class Clock:
    """Trains to the end of `steps`, the authors' own length, or of `budget` seconds, if given.

    These are CPU seconds of this process, as the machine may be shared; on a GPU, wall time.
    """

    def __init__(self, steps, points, gpu, budget=None):
        self.steps, self.points, self.gpu, self.budget = steps, points, gpu, budget
        self.seconds, self.done, self.curve = 0.0, 0, []

    @property
    def progress(self):
        """The share of the length that is behind us, from 0 to 1."""
        return min(1.0, self.seconds / self.budget if self.budget else self.done / self.steps)

    def train(self, model, optimizer, loss, evaluate, clip=lambda parameters: None, flops=None):
        """Descend along the gradient of `loss()`; append points [seconds, FLOPs, *evaluate()].

        evaluate() is the notebook's measure, or None, and the authors' own. A step's FLOPs are
        counted unless given.
        """
        now = time.perf_counter if self.gpu else time.process_time

        def step():
            begin = now()
            optimizer.zero_grad()
            loss().backward()
            clip(model.parameters())
            optimizer.step()
            torch.cuda.synchronize() if self.gpu else None
            self.seconds, self.done = self.seconds + now() - begin, self.done + 1

        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        flops = flops or count_flops(step)
        while not self.curve or self.progress < 1:
            if self.progress < 1:
                step()
            if self.progress >= min(1, (len(self.curve) + 1) / self.points):
                self.curve.append([round(self.seconds, 1), self.done * flops, *evaluate()])
                print(self.done, "steps:", *self.curve[-1], flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m benchmarks", **words)
    parser.add_argument("task", nargs="?", choices=page.BASELINES)
    parser.add_argument("--equal-time", action="store_true", help="for our training time")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    if options.page or not options.task:
        page.write() if options.page else parser.print_help()
        return 0
    os.environ.setdefault("DL_MODE", "full")
    torch.set_num_threads(1)  # so that CPU seconds are those of one core
    module = importlib.import_module(f"benchmarks.{options.task}")
    kind = "equal_time" if options.equal_time else "own_length"
    budget = page.ours(options.task)["train_seconds"] if options.equal_time else None
    for seed in range(options.seeds):
        path = page.RESULTS / f"{options.task}.{kind}.{seed}.json"
        if path.exists():
            continue
        device = setup(seed)
        clock = Clock(module.STEPS, module.POINTS, device.type == "cuda", budget)
        module.run(clock, device)
        row = {"seed": seed, "steps": clock.done, "parameters": clock.parameters}
        row |= {"device": device_name(device), "date": str(date.today()), "curve": clock.curve}
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(explained(main))
