"""Tasks are found by their folders: <category>/<task>/<task>.ipynb. No list of them is kept anywhere."""

import ast
import base64
import difflib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CATEGORIES = ("image_classification", "image_generation", "representation_learning", "text_generation")


@dataclass(frozen=True)
class Task:
    """One task and the files that belong to it."""

    category: str
    name: str
    root: Path

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
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def read_results(self) -> dict:
        """Return what results.json holds, {} if there is none; raises ValueError if it is not a JSON object."""
        if not self.results.exists():
            return {}
        results = json.loads(self.results.read_text(encoding="utf-8"))
        if not isinstance(results, dict):
            raise ValueError("it is not a JSON object")
        return results

    def read_stored(self) -> dict:
        """Return the figures of the run whose outputs are stored, {} if the task was never run."""
        results = self.read_results()
        return results[results["stored"]] if results else {}

    def read_notebook(self) -> nbformat.NotebookNode:
        """Return the notebook in nbformat 4; raises an exception of nbformat's if it is not one."""
        return nbformat.read(self.notebook, as_version=4)


def all_tasks(root: Path = ROOT) -> list[Task]:
    """Return every task, by category and then by name."""
    return [
        Task(category, folder.name, root)
        for category in CATEGORIES
        for folder in sorted((root / category).glob("*"))
        if (folder / f"{folder.name}.ipynb").exists()
    ]


def find_tasks(names: Sequence[str], root: Path = ROOT) -> list[Task]:
    """Return the tasks called `names`, each "vae" or "image_generation/vae".

    Raises ValueError for a name that fits no task or several, with the near ones.
    """
    tasks, found = all_tasks(root), []
    for name in names:
        wanted = name.replace("\\", "/").removesuffix(".ipynb").strip("/")
        if wanted.count("/") == 2:  # a notebook's path, as a shell completes it
            wanted = wanted.rpartition("/")[0]
        fitting = [task for task in tasks if wanted in (task.name, task.path)]
        if len(fitting) > 1:
            raise ValueError(f"{name} fits {' and '.join(task.path for task in fitting)}; name the category too.")
        if not fitting:
            known = {key: task.path for task in tasks for key in (task.path, task.name)}
            near = dict.fromkeys(known[key] for key in difflib.get_close_matches(wanted, known, n=5, cutoff=0.5))
            hint = f"Did you mean {' or '.join(near)}?" if near else "python -m tools.run --list shows all tasks."
            raise ValueError(f"There is no task {name}. {hint}")
        found += fitting
    return list(dict.fromkeys(found))


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write_bytes` does, in UTF-8 and with plain line feeds."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, so that an interruption leaves either the old or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the code cells that hold more than white space; Jupyter numbers these In [1], In [2], ..."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def pictures(task: Task) -> Iterator[tuple[bytes, str, str]]:
    """Yield each picture among a notebook's outputs as (PNG, description, heading that it stands under)."""
    heading = ""
    for cell in task.read_notebook().cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        for output in cell.get("outputs", []):
            if image := output.get("data", {}).get("image/png"):
                described = output.get("metadata", {}).get("image/png", {}).get("alt")
                yield base64.b64decode(image), described or output.data.get("text/plain", ""), heading


def lines_of_code(notebook: nbformat.NotebookNode) -> int:
    """Return the number of code lines in the code cells: neither blank nor only a comment."""
    lines = (line.strip() for cell in code_cells(notebook) for line in cell.source.splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def called_names(tree: ast.AST) -> set[str]:
    """Return the names of the plain functions that a piece of code calls: {"setup", "pick"}."""
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
