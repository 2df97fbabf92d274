"""Environment of tests and notebooks, which notebooks are run, and workarounds for nbval."""

import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tools.results import Results
from tools.tasks import all_tasks

ROOT = Path(__file__).parent
FOLDER = tempfile.TemporaryDirectory()  # removed at exit
NO_NETWORK = ROOT / "tests" / "no_network"  # a sitecustomize.py
os.environ.update(
    DL_MODE="quick",
    DL_DATA=str(Path(FOLDER.name, "data")),
    DL_RECORD=os.devnull,  # a result that does not beat its baseline is an error
    TQDM_DISABLE="1",
    PYTHONPATH=os.pathsep.join(filter(None, [str(NO_NETWORK), str(ROOT), os.getenv("PYTHONPATH")])),
    PYTHONWARNINGS="error::FutureWarning:__main__",  # what the newest torch warns of
    PYDEVD_DISABLE_FILE_VALIDATION="1",
)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make a busy machine crawl

NOTEBOOKS = {task.notebook for task in all_tasks()}
LONG = ("site", "examine", "notebooks", "sample_quality", "benchmarks", "distributed", "run")
FAILED = pytest.StashKey[str]()


def pytest_addoption(parser):
    """Add the option that leaves out notebooks which do not differ from main."""
    parser.addoption("--changed", action="store_true", help="notebooks that differ from main only")


def pytest_xdist_auto_num_workers(config):
    """Start no worker for a single file, so that one test is quick and can be debugged."""
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    return 0 if len(paths) == 1 and paths[0].is_file() else None


def pytest_configure(config):
    """Find out which notebooks to run."""
    config.wanted = NOTEBOOKS
    if config.getoption("--changed"):
        spec = importlib.util.spec_from_file_location("plan", ROOT / ".github" / "plan.py")
        plan = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(plan)
        commands = (["diff", "--name-only", "main"], ["ls-files", "-o", "--exclude-standard"])
        git = [subprocess.check_output(["git", *part], cwd=ROOT, text=True) for part in commands]
        changed = "".join(git).splitlines()
        paths = set(plan.chosen([task.path for task in all_tasks()], changed))
        config.wanted = {task.notebook for task in all_tasks() if task.path in paths}


def pytest_ignore_collect(collection_path, config):
    """Collect the tasks' notebooks, and no other."""
    if collection_path.suffix == ".ipynb" and collection_path not in config.wanted:
        return True
    return None


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no worker is left waiting for them.

    Wait longer than nbval's 5 s for a cell's output, which a busy machine can exceed.
    """
    runs = {task.notebook: Results.read(task).quick for task in all_tasks()}
    seconds = {path: run["seconds"] for path, run in runs.items() if run}
    seconds |= {ROOT / "tests" / f"test_{name}.py": 60 for name in LONG}
    items.sort(key=lambda item: -seconds.get(item.path, 0))
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember the first cell of a notebook that fails."""
    report = yield
    if isinstance(item, IPyNbCell) and report.failed:
        item.parent.stash.setdefault(FAILED, item.name)
    return report


def pytest_runtest_setup(item):
    """Do not run the cells after one that failed: they would fail for the same reason."""
    if isinstance(item, IPyNbCell) and FAILED in item.parent.stash:
        pytest.skip(f"not run, since {item.parent.stash[FAILED]} failed")
