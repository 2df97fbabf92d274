"""tools.run on a tiny notebook, in a real kernel."""

import json
import re

import nbformat
import pytest

from tools import run
from tools.check import check
from tools.run import MATHS, to_mathml
from tools.tasks import all_tasks, find_tasks


@pytest.fixture
def runnable(repository):
    repository.add_common()
    return repository


def start(repository, *arguments):
    return run.main(list(arguments), repository.root)


def test_run_writes_copies_and_changes_nothing_else(runnable, capsys, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(runnable.root))  # a registered kernel of another Python does not count
    (runnable.root / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "python"}
    (runnable.root / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    before = runnable.task.notebook.read_bytes()
    assert start(runnable, "image_generation/tiny") == 0
    printed = capsys.readouterr().out
    for line in ("[2/4] Settings", "[3/4] Training", "step 2", "Tiny, quick mode on noise: test error 3 %"):
        assert line in printed
    assert runnable.task.notebook.read_bytes() == before and not runnable.task.results.exists()
    page = (runnable.root / "runs" / "tiny.quick.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page and 'src="runs' not in page
    copy = nbformat.read(runnable.root / "runs" / "tiny.quick.ipynb", as_version=4)
    assert [cell.execution_count for cell in copy.cells if cell.cell_type == "code"] == [1, 2, 3, 4]


def test_save_stores_checked_outputs_that_a_second_run_repeats(runnable, capsys):
    assert start(runnable, "--save", "tiny") == 0
    assert check(runnable.task) == []
    first = runnable.task.read_notebook()
    assert first.metadata.stamp.mode == "quick" and "widgets" not in first.metadata
    assert all("execution" not in cell.metadata for cell in first.cells)
    assert start(runnable, "--save", "tiny") == 0
    assert check(runnable.task) == []
    second = runnable.task.read_notebook()
    assert [cell.id for cell in second.cells] == [cell.id for cell in first.cells]
    for one, two in zip(first.cells[1:-1], second.cells[1:-1], strict=True):  # the others tell times
        if "seed" not in str(one.get("outputs")):
            assert one == two
    assert start(runnable, "--list") == 0
    assert "image_generation/tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_package", "pip install -r image_generation/tiny/requirements.txt"),
        ('raise RuntimeError("CUDA out of memory. Tried")', "Lower batch_size in the settings cell"),
        ("import os; os._exit(1)", "the kernel died, most likely for want of memory"),
        ("import time; time.sleep(60)", "it took longer than --cell-timeout allows"),
    ],
)
def test_a_failing_cell_is_named(repository, capsys, line, message):
    notebook = repository.notebook()
    notebook.cells[1].source = notebook.cells[3].source = 'print("before")'
    notebook.cells[5].source = line
    repository.write(notebook)
    before = repository.task.notebook.read_bytes()
    assert start(repository, "--save", "--cell-timeout", "4", "tiny") == 1
    error = capsys.readouterr().err
    assert 'image_generation/tiny: Cell [3] under "Training" failed: ' in error and message in error
    assert repository.task.notebook.read_bytes() == before and not repository.task.results.exists()
    copy = nbformat.read(repository.root / "runs" / "tiny.quick.ipynb", as_version=4)
    assert copy.cells[3].outputs[0].text == "before\n" and copy.cells[7].execution_count is None
    assert (repository.root / "runs" / "tiny.quick.html").exists()


@pytest.mark.parametrize(("index", "message"), [(0, "needs the lines <!-- result -->"), (7, "calls record(...)")])
def test_save_asks_for_its_needs_before_the_run(repository, capsys, index, message):
    notebook = repository.notebook()
    notebook.cells[index].source = "# Tiny"
    repository.write(notebook)
    assert start(repository, "--save", "tiny") == 1
    assert message in capsys.readouterr().err and not (repository.root / "runs").exists()


def test_save_needs_a_recorded_result(repository):
    with pytest.raises(run.RunError, match="did not call record"):
        run.save(repository.notebook(), repository.task, None)


def test_what_is_edited_during_a_run_is_not_lost(repository):
    edited = repository.notebook()
    edited.cells[2].source = "## Settings\n\nNew words."
    repository.write(edited)
    repository.store()
    assert "New words." in repository.task.read_notebook().cells[2].source
    assert check(repository.task) == []
    edited.cells[3].source = "steps = 7"
    repository.write(edited)
    with pytest.raises(run.RunError, match="code was changed while it ran"):
        repository.store()
    assert repository.task.read_notebook() == edited


def test_a_quick_run_never_replaces_a_full_one(repository):
    repository.store(mode="full", seconds=400.0)
    full = repository.task.read_notebook()
    assert "those of a full run and stay" in repository.store(mode="quick", seconds=24.0, value=50.0)
    both = repository.task.read_notebook()
    assert both.metadata.stamp == full.metadata.stamp and both.cells[1:] == full.cells[1:]
    assert "Quick mode: 24 s" in both.cells[0].source and "test error 3 %" in both.cells[0].source
    assert check(repository.task) == []
    repository.store(mode="full", seconds=300.0)
    assert repository.task.read_results()["quick"]["seconds"] == 24.0
    assert check(repository.task) == []


def test_a_stale_full_run_is_dropped(repository):
    repository.store(mode="full")
    results = repository.task.read_results()
    results["full"]["digest"] = "of other code"
    repository.task.results.write_text(json.dumps(results))
    stale = repository.task.read_notebook()
    stale.metadata.stamp.digest = "of other code"
    repository.write(stale)
    repository.store(mode="quick")
    assert sorted(repository.task.read_results()) == ["quick", "stored"]
    assert repository.task.read_notebook().metadata.stamp.mode == "quick"
    assert check(repository.task) == []


@pytest.mark.parametrize(
    "name", ["tiny", "image_generation/tiny", "image_generation/tiny/tiny.ipynb", "image_generation\\tiny"]
)
def test_names_of_tasks(repository, name):
    assert find_tasks([name, name], repository.root) == [repository.task]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinny", "There is no task tinny. Did you mean image_generation/tiny?"),
        (
            "image_classification/tiny",
            "There is no task image_classification/tiny. Did you mean image_generation/tiny?",
        ),
        ("xyz", "There is no task xyz. python -m tools.run --list shows all tasks."),
    ],
)
def test_a_wrong_name_lists_the_near_ones(repository, capsys, name, message):
    assert start(repository, name) == 2
    assert capsys.readouterr().err.strip() == message


def test_a_name_in_two_categories_needs_its_category(repository):
    other = repository.root / "text_generation" / "tiny"
    other.mkdir(parents=True)
    repository.task.notebook.replace(other / "tiny.ipynb")
    repository.write(repository.notebook())
    with pytest.raises(ValueError, match="tiny fits image_generation/tiny and text_generation/tiny"):
        find_tasks(["tiny"], repository.root)


def test_a_wrong_mode_is_refused(repository, capsys, monkeypatch):
    monkeypatch.setenv("DL_MODE", "fast")
    assert start(repository, "tiny") == 2
    assert "DL_MODE is 'fast'; set it to quick or full" in capsys.readouterr().err


def test_the_page_needs_no_network_for_its_formulas(repository):
    notebook = repository.notebook()
    formulas = "\n\nThe square $x^2$, costs of `$5` and `$6`, and what no one can read: $\\frac{$"
    notebook.cells[2].source += formulas
    page = run.write_copies(notebook, repository.task, "quick").read_text(encoding="utf-8")
    assert "<math" in page and "<msup>" in page and "$x^2$" not in page
    assert "<code>$5</code>" in page and "<code>$6</code>" in page and "$\\frac{$" in page
    assert not re.search(r"<(script|img|link)[^>]* (src|href)=[\"']?(https?:)?//", page)


@pytest.mark.parametrize(
    "formula, wanted",
    [
        (r"\mathcal N(0, 1)", "<mi>&#x1D4A9;</mi>"),  # the script N
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
    ],
)
def test_formulas_that_need_mending(formula, wanted):
    assert wanted in to_mathml(formula, "block") and "<mi>&</mi>" not in to_mathml(formula, "block")


def test_all_formulas_can_be_shown():
    for task in all_tasks():
        for cell in task.read_notebook().cells:
            for match in MATHS.finditer(cell.source if cell.cell_type == "markdown" else ""):
                if match.lastgroup:
                    assert not re.search(r"<m[ion]>(&|\\\w*)</m[ion]>", to_mathml(match[match.lastgroup], "block")), (
                        match
                    )
