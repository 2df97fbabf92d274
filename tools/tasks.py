"""Tasks and categories, found by their folders: <category>/<task>/<task>.ipynb."""

import argparse
import difflib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = (
    "https://github.com/Hope7Happiness/Deep-Learning"  # the notebooks' first cell names it too
)


class Parser(argparse.ArgumentParser):
    """A command line whose help is its module's docstring; a mistyped option names the nearest."""

    def __init__(self, module: str, description: str):
        form = argparse.RawDescriptionHelpFormatter
        name = f"python -m {module}"
        super().__init__(name, description=description, formatter_class=form, allow_abbrev=False)

    def error(self, message: str):
        if match := re.fullmatch(r"unrecognized arguments: (-\S+).*", message):
            near = difflib.get_close_matches(match[1], self._option_string_actions, 1, 0.5)
            message = f"there is no option {match[1]}" + (
                f"; did you mean {near[0]}?" if near else ""
            )
        super().error(message)


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

    def read_notebook(self) -> nbformat.NotebookNode:
        """Return the notebook in nbformat 4; raises TaskError if it is not one."""
        try:
            return nbformat.read(self.notebook, as_version=4)
        except Exception as error:  # nbformat raises many kinds
            reason = str(error).strip().partition("\n")[0][:200]
            raise TaskError(f"{self.path}/{self.name}.ipynb is not a notebook: {reason}") from error

    def read_results(self) -> dict:
        """Return what results.json holds, {} if there is none; raises TaskError if it is broken."""
        if not self.results.exists():
            return {}
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
            for run in ("quick", "full"):
                results.get(run, {})["mode"] = run
            return {key: value for key, value in results.items() if value is not None}
        except (ValueError, AttributeError, TypeError) as error:
            raise TaskError(f"{self.path}/results.json is not a record of runs: {error}") from error

    def stored_run(self) -> dict:
        """Return the record of the run whose outputs are stored, {} if there is none."""
        results = self.read_results()
        return results.get(results.get("stored", ""), {})

    def facts(self) -> dict:
        """Return the notebook's metadata "task": title, summary, needs, cover."""
        return dict(self.read_notebook().metadata.get("task", {}))


def categories(root: Path = ROOT) -> list[str]:
    """Return the category folders: those that hold a README.md, which says what they collect."""
    return sorted(path.parent.name for path in root.glob("*/README.md"))


def all_tasks(root: Path = ROOT) -> list[Task]:
    """Return every task by category and name; no file is read."""
    found = (path for category in categories(root) for path in (root / category).glob("*/*.ipynb"))
    return [
        Task(path.parent.parent.name, path.stem, root)
        for path in sorted(found)
        if path.stem == path.parent.name
    ]


def learning_path(root: Path = ROOT) -> dict[str, list[Task]]:
    """Return the tasks by strand, in the order of path.toml; those not named there under "More"."""
    path = root / "path.toml"
    strands = tomllib.loads(path.read_text(encoding="utf-8"))["strand"] if path.exists() else []
    left = {task.name: task for task in all_tasks(root)}
    found = {
        strand["name"]: [left.pop(name) for name in strand["tasks"] if name in left]
        for strand in strands
    }
    found["More"] = list(left.values())
    return {name: tasks for name, tasks in found.items() if tasks}


def find_tasks(names: Sequence[str], root: Path = ROOT) -> list[Task]:
    """Return the tasks called `names`, each "vae", "image_generation/vae" or its notebook's path.

    Raises TaskError for a name that fits no task or several, with the nearest names.
    """
    tasks, found = all_tasks(root), []
    for name in names:
        wanted = name.replace("\\", "/").removesuffix(".ipynb").strip("/")
        wanted = "/".join(wanted.split("/")[:2])
        fitting = [task for task in tasks if wanted in (task.name, task.path)]
        if len(fitting) > 1:
            paths = " and ".join(task.path for task in fitting)
            raise TaskError(f"{name} fits {paths}; name the category too.")
        if not fitting:
            known = {key: task.path for task in tasks for key in (task.path, task.name)}
            near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
            paths = " or ".join(dict.fromkeys(known[key] for key in near))
            hint = f"did you mean {paths}?" if near else "python -m tools.run --list shows all."
            raise TaskError(f"There is no task {name or '(empty name)'}; {hint}")
        found += fitting
    return list(dict.fromkeys(found))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the code cells that are not blank; Jupyter numbers these In [1], In [2], ..."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with plain line feeds."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(text.encode())
    os.replace(part, path)


def write_notebook(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook atomically, with the metadata of JupyterLab and nothing of single runs."""
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "scrolled"):
            cell.metadata.pop(key, None)
    write_text(path, nbformat.writes(notebook) + "\n")
