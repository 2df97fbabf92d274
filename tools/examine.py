"""Examine a task on a contributor's branch, as it would be after merging: the base plus the task's folder.

    python -m tools.examine image_generation/pixelcnn --branch ada.pixelcnn --code   show its code, run nothing
    python -m tools.examine image_generation/pixelcnn --branch ada.pixelcnn          check, and run in quick mode
    python -m tools.examine image_generation/pixelcnn --branch ada.pixelcnn --full   also run in full mode

Nothing but the task's folder is taken from the branch, so stay on main: then the tools that judge are those of main.
The notebook runs in a copy, without the variables of your environment (where secrets are kept) and, in quick mode,
without network and data. That stops accidents, not attacks: run what you do not trust in a container, as
CONTRIBUTING.md describes. The exit status is 0 if nothing was refused, 1 if something was, 2 if the command is wrong.
"""

import argparse
import difflib
import io
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.check import check
from tools.new import new_task
from tools.stamp import duration
from tools.tasks import ROOT, Task, code_cells, lines_of_code

KEPT = {  # the environment variables that a run gets, apart from those set in `environment`
    *("PATH", "LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
}
STAND_INS = ("handwritten digits of scikit-learn", "procedural shapes", "language reference inside CPython")
QUICK_SECONDS = 120  # the aim is 60 on two cores; this leaves room for a slower machine
CELL_SECONDS = 120  # in quick mode, as in the tests
QUICK_SHARE = 0.25  # a quick result may differ from its claim by this share of the gain over the baseline
FULL_SHARE = 0.5  # a full result by this share of the width of its band
TIME_FACTOR = 1.5  # full-mode times on the same device
NETWORK_GUARD = '''"""Python runs this at start-up: it refuses every connection that leaves this machine."""
import sys

HERE = ("localhost", "127.0.0.1", "::1", "", None)


def guard(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in HERE:
        raise RuntimeError(f"quick mode must work without a network, but this cell tried to reach {host}")


sys.addaudithook(guard)
'''


def git(*arguments: str, root: Path) -> bytes:
    """Return what a git command prints; raises ValueError with git's message if it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def lines(*arguments: str, root: Path) -> list[str]:
    """Return what a git command prints, cut at its NUL characters or else its line ends."""
    text = git(*arguments, root=root).decode(errors="replace")
    return [line for line in text.split("\0" if "\0" in text else "\n") if line]


def commit(name: str, root: Path) -> str | None:
    """Return the full hash of the commit called `name`; None if there is none."""
    try:
        return lines("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", root=root)[0]
    except ValueError:
        return None


def find_base(base: str | None, branch: str, root: Path) -> tuple[str, str]:
    """Return the commit that the task is to be merged into, and the one that the branch was started from.

    `base` is main by default. A branch that shares no history with it was made from dev_start, whose only commit
    is then the branch's first one; that is also the base where there is no main, in a clone of dev_start alone.

    Raises ValueError if `base` does not exist.
    """
    first = lines("rev-list", "--max-parents=0", branch, root=root)[-1]
    if base and not commit(base, root):
        raise ValueError(f"There is no branch or commit {base}; git fetch, or name another with --base.")
    onto = commit(base, root) if base else commit("main", root) or commit("origin/main", root) or first
    try:
        return onto, lines("merge-base", onto, branch, root=root)[0]
    except ValueError:
        return onto, first


def unpack(revision: str, folder: Path, root: Path, *paths: str) -> None:
    """Write the files of a commit into a folder; links become plain files."""
    archive = git("archive", "--format=zip", revision, *paths, root=root)
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)


def find_task(name: str, branch: str, root: Path) -> str:
    """Return the path of the task called `name` ("pixelcnn" or "image_generation/pixelcnn") on a branch.

    Raises ValueError if there is no such branch, or if it holds no such notebook, or several.
    """
    if not commit(branch, root):
        raise ValueError(f"There is no branch {branch}; fetch it first: git fetch REPOSITORY {branch}:{branch}")
    wanted = name.replace("\\", "/").strip("/")
    files = lines("ls-tree", "-r", "-z", "--name-only", branch, root=root)
    paths = [match.group(1) for match in (re.fullmatch(r"(\w+/(\w+))/\2\.ipynb", file) for file in files) if match]
    fitting = [path for path in paths if wanted in (path, path.partition("/")[2])]
    if len(fitting) != 1:
        found = f"several tasks {name}: {', '.join(fitting)}" if fitting else f"no task {name}"
        raise ValueError(f"There is {found} on {branch}; name category and task, commit it, or choose its --branch.")
    return fitting[0]


def check_files(task: Task, branch: str, start: str, root: Path) -> Iterator[str]:
    """Yield what is wrong with the set of files that the branch changes and brings."""
    changed = lines("diff", "--name-only", "--no-renames", "-z", start, branch, root=root)
    if outside := [name for name in changed if not name.startswith(f"{task.path}/")]:
        names = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
        yield (
            f"The branch also changes {names}. A task touches its own folder only: take these changes back with "
            f"git checkout {start[:10]} -- FILE (git rm FILE for a new one), or propose them apart, in an issue."
        )
    known = (f"{task.name}.ipynb", "solutions.ipynb", "requirements.txt", "results.json")
    for entry in lines("ls-tree", "-r", "-z", branch, f"{task.path}/", root=root):
        mode, name = entry.split()[0], entry.partition("\t")[2].removeprefix(f"{task.path}/")
        if name not in known or mode not in ("100644", "100755"):
            yield f"{task.path}/{name} is none of {', '.join(known)}; remove it (notebooks draw their pictures)."
    here = commit("HEAD", root) == commit(branch, root)
    if here and lines("status", "--porcelain", "-z", "--", task.path, root=root):
        yield f"{task.path} has changes that are not committed, and only commits are examined: commit them first."


def check_style(task: Task) -> Iterator[str]:
    """Yield what ruff, which looks at code and does not run it, finds in the task's notebooks."""
    for command in (["format", "--check"], ["check", "--output-format=concise"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", task.path],
            **{"cwd": task.root, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"},
        )
        if done.returncode:
            found = "; ".join(done.stdout.split("\n")[:3])
            yield f"Run ruff {command[0]} {task.path} and mend what is left. ({found})"


def check_claims(results: dict) -> Iterator[str]:
    """Yield what is wrong with the claims of results.json by themselves."""
    for mode in sorted(results.keys() - {"stored"}):
        claim = results[mode]
        value, baseline, (low, high) = claim["value"], claim["baseline"]["value"], claim["band"]
        again = f"Run DL_MODE={mode} python -m tools.run --save again."
        if not math.isfinite(value) or (value <= baseline if claim["higher_is_better"] else value >= baseline):
            yield f"The {mode} result {value:g} does not beat its baseline {baseline:g}. {again}"
        if not low < high or low <= baseline <= high:
            yield f"The band {low:g} to {high:g} holds the baseline, {baseline:g}, too, and says nothing; narrow it."
        if mode != "full":
            continue
        if not low <= value <= high:
            yield f"The full result {value:g} lies outside its band, {low:g} to {high:g}. {again}"
        if claim["data"] in STAND_INS:
            yield f"The full result was measured on quick mode's data, {claim['data']}. {again}"


def compare(claim: dict, measured: dict) -> tuple[str, list[str]]:
    """Return one line that sets a measured result beside its claim, and what is wrong with the claim."""
    mode, value, seconds = claim["mode"], claim["value"], claim["seconds"]
    low, high = claim["band"]
    gain = abs(claim["baseline"]["value"] - value)
    allowed = FULL_SHARE * (high - low) if mode == "full" else QUICK_SHARE * gain
    line = (
        f"{claim['metric']}: claimed {value:.4g}, measured {measured['value']:.4g} {claim['unit']} (may differ by "
        f"{allowed:.2g}); time: claimed {duration(seconds)} on {claim['device']}, measured "
        f"{duration(measured['seconds'])} on {measured['device']}"
    )
    wrong = []
    if not abs(value - measured["value"]) <= allowed:
        wrong.append(f"The claimed {mode} result was not reproduced: {line}. Run tools.run --save again, or say why.")
    for key in ("task", "metric", "unit", "parameters", "data", "band", "higher_is_better"):
        if claim[key] != measured[key]:
            wrong.append(f"results.json claims {key} {claim[key]!r} in {mode} mode; the run says {measured[key]!r}.")
    ratio = measured["seconds"] / seconds if seconds > 0 else math.inf
    if mode == "full" and claim["device"] == measured["device"] and not 1 / TIME_FACTOR < ratio < TIME_FACTOR:
        wrong.append(f"The claimed time differs by more than a factor of {TIME_FACTOR} on the same device: {line}.")
    return line, wrong


def show_code(task: Task, before: Path) -> None:
    """Print the differences of the code cells between the base's notebook (if there is one) and the branch's."""

    def source(path):
        cells = code_cells(nbformat.read(path, as_version=4)) if path.exists() else []
        return [line for number, cell in enumerate(cells, 1) for line in [f"# In [{number}]", *cell.source.split("\n")]]

    for name in (task.notebook.name, "solutions.ipynb"):
        old, new = source(before / task.path / name), source(task.folder / name)
        for line in difflib.unified_diff(old, new, f"base/{name}", f"branch/{name}", lineterm=""):
            say(line)


def environment(mode: str, home: Path) -> dict[str, str]:
    """Return the variables that a run gets: no secrets, an empty home folder, in quick mode no data and no network."""
    kept = {key: value for key, value in os.environ.items() if key.upper() in KEPT}
    data = Path(os.environ.get("DL_DATA") or ROOT / "data").expanduser().resolve()
    guard = home / "guard"
    guard.mkdir(parents=True, exist_ok=True)
    (guard / "sitecustomize.py").write_text(NETWORK_GUARD if mode == "quick" else "", encoding="utf-8")
    folders = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP")}
    settings = {"DL_MODE": mode, "DL_DATA": str(home / "no_data") if mode == "quick" else str(data)}
    return kept | folders | settings | {"PYTHONPATH": str(guard), "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}


def run(task: Task, mode: str, home: Path) -> tuple[dict | None, str]:
    """Run a task's notebook in the examined copy; return what it recorded and, if it failed, the last line printed."""
    command = [sys.executable, "-m", "tools.run", "--save", task.path]
    command += ["--cell-timeout", str(CELL_SECONDS)] if mode == "quick" else []
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, cwd=task.root, env=environment(mode, home), **options) as process:
        last = ""
        for line in process.stdout:
            say(f"    {line.rstrip()}")
            last = line.strip() if "failed:" in line else last
    return (task.read_results().get(mode), "") if process.returncode == 0 else (None, last)


def say(text: str) -> None:
    """Print text from a branch with its control characters made visible."""
    print("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text), flush=True)


def verdict(title: str, findings: list[str]) -> int:
    """Print one line for a group of checks and one for each finding; return their number."""
    say(f"{'REFUSED' if findings else 'ok':8} {title}")
    for finding in findings:
        say(f"         - {finding}")
    return len(findings)


def examine(name: str, branch: str, base: str | None, full: bool, code: bool, root: Path, folder: Path) -> int:
    """Examine one task in `folder`, an empty one; return the number of findings. Raises ValueError for a wrong name."""
    path = find_task(name, branch, root)
    onto, start = find_base(base, branch, root)
    before, task = folder / "base", Task(*path.split("/"), folder / "tree")
    unpack(onto, before, root)
    is_new = not (before / task.path).exists()
    unpack(onto, task.root, root)
    shutil.rmtree(task.folder, ignore_errors=True)
    unpack(branch, task.root, root, task.path)
    say(f"{task.path} on {branch}, {'a new task' if is_new else 'a changed task'}, as if merged into {onto[:10]}")
    if code:
        show_code(task, before)
        return 0

    names = []
    if is_new:
        try:
            new_task(path, before)
        except ValueError as error:
            names.append(str(error))
    count = verdict("name and files", names + list(check_files(task, branch, start, root)))
    count += verdict("checker: anatomy, requirements, paths, outputs that belong to the code", check(task))
    count += verdict("ruff: format and common mistakes", list(check_style(task)))
    if count:
        say("The notebook was not run: mend the above first.")
        return count
    if is_new:
        say(f"         {lines_of_code(task.read_notebook())} new lines of code; --code shows them and runs nothing")
    else:
        show_code(task, before)
    claims = task.read_results()  # before the runs, which write this file
    count += verdict("claims of results.json by themselves", list(check_claims(claims)))
    for mode in ("quick", "full") if full else ("quick",):
        measured, last = run(task, mode, folder / "home")
        wrong = [] if measured else [f"The {mode} run failed. {last}"]
        if measured and mode == "quick" and measured["seconds"] > QUICK_SECONDS:
            wrong.append(
                f"Quick mode took {duration(measured['seconds'])}; make it smaller: it should end within 60 s."
            )
        count += verdict(f"{mode} run", wrong)
        if measured and mode in claims:
            line, wrong = compare(claims[mode], measured)
            count += verdict(f"{mode} run beside its claim. {line}", wrong)
    if "full" not in claims and not full:
        say("         no full result is claimed yet: a maintainer with a GPU runs it before merging")
    return count


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.examine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", metavar="TASK", help="image_generation/pixelcnn, or pixelcnn for short")
    parser.add_argument("--branch", default="HEAD", help="the contributor's branch; default: the one checked out")
    parser.add_argument("--base", help="the branch to merge into; default: main, else the start of the branch")
    parser.add_argument("--full", action="store_true", help="also run in full mode and compare with the claim")
    parser.add_argument("--code", action="store_true", help="only print what is new in the code cells; run nothing")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            asked = (options.task, options.branch, options.base, options.full, options.code)
            count = examine(*asked, root, Path(folder).resolve())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.code:
        print(f"\nVerdict: {f'refused, {count} to mend' if count else 'nothing to refuse'}.")
    return int(count > 0)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # not every Windows pipe knows every character
    sys.exit(main())
