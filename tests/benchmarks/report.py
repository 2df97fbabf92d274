"""Rows to ratios, a table and the results page."""

import importlib
import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from tools.tasks import ROOT, write_text

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
TITLES = {
    **{"vae": "VAE", "resnet": "ResNet", "gan": "GAN", "ddpm": "DDPM", "flow_matching": "Flow matching"},
    **{"simclr": "SimCLR", "gpt": "GPT", "data_path": "Data path"},
}
TARGETS = {"vae": 3.0, "gpt": 0.2, "data_path": 5.0}  # times faster, nats ahead, times faster


def pair(task: str):
    """Return the module of a pair."""
    return importlib.import_module(f"tests.benchmarks.pairs.{task}")


def path_of(row: dict) -> Path:
    """Return the file that holds the rows of this row's task and device."""
    device = re.sub(r"[^a-z0-9]+", "-", row["device"].lower()).strip("-")
    return RESULTS / f"{row['task']}.{device}.jsonl"


def store(rows: list[dict]) -> None:
    """Write the rows of one task on one device, one a line, in place of those of the run before."""
    write_text(path_of(rows[0]), "".join(json.dumps(row) + "\n" for row in rows))


def stored() -> list[list[dict]]:
    """Return the rows of each file, in the order of the tasks."""
    runs = [[json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in RESULTS.glob("*.jsonl")]
    return sorted(runs, key=lambda rows: (rows[0]["device"], list(TITLES).index(rows[0]["task"])))


# ---- ratios


def reached(row: dict) -> float | None:
    """Return the seconds after which ours was first seen as good as the baseline's reference figure, if ever."""
    goal, higher = row["baseline"]["reference"][1], pair(row["task"]).HIGHER_IS_BETTER
    times = [seconds for seconds, value in row["ours"]["curve"] if (value >= goal if higher else value <= goal)]
    return max(times[0], 0.01) if times else None


def at_equal_time(row: dict) -> dict[str, float]:
    """Return the metric of both sides when the one that was done first was done: the last evaluation until then."""
    end = min(row[side]["seconds"] for side in ("baseline", "ours"))
    figures = {}
    for side in ("baseline", "ours"):
        known = [value for seconds, value in row[side]["curve"] if seconds <= end]
        figures[side] = known[-1] if known else row[side]["curve"][0][1]
    return figures


def mean(rows: list[dict], side: str, key: str) -> float | None:
    """Return the mean of a figure over the seeds; None if it was not measured."""
    values = [row[side].get(key) for row in rows]
    return None if None in values else statistics.mean(values)


def summary(rows: list[dict]) -> dict:
    """Return the figures of one pair over its seeds.

    "lead" is how much better ours is at equal time, in units of the metric; "worst" the same for the worst seed;
    "ratio" the baseline's seconds to its reference figure over ours', the median over seeds, None if one seed never
    got there.
    """
    sign = 1 if pair(rows[0]["task"]).HIGHER_IS_BETTER else -1
    figures = [at_equal_time(row) for row in rows]
    leads = [sign * (it["ours"] - it["baseline"]) for it in figures]
    times = [reached(row) for row in rows]
    ratios = [row["baseline"]["reference"][0] / time for row, time in zip(rows, times, strict=True) if time]
    speeds = [row["ours"]["samples_per_second"] / row["baseline"]["samples_per_second"] for row in rows]
    return {
        **{side: statistics.mean(it[side] for it in figures) for side in ("baseline", "ours")},
        **{"lead": statistics.mean(leads), "worst": min(leads)},
        "reference_seconds": statistics.mean(row["baseline"]["reference"][0] for row in rows),
        "reached_seconds": statistics.mean(times) if None not in times else None,
        "ratio": statistics.median(ratios) if len(ratios) == len(rows) else None,
        "slowest": min(ratios) if len(ratios) == len(rows) else None,
        "speed": statistics.median(speeds),
    }


def data_path(rows: list[dict]) -> dict[str, dict]:
    """Return images per second of both sides for each case of the data path, medians over repetitions."""
    cases = {}
    for case in rows[0]["ours"]["rates"]:
        workers = rows[0]["baseline"]["rates"][case]
        rates = {key: statistics.median(row["baseline"]["rates"][case][key] for row in rows) for key in workers}
        ours = statistics.median(row["ours"]["rates"][case] for row in rows)
        cases[case] = {**rates, "ours": ours, "ratio": ours / max(rates.values())}
    return cases


# ---- text


def number(value: float | None, unit: str = "") -> str:
    """Return a figure to read: 3 digits, thousands with a comma; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{text} {unit}".strip()


def line(row: dict) -> str:
    """Return one line to print when both sides of a seed are done."""
    if "rates" in row["ours"]:
        return f"{row['task']}, repetition {row['seed']}: " + ", ".join(
            f"{case} {number(rate)}/s against {', '.join(number(r) for r in row['baseline']['rates'][case].values())}"
            for case, rate in row["ours"]["rates"].items()
        )
    sides = [f"{s} {number(row[s]['metric'])} after {row[s]['seconds']:.0f} s" for s in ("baseline", "ours")]
    return f"{row['task']}, seed {row['seed']}: {', '.join(sides)}"


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table; columns after the first two are aligned to the right."""
    aligned = ["---" if index < 2 else "--:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, aligned, *rows))


def ratio_row(rows: list[dict]) -> list[str]:
    """Return the cells of the table of ratios for one pair."""
    it, about = summary(rows), pair(rows[0]["task"])
    times = f"{number(it['reference_seconds'])} s", number(it["reached_seconds"], "s")
    ratio = "not reached" if it["ratio"] is None else f"{it['ratio']:.1f} ({it['slowest']:.1f})"
    metric = f"{about.METRIC}, {about.UNIT}" if about.UNIT else about.METRIC
    lead = f"{it['lead']:+.3g} ({it['worst']:+.3g})"
    figures = f"{it['baseline']:.4g}", f"{it['ours']:.4g}"
    return [TITLES[rows[0]["task"]], metric, *figures, lead, *times, ratio, f"{it['speed']:.2g}"]


RATIO_HEAD = [
    "Pair",
    "Metric",
    "Baseline",
    "Ours",
    "Ours ahead by (worst seed)",
    "Baseline's time",
    "Ours, to the same figure",
]
RATIO_HEAD += ["Times faster (worst seed)", "Samples per second, ratio"]
DATA_HEAD = ["Batches of 128", "", "DataLoader, 0 workers", "DataLoader, 2 workers", "Ours", "Ratio to the faster"]


def data_rows(rows: list[dict]) -> list[list[str]]:
    """Return the cells of the table of the data path."""
    return [
        [case, "images per second", *(number(value) for value in (it["0"], it["2"], it["ours"])), f"{it['ratio']:.1f}"]
        for case, it in data_path(rows).items()
    ]


def table(rows: list[dict]) -> str:
    """Return the table of ratios of one task's rows."""
    if "rates" in rows[0]["ours"]:
        return markdown(DATA_HEAD, data_rows(rows))
    return markdown(RATIO_HEAD, [ratio_row(rows)])


def losses(rows: list[dict]) -> list[str]:
    """Return a phrase for each figure in which ours is the worse side."""
    it, found = summary(rows), []
    if it["lead"] < 0:
        found.append(f"ends behind by {number(-it['lead'])}")
    elif it["worst"] < 0:
        found.append(f"ends behind in one seed at least, by {number(-it['worst'])}")
    if it["ratio"] is None:
        found.append("does not reach the baseline's figure with every seed")
    elif it["ratio"] < 1:
        found.append(f"needs {1 / it['ratio']:.2g} times the baseline's time")
    names = {"setup_seconds": ("takes longer to set up", "s"), "peak_memory_gib": ("needs more memory", "GiB")}
    names["sampling_seconds"] = ("takes longer to draw 1,000 samples", "s")
    for key, (phrase, unit) in names.items():
        values = mean(rows, "ours", key), mean(rows, "baseline", key)
        if None not in values and values[0] > 1.05 * values[1]:
            found.append(f"{phrase} ({number(values[0])} against {number(values[1], unit)})")
    return found


def verdicts(runs: list[list[dict]]) -> list[list[str]]:
    """Return the targets on one device, each with what was measured and whether it was met."""
    by_task = {rows[0]["task"]: rows for rows in runs}
    pairs = {task: summary(rows) for task, rows in by_task.items() if task != "data_path"}
    behind = [TITLES[task] for task, it in pairs.items() if it["lead"] < 0]
    found = [["ours never behind at equal budget", f"behind: {', '.join(behind) or 'none'}", not behind]]
    if it := pairs.get("vae"):
        measured = "never" if it["ratio"] is None else f"{it['ratio']:.1f} times faster"
        text = "VAE reaches the baseline's figure of 10 epochs in a third of its time"
        text += _cut_short(by_task["vae"])
        found.append([text, measured, (it["ratio"] or 0) >= TARGETS["vae"]])
    if it := pairs.get("gpt"):
        text = "GPT ends at least 0.2 nats per character ahead" + _cut_short(by_task["gpt"])
        found.append([text, f"{it['lead']:+.3f} nats", it["lead"] >= TARGETS["gpt"]])
    if "data_path" in by_task:
        for case, it in data_path(by_task["data_path"]).items():
            text = f"data path at least 5 times as fast: {case}"
            found.append([text, f"{it['ratio']:.1f} times", it["ratio"] >= TARGETS["data_path"]])
    words = {True: "met", False: "**missed**"}
    return [[text, m, words[met] + " at this budget" * (met and "the budget held" in text)] for text, m, met in found]


HEAD = """# Benchmarks

Is a notebook here faster than what a learner would otherwise pick? Each pair below trains a **baseline**, a widely used
recipe written anew from its published settings, and **ours**, the notebook's own code cut out of the notebook, on the
same bytes, with the same metric code and the same training time, in turns, with {seeds} seeds. The clock stands still
while a model is evaluated; the number of steps is set from the budget after some seconds of calibration, which count
as neither. Each side runs in a process of its own. `python -m tests.benchmarks --page` writes this page from the rows
in `tests/benchmarks/results/`.
"""
CAPTION = """Figures are those at equal time: a side that took longer than the other is judged by its last evaluation
until the other was done. *Baseline's time* is its training time, for the VAE that of its 10 epochs at most; *ours, to
the same figure* is the first evaluation at which ours is at least as good, so it is rounded up. Figures and times are
means over the seeds, ratios are medians.
"""
COST = """
Updates are those within the budget, of the published number. Set-up is imports, data and the yardstick's classifier.
Process time is that of all threads and ended workers. Load is the highest average of a minute before a side began: what
else ran on the machine slowed both sides.
"""
NO_GPU = """## GPU

Not measured yet. The same commands without `--device cpu`, with budgets of up to 240 seconds, write its rows; there
ours has the sizes of full mode, and the baselines those published.
"""
SMALL = """
On a CPU ours has the sizes of quick mode but the real data, not the stand-ins of quick mode; the VAE has its full-mode
sizes. The baselines keep their published sizes unless their description below says otherwise. Most of them were made
for a GPU and get only a few updates here: on a CPU a large ratio says what a laptop can do within a minute, not that
the recipe is bad. Accuracy is measured on 1,000 test images there, FD-c on 1,000 samples (flow
matching: 128, DDPM: 64, which raises it for both sides); nearest neighbours of 500 test images are sought among 1,000
training images.
"""


def page(runs: list[list[dict]]) -> str:
    """Return the results page for the stored rows."""
    parts = [HEAD.format(seeds=max((len(rows) for rows in runs), default=3))]
    for device in dict.fromkeys(rows[0]["device"] for rows in runs):
        here = [rows for rows in runs if rows[0]["device"] == device]
        pairs = [rows for rows in here if rows[0]["task"] != "data_path"]
        parts.append(f"## {device}\n" + (SMALL if device.startswith("CPU") else ""))
        parts.append(markdown(RATIO_HEAD, map(ratio_row, pairs)) + "\n")
        parts.append(CAPTION)
        for rows in here:
            if rows[0]["task"] == "data_path":
                parts.append("### Data path alone\n\n" + markdown(DATA_HEAD, data_rows(rows)) + "\n")
        parts.append("### Targets\n\n" + markdown(["Target", "Measured", ""], verdicts(here)) + "\n")
        parts.append("### Where we lose\n\n" + "".join(map(_loss_line, pairs)) + _data_losses(here))
        parts.append("### What it cost\n\n" + _cost_table(pairs) + "\n" + COST)
        parts.append("### What was run\n\n" + "".join(map(_settings, here)))
    if all(rows[0]["device"].startswith("CPU") for rows in runs):
        parts.append(NO_GPU)
    return "\n".join(parts)


def _data_losses(runs: list[list[dict]]) -> str:
    cases = [item for rows in runs if rows[0]["task"] == "data_path" for item in data_path(rows).items()]
    slow = [f"{case} {it['ratio']:.1f} times" for case, it in cases if it["ratio"] < TARGETS["data_path"]]
    return f"- **Data path**: short of {TARGETS['data_path']:g} times as fast: {', '.join(slow)}.\n" if slow else ""


def _loss_line(rows: list[dict]) -> str:
    return f"- **{TITLES[rows[0]['task']]}**: {'; '.join(losses(rows)) or 'in none of the figures below'}.\n"


def _cost_table(pairs: list[list[dict]]) -> str:
    head = ["Pair", "Side", "Parameters", "Updates", "Training", "Process time", "Set-up", "Compiling", "1,000 samples"]
    head += ["Peak memory", "Load before"]
    lines = []
    for rows in pairs:
        for side in ("baseline", "ours"):
            keys = ("seconds", "process_seconds", "setup_seconds", "compile_seconds", "sampling_seconds")
            seconds = [number(mean(rows, side, key), "s") for key in keys]
            memory, load = mean(rows, side, "peak_memory_gib"), max(row[side]["load_average"][0] for row in rows)
            counts = [number(mean(rows, side, key)) for key in ("parameters", "steps")]
            if side == "baseline":
                counts[1] += f" of {number(published_updates(rows[0]))}"
            lines.append([TITLES[rows[0]["task"]], side, *counts, *seconds, number(memory, "GiB"), f"{load:.1f}"])
    return markdown(head, [[cell.replace("– s", "–") for cell in cells] for cells in lines])


def _cut_short(rows: list[dict]) -> str:
    """Return a remark if the budget did not hold the baseline's published number of updates."""
    least, published = min(row["baseline"]["steps"] for row in rows), published_updates(rows[0])
    return f" (the budget held {number(least)} of {number(published)} updates, or more)" if least < published else ""


def published_updates(row: dict) -> int:
    """Return the number of updates that the baseline has as published, for the row's kind of device."""
    about = pair(row["task"])
    return getattr(about, "UPDATES_CPU", about.UPDATES) if row["device"].startswith("CPU") else about.UPDATES


def _settings(rows: list[dict]) -> str:
    row, about = rows[0], pair(rows[0]["task"])
    device = " --device cpu" if row["device"].startswith("CPU") else ""
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    published = [r["baseline"].get("as_published") for r in rows if r["baseline"].get("as_published")]
    extra = ""
    if published:
        step, sampling = (statistics.median(p[k] for p in published) for k in ("seconds_per_step", "sampling_seconds"))
        extra = f" At the published width a step would take {number(step)} s and 1,000 samples {number(sampling)} s."
    return (
        f"**{TITLES[row['task']]}**, {row['data']} (SHA-256 {row['data_hash']}), {row['date']}, {versions}:\n\n"
        f"```sh\npython -m tests.benchmarks {row['task']} --budget {row['budget']:g}{device}\n```\n\n"
        f"- Baseline: {about.BASELINE}.{extra}\n- Ours: {about.OURS}.\n\n"
    )
