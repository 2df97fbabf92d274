"""Write what README.md, docs/ and requirements.txt say of the tasks, from the tasks' own files.

    python -m tools.readme            write it
    python -m tools.readme --check    change nothing; exit status 1 if something is out of date

The places are marked: <!-- tasks --> ... <!-- /tasks -->, likewise `path`, `picture`, `compare`,
`figure`, `mutations` and `benchmarks`. <!-- figure: image_generation/vae code-9 --> shows the last
picture of a cell.
A comparison names its columns, <!-- compare: FD-c | density -->: its rows are the tasks whose
stored run has the first of them, as the metric or in `extra` of record(...).
"""

import base64
import re
import sys
from importlib import import_module
from pathlib import Path

from tools.stamp import compute, duration
from tools.tasks import ROOT, Parser, Task, TaskError, all_tasks, learning_path, write_text

PEAK, SHARE = 165e12, 0.25  # FLOP/s of a 4090 in bf16 (dense), and the share that we assume
SLOWER = 3.3  # a 4090 takes so many times as long as an H100
TITLE = re.compile(r"^# Deep Learning in .+ 4090 Hours", re.MULTILINE)
PLACE = re.compile(r"(<!-- (\w+)(?:: ([^>]*?))? -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)
REQUIREMENTS = re.compile(r"(# tasks\n).*?(# end of tasks)", re.DOTALL)
PICTURE = ".github/picture.png"


def hours_4090(run: dict) -> tuple[float, bool]:
    """Return the hours of a full run on one RTX 4090, and whether they were measured there.

    Estimated from an H100's time, or else from the floating-point operations.
    """
    if "4090" in run["device"]:
        return run["seconds"] / 3600, True
    if "H100" in run["device"]:
        return run["seconds"] / 3600 * SLOWER, False
    return sum(run["flops"].values()) / (PEAK * SHARE) / 3600, False


def in_hours(hours: float) -> str:
    """Return hours with two digits that count: "0.017", "1.3", "12"."""
    return f"{hours:.0f}" if hours >= 10 else f"{float(f'{hours:.1e}'):g}"


def link(task: Task) -> str:
    """Return a Markdown link to the task's notebook, under its title."""
    return f"[{task.facts().get('title', task.name)}]({task.path}/{task.name}.ipynb)"


def task_table(root: Path) -> str:
    """Return the table of all tasks, in the order of the learning path."""
    lines = [
        "| Task | Result (reference) | Compute | 4090 hours | Quick mode |",
        "|---|---|--:|--:|--:|",
    ]
    for task in (task for tasks in learning_path(root).values() for task in tasks):
        results = task.read_results()
        full, quick = results.get("full"), results.get("quick")
        cells = [link(task), "", "", "", ""]
        if full:
            figure = f"{full['metric']} **{full['value']:.4g}** {full['unit']}".strip()
            hours, measured = hours_4090(full)
            cells[1] = f"{figure} on {full['data']} ({full['reference']})"
            cells[2] = compute(full)
            cells[3] = ("" if measured else "≈ ") + in_hours(hours)
        if quick:
            cells[4] = duration(quick["seconds"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def total_hours(root: Path) -> str:
    """Return the N of the title: the sum of the full runs' hours, with ≈ if one is an estimate."""
    runs = [task.read_results().get("full") for task in all_tasks(root)]
    hours = [hours_4090(run) for run in runs if run]
    if not hours:
        return "N"
    exact = all(measured for _, measured in hours) and len(hours) == len(runs)
    return ("" if exact else "≈ ") + in_hours(sum(time for time, _ in hours))


def path_list(root: Path) -> str:
    """Return the learning path: one list for each strand, with the promise of each notebook."""
    lines = []
    for strand, tasks in learning_path(root).items():
        lines += [f"**{strand}**", ""]
        for number, task in enumerate(tasks, 1):
            lines.append(f"{number}. {link(task)}: {task.facts().get('summary', '')}")
        lines.append("")
    return "\n".join(lines[:-1])


def comparison(columns: str, root: Path) -> str:
    """Return a table of the stored runs that have the first of the columns "a | b | c"."""
    names = [name.strip() for name in columns.split("|")]
    lines = ["| Task | Run | " + " | ".join(names) + " |", "|---|---|" + "--:|" * len(names)]
    for task in (task for tasks in learning_path(root).values() for task in tasks):
        run = task.stored_run()
        figures = run.get("extra", {}) | ({run["metric"]: run["value"]} if run else {})
        if names[0] not in figures:
            continue
        figures |= {
            "parameters": f"{run['parameters']:,}",
            "training FLOPs": f"{run['flops'].get('training', 0):.2g}",
            "training": duration(run["train_seconds"]),
        }
        cells = [figures.get(name, "") for name in names]
        cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
        where = f"{run['mode']}, {run['data']}, {run['device']}"
        lines.append("| " + " | ".join([link(task), where, *cells]) + " |")
    return "\n".join(lines)


def mutation_table(root: Path) -> str:
    """Return a table of the mistakes that each notebook's own checks were tested with."""
    lines = ["| Task | Mutations | Noticed | Time |", "|---|--:|--:|--:|"]
    for task in (task for tasks in learning_path(root).values() for task in tasks):
        if counts := task.read_results().get("mutations"):
            cells = [link(task), counts["of"], counts["killed"], duration(counts["seconds"])]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def cover(task: Task) -> bytes | None:
    """Return the PNG of the cell that the notebook's metadata names as its cover."""
    found = picture_outputs(task, task.facts().get("cover"))
    return base64.b64decode(found[-1]["data"]["image/png"]) if found else None


def picture_outputs(task: Task, name: str | None) -> list[dict]:
    """Return the outputs with a PNG of the cell of this name (its id)."""
    cells = [cell for cell in task.read_notebook().cells if cell.get("id") == name]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output.get("data", {}).get("image/png")]


def figure(argument: str, root: Path) -> tuple[str, Path, bytes]:
    """Return Markdown for the picture of "category/task cell", its file in docs/, its PNG."""
    path, name = argument.split()
    task = Task(*path.split("/"), root)
    if not (found := picture_outputs(task, name)):
        raise TaskError(f"{path} has no cell {name} with a picture; correct the page's figure.")
    image, alt = found[-1]["data"]["image/png"], found[-1]["metadata"]["image/png"]["alt"]
    file = Path("static", f"{task.name}.{name}.png")
    return f"![{alt}]({file.as_posix()})", root / "docs" / file, base64.b64decode(image)


def filled(text: str, root: Path, folder: Path, files: dict[Path, bytes]) -> str:
    """Return a page with its marked places filled in; links are relative to its `folder`.

    The pictures that it shows are added to `files`.
    """
    up = "" if folder == root else "../"

    def fill(match: re.Match) -> str:
        start, name, argument, old, end = match.groups()
        if name == "tasks":
            new = task_table(root)
        elif name == "path":
            new = path_list(root)
        elif name == "compare":
            new = comparison(argument, root)
        elif name == "mutations":
            new = mutation_table(root)
        elif name == "benchmarks":
            new = import_module("benchmarks.page").table()
        elif name == "figure":
            new, file, image = figure(argument, root)
            files[file] = image
        else:
            return match[0]
        new = re.sub(r"\]\((?=\w+/\w+/)", f"]({up}", new)
        return f"{start}\n{new}\n\n{end}"

    return PLACE.sub(fill, text)


def render(root: Path = ROOT) -> dict[Path, bytes]:
    """Return what each generated file should contain."""
    wanted = {}
    readme, requirements = root / "README.md", root / "requirements.txt"
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        text = filled(page.read_text(encoding="utf-8"), root, page.parent, wanted)
        if page == readme:
            text = TITLE.sub(f"# Deep Learning in {total_hours(root)} 4090 Hours", text, count=1)
            if match := re.search(r"<!-- picture: (\S+) -->", text):
                category, name = match[1].split("/")
                if image := cover(Task(category, name, root)):
                    wanted[root / PICTURE] = image
        wanted[page] = text.encode()
    listed = "".join(f"-r {task.path}/requirements.txt\n" for task in all_tasks(root))
    text = requirements.read_text(encoding="utf-8")
    text = REQUIREMENTS.sub(lambda match: match[1] + listed + match[2], text, count=1)
    return wanted | {requirements: text.encode()}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("tools.readme", __doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    only_check = parser.parse_args(arguments).check
    try:
        wanted = render(root)
    except TaskError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, new in wanted.items() if not path.exists() or path.read_bytes() != new]
    for path in stale:
        name = path.relative_to(root).as_posix()
        if only_check:
            print(f"{name} is out of date: run python -m tools.readme and commit it.")
        elif path.suffix == ".png":
            path.write_bytes(wanted[path])
            print(f"{name} written.")
        else:
            write_text(path, wanted[path].decode())
            print(f"{name} written.")
    return int(bool(stale and only_check))


if __name__ == "__main__":
    sys.exit(main())
