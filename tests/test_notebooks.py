"""The repository's notebooks: all are collected, none is slow, and a broken one turns red."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import venv

import pytest

from tools.check import QUICK_SECONDS
from tools.results import Results
from tools.tasks import ROOT, all_tasks, categories, code_cells, find_tasks, learning_path

TASKS = all_tasks()
QUICK = {task: Results.read(task).quick for task in TASKS}


def test_a_bare_pytest_collects_every_notebook():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "--ignore=tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    collected = set(re.findall(r"^(\S+\.ipynb)::", done.stdout, re.MULTILINE))
    on_disk = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*/*.ipynb")}
    wanted = {task.notebook.relative_to(ROOT).as_posix() for task in TASKS}
    assert collected == wanted, done.stdout[-2000:] + done.stderr
    assert on_disk == wanted, "a notebook lies where no task is found"
    assert {task.category for task in TASKS} <= set(categories())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.path)
def test_quick_mode_is_quick(task):
    assert QUICK[task], f"store a quick run: DL_MODE=quick python -m tools run --save {task.name}"
    seconds = QUICK[task].get("cpu_seconds", QUICK[task]["seconds"])  # as examine counts them
    assert seconds <= QUICK_SECONDS, "make quick mode smaller"


def test_what_a_notebook_needs_is_taught_before_it():
    paths = {task.path for task in TASKS}
    for tasks in learning_path().values():
        strand = [task.path for task in tasks]
        for number, task in enumerate(tasks):
            needs = set(task.facts()["needs"])
            assert needs <= paths, f"{task.path} needs {needs - paths}, which nobody teaches"
            assert not needs & set(strand[number:]), f"{task.path} needs what comes later"


def test_the_module_of_the_u_net_is_what_ddpm_explains():
    def classes(source):
        nodes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
        return {node.name: ast.dump(node) for node in nodes}

    cells = code_cells(find_tasks(["ddpm"])[0].read_notebook())
    shown = classes("\n".join(cell.source for cell in cells))
    module = classes((ROOT / "image_generation" / "unet.py").read_text(encoding="utf-8"))
    assert module and module.items() <= shown.items()


def test_a_cell_that_fails_is_red_and_stops_the_notebook_and_the_network_is_cut(repository):
    shutil.copy(ROOT / "conftest.py", repository.root)
    shutil.copytree(ROOT / "tests" / "no_network", repository.root / "tests" / "no_network")
    line = "import urllib.request\nurllib.request.urlopen('https://example.org')\nimport numpy"
    repository.edit(1, "import numpy", line)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-n", "0", "--color=no"]
    done = subprocess.run(command, cwd=repository.root, env=environment, capture_output=True)
    printed = (done.stdout + done.stderr).decode("utf-8", "replace")
    printed = re.sub(r"\x1b\[[\d;]*m", "", printed)  # without the colours of tracebacks
    assert done.returncode == 1 and "this cell tried to reach example.org" in printed, printed
    assert "1 failed, 3 skipped" in printed and "not run, since Cell 0 failed" in printed, printed


@pytest.mark.alone
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.path)
def test_a_task_s_own_requirements_suffice(task, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    folder = "Scripts" if os.name == "nt" else "bin"
    python = str(tmp_path / "venv" / folder / "python")
    needs = str(task.folder / "requirements.txt")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", needs], check=True)
    record = tmp_path / "record.json"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, "-m", "tools", "run", "--record", str(record), task.path]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert json.loads(record.read_text())["mode"] == "quick"
