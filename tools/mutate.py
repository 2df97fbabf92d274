"""Break a notebook on purpose, in many small ways, and see whether its own checks notice.

    python -m tools mutate vae           run the mutations of one task
    python -m tools mutate --save        run those of all tasks, store the counts in results.json

A task's `mutations.toml` lists changes of its code that somebody could make by mistake:

    settings = {epochs = 1}              # optional: smaller sizes for these runs

    [[mutation]]
    name = "KL with the wrong sign"
    old = "0.5 * (mean**2"               # this text occurs in exactly one code cell, once
    new = "-0.5 * (mean**2"
    check = "assert_close(kl_divergence("  # the line of the check that must fail
    settings = {epochs = 2}              # optional, for this mutation

Cells run in quick mode, in this process, up to the cell of the check. An AssertionError raised by
that very line kills the mutation; anything else is a failure. First the notebook as it is must
pass. The exit status is 0 if every mutation is killed, 1 if not, 2 if the command is wrong.
"""

import ast
import contextlib
import io
import linecache
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING

from tools import tasks
from tools.command import Parser, explained, require_writable
from tools.results import Results
from tools.stamp import code_digest
from tools.tasks import ROOT, Task, TaskError, all_tasks, code_cells, find_tasks, with_settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

KINDS = {"name": str, "old": str, "new": str, "check": str, "settings": dict}
FEWEST = 6  # mutations that a notebook needs, says the checker


def read_mutations(task: Task) -> tuple[dict, list[dict]]:
    """Return the settings and the mutations of a task, ({}, []) if it has none.

    Raises TaskError if the file is broken, or if a text does not occur in the notebook once.
    """
    path = task.folder / "mutations.toml"
    if not path.exists():
        return {}, []
    where = f"{task.path}/mutations.toml"
    try:
        content = tasks.tomllib.loads(tasks.read_text(path))
    except (tasks.tomllib.TOMLDecodeError, TaskError) as error:
        raise TaskError(f"{where} is not TOML: {error}") from error
    settings, mutations = content.pop("settings", {}), content.pop("mutation", [])
    if content:
        raise TaskError(f"{where} has {min(content)}, which is neither settings nor [[mutation]].")
    if not isinstance(settings, dict) or not isinstance(mutations, list):
        raise TaskError(f"{where}: write settings = {{...}} and [[mutation]], as in the template.")
    cells = [cell.source for cell in code_cells(task.read_notebook())]
    for number, mutation in enumerate(mutations, 1):
        name = mutation.get("name", f"number {number}") if isinstance(mutation, dict) else number
        here = f"{where}: the mutation {name!r}"
        if not isinstance(mutation, dict) or KINDS.keys() - {"settings"} - mutation.keys():
            raise TaskError(f"{here} needs name, old, new and check.")
        for key, value in mutation.items():
            if not isinstance(value, KINDS.get(key, ())):
                raise TaskError(f"{here} has an unknown key or an odd value: {key}.")
        for key in ("old", "check"):
            if (count := sum(cell.count(mutation[key]) for cell in cells)) != 1:
                text = f"{mutation[key]!r} occurs {count} times in the notebook, not once"
                raise TaskError(f"{here} no longer fits: {text}.")
        if mutation["old"] == mutation["new"]:
            raise TaskError(f"{here} changes nothing.")
        changed = (cell.replace(mutation["old"], mutation["new"]) for cell in cells)
        if not any(mutation["check"] in cell for cell in changed):
            raise TaskError(f"{here} changes the check itself.")
    return settings, mutations


def run_cells(notebook: "NotebookNode", task: Task, check: str) -> str:
    """Run the code cells up to the one that holds the text `check`, and return how it ended.

    That is "passed"; "killed" if the line `check` raised AssertionError; else what happened.
    """
    cells = [cell.source for cell in code_cells(notebook)]
    last = next(index for index, cell in enumerate(cells) if check in cell)
    space, folder, path = {"__name__": "__main__"}, os.getcwd(), list(sys.path)
    os.chdir(task.folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for index, source in enumerate(cells[: last + 1]):
                lines = source.splitlines(keepends=True)  # so that inspect.getsource works
                linecache.cache[f"<cell {index}>"] = (len(source), None, lines, f"<cell {index}>")
                exec(compile(source, f"<cell {index}>", "exec"), space)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == f"<cell {index}>"]
        wanted = 1 + cells[last][: cells[last].index(check)].count("\n")  # the line of `check`
        if isinstance(error, AssertionError) and index == last:
            if statement(cells[last], lines[0]) == statement(cells[last], wanted):
                return "killed"
        place = f"In [{index + 1}], line {lines[0] if lines else '?'}"
        return f"{type(error).__name__} in {place} instead: {str(error)[:200]}"
    finally:
        os.chdir(folder)
        sys.path[:] = path
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")
    return "passed"


def statement(source: str, line: int) -> int:
    """Return the first line of the innermost statement around a line, both counted from 1.

    It is 0 if the code is not Python.
    """
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    except SyntaxError:
        return 0
    return max(node.lineno for node in nodes if node.lineno <= line <= (node.end_lineno or line))


def run(task: Task) -> tuple[int, list[str]]:
    """Run all mutations of a task; return how many were killed, and a sentence for each other."""
    settings, mutations = read_mutations(task)
    os.environ.update(DL_MODE="quick", DL_RECORD=os.devnull, TQDM_DISABLE="1", MPLBACKEND="agg")
    notebook, problems, killed, sane = task.read_notebook(), [], 0, {}
    for mutation in mutations:
        began = time.perf_counter()
        chosen = settings | mutation.get("settings", {})
        key = (mutation["check"], str(chosen))
        if key not in sane:
            sane[key] = run_cells(with_settings(notebook, chosen), task, mutation["check"])
            if sane[key] != "passed":
                problems.append(f"{mutation['name']}: the notebook as it is fails: {sane[key]}")
        if sane[key] == "passed":
            changed = with_settings(notebook, chosen)
            for cell in code_cells(changed):
                cell.source = cell.source.replace(mutation["old"], mutation["new"])
            ended = run_cells(changed, task, mutation["check"])
            killed += ended == "killed"
            if ended != "killed":
                problems.append(f"{mutation['name']}: " + ended.replace("passed", "it survived"))
        print(f"  {time.perf_counter() - began:5.1f} s  {mutation['name']}", flush=True)
    return killed, problems


def main(arguments: list[str] | None = None, root=ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("mutate", __doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="vae; default: every task")
    parser.add_argument("--save", action="store_true", help="store the counts in results.json")
    options = parser.parse_args(arguments)
    failed = False
    for task in find_tasks(options.tasks, root) if options.tasks else all_tasks(root):
        require_writable(*([task.folder] if options.save else []))
        began = time.perf_counter()
        print(task.path, flush=True)
        total = len(read_mutations(task)[1])
        killed, problems = run(task)
        seconds = round(time.perf_counter() - began)
        print(f"{task.path}: {killed} of {total} mutations killed in {seconds} s", flush=True)
        failed |= killed < total
        for problem in problems:
            print(f"  - {problem}", flush=True)
        if options.save and total:
            digest, results = code_digest(task.read_notebook()), Results.read(task)
            counts = {"killed": killed, "of": total, "seconds": seconds}
            results.mutations = counts | {"digest": digest}
            results.write(task)
    return int(failed)


if __name__ == "__main__":
    sys.exit(explained(main))
