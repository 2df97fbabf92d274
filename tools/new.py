"""Start a new task: a folder with a notebook that has every part and runs, and a requirements.txt.

    python -m tools.new image_generation/pixelcnn

What is still to be written is marked TODO: in the notebook; python -m tools.check pixelcnn lists it.
"""

import difflib
import importlib.util
import re
import sys
from pathlib import Path

import jupytext

from tools.run import write_notebook
from tools.tasks import CATEGORIES, ROOT, Task, all_tasks, write_text

TEMPLATE = Path(__file__).with_name("template.py")  # the notebook as text, in Jupytext's percent format
REQUIREMENTS = "torch>=2.2\n"  # what the template imports, apart from common


def taken_names(root: Path = ROOT) -> dict[str, str]:
    """Return the names of all tasks with their paths: those with a folder, and those that README.md lists.

    The branch dev_start has no task folders; its README.md lists what there is.
    """
    page = root / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    listed = re.findall(rf"\b({'|'.join(CATEGORIES)})/(\w+)/\2\.ipynb", text)
    return {name: f"{category}/{name}" for category, name in listed} | {
        task.name: task.path for task in all_tasks(root)
    }


def new_task(path: str, root: Path = ROOT) -> Task:
    """Return the task that `path` ("image_generation/pixelcnn") would be; nothing is written.

    Raises ValueError, saying what to do, if there is no such category or the name is taken or unfit.
    """
    category, slash, name = path.replace("\\", "/").strip("/").partition("/")
    if not slash or "/" in name:
        raise ValueError(f"{path} is not of the form category/task, as in image_generation/pixelcnn.")
    if category not in CATEGORIES:
        near = difflib.get_close_matches(category, CATEGORIES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(CATEGORIES)}."
        raise ValueError(f"There is no category {category}; {hint} To propose a new one, open an issue.")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError(f"{name} is not in snake_case: use lower-case letters, digits and single underscores.")
    if other := taken_names(root).get(name):
        raise ValueError(f"The name {name} is taken by {other}; choose another, as in {name}_2.")
    task = Task(category, name, root)
    if task.folder.exists():
        raise ValueError(f"The folder {task.path} exists already; choose another name or remove the folder.")
    if name in CATEGORIES or importlib.util.find_spec(name):
        raise ValueError(f"{name} is the name of a Python module, which the folder would hide; choose another.")
    return task


def create(task: Task) -> None:
    """Write the new task's folder."""
    text = TEMPLATE.read_text(encoding="utf-8").replace("TITLE", task.name.replace("_", " ").capitalize())
    notebook = jupytext.reads(text, "py:percent")
    notebook.metadata.clear()
    for cell in notebook.cells:
        cell.metadata.clear()
    task.folder.mkdir(parents=True)
    write_notebook(task.notebook, notebook)
    write_text(task.requirements, REQUIREMENTS)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    try:
        task = new_task(arguments[0], root)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    create(task)
    print(
        f"Wrote {task.path}/{task.name}.ipynb, which runs as it is, and requirements.txt beside it. Next:\n"
        f"  to write it:            jupyter lab {task.path}/{task.name}.ipynb\n"
        f"  to run it:              python -m tools.run {task.name}\n"
        f"  what is left to write:  python -m tools.check {task.name}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
