"""What would the recipe that a learner otherwise picks have reached in our training time?

    python -m benchmarks vae                 ours, then the baseline with our training seconds
    python -m benchmarks vae --budget 60     the baseline with 60 seconds of training
    python -m benchmarks vae --own-budget    the baseline with the length that its authors chose
    python -m benchmarks vae --ours          our notebook, with a quarter of its training
    python -m benchmarks --page              write the page docs/benchmarks.md from the stored rows

Ours is the notebook itself: its stored full run gives figure and seconds. Where that was made on
another device, ours is run here first. --ours adds a shorter run, for the curve. The baseline gets
the same data, device and precision; its learning-rate schedule is fitted to the budget. Rows are
kept in benchmarks/results: a finished one is not run again unless --again is given.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.clock import Clock
from common import setup
from common.device import pick_device, precision
from common.record import device_name
from tools.run import RunError, positive, run
from tools.tasks import Parser, Task, TaskError, find_tasks

FOLDER = Path(__file__).resolve().parent
FILES = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
BASELINES = sorted(name for name, text in FILES.items() if "\nSTEPS = " in text)


def parser() -> Parser:
    """Return the command line's parser."""
    parser = Parser("benchmarks", __doc__)
    parser.add_argument("task", nargs="?", metavar="TASK", help=", ".join(BASELINES))
    parser.add_argument("--budget", type=positive, metavar="SECONDS", help="of training")
    parser.add_argument("--own-budget", action="store_true", help="the published length")
    parser.add_argument("--ours", action="store_true", help="our notebook, shorter")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--again", action="store_true", help="run what is stored already, too")
    parser.add_argument("--page", action="store_true", help="only write docs/benchmarks.md")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    from benchmarks import page

    options = parser().parse_args(arguments)
    if options.page:
        page.write()
        return 0
    if options.task not in BASELINES:
        parser().error(f"name a task with a baseline: {', '.join(BASELINES)}")
    os.environ.setdefault("DL_MODE", "full")
    try:
        (task,) = find_tasks([options.task])
        kind, measure, settings = plan(task, options)
        for seed in range(options.seeds):
            stored(task, kind, seed, measure, settings, options.again)
    except (TaskError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def plan(task: Task, options: argparse.Namespace) -> tuple[str, Callable, object]:
    """Return the kind of row that is asked for, the function that measures it and its argument."""
    if options.ours:
        return "ours", our_row, importlib.import_module(f"benchmarks.{task.name}").SHORTER
    if options.own_budget:
        return "own length", baseline_row, None
    if options.budget:
        return f"{options.budget} s", baseline_row, options.budget
    ours = task.read_results().get(os.environ["DL_MODE"])
    if ours and ours["device"] == device_name(pick_device()):
        return "equal time", baseline_row, ours["train_seconds"]
    row = stored(task, "ours in full", 0, our_row, {}, again=False)
    return "equal time", baseline_row, row["seconds"]


def stored(task: Task, kind: str, seed: int, measure: Callable, argument, again: bool) -> dict:
    """Return the stored row of this run; if there is none, or `again`, measure and store it."""
    path = FOLDER / "results" / f"{task.name}.{kind.replace(' ', '_')}.{seed}.json"
    if path.exists() and not again:
        print(f"{path.name} is stored already.")
        return json.loads(path.read_text(encoding="utf-8"))
    date = datetime.now(timezone.utc).date().isoformat()
    row = {"task": task.path, "kind": kind, "seed": seed, **measure(task, seed, argument)}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(row | {"date": date}, indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: {row['value']:.4g} after {row['seconds']:.0f} s of training")
    return row


def our_row(task: Task, seed: int, settings: dict) -> dict:
    """Run our notebook with these settings, and return what it recorded."""
    settings = settings | {"seed": seed}
    recorded, _ = run(task, os.environ["DL_MODE"], settings=settings)
    figure = getattr(importlib.import_module(f"benchmarks.{task.name}"), "FIGURE", None)
    value = recorded["extra"][figure] if figure else recorded["value"]
    seconds, flops = recorded["train_seconds"], recorded["flops"]["training"]
    return {
        "value": value,
        "seconds": seconds,
        "flops": flops,
        "settings": settings,
        "curve": [[seconds, flops, value]],
        "device": recorded["device"],
        "precision": recorded["precision"],
    }


def baseline_row(task: Task, seed: int, budget: float | None) -> dict:
    """Train the baseline for `budget` seconds, or its own length, and return its row."""
    module = importlib.import_module(f"benchmarks.{task.name}")
    device = setup(seed)
    clock = Clock(budget, module.STEPS, device, getattr(module, "POINTS", 8))
    module.run(clock, device)
    return {
        "value": clock.curve[-1][2],
        "seconds": round(clock.seconds, 1),
        "flops": clock.done * clock.flops,
        "steps": clock.done,
        "own_steps": module.STEPS,
        "curve": clock.curve,
        "device": device_name(device),
        "precision": precision(device),
    }


if __name__ == "__main__":
    sys.exit(main())
