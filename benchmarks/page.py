"""Write docs/benchmarks.md and its figures from the stored rows and the tasks' stored full runs."""

import importlib
import json
from pathlib import Path

import matplotlib.pyplot as plt

from tools.stamp import duration
from tools.tasks import ROOT, find_tasks, write_text

FOLDER = Path(__file__).resolve().parent
PICTURES = ROOT / "docs" / "static" / "benchmarks"
HEAD = """# Benchmarks

Given the time that a notebook here trains, what would the recipe that a learner otherwise picks
have reached? Each baseline is a widely used recipe, written anew from its published settings, and
gets the same data, the same device, the same precision and our training seconds; its learning-rate
schedule is fitted to them. Where a baseline ran for its own length too, the table says so.

"""


def rows(task: str) -> list[dict]:
    """Return the stored rows of a task, by kind and seed."""
    found = sorted((FOLDER / "results").glob(f"{task}.*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def summary(values: list[float]) -> str:
    """Return one figure, or the mean of several seeds with their range."""
    mean = sum(values) / len(values)
    spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
    return f"{mean:.4g}{spread}"


def draw(name: str, ours: dict, stored: list[dict], path: Path) -> None:
    """Draw the metric over training seconds: the baseline's curves, and our result."""
    figure, axes = plt.subplots(figsize=(5.5, 3), constrained_layout=True)
    for row in stored:
        seconds, _, values = zip(*row["curve"], strict=True)
        style = "-" if row["kind"] == "equal time" else ":"
        axes.plot(seconds, values, style, color="#D55E00", label=f"baseline, {row['kind']}")
    axes.plot(ours["train_seconds"], ours["value"], "o", color="#0072B2", label="ours")
    axes.axhline(ours["value"], color="#0072B2", lw=0.8, ls="--")
    axes.set(xlabel="training seconds", ylabel=f"{ours['metric']}, {ours['unit']}", title=name)
    axes.grid(alpha=0.3)
    labels = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.legend(labels.values(), labels.keys(), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def write() -> None:
    """Write the page and its figures."""
    table = [
        "| Task | Metric | Ours | Baseline, equal time | Its own length | Published | Device |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    sections = []
    for name in sorted({path.name.split(".")[0] for path in (FOLDER / "results").glob("*.json")}):
        (task,), stored = find_tasks([name]), rows(name)
        ours = task.read_results().get("full")
        module = importlib.import_module(f"benchmarks.{name}")
        if not ours:
            continue
        if figure := getattr(module, "FIGURE", None):  # one of the notebook's further figures
            ours = {**ours, "metric": figure, "value": ours["extra"][figure]}
        title = task.facts().get("title", name)
        by_kind = {
            kind: [row["value"] for row in stored if row["kind"] == kind]
            for kind in ("equal time", "own length")
        }
        equal = summary(by_kind["equal time"]) if by_kind["equal time"] else "not run"
        own = summary(by_kind["own length"]) if by_kind["own length"] else "not run"
        better = "higher" if ours["higher_is_better"] else "lower"
        metric = f"{ours['metric']}, {ours['unit']} ({better} is better)"
        cells = [f"[{title}](../{task.path}/{name}.ipynb)", metric, f"{ours['value']:.4g}", equal]
        table.append("| " + " | ".join([*cells, own, module.PUBLISHED, ours["device"]]) + " |")
        row = stored[0]
        draw(title, ours, stored, PICTURES / f"{name}.png")
        source = module.SOURCE.split(" ")[0]
        cost = f"{row['flops']:.2g} FLOPs in {duration(row['seconds'])}"
        our_cost = f"{ours['flops']['training']:.2g} FLOPs in {duration(ours['train_seconds'])}"
        alt = f"{title}: {ours['metric']} of the baseline over training seconds, and ours"
        sections.append(
            f"## {title}\n\n{module.__doc__.strip()} Source: <{source}>. "
            f"It took {row['steps']:,} of its own {row['own_steps']:,} steps: {cost}; "
            f"ours: {our_cost}. Run by `python -m benchmarks {name}` on {row['device']} "
            f"in {row['precision']}, {row['date']}.\n\n"
            f"![{alt}](static/benchmarks/{name}.png)\n"
        )
    write_text(ROOT / "docs" / "benchmarks.md", HEAD + "\n".join([*table, "", *sections]))
