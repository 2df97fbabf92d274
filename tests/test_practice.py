"""tools.practice: blanks, the reader's copy and its checks; and the items of every notebook."""

import linecache
import os
import re

import nbformat
import pytest

from tools import practice
from tools.check import check
from tools.tasks import all_tasks, code_cells

CODE = '''def double(x):
    """2 x."""
    return 2 * x


class Model:
    def square(self, x):
        """x^2."""
        y = x * x
        return y


assert double(3) == 6, "twice three is six"
assert Model().square(3) == 9
'''
MUTATION = '[[mutation]]\nname = "{0}"\nold = "{0}"\nnew = "{1}"\ncheck = "{2}"\n'


@pytest.fixture
def task(repository):
    repository.edit(5, "value = 80.0", CODE + "\nvalue = 80.0")
    items = [{"name": "double", "hint": "Add it to itself."}]
    items.append({"name": "Model.square", "hint": "Times itself."})
    exercise = {"exercise": 1, "check": "assert z == 7, 'seven'", "solution": "z = 7"}
    repository.tell(practice=items, exercises=[exercise])
    repository.edit(6, "## Record", "## Record\n\nBegin with `python -m tools practice tiny`.")
    rows = [("2 * x", "3 * x", "assert double(3)"), ("2 *", "4 *", "assert double(3)")]
    rows += [("x * x", "x + x", "Model().square"), ("return y", "return x", "Model().square")]
    text = "".join(MUTATION.format(*row) for row in rows)
    (repository.task.folder / "mutations.toml").write_text(text)
    return repository.task


@pytest.fixture
def practise(ask):
    return lambda *options: ask("practice", "tiny", *options)


def edit(task, old, new):
    path = task.root / "practice" / "tiny.ipynb"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def turn(name):
    return f'raise NotImplementedError(\\"your turn: {name}\\")'


def test_a_reader_s_way_from_blanks_to_solved(task, practise):
    assert practise()[0] == 0
    path = task.root / "practice" / "tiny.ipynb"
    copy = nbformat.read(path, as_version=4)
    nbformat.validate(copy)
    source = "\n".join(cell.source for cell in copy.cells)
    assert "return 2 * x" not in source and '"""2 x."""' in source and "y = x * x" not in source
    assert "<summary>A hint</summary>\n\nTimes itself." in source
    assert not any(cell.outputs for cell in code_cells(copy)) and "stamp" not in copy.metadata
    status, printed = practise("--check")
    assert status == 1 and "to do   double\nto do   Model.square" in printed and "0 of 3" in printed
    edit(task, turn("double"), "return 3 * x")
    status, printed = practise("--check")
    assert "failed: AssertionError: twice three is six" in printed and "0 of 3" in printed
    edit(task, "return 3 * x", "return x + x")
    edit(task, turn("Model.square"), "return x ** 2")
    status, printed = practise("--check")
    assert "solved  Model.square\nto do   exercise 1\n2 of 3" in printed
    edit(task, "return x ** 2", "return x")  # judged in the same cell, after double
    status, printed = practise("--check")
    assert 'solved  double\nwrong   Model.square: Cell [4] under "Training"' in printed
    edit(task, "return x\\n", "return x ** 2\\n")
    edit(task, turn("exercise 1"), "z = 7")
    solved = "solved  double\nsolved  Model.square\nsolved  exercise 1\n3 of 3\n"
    assert practise("--check") == (0, solved)
    assert practise("--solution", "Model.square")[1].strip().startswith("def square(self, x):")
    assert practise("--solution", "exercise 1")[1] == "z = 7\n"
    assert "is there already" in practise()[1] and "return x + x" in path.read_text()
    assert "kept in tiny.backup-" in practise("--reset", "Model.square")[1]
    text = path.read_text()  # both items stand in one cell; what was written in the other stays
    assert "your turn: Model.square" in text and "return x + x" in text and "z = 7" in text
    assert len(list(path.parent.glob("tiny.backup-*"))) == 1


def test_bad_input_gets_a_sentence(task, practise, repository, monkeypatch):
    assert (
        "There is no tiny.ipynb: python -m tools practice tiny writes it" in practise("--check")[1]
    )
    practise()
    assert "There is no item duble; did you mean double?" in practise("--solution", "duble")[1]
    edit(task, turn("double"), "return 2 *")
    status, printed = practise("--check")
    assert status == 1 and "wrong   double: Cell [4] under" in printed
    assert "SyntaxError: invalid syntax" in printed and "line 3)" in printed
    edit(task, turn("Model.square"), "return x ** 2")
    assert "waits   Model.square" in practise("--check")[1]
    assert "kept in tiny.backup-" in practise("--reset", "double")[1]
    edit(task, turn("double"), "return 2 *")
    monkeypatch.setattr(practice, "SECONDS", 20)
    edit(task, "return 2 *", "while True: pass")
    status, printed = practise("--check")
    assert status == 1 and "wrong   double: Cell [4]" in printed
    assert "it took longer than" in printed
    repository.edit(3, "quick=3", "quick=4")
    assert "belongs to another version of the notebook" in practise("--check")[1]


def test_items_that_cannot_be_judged_are_refused(task, repository):
    assert not [finding for finding in check(task) if "practice" in finding]
    (task.folder / "mutations.toml").write_text(MUTATION.format("2 * x", "x", "assert double(3)"))
    findings = [finding for finding in check(task) if "practice" in finding]
    assert len(findings) == 2 and "item double needs two mutations" in findings[0]
    repository.edit(6, "`python -m tools practice tiny`", "TINY")
    assert any("its last section does not say how to practise" in text for text in check(task))


PRACTISED = [task for task in all_tasks() if task.facts().get("practice")]


def run_cell(source, space, name):
    """Execute a cell; inspect.getsource finds its functions."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), space)


def ending(sources, space):
    """Return how cells end in a copy of this process: "passed", or which raised what."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        said = "passed"
        try:
            for number, source in enumerate(sources):
                run_cell(source, space, f"<copy {number}>")
        except BaseException as error:
            said = f"{type(error).__name__} in cell {number}: {error}"
        os.write(writer, said.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.mutations
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", PRACTISED, ids=lambda task: task.path)
def test_a_blank_fails_first_in_its_check_and_our_solutions_pass(task, monkeypatch):
    """The notebook runs once; at each item a copy of the process goes on with a blank."""
    cells, (version, items) = code_cells(task.read_notebook()), practice.build(task)
    sources, number = {cell.id: cell.source for cell in cells}, 0
    for name in ("DL_MODE=quick", f"DL_RECORD={os.devnull}", "TQDM_DISABLE=1", "MPLBACKEND=agg"):
        monkeypatch.setenv(*name.split("="))
    monkeypatch.chdir(task.folder)
    monkeypatch.syspath_prepend("")
    space, ours, wrong = {"__name__": "__main__"}, list(sources.values()), {}
    for number, (key, source) in enumerate(sources.items()):
        for name, item in items.items():
            if key == item.cell:
                last = max(list(sources).index(cell) for cell, _ in item.judges)
                blank = practice.emptied(source, name)[0]
                following = [blank, *ours[number + 1 : last + 1]]
                said = ending(following, space)  # up to its last check, and no further
                if not re.search(rf"your turn: {re.escape(name)}\b", said):
                    wrong[name] = said
        run_cell(source, space, f"<cell {number}>")
    for cell in code_cells(version):
        for name, item in items.items():
            if cell.id == item.judges[0][0] and cell.id not in sources:
                said = ending([item.solution, cell.source], space)
                wrong |= {name: said} if said != "passed" else {}
    assert not wrong
