"""What would the recipe that a learner otherwise picks have reached in our training time?

    python -m benchmarks vae                 the baseline, with our full run's training seconds
    python -m benchmarks vae --budget 60     with 60 seconds of training
    python -m benchmarks vae --own-budget    with the length that its authors chose
    python -m benchmarks --page              write the page docs/benchmarks.md from the stored rows

Ours is the notebook itself: its stored full run, which must have been made on this device, gives
figure and seconds (run it first: DL_MODE=full python -m tools.run --save TASK). The baseline gets
the same data, device and precision; its learning-rate schedule is fitted to the budget. Rows are
kept in benchmarks/results; a finished one is not run again unless --again is given.
"""

import importlib
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from tools.run import positive
from tools.tasks import Parser, TaskError, find_tasks

FOLDER = Path(__file__).resolve().parent
FILES = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
BASELINES = sorted(name for name, text in FILES.items() if "\nSTEPS = " in text)


def parser() -> Parser:
    """Return the command line's parser."""
    parser = Parser("benchmarks", __doc__)
    parser.add_argument("task", nargs="?", metavar="TASK", help=", ".join(BASELINES))
    parser.add_argument("--budget", type=positive, metavar="SECONDS", help="of training")
    parser.add_argument("--own-budget", action="store_true", help="the published length")
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
    from benchmarks.clock import Clock
    from common import setup
    from common.device import precision
    from common.record import device_name

    try:
        (task,) = find_tasks([options.task])
        ours = task.read_results().get(os.environ["DL_MODE"])
    except TaskError as error:
        print(error, file=sys.stderr)
        return 2
    module = importlib.import_module(f"benchmarks.{options.task}")
    budget = options.budget
    if not budget and not options.own_budget:
        if not ours:
            print(f"{task.path} has no stored full run; give --budget SECONDS.", file=sys.stderr)
            return 2
        budget = ours["train_seconds"]
    kind = "own length" if options.own_budget else "equal time"
    for seed in range(options.seeds):
        path = FOLDER / "results" / f"{options.task}.{kind.replace(' ', '_')}.{seed}.json"
        if path.exists() and not options.again:
            print(f"{path.name} is stored already.")
            continue
        device = setup(seed)
        points = getattr(module, "POINTS", 8)
        clock = Clock(None if options.own_budget else budget, module.STEPS, device, points)
        module.run(clock, device)
        row = {
            "task": task.path,
            "kind": kind,
            "seed": seed,
            "value": clock.curve[-1][2],
            "seconds": round(clock.seconds, 1),
            "steps": clock.done,
            "own_steps": module.STEPS,
            "flops": clock.done * clock.flops,
            "curve": clock.curve,
            "device": device_name(device),
            "precision": precision(device),
            "date": datetime.now(timezone.utc).date().isoformat(),
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        print(f"{path.name}: {row['value']:.4g} after {row['seconds']:.0f} s, {row['steps']} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
