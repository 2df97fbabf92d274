"""Tasks and categories, found by their folders: <category>/<task>/<task>.ipynb."""

import ast
import copy
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found,no-redef]

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/Hope7Happiness/Deep-Learning"  # each notebook's first cell, too
TASK_FILE = re.compile(r"((\w+)/(\w+))/\3\.ipynb")  # path, category and name of a task

FACTS: dict[str, type] = {  # of a notebook's metadata "task"
    **dict.fromkeys(("title", "summary", "cover"), str),
    **dict.fromkeys(("needs", "practice", "exercises", "data"), list),
    "gpu": dict,
}
ROWS = {"practice": ("name", "hint"), "exercises": ("exercise", "check", "solution")}


class TaskError(ValueError):
    """A task is missing, or one of its files cannot be read; the message says which and why."""


@dataclass(frozen=True)
class Task:
    """One task and the files that belong to it."""

    category: str
    name: str
    root: Path = ROOT

    @property
    def path(self) -> str:
        return f"{self.category}/{self.name}"

    @property
    def folder(self) -> Path:
        return self.root / self.category / self.name

    @property
    def notebook(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def read_notebook(self) -> "NotebookNode":
        """Return the notebook in nbformat 4; raises TaskError if it is not one."""
        import nbformat  # here, so that the rest works without it

        try:
            return nbformat.read(self.notebook, as_version=4)
        except Exception as error:  # nbformat raises many kinds
            reason = str(error).strip().partition("\n")[0][:200]
            raise TaskError(f"{self.path}/{self.name}.ipynb is not a notebook: {reason}") from error

    def facts(self) -> dict:
        """Return the notebook's metadata "task": title, summary, needs, cover, practice, ..."""
        facts = _metadata(self, self.notebook.stat().st_mtime_ns).get("task", {})
        if not isinstance(facts, dict):
            raise TaskError(f"{self.path}: the metadata `task` must hold names and values.")
        for name, kind in FACTS.items():
            rows = facts.get(name, kind())
            odd = not isinstance(rows, kind)
            for row in rows if name in ROWS and not odd else []:
                odd |= not isinstance(row, dict) or not {*ROWS[name]} <= row.keys()
            if odd:
                wanted = f", with {' and '.join(ROWS[name])} in each row" if name in ROWS else ""
                raise TaskError(f"{self.path}: task.{name} must be a {kind.__name__}{wanted}.")
        return facts


@lru_cache(maxsize=1000)
def _metadata(task: Task, changed: int) -> dict:
    """Return a notebook's metadata; `changed`, the file's time, makes a new one count."""
    return dict(task.read_notebook().metadata)


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return "did you mean NAME?" with the known names closest to a mistyped one, or ""."""
    near = difflib.get_close_matches(name, list(known), most, 0.5)
    return f"did you mean {' or '.join(near)}?" if near else ""


def categories(root: Path = ROOT) -> list[str]:
    """Return the category folders: those that hold a README.md, which says what they collect."""
    return sorted(path.parent.name for path in root.glob("*/README.md"))


def all_tasks(root: Path = ROOT) -> list[Task]:
    """Return every task by category and name; no file is read."""
    found = (path for category in categories(root) for path in (root / category).glob("*/*.ipynb"))
    matches = (TASK_FILE.fullmatch(path.relative_to(root).as_posix()) for path in sorted(found))
    return [Task(match[2], match[3], root) for match in matches if match]


def learning_path(root: Path = ROOT) -> dict[str, list[Task]]:
    """Return the tasks by strand, in the order of path.toml; those not named there under "More"."""
    path = root / "path.toml"
    left = {task.name: task for task in all_tasks(root)}
    found = {}
    try:
        for strand in tomllib.loads(read_text(path))["strand"] if path.exists() else []:
            found[strand["name"]] = [left.pop(name) for name in strand["tasks"] if name in left]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TaskError(
            f"path.toml is no list of strands with a name and tasks: {error}"
        ) from error
    found["More"] = list(left.values())
    return {name: tasks for name, tasks in found.items() if tasks}


def find_tasks(
    names: Sequence[str], root: Path = ROOT, among: list[Task] | None = None
) -> list[Task]:
    """Return the tasks called `names`, each "vae", "image_generation/vae" or its notebook's path.

    They are sought `among` given ones, or else in the repository. Raises TaskError for a name that
    fits no task or several, with the nearest names.
    """
    tasks, found = all_tasks(root) if among is None else among, []
    for name in names:
        wanted = name.replace("\\", "/").removesuffix(".ipynb").strip("/")
        wanted = "/".join(wanted.split("/")[:2])
        fitting = [task for task in tasks if wanted in (task.name, task.path)]
        if len(fitting) > 1:
            paths = " and ".join(task.path for task in fitting)
            raise TaskError(f"{name} fits {paths}; name the category too.")
        if not fitting:
            hint = nearest(wanted.split("/")[-1].lower(), [task.name for task in tasks], 3)
            hint = hint or "python -m tools run --list shows all."
            raise TaskError(f"There is no task {name or '(empty name)'}; {hint}")
        found += fitting
    return list(dict.fromkeys(found))


def code_cells(notebook: "NotebookNode") -> list["NotebookNode"]:
    """Return the code cells that are not blank; Jupyter numbers these In [1], In [2], ..."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def with_settings(notebook: "NotebookNode", settings: dict[str, object]) -> "NotebookNode":
    """Return a copy of a notebook whose first top-level `NAME = ...` has another value.

    Raises TaskError for a name that no cell assigns, and for another value than a number where a
    number stands.
    """
    changed = copy.deepcopy(notebook)
    for name, value in settings.items():
        for cell in code_cells(changed):
            found = [node for node in ast.parse(cell.source).body if assigned(node) == name]
            if found:
                _require_number(name, value, found[0])
                lines = cell.source.split("\n")
                lines[found[0].lineno - 1 : found[0].end_lineno] = [f"{name} = {value!r}"]
                cell.source = "\n".join(lines)
                break
        else:
            raise TaskError(f"No cell assigns {name} at top level, so --set cannot change it.")
    return changed


def _require_number(name: str, value: object, node: ast.stmt) -> None:
    """Raise TaskError if a setting is no number, but was one, by itself or in pick(quick=...)."""
    before = getattr(node, "value", None)
    if isinstance(before, ast.Call) and getattr(before.func, "id", "") == "pick":
        before = next((part.value for part in before.keywords if part.arg == "quick"), before)
    was = before.value if isinstance(before, ast.Constant) else None
    if type(was) in (int, float) and type(value) not in (int, float):
        raise TaskError(f"{name} is a number, and {value!r} is none.")
    if name == "seed" and not (isinstance(value, int) and 0 <= value < 2**32):
        raise TaskError(f"seed is a whole number from 0 to 2**32 - 1, not {value!r}.")


def assigned(node: ast.stmt) -> str | None:
    """Return NAME of `NAME = ...` or `NAME: int = ...`, None for any other statement."""
    if isinstance(node, ast.AnnAssign) or isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8; raises TaskError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path.name} cannot be read: {error}") from error


def write_text(*files: tuple[Path, str]) -> None:
    """Write text files, all or none, each atomically, in UTF-8 with plain line feeds."""
    parts = [path.with_name(path.name + ".part") for path, _ in files]
    try:
        for part, (_, text) in zip(parts, files, strict=True):
            part.write_bytes(text.encode())
        for part, (path, _) in zip(parts, files, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_notebook(path: Path, notebook: "NotebookNode") -> None:
    """Write a notebook atomically."""
    write_text((path, notebook_text(notebook)))


def notebook_text(notebook: "NotebookNode") -> str:
    """Return a notebook's file, with the metadata of JupyterLab and nothing of single runs."""
    import nbformat

    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata["kernelspec"] = kernel
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "scrolled"):
            cell.metadata.pop(key, None)
    return nbformat.writes(notebook) + "\n"
