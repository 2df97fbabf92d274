"""Print the matrix of notebook shards for the workflows: python3 .github/plan.py [--oldest] [BASE]

With BASE, only tasks that differ from it, or all if something that they share differs; with
--oldest, shards for the oldest versions too. Tasks are found by their folders; nothing but Python's
standard library is needed.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

SHARED = re.compile(r"common/|tools/(run|stamp|tasks)\.py|conftest\.py|pyproject\.toml")
PER_SHARD = 5  # notebooks; one takes up to 45 s, and the installation some minutes


def tasks(root: Path = Path(".")) -> list[str]:
    """Return every task's folder."""
    found = (path for path in root.glob("*/*/*.ipynb") if path.stem == path.parent.name)
    return sorted(path.parent.relative_to(root).as_posix() for path in found)


def chosen(every: list[str], changed: list[str]) -> list[str]:
    """Return the tasks that a change touches.

    These are all if it touches what all share, and those of a category for a module of it.
    """
    if any(SHARED.match(name) for name in changed):
        return every
    folders = [name.rpartition("/")[0] if name.endswith(".py") else name for name in changed]
    return [
        task
        for task in every
        if task.partition("/")[0] in folders or any(name.startswith(f"{task}/") for name in changed)
    ]


def shards(every: list[str], oldest: bool = False) -> list[dict]:
    """Return the jobs: newest versions in parts and, if asked for, oldest versions in parts."""
    parts = [every[start : start + PER_SHARD] for start in range(0, len(every), PER_SHARD)]
    return [
        {
            "name": f"{name} versions, notebooks {number} of {len(parts)}",
            "python": python,
            "oldest": name == "oldest",
            "tasks": " ".join(part),
            "names": " or ".join(task.partition("/")[2] for task in part),  # for pytest -k
        }
        for name, python in (("newest", "3.14"), ("oldest", "3.10"))[: 1 + oldest]
        for number, part in enumerate(parts, 1)
    ]


if __name__ == "__main__":
    selected, arguments = tasks(), sys.argv[1:]
    if base := next((argument for argument in arguments if argument[:2] not in ("", "--")), ""):
        command = ["git", "diff", "--name-only", f"{base}...HEAD"]
        changed = subprocess.run(command, capture_output=True, text=True, check=True)
        selected = chosen(selected, changed.stdout.splitlines())
    print(f"shards={json.dumps(shards(selected, '--oldest' in arguments))}")
