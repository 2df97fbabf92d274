"""The command: runs both sides of a pair in processes of their own, interleaved over the seeds; or writes the page."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision

from common import DataError
from common.device import pick_device
from common.record import device_name
from tests.benchmarks import report
from tests.benchmarks.measure import Side
from tools.tasks import ROOT, write_text

SIDES = ("baseline", "ours")
PAIRS = sorted(path.stem for path in (Path(__file__).parent / "pairs").glob("[a-z]*.py"))


class Failed(RuntimeError):
    """A benchmark could not be finished; the message says why."""


def measure(task: str, side: str, device: torch.device, seed: int, budget: float, born: float) -> dict:
    """Measure one side of a pair in this process; return its figures and what was used."""
    pair = report.pair(task)
    os.environ["DL_MODE"] = "full" if device.type == "cuda" else pair.CPU_MODE
    it = Side(pair, device, seed, budget, born)
    before = os.getloadavg() if hasattr(os, "getloadavg") else (0.0,)
    threads = torch.get_num_threads()
    it.setup()
    if side == "baseline":
        torch.set_num_threads(threads)  # in quick mode `setup` takes one thread, which suits the small notebooks only
    getattr(pair, side)(it)
    after = os.getloadavg() if hasattr(os, "getloadavg") else (0.0,)
    figures = {"load_average": [round(before[0], 2), round(after[0], 2)], **it.row()}
    figures["wall_seconds"] = round(time.time() - born, 2)  # of the whole process
    return {"data": it.data_name, "data_hash": it.data_hash, "figures": figures}


def in_own_process(task: str, side: str, device: str, seed: int, budget: float) -> dict:
    """Run `measure` in a new process, so that memory and set-up are that side's own; raise Failed if it dies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.benchmarks", task, "--budget", str(budget), "--device", device]
        command += ["--side", side, "--seed", str(seed), "--into", str(path), "--born", str(time.time())]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode or not path.exists():
            raise Failed(f"{task}: {side} with seed {seed} did not finish (exit status {done.returncode}).")
        return json.loads(path.read_text(encoding="utf-8"))


def name_of(device: torch.device) -> str:
    """Return the device's name; for a CPU with how many of its cores this process may use, if not all."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if device.type == "cpu" and usable != os.cpu_count():
        return f"CPU, {usable} of {os.cpu_count()} cores"
    return device_name(device)


def run_pair(task: str, device: str, seeds: int, budget: float) -> list[dict]:
    """Return one row per seed, each with both sides; the side that goes first changes with the seed."""
    rows = []
    for seed in range(seeds):
        order = SIDES if seed % 2 == 0 else SIDES[::-1]
        results = {side: in_own_process(task, side, device, seed, budget) for side in order}
        if results["ours"]["data_hash"] != results["baseline"]["data_hash"]:
            raise Failed(f"{task}: both sides must train on the same bytes.")
        rows.append(
            {
                "task": task,
                "device": name_of(torch.device("cpu") if device == "cpu" else pick_device()),
                "seed": seed,
                "budget": budget,
                "date": datetime.date.today().isoformat(),
                "data": results["ours"]["data"],
                "data_hash": results["ours"]["data_hash"],
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__.partition("+")[0],
                    "torchvision": torchvision.__version__.partition("+")[0],
                },
                **{side: results[side]["figures"] for side in SIDES},
            }
        )
        if "curve" in rows[-1]["ours"]:
            rows[-1]["seconds_to_baseline"] = report.reached(rows[-1])
        print(report.line(rows[-1]), flush=True)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("task", nargs="?", metavar="TASK", help=", ".join(PAIRS))
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="training time of each side, for each seed")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-store", action="store_true", help="print only")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from the stored rows")
    for name in ("side", "into"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--born", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.page:
        write_text(report.PAGE, report.page(report.stored()))
        return 0
    if options.task not in PAIRS:
        print(f"There is no benchmark {options.task}; there are {', '.join(PAIRS)}.", file=sys.stderr)
        return 2
    if not options.budget or options.budget <= 0:
        print("Give the training time of each side: --budget SECONDS.", file=sys.stderr)
        return 2
    try:
        if options.side:
            device = torch.device("cpu") if options.device == "cpu" else pick_device()
            result = measure(options.task, options.side, device, options.seed, options.budget, options.born)
            Path(options.into).write_text(json.dumps(result), encoding="utf-8")
            return 0
        rows = run_pair(options.task, options.device, options.seeds, options.budget)
    except (DataError, Failed, LookupError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    if not options.no_store:
        report.store(rows)
    print(report.table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
