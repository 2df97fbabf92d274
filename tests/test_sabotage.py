"""A real notebook, broken on purpose, must turn red: otherwise the green of the others says nothing."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools.tasks import ROOT, code_cells, find_tasks

pytestmark = pytest.mark.timeout(540)


@pytest.fixture
def broken(tmp_path):
    """Return a function that copies the repository's VAE, edits the copy's cells and runs a command on it."""
    original = find_tasks(["vae"])[0]
    for name in ("common", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    folder = tmp_path / original.category / original.name
    folder.mkdir(parents=True)

    def run(edits, *command):
        notebook = original.read_notebook()
        for pattern, replacement in edits.items():
            changed = 0
            for cell in code_cells(notebook):
                cell.source, count = re.subn(pattern, replacement, cell.source, flags=re.MULTILINE)
                changed += count
            assert changed, f"nothing in the notebook matches {pattern}; this test has to follow the notebook"
        nbformat.write(notebook, folder / original.notebook.name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        finished = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True, timeout=500
        )
        printed = (finished.stdout + finished.stderr).decode("utf-8", "replace")
        return finished.returncode, re.sub(r"\x1b\[[\d;]*m", "", printed)  # without colours

    return run


# Weights that never move, or are not numbers, are the same after any number of epochs: so a few will do.
FEW_EPOCHS = {r"^(\w*epochs) = pick\(.*\)": r"\1 = 10"}


def test_a_learning_rate_of_zero_is_red(broken):
    status, printed = broken({r"^learning_rate = .+": "learning_rate = 0.0"} | FEW_EPOCHS, "tools.run", "vae")
    assert status == 1 and "failed: AssertionError: " in printed, printed


def test_a_loss_that_is_not_a_number_is_red(broken):
    edits = {r"^( +)(\w+)\.backward\(\)": r"\1\2 = \2 * float('nan')\n\1\2.backward()"} | FEW_EPOCHS
    status, printed = broken(edits, "tools.run", "vae")
    assert status == 1 and "failed: AssertionError: " in printed, printed


def test_an_exception_is_red_and_stops_the_notebook(broken):
    edits = {r"^device = setup\(.*": r"\g<0>\nraise ValueError('sabotage')"}
    status, printed = broken(edits, "pytest", "-q", "-rs", "image_generation")
    assert status == 1 and "ValueError: sabotage" in printed, printed
    assert re.search(r"^1 failed, \d+ skipped in", printed, re.MULTILINE), printed
    assert "not run, since Cell 0 failed" in printed, printed
