"""Write a notebook's ideas yourself, and let the notebook say whether they are right.

    python -m tools practice vae                     write practice/vae.ipynb, without solutions
    python -m tools practice vae --check             how far is my copy?
    python -m tools practice vae --solution NAME     show our function
    python -m tools practice vae --reset NAME        empty one item again (all: a fresh copy)
    python -m tools practice --all                   write the copies of all notebooks

The items, a list in the notebook's metadata (`task.practice`), are functions and methods that carry
an idea, from easy to hard. The mutations in the body of each name the checks that judge it, within
the next two code cells. Exercises that ask for code follow at the end. What you wrote is never
overwritten without a backup beside it. (nbgrader would want markers inside the cells that everybody
reads, a course database and a server.)
"""

import ast
import contextlib
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools import tasks
from tools.command import Parser, explained
from tools.mutate import read_mutations, statement
from tools.stamp import code_digest, replace_block
from tools.tasks import ROOT, Task, TaskError, code_cells

HEAD = Path(__file__).with_name("practice_head.py")  # the first code cell of a practice version
BLANK = 'raise NotImplementedError("your turn: {}")'
HINT = "**Your turn: `{}`**\n\n<details><summary>A hint</summary>\n\n{}\n\n</details>"
SECONDS = 60  # a cell of the reader's copy may take


@dataclass
class Item:
    """What the reader writes, and what judges it."""

    cell: str  # its id
    judges: list[tuple[str, str]]  # a cell's id, and a line of it that fails if the item is wrong
    solution: str


def find(source: str, name: str) -> ast.FunctionDef | None:
    """Return a function, or a method "Class.method", of a cell's code; None if it has none such."""
    try:
        nodes, found = ast.parse(source).body, None
    except SyntaxError:
        return None
    for part in name.split("."):
        found = next((node for node in nodes if getattr(node, "name", "") == part), None)
        nodes = getattr(found, "body", [])
    return found if isinstance(found, ast.FunctionDef) else None


def emptied(source: str, name: str) -> tuple[str, str, str]:
    """Return a cell's code with a blank as a function's body, and that function and body."""
    if not (function := find(source, name)):
        return BLANK.format(name), "", ""
    lines, first = source.split("\n"), function.body[0]
    whole = "\n".join(lines[function.lineno - 1 : function.end_lineno])
    begin = first.end_lineno if ast.get_docstring(function) else first.lineno - 1
    body = slice(begin, function.end_lineno)
    gone, lines[body] = lines[body], [" " * (function.col_offset + 4) + BLANK.format(name)]
    return "\n".join(lines), whole, "\n".join(gone)


def build(task: Task) -> tuple[nbformat.NotebookNode, dict[str, Item]]:
    """Return the practice version of a task's notebook, and its items by name.

    Raises TaskError if it has none, or if an item is not defined in the notebook.
    """
    notebook, facts, mutations = task.read_notebook(), task.facts(), read_mutations(task)[1]
    if not facts.get("practice"):
        raise TaskError(f"{task.path} has no practice version yet.")
    version, cells = {"task": task.path, "digest": code_digest(notebook)}, code_cells(notebook)
    items, ours = {}, [cell.source for cell in cells]
    for entry in facts["practice"]:
        name = entry["name"]
        number = next((n for n, code in enumerate(ours) if find(code, name)), None)
        if number is None:
            raise TaskError(f"{task.path}: no cell defines the practice item {name}.")
        _, solution, body = emptied(ours[number], name)
        checks = [mutation["check"] for mutation in mutations if mutation["old"] in body]
        near = [(n, ours[n]) for n in range(number, min(number + 3, len(cells)))]
        judges = [(cells[n].id, check) for check in checks for n, code in near if check in code]
        items[name] = Item(cells[number].id, judges, solution)
        cells[number].source = emptied(cells[number].source, name)[0]
        turn = new_markdown_cell(HINT.format(name, entry["hint"]), id=f"hint-{len(items)}")
        notebook.cells.insert(notebook.cells.index(cells[number]), turn)
    for entry in facts.get("exercises", []):
        name, key = f"exercise {entry['exercise']}", f"exercise-{entry['exercise']}"
        last = entry["check"].splitlines()[-1]
        items[name] = Item(key, [(f"{key}-check", last)], entry["solution"])
        notebook.cells += [
            new_markdown_cell(f"**Your turn: {name}** (see above)", id=f"{key}-text"),
            new_code_cell(BLANK.format(name), id=key),
            new_code_cell(entry["check"], id=f"{key}-check"),
        ]
    for cell in cells:
        cell.outputs, cell.execution_count = [], None
    replace_block(notebook, "Practice version: the outputs are yours to make.")
    head = HEAD.read_text(encoding="utf-8").strip().replace("FOLDER", task.path)
    notebook.cells.insert(1, new_code_cell(head, id="practice"))
    notebook.metadata = {"practice": version}
    return notebook, items


def read_copy(path: Path, task: Task) -> nbformat.NotebookNode:
    """Return the reader's copy; raises TaskError if it does not fit the notebook of today."""
    if not path.exists():
        raise TaskError(f"There is no {path.name}: python -m tools practice {task.name} writes it.")
    again, (fresh, items) = "--reset all begins anew (a backup is kept)", build(task)
    try:
        copy = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many kinds
        raise TaskError(f"{path.name} is not a notebook; {again}.") from error
    if copy.metadata.get("practice") != fresh.metadata["practice"]:
        raise TaskError(f"{path.name} belongs to another version of the notebook; {again}.")
    sources = {cell.id: cell.source for cell in copy.cells}
    for item in items.values():
        for cell, text in ((item.cell, ""), *item.judges):
            if text not in sources.get(cell, ()):
                raise TaskError(f"{path.name} lacks a cell with an item or a check; {again}.")
    return copy


def check(task: Task, path: Path) -> int:
    """Run the reader's copy to the first unsolved item; print a list; return the exit status."""
    from tools.run import RunError, execute

    copy, items = read_copy(path, task), build(task)[1]
    cells = {cell.id: (number, cell.source) for number, cell in enumerate(copy.cells)}
    ends = dict.fromkeys(items, (0, 0))  # the place of an item's last check: cell and line
    for name, item in items.items():
        for cell, text in item.judges:
            number, code = cells[cell]
            line = statement(code, 1 + code[: code.index(text)].count("\n"))
            ends[name] = max(ends[name], (number, line))
    copy.cells = copy.cells[: max(ends.values())[0] + 1]
    stopped, reason = (len(copy.cells), 0), ""
    for head in (cell for cell in copy.cells if cell.id == "practice"):
        head.source = "pass"  # errors, not sentences
    try:
        with contextlib.redirect_stdout(None):  # what the cells print
            execute(copy, task, "quick", SECONDS)
    except RunError as error:
        cell, reason = copy.cells[error.cell], str(error)
        trace = "\n".join(line for out in cell.outputs for line in out.get("traceback", []))
        found = re.search(r"line:? (\d+)", re.sub(r"\x1b\[[\d;]*m", "", trace))
        stopped = error.cell, statement(cell.source, int(found[1])) if found else 0
    unsolved = sorted((name for name in ends if ends[name] >= stopped), key=ends.__getitem__)
    wrong = unsolved[:1] if "your turn: " not in reason else []
    for name in items:
        said = "wrong" if name in wrong else "to do" if name in unsolved else "solved"
        if said == "to do" and BLANK.format(name) not in cells[items[name].cell][1]:
            said = "waits"  # for an item before it
        print(f"{said:8}{name}" + (f": {reason}" if name in wrong else ""))
    print(f"{len(items) - len(unsolved)} of {len(items)}")
    return int(bool(unsolved))


def write(task: Task, path: Path, name: str = "all") -> None:
    """Write a fresh copy, or empty one item of the reader's; keep a backup of what was there."""
    copy, items = build(task)
    if name != "all":
        blank = next(cell.source for cell in copy.cells if cell.id == items[name].cell)
        copy = read_copy(path, task)
        for cell in (cell for cell in copy.cells if cell.id == items[name].cell):
            code, function, _ = emptied(cell.source, name)
            cell.source = code if function else blank
    if path.exists():
        kept = path.with_name(f"{path.stem}.backup-{time.strftime('%Y%m%d-%H%M%S')}.ipynb")
        shutil.copy(path, kept)
        print(f"What you wrote is kept in {kept.name}.")
    path.parent.mkdir(exist_ok=True)
    tasks.write_notebook(path, copy)
    print(f"jupyter lab practice/{path.name}: {', '.join(items)}")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("practice", __doc__)
    parser.add_argument("task", nargs="?", metavar="TASK", help="vae")
    parser.add_argument("--all", action="store_true", help="write the copies of all notebooks")
    parser.add_argument("--check", action="store_true", help="run your copy and list the items")
    parser.add_argument("--solution", metavar="NAME", help="show our function")
    parser.add_argument("--reset", metavar="NAME", help="empty an item again; all: a fresh copy")
    options = parser.parse_args(arguments)
    if options.all:
        return max(
            main([task.path], root) for task in tasks.all_tasks(root) if "practice" in task.facts()
        )
    if not options.task:
        parser.error("name a task, or use --all")
    task = tasks.find_tasks([options.task], root)[0]
    path, items = root / "practice" / task.notebook.name, build(task)[1]
    name = options.solution or options.reset
    if name and name not in items and options.reset != "all":
        hint = tasks.nearest(name, items) or f"there are {', '.join(items)}."
        raise TaskError(f"There is no item {name}; {hint}")
    if options.solution:
        print(items[name].solution)
    elif options.check:
        return check(task, path)
    elif name or not path.exists():
        write(task, path, name or "all")
    else:
        print(f"practice/{path.name} is there already, with what you wrote: --check, or --reset.")
    return 0


if __name__ == "__main__":
    sys.exit(explained(main))
