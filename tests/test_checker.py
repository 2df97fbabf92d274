"""Each rule of the checker: a good task passes, and each single defect is refused with its own message."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tools.check import check, main


def findings_after(repository, edit):
    notebook = repository.task.read_notebook()
    edit(notebook)
    repository.write(notebook)
    return check(repository.task)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_good_task_passes(repository, mode, capsys):
    repository.store(mode=mode)
    assert check(repository.task) == []
    assert main([], repository.root) == 0 and main(["tiny"], repository.root) == 0
    assert main(["tinny"], repository.root) == 2
    assert "Did you mean image_generation/tiny?" in capsys.readouterr().err


def replace(index, old, new):
    def edit(notebook):
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return edit


def append(cell):
    return lambda notebook: notebook.cells.insert(6, cell)


def output(**content):
    return lambda notebook: notebook.cells[3].outputs.append(new_output(**content))


def stream(text, name="stdout"):
    return output(output_type="stream", text=text, name=name)


SOURCE_DEFECTS = {
    "more than 50 cells": (lambda nb: nb.cells.extend(new_markdown_cell("x") for _ in range(50)), "58 cells"),
    "more than 400 lines": (append(new_code_cell("x = 1\n" * 401)), "414 lines of code; at most 400"),
    "too many words": (append(new_markdown_cell("word " * 2500)), "words of Markdown; at most 2,500"),
    "more than 1 MB": (stream("x" * 1_000_000), "bytes; at most 1,000,000"),
    "no Python": (append(new_code_cell("x = = 1")), "cell 7: it is not plain Python (line 1"),
    "magic": (append(new_code_cell("%matplotlib inline")), "use no magics or shell commands"),
    "shell": (append(new_code_cell("!pip install x")), "use no magics or shell commands"),
    "skip marker": (append(new_code_cell("# NBVAL_SKIP\n1")), "cell 7: remove the comment NBVAL_SKIP"),
    "error tag": (
        append(new_code_cell("1", metadata={"tags": ["raises-exception"]})),
        "cell 7: remove its raises-exception tag",
    ),
    "unlisted import": (
        append(new_code_cell("from sklearn import svm")),
        "it imports sklearn; add a line scikit-learn>=",
    ),
    "newer torch": (append(new_code_cell("torch.nn.RMSNorm(8)")), "cell 7: it uses RMSNorm, which not every torch"),
    "home folder": (append(new_code_cell('open("/home/ada/x")')), "cell 7: it names the path /home/ada"),
    "Windows path": (append(new_code_cell(r'open(r"C:\Users\ada")')), r"it names the path C:\Users"),
    "tilde": (append(new_code_cell('open("~/data/x")')), "it names the path ~/data"),
    "dead link": (append(new_markdown_cell("[a](../gan/gan.ipynb)")), "the link ../gan/gan.ipynb leads nowhere"),
    "hot link": (append(new_markdown_cell("![a](https://x.org/a.png)")), "picture https://x.org/a.png lies on another"),
    "hot img": (append(new_markdown_cell('<img src="http://x.org/a.png">')), "lies on another server"),
    "no title": (replace(0, "# Tiny", "Tiny"), "cell 1: it must be Markdown that begins with the title"),
    "no facts": (replace(0, "|---|---|", ""), "the table of facts"),
    "no result block": (replace(0, "<!-- /result -->", ""), "<!-- result --> and <!-- /result -->"),
    "two titles": (append(new_markdown_cell("text\n# Again")), "cell 7: it has a second heading of level 1"),
    "no setup": (replace(1, "\nsetup()", "\nprint()"), "no cell calls setup(...)"),
    "no pick": (replace(3, "pick(full=5, quick=3)", "3"), "no cell calls pick(...)"),
    "no record": (replace(7, "record(", "dict("), "no cell calls record(...)"),
    "record not last": (lambda nb: nb.cells.append(new_code_cell("1")), "record(...) must be called in the last"),
    "no assert": (replace(3, "assert steps > 0", ""), "there is no assert"),
}
OUTPUT_DEFECTS = {
    "widget state": (lambda nb: nb.metadata.update(widgets={"state": {}}), "it stores widget state"),
    "widget": (
        output(output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}}),
        "cell 4: its output is a widget",
    ),
    "error": (
        output(output_type="error", ename="ValueError", evalue="x", traceback=[]),
        "cell 4: its output is the error ValueError",
    ),
    "warning": (stream("UserWarning", "stderr"), "cell 4: its output has warnings"),
    "path": (stream("saved to /tmp/run7/x.pt"), "cell 4: its output shows /tmp/run7"),
    "path in site-packages": (stream("lib/python3.11/site-packages/x.py:3"), "its output shows /site-packages/"),
    "edited output": (stream("accuracy 99 %"), "not those that the stamped run wrote"),
    "cleared": (
        lambda nb: [cell.update(outputs=[]) for cell in nb.cells if "outputs" in cell],
        "no output is a picture",
    ),
    "counts": (lambda nb: nb.cells[3].update(execution_count=7), "the execution counts are not 1 to 4"),
    "no stamp": (lambda nb: nb.metadata.pop("stamp"), "it has no stamped outputs"),
    "stale": (replace(3, "quick=3", "quick=4"), "the stored outputs are stale"),
    "other mode": (
        lambda nb: nb.metadata.stamp.update(mode="full"),
        "the stamp and results.json tell of different runs",
    ),
    "block by hand": (
        replace(0, "test error 3 %", "test error 1 %"),
        "the result block does not say what results.json",
    ),
}


@pytest.mark.parametrize("name", SOURCE_DEFECTS | OUTPUT_DEFECTS)
def test_one_defect_is_refused(repository, name):
    repository.store()
    edit, message = (SOURCE_DEFECTS | OUTPUT_DEFECTS)[name]
    findings = findings_after(repository, edit)
    assert any(message in finding for finding in findings), findings
    assert all(finding.startswith("image_generation/tiny/") for finding in findings)
    assert main([], repository.root) == 1


def test_comments_and_formatting_do_not_make_outputs_stale(repository):
    repository.store()
    assert findings_after(repository, replace(3, "  # few", "  # a few\n\n")) == []


def test_a_file_that_is_no_notebook(repository):
    repository.task.notebook.write_text("{")
    assert "it is not a notebook" in check(repository.task)[0]


def change_results(**changes):
    def edit(results):
        results["quick"].update(changes)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change_results(seconds=1.0), "tell of different runs"),
        (change_results(value=2.0), "does not show the recorded test error, 2"),
        (change_results(digest="0"), "belongs to other code"),
        (lambda results: results["quick"].pop("band"), "its quick entry lacks band"),
        (lambda results: results.update(full=results["quick"]), "the full entry of results.json belongs to other code"),
        (lambda results: results.pop("stored"), "missing, incomplete or no JSON ('stored')"),
    ],
)
def test_a_false_results_file_is_refused(repository, edit, message):
    repository.store()
    results = repository.task.read_results()
    edit(results)
    repository.task.results.write_text(json.dumps(results))
    assert any(message in finding for finding in check(repository.task)), check(repository.task)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_results_file_is_refused(repository, text):
    repository.store()
    repository.task.results.write_text(text)
    assert any(
        "results.json beside it is missing, incomplete or no JSON" in finding for finding in check(repository.task)
    )


@pytest.mark.parametrize(
    "line", ["torch==2.2", "torch", "torch>=2.2,<3", "git+https://x.org/y", "./wheel.whl", "torch>=2 --pre", "torch<3"]
)
def test_requirements_have_lower_bounds_only(repository, line):
    repository.store()
    repository.task.requirements.write_text(f"# what it needs\ntorch>=2.2\n{line}  # why\n")
    assert [f"{line!r} is not of the form" in finding for finding in check(repository.task)] == [True]


def test_requirements_are_needed(repository):
    repository.store()
    repository.task.requirements.unlink()
    findings = check(repository.task)
    assert "it imports torch" in findings[0] and "requirements.txt: it is missing" in findings[-1]


def test_solutions_are_checked_too(repository):
    repository.store()
    notebook = nbformat.v4.new_notebook(cells=[new_code_cell("import sklearn"), new_code_cell("answer = 42")])
    nbformat.write(notebook, repository.task.folder / "solutions.ipynb")
    (finding,) = check(repository.task)
    assert finding.startswith("image_generation/tiny/solutions.ipynb, cell 1: it imports sklearn")
