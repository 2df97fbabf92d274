"""Write what README.md and docs/ say of the tasks, from the tasks' own files.

    python -m tools tables            write it
    python -m tools tables --check    change nothing; exit status 1 if something is out of date

The places are marked: <!-- tasks --> ... <!-- /tasks -->, likewise `results`, `path`, `picture`,
`compare`, `figure`, `mutations` and `benchmarks`. <!-- figure: image_generation/vae code-9 --> shows the last
picture of a cell.
A comparison names its columns, <!-- compare: FD-c | density -->: its rows are the tasks whose
stored run has the first of them, as the metric or in `extra` of record(...).
"""

import base64
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.command import Parser, explained
from tools.results import Results, Run, compute, duration, result_text
from tools.tasks import ROOT, Task, TaskError, learning_path, write_text

PEAK, SHARE = 165e12, 0.25  # FLOP/s of a 4090 in bf16 (dense), and the share that we assume
SLOWER = 3.3  # a 4090 takes so many times as long as an H100
TITLE = re.compile(r"^# Deep Learning in .+ 4090 Hours", re.MULTILINE)
PLACE = re.compile(r"(<!-- (\w+)(?:: ([^>]*?))? -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)
PICTURE = ".github/picture.png"


def hours_4090(run: Run) -> tuple[float, bool]:
    """Return the hours of a full run on one RTX 4090, and whether they were measured there.

    Estimated from an H100's time, or else from the floating-point operations.
    """
    if "4090" in run["device"]:
        return run["seconds"] / 3600, True
    if "H100" in run["device"]:
        return run["seconds"] / 3600 * SLOWER, False
    return sum(run["flops"].values()) / (PEAK * SHARE) / 3600, False


def cost(task: Task, results: Results) -> tuple[float, bool] | None:
    """Return the hours on one RTX 4090 and whether they were measured; None without a full run.

    A notebook whose sizes on a GPU are larger than those of its stored run says in its metadata
    (`task.gpu.flops`) what a run there takes.
    """
    gpu = task.facts().get("gpu", {})
    if gpu.get("flops") and not (results.full and "CPU" not in results.full["device"]):
        return float(gpu["flops"]) / (PEAK * SHARE) / 3600, False
    return hours_4090(results.full) if results.full else None


def in_hours(hours: float) -> str:
    """Return hours with two digits that count: "0.017", "1.3", "12"."""
    return f"{hours:.0f}" if hours >= 10 else f"{float(f'{hours:.1e}'):g}"


def link(task: Task) -> str:
    """Return a Markdown link to the task's notebook, under its title."""
    return f"[{task.facts().get('title', task.name)}]({task.path}/{task.name}.ipynb)"


def in_order(root: Path) -> Iterator[tuple[Task, Results]]:
    """Yield every task with its results, in the order of the learning path."""
    for tasks in learning_path(root).values():
        for task in tasks:
            yield task, Results.read(task)


def row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def task_table(root: Path) -> str:
    """Return the short table of all tasks: result, and time on one RTX 4090."""
    lines = [row("Notebook", "Result", "One RTX 4090")]
    lines.append("|---|---|--:|")
    for task, results in in_order(root):
        result = took = ""
        if run := results.full:
            result = f"{run['metric']} **{run['value']:.3g}** {run['unit']}".strip()
            result += f" on {run['data']}"
        if known := cost(task, results):
            took = ("" if known[1] else "≈ ") + duration(known[0] * 3600)
        lines.append(row(link(task), result, took))
    return "\n".join(lines)


def result_table(root: Path) -> str:
    """Return the long table of all tasks: beside published figures, compute, times."""
    names = ("Notebook", "Result", "Published", "Compute", "Stored run", "4090 hours", "Quick mode")
    lines = [row(*names), "|---|---|---|--:|---|--:|--:|"]
    for task, results in in_order(root):
        cells = [""] * 5
        if run := results.full:
            stored = f"{duration(run['seconds'])} on {run['device']}"
            result = f"{result_text(run)} on {run['data']}"
            cells = [result, run["reference"], compute(run), stored, ""]
        if known := cost(task, results):
            cells[4] = ("" if known[1] else "≈ ") + in_hours(known[0])
        quick = duration(results.quick["seconds"]) if results.quick else ""
        lines.append(row(link(task), *cells, quick))
    return "\n".join(lines)


def total_hours(root: Path) -> str:
    """Return the N of the title: the sum of the tasks' hours, with ≈ if one is an estimate."""
    costs = [cost(task, results) for task, results in in_order(root)]
    hours = [known for known in costs if known]
    if not hours:
        return "N"
    exact = all(measured for _, measured in hours) and len(hours) == len(costs)
    return ("" if exact else "≈ ") + in_hours(sum(time for time, _ in hours))


def path_list(root: Path) -> str:
    """Return the learning path: one list for each strand, with the summary of each notebook."""
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
    lines = [row("Task", "Run", *names), "|---|---|" + "--:|" * len(names)]
    for task, results in in_order(root):
        run = results.shown
        if not run or names[0] not in run["extra"] | {run["metric"]: run["value"]}:
            continue
        figures = run["extra"] | {
            run["metric"]: run["value"],
            "parameters": f"{run['parameters']:,}",
            "training FLOPs": f"{run['flops'].get('training', 0):.2g}",
            "training": duration(run["train_seconds"]),
        }
        values = [figures.get(name, "") for name in names]
        cells = [f"{value:.3g}" if isinstance(value, float) else value for value in values]
        lines.append(row(link(task), f"{run['mode']}, {run['data']}, {run['device']}", *cells))
    return "\n".join(lines)


def mutation_table(root: Path) -> str:
    """Return a table of the mistakes that each notebook's own checks were tested with."""
    lines = ["| Task | Mutations | Noticed | Time |", "|---|--:|--:|--:|"]
    for task, results in in_order(root):
        if counts := results.mutations:
            seconds = duration(counts["seconds"])
            lines.append(row(link(task), counts["of"], counts["killed"], seconds))
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
    category, task_name = path.split("/")
    task = Task(category, task_name, root)
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
        elif name == "results":
            new = result_table(root)
        elif name == "path":
            new = path_list(root)
        elif name == "compare":
            new = comparison(argument, root)
        elif name == "mutations":
            new = mutation_table(root)
        elif name == "benchmarks":
            new = (root / "benchmarks" / "table.md").read_text(encoding="utf-8").strip()
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
    wanted: dict[Path, bytes] = {}
    readme = root / "README.md"
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        text = filled(page.read_text(encoding="utf-8"), root, page.parent, wanted)
        if page == readme:
            text = TITLE.sub(f"# Deep Learning in {total_hours(root)} 4090 Hours", text, count=1)
            if match := re.search(r"<!-- picture: (\S+) -->", text):
                category, name = match[1].split("/")
                if image := cover(Task(category, name, root)):
                    wanted[root / PICTURE] = image
        wanted[page] = text.encode()
    return wanted


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("tables", __doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    only_check = parser.parse_args(arguments).check
    wanted = render(root)
    stale = [path for path, new in wanted.items() if not path.exists() or path.read_bytes() != new]
    for path in stale:
        name = path.relative_to(root).as_posix()
        if only_check:
            print(f"{name} is out of date: run python -m tools tables and commit it.")
            continue
        if path.suffix == ".png":
            path.write_bytes(wanted[path])
        else:
            write_text(path, wanted[path].decode())
        print(f"{name} written.")
    return int(bool(stale and only_check))


if __name__ == "__main__":
    sys.exit(explained(main))
