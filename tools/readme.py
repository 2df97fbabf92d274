"""Write the generated parts of README.md and requirements.txt, and the README's picture, from the tasks' folders.

python -m tools.readme            write them
python -m tools.readme --check    change nothing; the exit status is 1 if one of them is out of date
"""

import re
import sys
from pathlib import Path

from tools.stamp import duration
from tools.tasks import CATEGORIES, ROOT, Task, all_tasks, lines_of_code, pictures, write_bytes

TITLE = re.compile(r"^# Deep Learning in .+ 4090 Hours$", re.MULTILINE)
TABLE = re.compile(r"(<!-- tasks -->\n).*?(<!-- /tasks -->)", re.DOTALL)
GENERATORS = re.compile(r"(<!-- generators -->\n).*?(<!-- /generators -->)", re.DOTALL)
REQUIREMENTS = re.compile(r"(# tasks\n).*?(# end of tasks)", re.DOTALL)
PICTURE = ".github/picture.png"
SLOWER = {"H100": (3.3, 2.0, 5.0)}  # a 4090 takes so many times as long: best guess, lowest, highest
HEADER = (
    "| Task | Paper | Data | Parameters | Result (reference) | Measured | 4090 hours | Quick mode | Code lines |\n"
    "|---|---|---|--:|---|---|---|--:|--:|"
)


def order(task: Task) -> tuple:
    """Return the sort key of the learning path: category, then year of the paper, then name."""
    entries = [entry for key, entry in task.read_results().items() if key != "stored"]
    year = re.search(r"\b(19|20)\d\d\b", entries[0]["paper"]) if entries else None
    return CATEGORIES.index(task.category), year.group() if year else "9999", task.name


def hours_4090(full: dict | None) -> tuple[float, float, float] | None:
    """Return hours on one RTX 4090 as (best guess, lowest, highest), all alike if measured; None if unknown."""
    if not full:
        return None
    hours = full["seconds"] / 3600
    if "4090" in full["device"]:
        return hours, hours, hours
    factors = next((factors for name, factors in SLOWER.items() if name in full["device"]), None)
    return factors and tuple(hours * factor for factor in factors)


def number(hours: float) -> str:
    """Return hours with two digits that count: "0.017", "1.3", "12"."""
    return f"{hours:.0f}" if hours >= 10 else f"{float(f'{hours:.1e}'):g}"


def label(hours: tuple[float, float, float] | None) -> str:
    """Return what the table says of hours on a 4090: a measured figure, an estimate with its band, or neither."""
    if hours is None:
        return "not measured yet"
    guess, low, high = hours
    return number(guess) if low == high else f"est. {number(guess)} ({number(low)}–{number(high)})"


def row(task: Task) -> str:
    """Return a task's line of the table."""
    results = task.read_results()
    full, quick = results.get("full"), results.get("quick")
    any_entry = full or quick or {"task": task.name, "paper": "", "url": "", "data": "", "parameters": 0}
    cells = [
        f"[{any_entry['task']}]({task.path}/{task.name}.ipynb)",
        f"[{any_entry['paper']}]({any_entry['url']})" if any_entry["paper"] else "",
        full["data"] if full else "",
        f"{full['parameters']:,}" if full else "",
        f"{full['metric']} **{full['value']:.4g}** {full['unit']} ({full['reference']})" if full else "quick run only",
        f"{duration(full['seconds'])}, {full['device']}" if full else "",
        label(hours_4090(full)),
        duration(quick["seconds"]) if quick else "",
        f"{lines_of_code(task.read_notebook())}",
    ]
    if not results:
        cells[4] = "not run yet"
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def judged(entry: dict) -> dict[str, float]:
    """Return what the yardstick measured in a run, with FD-c, precision and recall; {} if it measured nothing."""
    figures = entry.get("extra", {}) | ({"FD-c": entry["value"]} if entry.get("metric") == "FD-c" else {})
    return figures if "FD-c" in figures else {}


def generators(tasks: list[Task]) -> str:
    """Return the table of the image generators that the yardstick measured, each by its stored run."""
    lines = [
        "| Generator | Run | Parameters | Training | Evaluations per sample | FD-c | Precision | Recall |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for task in tasks:
        entry = task.read_stored()
        figures = judged(entry)
        if not figures:
            continue
        cells = [
            f"[{entry['task']}]({task.path}/{task.name}.ipynb)",
            f"{entry['mode']}, {entry['data']}, {entry['device']}",
            f"{entry['parameters']:,}",
            duration(entry["train_seconds"]),
            f"{next(figures[name] for name in figures if name.startswith('evaluations')):.0f}",  # per sample
            *(f"{figures[name]:.3g}" for name in ("FD-c", "precision", "recall")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def known_hours(tasks: list[Task]) -> list[tuple[float, float, float]]:
    """Return the hours on an RTX 4090 of those tasks for which they are known; see hours_4090."""
    return [hours for hours in (hours_4090(task.read_results().get("full")) for task in tasks) if hours]


def title(known: list[tuple[float, float, float]], count: int) -> str:
    """Return the title's number of hours: N while none is known, with ≥ while some of `count` tasks are missing."""
    if not known:
        return "N"
    return ("≥ " if len(known) < count else "") + number(sum(hours[0] for hours in known))


def total(known: list[tuple[float, float, float]], count: int) -> str:
    """Return the sentence below the table."""
    if not known:
        return f"Hours on an RTX 4090 are known for none of the {count} tasks yet, so the title says N."
    guess, low, high = (sum(column) for column in zip(*known, strict=True))
    band = "" if low == high else f" ({number(low)}–{number(high)}, since some are estimates)"
    return f"Together {title(known, count)} hours on one RTX 4090{band}, from {len(known)} of {count} tasks."


def picture(root: Path = ROOT) -> bytes | None:
    """Return the README's picture, the digits that the VAE notebook drew, from its stored outputs; None if absent."""
    task = Task("image_generation", "vae", root)
    found = pictures(task) if task.results.exists() else ()
    return next((image for image, description, _ in found if "draws from the prior" in description), None)


def render(root: Path = ROOT) -> dict[Path, str]:
    """Return what README.md and requirements.txt should contain; raises ValueError if a marker line is missing."""
    tasks = sorted(all_tasks(root), key=order)
    known = known_hours(tasks)
    table = "\n".join([HEADER, *map(row, tasks)]) + f"\n\n{total(known, len(tasks))}\n"
    listed = "".join(f"-r {task.path}/requirements.txt\n" for task in all_tasks(root))
    readme, requirements = (root / name for name in ("README.md", "requirements.txt"))
    parts = (
        (
            readme,
            TITLE,
            lambda match: f"# Deep Learning in {title(known, len(tasks))} 4090 Hours",
            "# Deep Learning in",
        ),
        (readme, TABLE, lambda match: match.group(1) + table + match.group(2), "<!-- tasks -->, <!-- /tasks -->"),
        (
            readme,
            GENERATORS,
            lambda match: match.group(1) + generators(tasks) + match.group(2),
            "<!-- generators -->, <!-- /generators -->",
        ),
        (requirements, REQUIREMENTS, lambda match: match.group(1) + listed + match.group(2), "# tasks, # end of tasks"),
    )
    texts = {path: path.read_text(encoding="utf-8") for path in (readme, requirements)}
    for path, pattern, replacement, marker in parts:
        texts[path], count = pattern.subn(replacement, texts[path], count=1)
        if not count:
            raise ValueError(f"{path.name} lacks what is to be filled in: {marker}.")
    return texts


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    wanted = {path: text.encode() for path, text in render(root).items()}
    if image := picture(root):
        wanted[root / PICTURE] = image
    stale = {path: new for path, new in wanted.items() if not path.exists() or path.read_bytes() != new}
    for path, new in stale.items():
        if arguments:
            print(f"{path.name} is out of date: run python -m tools.readme and commit it.")
        else:
            write_bytes(path, new)
            print(f"{path.name} is up to date now.")
    return int(bool(stale and arguments))


if __name__ == "__main__":
    sys.exit(main())
