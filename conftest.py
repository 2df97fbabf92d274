"""Settings that reach every test and every notebook's kernel, and two repairs to how nbval runs notebooks."""

import os
import tempfile

import pytest
from nbval.plugin import IPyNbCell

NO_DATA = tempfile.TemporaryDirectory()  # removed at exit
# Everything is tested in quick mode, without data or network; FutureWarnings are errors in the kernels too.
os.environ.update(
    DL_MODE="quick",
    DL_DATA=NO_DATA.name,
    TQDM_DISABLE="1",
    PYTHONWARNINGS="error::FutureWarning",
    PYDEVD_DISABLE_FILE_VALIDATION="1",
)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make a busy machine crawl
os.environ.pop("DL_RECORD", None)
for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
    os.environ[name] = "http://127.0.0.1:9"  # nothing listens there, so a download fails at once
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

FAILED = pytest.StashKey[str]()


def pytest_ignore_collect(collection_path):
    """Leave out executed copies and JupyterLab's checkpoints."""
    if collection_path.name in ("runs", ".ipynb_checkpoints"):
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
