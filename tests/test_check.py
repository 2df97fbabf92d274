"""A good task passes the checker; each single defect is refused with its own sentence."""

import base64
import json
import subprocess

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.check import check, lines_of_code, main, tracked
from tools.results import Results
from tools.tasks import all_tasks


def code(source):
    return lambda notebook: notebook.cells.insert(6, new_code_cell(source, id="new"))


def text(source):
    return lambda notebook: notebook.cells.insert(6, new_markdown_cell(source, id="new"))


def replace(index, old, new):
    def edit(notebook):
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return edit


def fact(**changes):
    return lambda notebook: notebook.metadata.task.update(changes)


def edit_cell(index, **changes):
    return lambda notebook: notebook.cells[index].update(changes)


def output(**content):
    return lambda notebook: notebook.cells[3].outputs.append(new_output(**content))


def stream(text, name="stdout"):
    return output(output_type="stream", text=text, name=name)


def display(kind, content, **metadata):
    return output(output_type="display_data", data={kind: content}, metadata=metadata)


def many_cells(notebook):
    notebook.cells.extend(new_markdown_cell("x", id=f"x{number}") for number in range(50))


HUGE = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0").decode()
DEFECTS = {
    "many cells": (many_cells, "58 cells, more than 40"),
    "many lines": (code("x = 1\n" * 321), "lines of code, more than 320"),
    "a long cell": (code("x = 1\n" * 46), "46 lines in one code cell, more than 45"),
    "many words": (text("word " * 2000), "words of Markdown, more than 2,000"),
    "too many bytes": (stream("x" * 1_000_000), "bytes, more than 1,000,000"),
    "no Python": (code("x = = 1"), "cell 7: line 1 is not plain Python"),
    "magic": (code("%matplotlib inline"), "use no magics or shell commands"),
    "wide line": (code("x = '" + 96 * "x" + "'"), "cell 7: a line has 102 columns"),
    "skip marker": (code("# NBVAL_SKIP\n1"), "cell 7: remove the comment NBVAL_SKIP"),
    "tag": (edit_cell(3, metadata={"tags": ["remove-input"]}), "remove its metadata tags"),
    "unlisted import": (code("from scipy import linalg"), "it imports scipy; add scipy>=VERSION"),
    "home folder": (code('open("/home/ada/x")'), "/home/ada exists on one machine only"),
    "Windows path": (code(r'open(r"C:\Users\ada")'), r"C:\Users exists on one machine only"),
    "dead link": (text("[a](../gan/gan.ipynb)"), "the link ../gan/gan.ipynb leads nowhere"),
    "hot link": (text("![a](https://x.org/a.png)"), "https://x.org/a.png lies on another server"),
    "a file from outside": (text("[a](../../../outside.txt)"), "outside.txt leads nowhere"),
    "git's files": (text("[a](../../.git/config)"), "config leads nowhere"),
    "a scheme of the site": (text("[a](path:../x.md)"), "leads nowhere"),
    "raw HTML": (text("<script>x</script>"), "raw HTML (<script>"),
    "HTML that looks like code": (text('\\`<meta http-equiv="refresh">\\`'), "raw HTML (<meta"),
    "HTML that looks like a comment": (text("<!-- result -->"), "raw HTML (<!-- result"),
    "a directive": (text("```{literalinclude} ../../x\n```"), "the directive {literalinclude}"),
    "a directive in a list": (text("- ~~~{raw} html\n  ~~~"), "the directive {raw} html"),
    "a role": (text("{eval-rst}`x`"), "myst_role (x) is more than Markdown"),
    "front matter": (text("---\nmystnb: {execution_mode: force}\n---"), "front_matter (mystnb"),
    "HTML by MathJax": (text(r"$\style{position:fixed}{x}$"), r"the formula's \style"),
    "execution by the site": (
        lambda nb: nb.metadata.update(mystnb={"execution_mode": "force"}),
        "remove mystnb from its metadata",
    ),
    "unknown fact": (fact(position=-5), "remove task.position"),
    "link in the title": (fact(title="Read](https://x.org)"), "its metadata task.title holds ']'"),
    "HTML in the summary": (fact(summary="a\n<!-- /path --><script>"), "task.summary holds '\\n'"),
    "long title": (fact(title="word " * 9), "its metadata task.title has more than 40 letters"),
    "task is a text": (lambda nb: nb.metadata.update(task="x"), "must hold names and values"),
    "data from outside": (
        fact(data=[{"url": "file:///x", "hash": "", "file": "../x"}]),
        "task.data needs url, hash and file",
    ),
    "hidden": (edit_cell(3, metadata={"jupyter": {}}), "remove its metadata jupyter"),
    "attachment": (edit_cell(2, attachments={"a.svg": {}}), "remove its attachments"),
    "code in disguise": (code("import base64\nexec(base64.b64decode(''))"), "exec(...) runs code"),
    "compared rate": (code("assert learning_rate > 0"), "it compares learning_rate with 0"),
    "other code by pick": (code("better = pick(full=True, quick=False)"), "switches code by the"),
    "an if on pick": (code("x = 1 if pick(full=2, quick=0) else 2"), "depends on the mode"),
    "a figure by mode": (code("value = {'full': 0.1}[mode()]"), "depends on the mode"),
    "result by mode": (
        replace(7, "value=value", "value=pick(full=0.1, quick=value)"),
        "the recorded value depends on the mode",
    ),
    "no title": (replace(0, "# Tiny", "Tiny"), "cell 1: it must be Markdown that begins with"),
    "no facts table": (replace(0, "|---|---|", ""), "the table of facts"),
    "no result block": (replace(0, "<!-- /result -->", ""), "<!-- result --> and <!-- /result"),
    "two titles": (text("text\n# Again"), "cell 7: it has a second heading of level 1"),
    "other first cell": (replace(1, "# In Colab", "# in Colab"), "the first code cell must begin"),
    "no facts": (lambda nb: nb.metadata.pop("task"), "its metadata lacks task.title"),
    "no such need": (fact(needs=["a/b"]), "needs a/b, and there is"),
    "no cover": (fact(cover="cell3"), "names no cell with a picture"),
    "no setup": (replace(3, "setup(seed)", "dict(seed)"), "no cell calls setup(...)"),
    "no seed": (replace(3, "seed = 0", "seed = 0 + 0"), "no cell says `seed = 0`"),
    "own seed": (code("torch.manual_seed(3)"), "torch.manual_seed(3) hides the run's seed"),
    "no pick": (replace(3, "pick(full=5, quick=3)", "3"), "no cell calls pick(...)"),
    "branch on the mode": (code("if mode() == 'quick':\n    pass"), "depends on the mode"),
    "mode by hand": (code("import os\nos.environ['DL_MODE']"), "it reads DL_MODE"),
    "no record": (replace(7, "record(", "dict("), "no cell calls record(...)"),
    "record not last": (lambda nb: nb.cells.append(new_code_cell("1", id="z")), "in the last code"),
    "no assert": (replace(3, "assert steps > 0", ""), "there is no assert"),
    "HTML output": (display("text/html", "<b>x</b>"), "cell 4: its output is text/html"),
    "no description": (
        display("image/png", "iVBOR"),
        "cell 4: its picture has no plain description",
    ),
    "HTML as description": (
        display("image/png", "iVBOR", **{"image/png": {"alt": "<b>"}}),
        "no plain",
    ),
    "no PNG": (display("image/png", "<x>"), "cell 4: its picture is no PNG, or has more than"),
    "a picture too large": (display("image/png", HUGE), "has more than 4000 pixels"),
    "text that turns around": (code("x = 1  # \u2066"), "cell 7: it holds an invisible character"),
    "invisible title": (fact(title="T\u202e"), "its metadata task.title holds '\\u202e'"),
    "odd GPU": (fact(gpu={"flops": "many"}), "its metadata task.gpu needs expected, flops"),
    "error": (
        output(output_type="error", ename="ValueError", evalue="x", traceback=[]),
        "cell 4: its output is the error ValueError",
    ),
    "warning": (stream("UserWarning", "stderr"), "cell 4: its output has warnings"),
    "path": (stream("saved to /tmp/run7/x.pt"), "cell 4: its output shows /tmp/run7"),
    "wide print": (stream("x" * 101), "cell 4: it prints a line of 101 columns, more than 100"),
    "much text": (stream("line\n" * 9000), "it prints 45,0"),
    "edited output": (stream("accuracy 99 %"), "not those that the stamped run wrote"),
    "print in a bar": (code("for x in progress([1]):\n    print(x)"), "garbles the bar"),
    "print in a named bar": (
        code("bar = progress([1])\nfor x in bar:\n    if x:\n        print(x)"),
        "garbles the bar",
    ),
    "counts": (edit_cell(3, execution_count=7), "the cells were not run in order"),
    "no stamp": (lambda nb: nb.metadata.pop("stamp"), "it has no stamped outputs"),
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
    assert all(finding.startswith("image_generation/tiny") for finding in findings)


def test_comments_and_formatting_do_not_make_outputs_stale(repository):
    repository.store()
    repository.edit(3, "  # few", "  # a few\n\n")
    assert check(repository.task) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 1.0}, "tell of different runs"),
        ({"value": 2.0}, "the result block does not say"),
        ({"digest": "0"}, "belongs to other code"),
        ({"metric": None}, "it lacks metric"),
        ({"band": [0, 1]}, "it has the unknown key band"),
    ],
)
def test_edited_results_are_refused(repository, changes, message):
    repository.store()
    results = Results.read(repository.task)
    results.quick |= changes
    results.write(repository.task)
    findings = check(repository.task)
    assert any(message in finding for finding in findings), findings


def test_comments_blank_lines_and_docstrings_are_no_code():
    source = (
        '"""A text."""\n\n# a comment\ndef f():\n    """One.\n\n    Two.\n    """\n    return 1'
    )
    notebook = new_notebook(cells=[new_code_cell(source)])
    assert lines_of_code(notebook) == 3  # a text that is no docstring counts


def test_a_file_that_is_no_notebook(repository, capsys):
    for content in ("{", "<<<<<<< HEAD\n{}\n", json.dumps({"cells": 3})):
        repository.task.notebook.write_text(content)
        assert main([], repository.root) == 1
        assert "image_generation/tiny" in capsys.readouterr().out


REQUIREMENTS = {
    **dict.fromkeys(
        ["x==2.2", "torch", "x>=2,<3", "git+https://x.org/y", "./x.whl", "torch>=2 --hash=x"],
        "is not of the form",
    ),
    'torch>=2; python_version < "3.11" --config-settings=x': "is not of the form",
    "scikit-learm>=1.0": "nothing imports scikit-learm",
    "# coding: utf-7": "remove encodings",
    "numpy>=99.0": "asks for more than",
    "numpy>=1 # \\": "remove encodings",
    "# größer": "remove encodings",
}


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_requirements_are_plain_lower_bounds_of_what_is_imported(repository, line):
    repository.store()
    path = repository.task.folder / "requirements.txt"
    path.write_text(f"{line}\n-r ../../common/requirements.txt\n", encoding="utf-8")
    findings = check(repository.task)
    assert len(findings) == 1 and REQUIREMENTS[line] in findings[0], findings
    path.unlink()
    assert any("its first line must be -r ../../co" in line for line in check(repository.task))


HELPERS = {
    "speed.py": ("", "the notebook neither imports nor names it"),
    "json.py": ("", "Python or pytest would load it"),
    "conftest.py": ("", "Python or pytest would load it"),
    "test_speed.py": ("", "Python or pytest would load it"),
    "speed_test.py": ("", "Python or pytest would load it"),
    "ipykernel.py": ("", "Python or pytest would load it"),
    "turned.py": ("x = 1  # \u202e", "turned.py: it holds an invisible character"),
    "long.py": ("x = 1\n" * 400, "the modules have 400 lines, more than 350"),
    "broken.py": ("x = =", "broken.py: line 1 is not plain Python"),
    "other.py": ("import nosuch", "other.py: it imports nosuch; add nosuch>=VERSION"),
}


@pytest.mark.parametrize("name", HELPERS)
def test_modules_beside_the_notebook_are_few_and_used(repository, name):
    repository.store()
    text, message = HELPERS[name]
    (repository.task.folder / name).write_text(text)
    assert any(message in finding for finding in check(repository.task)), check(repository.task)


def test_six_mutations_that_fit_are_asked_for(repository):
    repository.store()
    path = repository.task.folder / "mutations.toml"
    path.write_text(path.read_text().replace("quick=3", "quick=4", 1))
    assert "no longer fits" in check(repository.task)[0]
    path.unlink()
    assert "it has 0 mutations of the code; write at least 6" in check(repository.task)[0]


def test_what_a_sparse_clone_left_out_is_there(repository):
    repository.edit(2, "requirements.txt)", "../../text_generation/gpt/gpt.ipynb)")
    repository.store()
    assert "gpt.ipynb leads nowhere" in check(repository.task)[0]
    tracked.cache_clear()
    entry = f"100644,{40 * '1'},text_generation/gpt/gpt.ipynb"
    for command in (["init", "--quiet"], ["update-index", "--add", "--cacheinfo", entry]):
        subprocess.run(["git", *command], cwd=repository.root, check=True)
    assert check(repository.task) == []
    tracked.cache_clear()


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.path)
def test_the_checker_finds_nothing_in_this_repository(task):
    assert check(task) == []
