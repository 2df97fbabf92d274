"""A good task passes the checker; each single defect is refused with its own sentence."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tools.check import check, main
from tools.run import write_results
from tools.tasks import TaskError, all_tasks


def code(source):
    return lambda notebook: notebook.cells.insert(6, new_code_cell(source, id="new"))


def text(source):
    return lambda notebook: notebook.cells.insert(6, new_markdown_cell(source, id="new"))


def replace(index, old, new):
    def edit(notebook):
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return edit


def output(**content):
    return lambda notebook: notebook.cells[3].outputs.append(new_output(**content))


def stream(text, name="stdout"):
    return output(output_type="stream", text=text, name=name)


def display(kind, content, **metadata):
    return output(output_type="display_data", data={kind: content}, metadata=metadata)


def many_cells(notebook):
    notebook.cells.extend(new_markdown_cell("x", id=f"x{number}") for number in range(50))


DEFECTS = {
    "more than 50 cells": (many_cells, "58 cells, more than 50"),
    "more than 400 lines": (code("x = 1\n" * 401), "lines of code, more than 400"),
    "too many words": (text("word " * 2500), "words of Markdown, more than 2,500"),
    "too many bytes": (stream("x" * 1_000_000), "bytes, more than 1,000,000"),
    "no Python": (code("x = = 1"), "cell 7: line 1 is not plain Python"),
    "magic": (code("%matplotlib inline"), "use no magics or shell commands"),
    "shell": (code("!pip install x"), "use no magics or shell commands"),
    "wide line": (code("x = '" + 96 * "x" + "'"), "cell 7: a line has 102 columns"),
    "skip marker": (code("# NBVAL_SKIP\n1"), "cell 7: remove the comment NBVAL_SKIP"),
    "tag": (lambda nb: nb.cells[3].metadata.update(tags=["remove-input"]), "remove its tags"),
    "unlisted import": (code("from scipy import linalg"), "it imports scipy; add scipy>=VERSION"),
    "home folder": (code('open("/home/ada/x")'), "/home/ada exists on one machine only"),
    "Windows path": (code(r'open(r"C:\Users\ada")'), r"C:\Users exists on one machine only"),
    "dead link": (text("[a](../gan/gan.ipynb)"), "the link ../gan/gan.ipynb leads nowhere"),
    "hot link": (text("![a](https://x.org/a.png)"), "https://x.org/a.png lies on another server"),
    "raw HTML": (text("<script>x</script>"), "raw HTML (<script>)"),
    "frame": (text('a <iframe src="https://x.org"></iframe>'), "raw HTML (<iframe"),
    "no title": (replace(0, "# Tiny", "Tiny"), "cell 1: it must be Markdown that begins with"),
    "no facts table": (replace(0, "|---|---|", ""), "the table of facts"),
    "no result block": (replace(0, "<!-- /result -->", ""), "<!-- result --> and <!-- /result"),
    "two titles": (text("text\n# Again"), "cell 7: it has a second heading of level 1"),
    "other first cell": (replace(1, "../..", "../../.."), "the first code cell must be that of"),
    "no facts": (lambda nb: nb.metadata.pop("task"), "its metadata lacks task.title (str)"),
    "no such need": (lambda nb: nb.metadata.task.update(needs=["a/b"]), "needs a/b, and there is"),
    "no cover": (lambda nb: nb.metadata.task.update(cover="cell3"), "names no cell with a picture"),
    "no setup": (replace(3, "setup(seed)", "dict(seed)"), "no cell calls setup(...)"),
    "no seed": (replace(3, "seed = 0", "seed = 0 + 0"), "no cell says `seed = 0`"),
    "own seed": (code("torch.manual_seed(3)"), "torch.manual_seed(3) hides the run's seed"),
    "no pick": (replace(3, "pick(full=5, quick=3)", "3"), "no cell calls pick(...)"),
    "branch on the mode": (code("if mode() == 'quick':\n    pass"), "an if depends on mode()"),
    "mode by hand": (code("import os\nos.environ['DL_MODE']"), "it reads DL_MODE"),
    "no record": (replace(7, "record(", "dict("), "no cell calls record(...)"),
    "record not last": (lambda nb: nb.cells.append(new_code_cell("1", id="z")), "in the last code"),
    "no assert": (replace(3, "assert steps > 0", ""), "there is no assert"),
    "print in a bar": (code("for x in progress([1]):\n    print(x)"), "garbles the bar"),
    "print in a named bar": (
        code("bar = progress([1])\nfor x in bar:\n    if x:\n        print(x)"),
        "garbles the bar",
    ),
    "HTML output": (display("text/html", "<b>x</b>"), "cell 4: its output is text/html"),
    "widget": (display("application/vnd.jupyter.widget-view+json", {}), "its output is applicat"),
    "SVG": (display("image/svg+xml", "<svg/>"), "its output is image/svg+xml"),
    "no description": (display("image/png", "iVBOR"), "cell 4: its picture has no description"),
    "error": (
        output(output_type="error", ename="ValueError", evalue="x", traceback=[]),
        "cell 4: its output is the error ValueError",
    ),
    "warning": (stream("UserWarning", "stderr"), "cell 4: its output has warnings"),
    "path": (stream("saved to /tmp/run7/x.pt"), "cell 4: its output shows /tmp/run7"),
    "much text": (stream("line\n" * 9000), "it prints 45,0"),
    "edited output": (stream("accuracy 99 %"), "not those that the stamped run wrote"),
    "counts": (lambda nb: nb.cells[3].update(execution_count=7), "the cells were not run in order"),
    "no stamp": (lambda nb: nb.metadata.pop("stamp"), "it has no stamped outputs"),
    "odd stamp": (lambda nb: nb.metadata.update(stamp="full"), "it has no stamped outputs"),
    "stale": (replace(3, "quick=3", "quick=4"), "the stored outputs are stale, the code has"),
    "other mode": (lambda nb: nb.metadata.stamp.update(mode="full"), "tell of different runs"),
    "block by hand": (replace(0, "error 3 %", "error 1 %"), "the result block does not say"),
}


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_good_task_passes(repository, mode):
    repository.store(mode=mode)
    assert check(repository.task) == []
    assert main([], repository.root) == 0 and main(["tiny"], repository.root) == 0


@pytest.mark.parametrize("name", DEFECTS)
def test_one_defect_is_refused(repository, name):
    repository.store()
    edit, message = DEFECTS[name]
    notebook = repository.task.read_notebook()
    edit(notebook)
    repository.write(notebook)
    findings = check(repository.task)
    assert any(message in finding for finding in findings), findings
    assert all(finding.startswith("image_generation/tiny/") for finding in findings)


def test_comments_and_formatting_do_not_make_outputs_stale(repository):
    repository.store()
    repository.edit(3, "  # few", "  # a few\n\n")
    assert check(repository.task) == []


def change_common(repository, old, new):
    path = repository.root / "common" / "device.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_change_of_common_makes_a_quick_run_stale_and_a_full_run_old(repository, capsys):
    repository.store()
    change_common(repository, '"""Return the value for', '"""Give the value for')
    assert check(repository.task) == []
    change_common(repository, "return quick", "return quick + 0")
    assert "what it imports from `common` has changed" in check(repository.task)[0]
    repository.store(mode="full")
    change_common(repository, "return quick + 0", "return quick")
    assert check(repository.task) == []
    from tools.run import main as run

    assert run(["--list"], repository.root) == 0
    assert "full, older common" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"quick": 3}'])
def test_broken_results_are_refused_and_hide_nothing(repository, content, capsys):
    repository.store()
    repository.task.results.write_text(content)
    findings = check(repository.task)
    assert len(findings) == 1 and "image_generation/tiny" in findings[0]
    with pytest.raises(TaskError, match="results.json is not a record of runs"):
        repository.task.read_results()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 1.0}, "tell of different runs"),
        ({"value": 2.0}, "the result block does not say"),
        ({"digest": "0"}, "belongs to other code"),
        ({"metric": None}, "results.json lacks metric"),
        ({"band": [0, 1]}, "results.json has the unknown key band"),
        ({"extra": {"x" * 30_000: 1.0}}, "results.json is larger than 20,000 bytes"),
    ],
)
def test_edited_results_are_refused(repository, changes, message):
    repository.store()
    results = repository.task.read_results()
    results["quick"].update(changes)
    write_results(repository.task, results)
    findings = check(repository.task)
    assert any(message in finding for finding in findings), findings


def test_a_file_that_is_no_notebook(repository, capsys):
    for content in ("{", "<<<<<<< HEAD\n{}\n", json.dumps({"cells": 3})):
        repository.task.notebook.write_text(content)
        assert main([], repository.root) == 1
        assert "image_generation/tiny" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["x==2.2", "torch", "x>=2,<3", "git+https://x.org/y", "./x.whl"])
def test_requirements_have_lower_bounds_only(repository, line):
    repository.store()
    path = repository.task.folder / "requirements.txt"
    path.write_text(f"-r ../../common/requirements.txt\n{line}  # why\n")
    assert [f"{line!r} is not of the form" in finding for finding in check(repository.task)] == [
        True
    ]
    path.unlink()
    assert "its first line must be -r ../../common/requirements.txt" in check(repository.task)[-1]


def test_a_wrong_command_names_the_nearest(repository, capsys):
    assert main(["tinny"], repository.root) == 2
    assert "did you mean image_generation/tiny?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["--quite"], repository.root)
    assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main(["--help"], repository.root)
    assert stopped.value.code == 0


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.path)
def test_the_checker_finds_nothing_in_this_repository(task):
    assert check(task) == []
