"""Write a notebook's ideas yourself, and let the notebook say whether they are right.

    python -m tools practice vae                     write practice/vae.ipynb, without solutions
    python -m tools practice vae --check             how far is my copy?
    python -m tools practice vae --solution NAME     show our function
    python -m tools practice vae --reset NAME        empty one item again (all: a fresh copy)

The items, a list in the notebook's metadata (`task.practice`), are functions and methods that carry
an idea, from easy to hard; the check that judges each stands in the notebook, within the next two
code cells. Exercises that ask for code follow at the end. What you wrote is never overwritten
without a backup beside it.
"""

import ast
import contextlib
import io
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tools.command import Parser, explained
from tools.mutate import read_mutations
from tools.stamp import code_digest, replace_block
from tools.tasks import ROOT, Task, TaskError, code_cells, find_tasks, nearest, write_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

BLANK = 'raise NotImplementedError("your turn: {}")'
SECONDS = 60  # a cell of the reader's copy may take
HEAD = """# Cells that wait for an item of yours say so in a sentence.
import os
import sys
from pathlib import Path

if Path("{root}").is_dir():  # the notebook's own folder, with what lies beside it
    os.chdir("{root}")
    sys.path.insert(0, "")
waiting = []


def explain(shell, kind, error, trace, tb_offset=None):
    if kind is NotImplementedError and "your turn" in str(error):
        waiting[:] = [str(error).partition(": ")[2]]
    if kind is NotImplementedError or waiting:
        item = waiting[0] if waiting else error
        print(f"This cell waits for {{item}}. Write it, run its cell, go on.")
    else:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


get_ipython().set_custom_exc((NotImplementedError, NameError), explain)"""


def functions(cell: "NotebookNode") -> dict[str, ast.FunctionDef]:
    """Return the functions of a code cell by name, methods as "Class.method"."""
    found = {}
    for node in ast.parse(cell.source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            methods = (child for child in node.body if isinstance(child, ast.FunctionDef))
            found |= {f"{node.name}.{method.name}": method for method in methods}
    return found


def place(notebook: "NotebookNode", name: str) -> tuple[int, ast.FunctionDef]:
    """Return the number among the code cells of the one that defines an item, and its function."""
    for number, cell in enumerate(code_cells(notebook)):
        if name in (known := functions(cell)):
            return number, known[name]
    raise TaskError(f"task.practice names {name}, which no cell defines.")


def body(function: ast.FunctionDef) -> tuple[int, int]:
    """Return the first and the last line of a function's body, without its docstring, from 0."""
    first = function.body[1 if ast.get_docstring(function) else 0 :]
    if not first:
        raise TaskError(f"{function.name} has no body beside its docstring.")
    return first[0].lineno - 1, function.body[-1].end_lineno or 0


def emptied(source: str, function: ast.FunctionDef, name: str) -> str:
    """Return a cell's code with a blank in the place of the function's body."""
    lines, (first, last) = source.split("\n"), body(function)
    indent = " " * (function.col_offset + 4)
    lines[first:last] = [indent + BLANK.format(name)]
    return "\n".join(lines)


def judges(task: Task, notebook: "NotebookNode", name: str) -> list[int]:
    """Return the numbers of the code cells whose checks judge an item: one for each mutation.

    They are those that catch the mutations inside the item's body.
    """
    cells = [cell.source for cell in code_cells(notebook)]
    number, function = place(notebook, name)
    first, last = body(function)
    text = "\n".join(cells[number].split("\n")[first:last])
    return [
        next(index for index, cell in enumerate(cells) if mutation["check"] in cell)
        for mutation in read_mutations(task)[1]
        if mutation["old"] in text
    ]


def problems(task: Task) -> Iterator[str]:
    """Yield what is wrong with a task's list of items, for the checker."""
    notebook, items = task.read_notebook(), task.facts().get("practice", [])
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and {"name", "hint"} == item.keys() for item in items
    ):
        yield "task.practice must be a list of items with a name and a hint."
        return
    for item in items:
        number, _ = place(notebook, item["name"])
        found = [judge - number for judge in judges(task, notebook, item["name"])]
        near = [distance for distance in found if 0 <= distance <= 2]
        if len(near) < 2:
            few = f"needs two mutations in its body, caught within two code cells; has {len(near)}"
            yield f"the practice item {item['name']} {few}."


def build(task: Task) -> "NotebookNode":
    """Return the practice version of a task's notebook; raises TaskError if it has none."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    items = task.facts().get("practice") or []
    if not items:
        raise TaskError(f"{task.path} has no practice version yet.")
    notebook = task.read_notebook()
    digest = code_digest(notebook)
    cells = code_cells(notebook)
    for index, item in enumerate(items):
        number, function = place(notebook, item["name"])
        cell = cells[number]
        cell.source = emptied(cell.source, function, item["name"])
        text = f"**Your turn: `{item['name']}`**\n\n<details><summary>A hint</summary>\n\n"
        hint = new_markdown_cell(f"{text}{item['hint']}\n\n</details>", id=f"hint-{index}")
        notebook.cells.insert(notebook.cells.index(cell), hint)
    for cell in cells:
        cell.outputs, cell.execution_count = [], None
    for exercise in task.facts().get("exercises", []):
        name, key = f"exercise {exercise['exercise']}", f"exercise-{exercise['exercise']}"
        text, blank = f"**Your turn: {name}** (see above)", BLANK.format(name)
        notebook.cells.append(new_markdown_cell(text, id=f"{key}-text"))
        notebook.cells.append(new_code_cell(blank, id=key))
        notebook.cells.append(new_code_cell(exercise["check"], id=f"{key}-check"))
    replace_block(notebook, "Practice version: the outputs are yours to make.")
    notebook.cells.insert(1, new_code_cell(HEAD.format(root=f"../{task.path}"), id="practice"))
    notebook.metadata = {"practice": {"task": task.path, "digest": digest}}
    return notebook


def read_copy(path: Path) -> "NotebookNode":
    """Return the reader's copy; raises TaskError with the line if a cell is not plain Python."""
    import nbformat

    if not path.exists():
        write_it = f"python -m tools practice {path.stem}"
        raise TaskError(f"There is no {path.name}: write it with {write_it}")
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many kinds
        raise TaskError(f"{path.name} is not a notebook; --reset all writes a new one.") from error
    for number, cell in enumerate(code_cells(notebook), 1):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            where = f"In {path.name}, code cell {number}, line {error.lineno}"
            raise TaskError(f"{where}: {error.msg}: {line}") from error
    return notebook


def check(task: Task, path: Path) -> int:
    """Run the reader's copy to the first unsolved item; print a list; return the exit status."""
    from tools.run import RunError, execute

    copy, original = read_copy(path), task.read_notebook()
    if copy.metadata.get("practice", {}).get("digest") != code_digest(original):
        advice = "Keep it as it is, or begin anew with --reset all (a backup is kept)."
        raise TaskError(f"{path.name} was written from another version of the notebook. {advice}")
    ids = [cell.id for cell in code_cells(original)]
    needed = {
        item["name"]: [ids[number] for number in judges(task, original, item["name"])]
        for item in task.facts()["practice"]
    }
    for exercise in task.facts().get("exercises", []):
        needed[f"exercise {exercise['exercise']}"] = [f"exercise-{exercise['exercise']}-check"]
    copy.cells = [cell for cell in copy.cells if cell.id != "practice"]
    order = {cell.id: number for number, cell in enumerate(copy.cells)}
    if missing := sorted(set().union(*needed.values()) - order.keys()):
        raise TaskError(f"The cell {missing[0]} with a check is gone; --reset all brings it back.")
    ends = {name: max(order[cell] for cell in cells) for name, cells in needed.items()}
    copy.cells = copy.cells[: max(ends.values()) + 1]
    stopped, reason = len(copy.cells), ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what the cells print
            execute(copy, task, "quick", SECONDS)
    except RunError as error:
        stopped, reason = error.cell, str(error).partition("failed: ")[2] or str(error)
    solved = [name for name, end in ends.items() if end < stopped]
    blank = re.search(r"your turn: (.+?)\.?$", reason, re.MULTILINE)
    wrong = "" if blank else next((name for name in ends if name not in solved), "")
    for name in ends:
        said = "solved" if name in solved else "wrong" if name == wrong else "to do"
        print(f"{said:8}{name}" + (f": {reason}" if name == wrong else ""))
    print(f"{len(solved)} of {len(ends)}")
    return int(len(solved) < len(ends))


def solution(task: Task, name: str) -> str:
    """Return our code for an item."""
    for exercise in task.facts().get("exercises", []):
        if name == f"exercise {exercise['exercise']}":
            return exercise["solution"]
    number, function = place(task.read_notebook(), name)
    source = code_cells(task.read_notebook())[number].source.split("\n")
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return "\n".join(source[first - 1 : function.end_lineno])


def reset(task: Task, path: Path, name: str) -> None:
    """Empty one item of the reader's copy again, or write all of it anew; a backup is kept."""
    fresh = build(task)
    if path.exists():
        kept = path.with_name(f"{path.stem}.backup-{time.strftime('%Y%m%d-%H%M%S')}.ipynb")
        shutil.copy(path, kept)
        print(f"What you wrote is kept in {kept.name}.")
    if name != "all":
        copy = read_copy(path)
        wanted = f"your turn: {name}"
        blanks = {cell.id: cell.source for cell in code_cells(fresh) if wanted in cell.source}
        for cell in (cell for cell in copy.cells if cell.id in blanks):
            function = functions(cell).get(name)
            empty = function and emptied(cell.source, function, name)
            cell.source = empty or blanks[cell.id]
        fresh = copy
    write_notebook(path, fresh)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("practice", __doc__)
    parser.add_argument("task", metavar="TASK", help="vae")
    parser.add_argument("--check", action="store_true", help="run your copy and list the items")
    parser.add_argument("--solution", metavar="NAME", help="show our function")
    parser.add_argument("--reset", metavar="NAME", help="empty an item again; all: a fresh copy")
    options = parser.parse_args(arguments)
    task = find_tasks([options.task], root)[0]
    path = root / "practice" / f"{task.name}.ipynb"
    notebook = build(task)
    source = "\n".join(cell.source for cell in code_cells(notebook))
    names = re.findall(r"your turn: (.+?)\"", source)
    name = options.solution or options.reset
    if name and name not in [*names, "all"]:
        hint = nearest(name, names) or f"there are {', '.join(names)}"
        raise TaskError(f"There is no item {name}; {hint}")
    if options.solution:
        print(solution(task, options.solution))
    elif options.check:
        return check(task, path)
    elif options.reset or not path.exists():
        path.parent.mkdir(exist_ok=True)
        reset(task, path, options.reset or "all")
        print(f"jupyter lab practice/{path.name}: {', '.join(names)}")
    else:
        print(f"practice/{path.name} is there already, with what you wrote: --check, or --reset.")
    return 0


if __name__ == "__main__":
    sys.exit(explained(main))
