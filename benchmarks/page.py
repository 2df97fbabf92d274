"""Write docs/benchmarks.md and its figures from the stored rows and the tasks' stored full runs."""

import importlib
import json
from pathlib import Path

from tools.stamp import duration
from tools.tasks import ROOT, Task, learning_path, write_text

FOLDER = Path(__file__).resolve().parent
PICTURES = ROOT / "docs" / "static" / "benchmarks"
KINDS = {"equal time": "-", "own length": ":"}


def rows(name: str) -> list[dict]:
    """Return the stored rows of a task by kind and seed, or none where no baseline has one."""
    found = sorted((FOLDER / "results").glob(f"{name}.*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return found if baselines(found) else []


def baselines(stored: list[dict]) -> list[dict]:
    """Return the rows that are not ours."""
    return [row for row in stored if not row["kind"].startswith("ours")]


def measured() -> list[tuple[Task, object, dict, list[dict]]]:
    """Return (task, baseline's module, our full run, the baseline's rows) of each measured task."""
    found = []
    for task in (task for strand in learning_path().values() for task in strand):
        if stored := rows(task.name):
            module, ours = (
                importlib.import_module(f"benchmarks.{task.name}"),
                task.read_results()["full"],
            )
            if figure := getattr(module, "FIGURE", None):  # one of the notebook's further figures
                ours = {**ours, "metric": figure, "value": ours["extra"][figure]}
            found.append((task, module, ours, stored))
    return found


def summary(stored: list[dict], kind: str) -> str:
    """Return the figure of one kind of run, or the mean of several seeds with their range."""
    values = [row["value"] for row in stored if row["kind"] == kind]
    if not values:
        return ""
    spread = f" ({min(values):#.4g} to {max(values):#.4g})" if len(values) > 1 else ""
    return f"{sum(values) / len(values):#.4g}{spread}"


def in_short(flops: int) -> str:
    """Return a number of FLOPs with two digits, such as 1.4e14."""
    return f"{flops:.1e}".replace("e+", "e")


def in_words(run: dict) -> str:
    """Return the name of a run's metric with its unit, if it has one."""
    return ", ".join(filter(None, [run["metric"], run["unit"]]))


def table(up: str = "") -> str:
    """Return the table of all benchmarks; links begin with `up`."""
    lines = [
        "| Task | Metric | Ours | Baseline, equal time | Baseline, published | Training time |",
        "|---|---|--:|--:|---|--:|",
    ]
    for task, module, ours, stored in measured():
        own = summary(stored, "own length")
        better = "higher" if ours["higher_is_better"] else "lower"
        cells = [
            f"[{task.facts()['title']}]({up}{task.path}/{task.name}.ipynb)",
            f"{in_words(ours)} ({better} is better)",
            f"{ours['value']:#.4g}",
            summary(stored, "equal time"),
            module.PUBLISHED + (f"; here {own} at its own length" if own else ""),
            duration(ours["train_seconds"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(title: str, ours: dict, stored: list[dict], path: Path) -> None:
    """Draw the metric over training seconds and over FLOPs: the baseline's curves, our result."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    shorter = [row for row in stored if row["kind"].startswith("ours")]
    stored = baselines(stored)
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
    ends = (ours["train_seconds"], ours["flops"]["training"])
    for column, (axes, end) in enumerate(zip(panels, ends, strict=True)):
        for row in stored:
            points = [(point[column], point[2]) for point in row["curve"]]
            label = f"baseline, {row['kind']}" if row["seed"] == 0 else None
            style = KINDS.get(row["kind"], "--") + "o"
            axes.plot(*zip(*points, strict=True), style, color="#D55E00", ms=4, label=label)
        points = [(row["curve"][0][column], row["value"]) for row in shorter]
        points.append((end, ours["value"]))
        axes.plot(*zip(*points, strict=True), "-s", color="#0072B2", ms=4, label="ours")
        axes.axhline(ours["value"], color="#0072B2", lw=0.8, ls="--")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    if ours["metric"] == "FD-c":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    panels[0].set(xlabel="training seconds", ylabel=in_words(ours).replace(", ", ",\n"))
    panels[1].set(xlabel="training FLOPs")
    panels[0].legend(frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def sections() -> str:
    """Return what the page says of each task."""
    parts = []
    for task, module, ours, stored in measured():
        title, row = task.facts()["title"], baselines(stored)[0]
        alt = f"{title}: {ours['metric']} over training time and over FLOPs, baseline and ours"
        parts.append(
            f"## {title}\n\n"
            f"Baseline: {module.__doc__.strip()} Source: <{module.SOURCE.split(' ')[0]}>.\n\n"
            f"![{alt}](static/benchmarks/{task.name}.png)\n\n"
            f"In {duration(row['seconds'])}, the baseline took {row['steps']:,} steps (its authors "
            f"take {row['own_steps']:,}) at {in_short(row['flops'])} FLOPs; ours cost "
            f"{in_short(ours['flops']['training'])}. {getattr(module, 'REMARK', '')}".strip()
            + "\n\n"
            f"`python -m benchmarks {task.name}`, {row['device']}, {row['precision']}, "
            f"data: {ours['data']}, {row['date']}; ours: {ours['device']}, {ours['date']}.\n"
        )
    return "\n".join(parts)


def text() -> str:
    """Return the page: its head, which is written by hand, the table and the sections."""
    head = (FOLDER / "page.md").read_text(encoding="utf-8")
    return f"{head}\n{table('../')}\n\n{sections()}"


def write() -> None:
    """Write the page and its figures."""
    for task, _, ours, stored in measured():
        draw(task.facts()["title"], ours, stored, PICTURES / f"{task.name}.png")
    write_text(ROOT / "docs" / "benchmarks.md", text())
