"""The repository's notebooks: all are collected, none is slow, and a broken one turns red."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata

import nbformat
import pytest

from tools.check import TEMPLATE
from tools.examine import gain
from tools.tasks import REPOSITORY, ROOT, all_tasks, categories, code_cells

TASKS = all_tasks()
QUICKEST = min(TASKS, key=lambda task: task.read_results()["quick"]["seconds"])
MOST_SECONDS = 60  # of a stored quick run; the aim is 45 on two cores


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
    seconds = task.read_results()["quick"]["seconds"]
    assert seconds <= MOST_SECONDS, f"quick mode took {seconds} s; make it smaller"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.path)
def test_the_path_of_requirements_leads_to_common(task):
    for need in task.facts()["needs"]:
        assert (ROOT / need).is_dir()


def first_cell(folder, **environment):
    """Run the code cell that every notebook begins with, in a folder of its own."""
    cell = code_cells(nbformat.read(TEMPLATE, as_version=4))[0].source
    script = cell + "\nimport common\nprint(common.__file__)"
    command = [sys.executable, "-c", script]
    environment = os.environ | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_notebook_that_stands_alone_fetches_the_repository(tmp_path):
    origin = tmp_path / "origin"
    shutil.copytree(ROOT / "common", origin / "common")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], cwd=origin, check=True)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    instead = {  # what the network would deliver
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }
    for _ in range(2):  # the second time it is there already
        done = first_cell(tmp_path / "a" / "b" / "c", **instead)
        assert done.returncode == 0, done.stderr
        assert "Deep-Learning" in done.stdout


def test_without_a_network_it_says_what_to_do(tmp_path):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    proxy = {"https_proxy": "http://127.0.0.1:9", "GIT_TERMINAL_PROMPT": "0"}
    done = first_cell(tmp_path / "a" / "b" / "c", **proxy)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"This notebook needs the folder `common` of {REPOSITORY}" in done.stderr


@pytest.fixture
def broken(tmp_path):
    """Return a function that edits a copy of the quickest notebook and runs a command on it."""
    original = QUICKEST
    for name in ("common", "tools", *categories()):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def run(old, new, *command):
        notebook = original.read_notebook()
        changed = 0
        for cell in code_cells(notebook):
            if old:
                cell.source, count = re.subn(old, new, cell.source, flags=re.MULTILINE)
                changed += count
        assert changed or not old, f"nothing in the notebook matches {old}"
        nbformat.write(notebook, tmp_path / original.path / original.notebook.name)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True
        )
        printed = (done.stdout + done.stderr).decode("utf-8", "replace")
        return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", printed)  # without colours

    return run


def test_an_exception_is_red_and_stops_the_notebook(broken):
    new = r"\g<0>\nraise ValueError('sabotage')"
    status, printed = broken(r"^device = setup\(.*", new, "pytest", "-q", "-rs", "-n", "0")
    assert status == 1 and "ValueError: sabotage" in printed, printed
    assert re.search(r"^1 failed, \d+ passed, \d+ skipped", printed, re.MULTILINE), printed
    assert re.search(r"not run, since Cell \d+ failed", printed), printed


def test_the_network_is_cut(broken):
    new = r"\g<0>\nimport urllib.request\nurllib.request.urlopen('https://example.org')"
    status, printed = broken(r"^device = setup\(.*", new, "pytest", "-q", "-n", "0")
    assert status == 1 and "this cell tried to reach example.org" in printed, printed


def test_without_learning_the_result_is_red_or_gone(broken, tmp_path):
    record = tmp_path / "record.json"
    options = ["--set", "learning_rate=0.0", "--record", str(record)]
    status, printed = broken("", "", "tools.run", *options, QUICKEST.path)
    full = QUICKEST.read_results()["quick"]
    frozen = json.loads(record.read_text()) if record.exists() else None
    assert status == 1 or gain(frozen, frozen["value"]) < 0.5 * gain(full, full["value"]), printed


FINDER = """
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

ALLOWED, MODULES, find = set(%r), packages_distributions(), PathFinder.find_spec


def find_spec(name, path=None, target=None):
    owners = {owner.lower().replace("_", "-") for owner in MODULES.get(name, [])}
    return None if owners and not owners & ALLOWED else find(name, path, target)


PathFinder.find_spec = find_spec
"""


def closure(requirements):
    """Return the names of the listed distributions and of all that they require."""
    found, todo = set(), requirements
    while todo:
        name = re.match(r"[\w.-]+", todo.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        todo += [need for need in needs if "extra ==" not in need]
    return found


def test_a_task_runs_with_nothing_but_its_requirements(tmp_path):
    lines = [(ROOT / "common" / "requirements.txt"), QUICKEST.folder / "requirements.txt"]
    lines = [line for path in lines for line in path.read_text().splitlines()]
    allowed = closure([line for line in lines if line[:1].isalpha()])
    assert "torch" in allowed and "pytest" not in allowed
    (tmp_path / "sitecustomize.py").write_text(FINDER % sorted(allowed))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "tools.run", QUICKEST.path]
    copy = tmp_path / "repository"
    ignored = shutil.ignore_patterns(".git", "runs", "build", "data", ".venv*")
    shutil.copytree(ROOT, copy, ignore=ignored)
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


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
    command = [python, "-m", "tools.run", "--record", str(record), task.path]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert json.loads(record.read_text())["mode"] == "quick"
