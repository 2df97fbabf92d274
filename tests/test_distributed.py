"""Many processes: none is left behind, whatever happens; and the script that trains GPT."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from foundations.distributed_training import launch
from tools.tasks import ROOT

# A launcher that starts a worker in a session of its own, as torchrun does, says its id and waits
PARENT = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {worker!r}], start_new_session=True)
print("worker", worker.pid, flush=True)
time.sleep({seconds})
"""
SLEEPS = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
DIES = """
import os, time
if os.environ["RANK"] == "1":
    time.sleep(1)
    os.kill(os.getpid(), 9)
print("worker", os.getpid(), flush=True)
time.sleep(60)
"""


def launcher(worker, seconds=60):
    return [sys.executable, "-c", PARENT.format(worker=worker, seconds=seconds)]


def workers(capsys):
    """Return the ids of the workers that a run has printed."""
    return [int(number) for number in re.findall(r"worker (\d+)", capsys.readouterr().out)]


def alive(number):
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("worker", "seconds", "limit", "ended"), [(STUBBORN, 60, 4, None), (SLEEPS, 2, 30, 0)]
)
def test_no_process_is_left_by_a_hang_or_a_dead_launcher(worker, seconds, limit, ended, capsys):
    assert launch.watch(launcher(worker, seconds), limit) == ended
    (number,) = workers(capsys)
    assert not alive(number)


def test_an_interrupted_cell_leaves_no_process(monkeypatch, capsys):
    began = time.monotonic()

    def sleep(seconds, wait=time.sleep):
        wait(seconds)
        if time.monotonic() > began + 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(launch.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        launch.watch(launcher(SLEEPS), limit=60)
    (number,) = workers(capsys)
    assert not alive(number)


def test_a_rank_that_dies_ends_the_others(tmp_path, capsys):
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    status = launch.watch([*command, "--monitor-interval=0.2", str(script)], limit=50)
    assert status == 1
    assert not any(map(alive, workers(capsys)))


def begin():
    """Stands for a notebook's; nothing here is run."""


def test_a_failure_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(launch, "watch", lambda command, limit: None)
    with pytest.raises(TimeoutError, match="begin was ended after 7 s, with all its processes"):
        launch.torchrun(begin, 2, [], limit=7)
    monkeypatch.setattr(launch, "watch", lambda command, limit: 1)
    (launch.FOLDER / "errors").write_text("ValueError: odd")
    with pytest.raises(RuntimeError, match="begin failed:\nValueError: odd"):
        launch.torchrun(begin, 2, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--heads=0", "--heads must be above 0, not 0"),
        ("--batch-size=-2", "--batch-size must be above 0, not -2"),
        ("--seed=-1", "--seed must be above 0, not -1"),
        ("--heads=3", "--heads must divide --width (256)"),
        ("--batch-size=16", "3 processes must share --batch-size (16) equally"),
    ],
)
def test_wrong_settings_are_a_sentence(monkeypatch, capsys, words, message):
    monkeypatch.syspath_prepend(ROOT / "foundations" / "distributed_training")
    from train_distributed import arguments

    monkeypatch.setattr(sys, "argv", ["train_distributed.py", words])
    with pytest.raises(SystemExit):
        arguments(3)
    assert message in capsys.readouterr().err


def test_gpt_trains_alike_with_one_and_two_processes():
    script = Path("foundations", "distributed_training", "train_distributed.py")
    sizes = ["--steps=60", "--batch-size=4", "--context=16", "--width=16", "--layers=1"]
    sizes += ["--test-characters=2000"]
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    costs = []
    for how in ([], many):
        command = [sys.executable, *how, str(script), *sizes]
        environment = os.environ | launch.ENVIRONMENT | {"DL_MODE": "quick"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        costs.append(float(re.search(r"test loss ([\d.]+) nats", done.stdout)[1]))
    assert costs[0] == pytest.approx(costs[1], abs=2e-4) and costs[0] < 4.4
