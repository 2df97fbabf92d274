"""Write what README.md and docs/ say of the tasks, from the tasks' own files.

    python -m tools tables            write it
    python -m tools tables --check    change nothing; exit status 1 if something is out of date

The places are marked: <!-- path --> ... <!-- /path -->, likewise `results`, `compare`, `figure` and
`mutations`. <!-- figure: image_generation/vae code-9 --> shows the last picture of a cell. A
comparison names its columns, <!-- compare: FD-c | density -->: its rows are the tasks whose stored
run has the first of them, as the metric or in `extra`. Where README shows .github/vae.png, that
file becomes the VAE's cover.
"""

import base64
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.command import Parser, explained
from tools.results import Results, compute, duration, result_text
from tools.tasks import ROOT, Task, TaskError, find_tasks, learning_path, read_text

PEAK, SHARE = 165e12, 0.25  # FLOP/s of a 4090 in bf16 (dense), and the share that we assume
SLOWER = 3.3  # a 4090 takes so many times as long as an H100
TITLE = re.compile(r"^# Deep Learning in .+ RTX 4090 (Hours|Minutes)", re.MULTILINE)
PLACE = re.compile(r"(<!-- (\w+)(?:: ([^>]*?))? -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def cost(task: Task, results: Results) -> tuple[float, bool] | None:
    """Return the hours on one RTX 4090 and whether they were measured; None without a full run.

    Estimated from an H100's time, or else from the floating-point operations: those of the stored
    run, or of a larger one on a GPU, if the notebook says in its metadata (`task.gpu.flops`) what
    that takes.
    """
    run, flops = results.full, task.facts().get("gpu", {}).get("flops", 0)
    if run and "4090" in run["device"]:
        return run["seconds"] / 3600, True
    if run and "H100" in run["device"]:
        return run["seconds"] / 3600 * SLOWER, False
    if run and (not flops or "CPU" not in run["device"]):
        flops = sum(run["flops"].values())
    return (flops / (PEAK * SHARE) / 3600, False) if flops else None


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


def result_table(root: Path) -> str:
    """Return the long table of all tasks: beside published figures, compute, times."""
    names = ("Notebook", "Result", "Published", "Compute", "Stored run", "4090 hours", "Quick mode")
    lines = [row(*names), "|---|---|---|--:|---|--:|--:|"]
    for task, results in in_order(root):
        cells = [""] * 5
        if run := results.full:
            cells = [f"{result_text(run)} on {run['data']}", run["reference"], compute(run)]
            cells += [f"{duration(run['seconds'])} on {run['device']}", ""]
        if known := cost(task, results):
            cells[4] = ("" if known[1] else "≈ ") + in_hours(known[0])
        quick = duration(results.quick["seconds"]) if results.quick else ""
        lines.append(row(link(task), *cells, quick))
    return "\n".join(lines)


def title(root: Path) -> str:
    """Return README's title with the sum of the tasks' times: "... in ≈ 26 RTX 4090 Minutes"."""
    costs = [cost(task, results) for task, results in in_order(root)]
    hours = [known for known in costs if known]
    exact = all(measured for _, measured in hours) and len(hours) == len(costs)
    total = sum(time for time, _ in hours)
    number, unit = (in_hours(total), "Hours") if total >= 2 else (f"{60 * total:.0f}", "Minutes")
    number = ("" if exact else "≈ ") + number if hours else "N"
    return f"# Deep Learning in {number} RTX 4090 {unit}"


def path_tables(root: Path) -> str:
    """Return the learning path: for each strand a table of its notebooks, subjects and results."""
    lines = []
    for strand, tasks in learning_path(root).items():
        lines += [f"### {strand}", "", row("Notebook", "In one line", "Result"), "|---|---|---|"]
        for task in tasks:
            result, results = "no full run yet", Results.read(task)
            if run := results.full:
                result = f"{run['metric']} **{run['value']:.3g}** {run['unit']}".strip()
                result += f" on {run['data']}"
            expected = task.facts().get("gpu", {}).get("expected")
            if (known := cost(task, results)) and (expected or known[0] >= 1 / 60):
                result += f"; on a 4090 {'' if known[1] else '≈ '}{duration(known[0] * 3600)}"
                result += "" if known[1] or not expected else f", expected: {expected}"
            about = str(task.facts().get("summary", "")).rstrip(".")
            lines.append(row(link(task), about[:1].upper() + about[1:], result))
        lines.append("")
    return "\n".join(lines[:-1])


def comparison(columns: str, root: Path) -> str:
    """Return a table of the stored runs that have the first of the columns "a | b | c"."""
    names = [name.strip() for name in columns.split("|")]
    lines = [row("Task", "Run", *names), "|---|---|" + "--:|" * len(names)]
    for task, results in in_order(root):
        if not (run := results.shown):
            continue
        figures = run["extra"] | {run["metric"]: run["value"]}
        if names[0] not in figures:
            continue
        figures["parameters"] = f"{run['parameters']:,}"
        figures["training FLOPs"] = f"{run['flops'].get('training', 0):.2g}"
        figures["training"] = duration(run["train_seconds"])
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
    found = picture(task, task.facts().get("cover"))
    return found and found[0]


def picture(task: Task, name: str | None) -> tuple[bytes, str] | None:
    """Return the last PNG of the cell of this name (its id), and the text that describes it."""
    cells = [cell for cell in task.read_notebook().cells if cell.get("id") == name]
    for output in reversed([output for cell in cells for output in cell.get("outputs", [])]):
        if image := output.get("data", {}).get("image/png"):
            about = output.get("metadata", {}).get("image/png", {})
            return base64.b64decode(image), about.get("alt", "")
    return None


def filled(text: str, root: Path, folder: Path, files: dict[Path, bytes]) -> str:
    """Return a page with its marked places filled in; links are relative to its `folder`.

    The pictures that it shows are added to `files`.
    """

    def figure(argument: str) -> str:
        path, name = argument.split()
        (task,) = find_tasks([path], root)
        if not (found := picture(task, name)):
            raise TaskError(f"{path} has no cell {name} with a picture; correct the page's figure.")
        file = f"static/{task.name}.{name}.png"
        files[root / "docs" / file], alt = found
        return f"![{alt}]({file})"

    makers: dict[str, Callable[[str], str]] = {
        "results": lambda _: result_table(root),
        "path": lambda _: path_tables(root),
        "compare": lambda columns: comparison(columns, root),
        "mutations": lambda _: mutation_table(root),
        "figure": figure,
    }

    def fill(match: re.Match) -> str:
        start, name, argument, _, end = match.groups()
        if name not in makers:
            return match[0]
        up = "" if folder == root else "../"
        new = re.sub(r"\]\((?=\w+/\w+/)", f"]({up}", makers[name](argument))
        return f"{start}\n{new}\n\n{end}"

    return PLACE.sub(fill, text)


def render(root: Path = ROOT) -> dict[Path, bytes]:
    """Return what each generated file should contain."""
    wanted: dict[Path, bytes] = {}
    readme = root / "README.md"
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        text = filled(read_text(page), root, page.parent, wanted)
        if page == readme:
            text = TITLE.sub(title(root), text, count=1)
            for task in find_tasks(re.findall(r"\]\(\.github/(\w+)\.png\)", text), root):
                if image := cover(task):
                    wanted[root / ".github" / f"{task.name}.png"] = image
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
        path.write_bytes(wanted[path])
        print(f"{name} written.")
    return int(bool(stale and only_check))


if __name__ == "__main__":
    sys.exit(explained(main))
