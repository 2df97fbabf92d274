"""Write docs/benchmarks.md and its figure from stored rows, results and page.md."""

import json
from pathlib import Path

import matplotlib.pyplot as plt

FOLDER = Path(__file__).resolve().parent
ROOT, RESULTS = FOLDER.parent, FOLDER / "results"
BASELINES = ("vae", "flow_matching", "char_rnn", "gpt")
KINDS = {"own_length": "-o", "equal_time": "--^"}


def read(path: Path):
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


PUBLISHED = {entry["task"].partition("/")[2]: entry for entry in read(FOLDER / "published.json")}


def ours(name: str) -> dict:
    """Return the stored full run of a task, {} if there is none of its code of today."""
    return read(ROOT / PUBLISHED[name]["task"] / "results.json").get("full", {})


def rows(name: str, kind: str) -> list[dict]:
    """Return a baseline's stored rows of one kind, by seed."""
    return [read(path) for path in sorted(RESULTS.glob(f"{name}.{kind}.*.json"))]


def flops(number: float) -> str:
    """Return FLOPs with two digits, such as 1.4e14."""
    return f"{number:.1e}".replace("e+", "e")


def summary(name: str, kind: str) -> str:
    """Return the mean of a baseline's rows with their range, and the FLOPs of one."""
    if not (ends := [row["curve"][-1] for row in rows(name, kind)]):
        return "not run yet" if name in BASELINES else ""
    values = [end[2] for end in ends]
    spread = f" ({min(values):#.4g} to {max(values):#.4g})" if len(values) > 1 else ""
    return f"{sum(values) / len(values):#.4g}{spread}, {flops(ends[0][1])}"


def needed(run: dict, entry: dict, value: float) -> str:
    """Return our FLOPs to a published figure; entry["short"], same code, falls short of it."""
    sign, spent = (1 if run["higher_is_better"] else -1), flops(run["flops"]["training"])
    if sign * value < sign * entry["figure"]:
        return "not reached"
    bracket = run["digest"].startswith(entry["short"]["digest"])
    return f"{flops(entry['short']['flops'])} to {spent}" if bracket else f"at most {spent}"


def table() -> str:
    """Return the rows of the table of ours, published figures and baselines."""
    lines = []
    for name, entry in PUBLISHED.items():
        if not (run := ours(name)):
            continue
        notebook = f"{entry['task']}/{name}.ipynb"
        title = read(ROOT / notebook)["metadata"]["task"]["title"]
        value = {run["metric"]: run["value"], **run["extra"]}[entry["metric"]]
        arrow = "↑" if run["higher_is_better"] else "↓"
        cells = [f"[{title}](../{notebook})", f"{entry['metric']} {arrow}"]
        cells += [f"{value:#.4g}, {flops(run['flops']['training'])}", "none", "", ""]
        if "figure" in entry:
            published = f"[{entry['figure']:g}]({entry['link']})"
            cells[-3:] = [published, flops(entry["flops"]), needed(run, entry, value)]
        lines.append(f"| {' | '.join(cells + [summary(name, kind) for kind in KINDS])} |")
    return "\n".join(lines)


def text() -> str:
    """Return the page: page.md, written by hand, with the generated parts in their places."""
    page = (FOLDER / "page.md").read_text(encoding="utf-8").replace("{table}", table())
    for name, kind in ((name, kind) for name in BASELINES for kind in KINDS):
        for row in rows(name, kind):
            seconds, spent, value, own = row["curve"][-1]
            page += f"| {name}, {kind.replace('_', ' ')} | {row['seed']} | {row['steps']:,} | "
            page += f"{seconds:.0f} | {flops(spent)} | {value:.4f} | {own:.4f} | {row['date']} |\n"
    return page


def write() -> None:
    """Write the page, and a figure of measures over FLOPs."""
    (ROOT / "docs" / "benchmarks.md").write_text(text(), encoding="utf-8", newline="\n")
    drawn = [name for name in BASELINES if rows(name, "own_length")]
    figure, panels = plt.subplots(1, len(drawn), figsize=(9, 3.2), layout="constrained")
    for name, axes in zip(drawn, panels, strict=True):
        for row, style in ((row, KINDS[kind]) for kind in KINDS for row in rows(name, kind)):
            points = [point[1:3] for point in row["curve"] if point[2] is not None]
            axes.plot(*zip(*points, strict=True), style, color="#D55E00", ms=4)
        run, entry = ours(name), PUBLISHED[name]
        axes.plot(run["flops"]["training"], run["value"], "s", color="#0072B2")
        axes.plot(entry["flops"], entry["figure"], "*", color="#009E73", ms=10)
        axes.set(xscale="log", xlabel="training FLOPs", ylabel=run["unit"], title=name)
    figure.savefig(ROOT / "docs/static/benchmarks/all.png", dpi=80, metadata={"Software": None})
