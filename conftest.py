"""Environment of the tests and of the notebooks' kernels, and two workarounds for nbval."""

import os
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tools.tasks import all_tasks

FOLDER = tempfile.TemporaryDirectory()  # removed at exit
NO_NETWORK = Path(__file__).parent / "tests" / "no_network"  # a sitecustomize.py
os.environ.update(
    DL_MODE="quick",
    DL_DATA=str(Path(FOLDER.name, "data")),
    DL_RECORD=os.devnull,  # a result that does not beat its baseline is an error
    TQDM_DISABLE="1",
    PYTHONPATH=os.pathsep.join(
        [str(NO_NETWORK), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    PYTHONWARNINGS="error::FutureWarning:__main__",  # what the newest torch warns of
    PYDEVD_DISABLE_FILE_VALIDATION="1",
)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make a busy machine crawl

NOTEBOOKS = {task.notebook for task in all_tasks()}
FAILED = pytest.StashKey[str]()


def pytest_ignore_collect(collection_path):
    """Collect the tasks' notebooks, and no other."""
    if collection_path.suffix == ".ipynb" and collection_path not in NOTEBOOKS:
        return True
    return None


def pytest_collection_modifyitems(items):
    """Wait longer than nbval's 5 s for a cell's output, which a busy machine can exceed."""
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
