"""Break a notebook on purpose, in many small ways, and see whether its own checks notice.

    python -m tools.mutate vae           run the mutations of one task
    python -m tools.mutate --save        run those of all tasks, store the counts in results.json

A task's `mutations.toml` lists changes of its code that somebody could make by mistake:

    settings = {epochs = 1}              # optional: smaller sizes for these runs

    [[mutation]]
    name = "KL with the wrong sign"
    old = "0.5 * (mean**2"               # this text occurs in exactly one code cell, once
    new = "-0.5 * (mean**2"
    red = "assert_close(kl_divergence("  # the line of the check that must fail
    settings = {epochs = 2}              # optional, for this mutation

Cells run in quick mode, in this process, up to the cell of the check. An AssertionError raised by
that very line kills the mutation; anything else is a failure. First the notebook as it is must
pass. The exit status is 0 if every mutation is killed, 1 if not, 2 if the command is wrong.
"""

import ast
import contextlib
import copy
import io
import linecache
import os
import sys
import time
import traceback

import nbformat

from tools.run import with_settings, write_results
from tools.stamp import code_digest
from tools.tasks import ROOT, Parser, Task, TaskError, all_tasks, code_cells, find_tasks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEYS = {"name", "old", "new", "red", "settings"}


def read_mutations(task: Task) -> tuple[dict, list[dict]]:
    """Return the settings and the mutations of a task, ({}, []) if it has none.

    Raises TaskError if the file is broken, or if a text does not occur in the notebook once.
    """
    path = task.folder / "mutations.toml"
    if not path.exists():
        return {}, []
    where = f"{task.path}/mutations.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"{where} is not TOML: {error}") from error
    cells = [cell.source for cell in code_cells(task.read_notebook())]
    mutations = content.get("mutation", [])
    for number, mutation in enumerate(mutations, 1):
        name = mutation.get("name", f"number {number}")
        if missing := {"name", "old", "new", "red"} - mutation.keys():
            raise TaskError(f"{where}: the mutation {name!r} lacks {', '.join(sorted(missing))}.")
        if unknown := mutation.keys() - KEYS:
            raise TaskError(f"{where}: the mutation {name!r} has the unknown key {min(unknown)}.")
        for key in ("old", "red"):
            if (count := sum(cell.count(mutation[key]) for cell in cells)) != 1:
                text = f"{mutation[key]!r} occurs {count} times in the notebook, not once"
                raise TaskError(f"{where}: the mutation {name!r} no longer fits: {text}.")
        if mutation["old"] == mutation["new"]:
            raise TaskError(f"{where}: the mutation {name!r} changes nothing.")
        changed = (cell.replace(mutation["old"], mutation["new"]) for cell in cells)
        if not any(mutation["red"] in cell for cell in changed):
            raise TaskError(f"{where}: the mutation {name!r} changes the check itself.")
    return content.get("settings", {}), mutations


def run_cells(notebook: nbformat.NotebookNode, task: Task, red: str) -> str:
    """Run the code cells up to the one that holds the text `red`, and return how it ended.

    That is "passed"; "killed" if the line `red` raised AssertionError; else what happened.
    """
    cells = [cell.source for cell in code_cells(notebook)]
    last = next(index for index, cell in enumerate(cells) if red in cell)
    space, folder, path = {"__name__": "__main__"}, os.getcwd(), list(sys.path)
    os.chdir(task.folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for index, source in enumerate(cells[: last + 1]):
                lines = source.splitlines(keepends=True)  # for who asks for a function's source
                linecache.cache[f"<cell {index}>"] = (len(source), None, lines, f"<cell {index}>")
                exec(compile(source, f"<cell {index}>", "exec"), space)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == f"<cell {index}>"]
        wanted = 1 + cells[last][: cells[last].index(red)].count("\n")  # the line of `red`
        if isinstance(error, AssertionError) and index == last:
            if statement(cells[last], lines[0]) == statement(cells[last], wanted):
                return "killed"
        place = f"In [{index + 1}], line {lines[0] if lines else '?'}"
        return f"{type(error).__name__} in {place} instead: {str(error)[:200]}"
    finally:
        os.chdir(folder)
        sys.path[:] = path
        _close_figures()
    return "passed"


def statement(source: str, line: int) -> int:
    """Return the first line of the innermost statement around a line, both counted from 1."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return max(node.lineno for node in nodes if node.lineno <= line <= node.end_lineno)


def _close_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def mutate(notebook: nbformat.NotebookNode, old: str, new: str) -> nbformat.NotebookNode:
    """Return a copy of a notebook in which `old` is replaced by `new`."""
    changed = copy.deepcopy(notebook)
    for cell in code_cells(changed):
        cell.source = cell.source.replace(old, new)
    return changed


def run(task: Task) -> tuple[int, list[str]]:
    """Run all mutations of a task; return how many were killed, and a sentence for each other."""
    settings, mutations = read_mutations(task)
    os.environ.update(DL_MODE="quick", DL_RECORD=os.devnull, TQDM_DISABLE="1", MPLBACKEND="agg")
    notebook, problems, killed, sane = task.read_notebook(), [], 0, {}
    for mutation in mutations:
        began = time.perf_counter()
        chosen = settings | mutation.get("settings", {})
        base = with_settings(notebook, chosen)
        key = (mutation["red"], str(chosen))
        if key not in sane:
            sane[key] = run_cells(base, task, mutation["red"])
            if sane[key] != "passed":
                problems.append(f"{mutation['name']}: the notebook as it is fails: {sane[key]}")
        if sane[key] == "passed":
            ended = run_cells(mutate(base, mutation["old"], mutation["new"]), task, mutation["red"])
            killed += ended == "killed"
            if ended != "killed":
                problems.append(f"{mutation['name']}: " + ended.replace("passed", "it survived"))
        print(f"  {time.perf_counter() - began:5.1f} s  {mutation['name']}", flush=True)
    return killed, problems


def main(arguments: list[str] | None = None, root=ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("tools.mutate", __doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="vae; default: every task")
    parser.add_argument("--save", action="store_true", help="store the counts in results.json")
    options = parser.parse_args(arguments)
    failed = False
    try:
        tasks = find_tasks(options.tasks, root) if options.tasks else all_tasks(root)
        for task in tasks:
            began = time.perf_counter()
            print(task.path, flush=True)
            total = len(read_mutations(task)[1])
            killed, problems = run(task)
            seconds = round(time.perf_counter() - began)
            print(f"{task.path}: {killed} of {total} mutations killed in {seconds} s", flush=True)
            for problem in problems:
                print(f"  - {problem}", flush=True)
            failed |= killed < total
            if options.save and total:
                digest = code_digest(task.read_notebook())
                counts = {"digest": digest, "killed": killed, "of": total, "seconds": seconds}
                write_results(task, task.read_results() | {"mutations": counts})
    except TaskError as error:
        print(error, file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
