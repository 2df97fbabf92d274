"""Start a new task: a folder with a notebook that runs as it is, and its requirements.txt.

    python -m tools new image_generation/pixelcnn

What is still to be written is marked TODO: in the notebook; python -m tools check lists it.
"""

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from tools import tasks
from tools.check import SHARED_REQUIREMENTS, TEMPLATE
from tools.command import Parser, explained
from tools.mutate import FEWEST
from tools.tasks import ROOT, TASK_FILE, Task, TaskError, all_tasks, categories, nearest

TAKEN = "common tools tests docs benchmarks data runs build practice".split()  # folders of ours


def new_task(path: str, root: Path = ROOT) -> Task:
    """Return the task that `path`, as in "image_generation/pixelcnn", would be.

    Nothing is written. Raises TaskError, saying what to do, if there is no such category or the
    name is taken or unfit. On the branch dev_start the README lists the names that are taken.
    """
    category, slash, name = path.replace("\\", "/").strip("/").partition("/")
    if not slash or "/" in name:
        raise TaskError(f"{path!r} is not of the form category/task: image_generation/pixelcnn.")
    for part in (category, name):
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", part):
            raise TaskError(f"{part} is not in snake_case: small letters, digits, underscores.")
    known = categories(root)
    if category in TAKEN or keyword.iskeyword(category):
        raise TaskError(f"{category} cannot be a category; the name is taken.")
    if category not in known:
        hint = nearest(category, known) or f"there are {', '.join(known)}."
        begin = f"To begin it, write {category}/README.md: a title and one sentence."
        raise TaskError(f"There is no category {category}; {hint} {begin}")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    taken = {task.name for task in all_tasks(root)} | {m[3] for m in TASK_FILE.finditer(text)}
    taken |= {*sys.stdlib_module_names, *keyword.kwlist, *TAKEN}
    if name in taken or importlib.util.find_spec(name):
        raise TaskError(f"The name {name} is taken; choose another, as in {name}_2.")
    task = Task(category, name, root)
    if task.folder.exists():
        raise TaskError(f"The folder {task.path} exists already; choose another name.")
    return task


def create(task: Task) -> None:
    """Write the new task's folder."""
    import nbformat

    notebook = nbformat.read(TEMPLATE, as_version=4)
    title = task.name.replace("_", " ").capitalize()
    notebook.cells[0].source = notebook.cells[0].source.replace("TITLE", title)
    notebook.metadata["task"]["title"] = title
    task.folder.mkdir(parents=True)
    tasks.write_notebook(task.notebook, notebook)
    tasks.write_text((task.folder / "requirements.txt", f"{SHARED_REQUIREMENTS}\n"))
    mutations = TEMPLATE.with_suffix(".toml").read_text(encoding="utf-8")
    tasks.write_text((task.folder / "mutations.toml", mutations))


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("new", __doc__)
    parser.add_argument("path", metavar="CATEGORY/TASK", help="image_generation/pixelcnn")
    task = new_task(parser.parse_args(arguments).path, root)
    create(task)
    print(
        f"Wrote {task.path}: a notebook that runs as it is, requirements.txt, mutations.toml.\n"
        f"  write it:            jupyter lab {task.path}/{task.name}.ipynb\n"
        f"  run it:              python -m tools run {task.name}\n"
        f"  see what is missing: python -m tools check {task.name}\n"
        f"  test its checks:     python -m tools mutate {task.name} "
        f"(at least {FEWEST} mutations of your own)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(explained(main))
