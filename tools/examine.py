"""Examine a task on a contributor's branch, as it would be after merging; then merge it.

    python -m tools.examine pixelcnn --branch ada.pixelcnn --code     show its code, run nothing
    python -m tools.examine pixelcnn --branch ada.pixelcnn            check it, run quick mode
    python -m tools.examine pixelcnn --branch ada.pixelcnn --full     also run full mode
    python -m tools.examine pixelcnn --branch ada.pixelcnn --full --merge
                                      if nothing is refused, put the task into this checkout

Only the task's folder is taken from the branch, so stay on main: then the tools that judge are
main's. The notebook runs three times in quick mode, in a copy: as it is, with its learning rate set
to zero (the result must get worse) and with another seed (the result must change a little). What is
merged are the outputs of these runs, never the contributor's. The runs are isolated as far as this
machine allows; the verdict says how far. The exit status is 0 if nothing was refused, 1 if
something was, 2 if the command is wrong.
"""

import difflib
import io
import json
import math
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
from tools.isolate import LEVELS, best_level, isolated
from tools.new import new_task
from tools.stamp import duration, figure
from tools.tasks import ROOT, Parser, Task, TaskError, code_cells, write_notebook

QUICK_SECONDS = 120  # the aim is 45 on two cores; this leaves room for a slower machine
GAIN_SHARE = 0.5  # another seed may change the gain over the baseline by this share of it
CLAIM_SHARE = 0.1  # the contributor's result may differ from ours by this share of the gain
MOST_PRINTED = 200_000  # characters that a run may print
FILES = ("{}.ipynb", "requirements.txt", "results.json", "mutations.toml")
TASK_FILE = re.compile(r"(\w+/(\w+))/\2\.ipynb")
RATE = re.compile(r"^(\w*learning_rate\w*) = ", re.MULTILINE)


def git(*arguments: str, root: Path) -> bytes:
    """Return what a git command prints; raises TaskError with git's message if it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise TaskError(f"git {arguments[0]}: {reason}")
    return done.stdout


def lines(*arguments: str, root: Path) -> list[str]:
    """Return what a git command prints, split at NUL characters or else at line ends."""
    text = git(*arguments, root=root).decode(errors="replace")
    return [line for line in text.split("\0" if "\0" in text else "\n") if line]


def commit(name: str, root: Path) -> str | None:
    """Return the full hash of the commit called `name`, None if there is none."""
    try:
        return lines("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", root=root)[0]
    except TaskError:
        return None


def find_base(base: str | None, branch: str, root: Path) -> tuple[str, str]:
    """Return the commit to merge into, and the one that the branch started from.

    `base` is main by default. A branch that shares no history with it was started from dev_start,
    whose only commit is then the first of the branch; without any main, that is the base too.
    Raises TaskError if `base` does not exist.
    """
    first = lines("rev-list", "--max-parents=0", branch, root=root)[-1]
    if base and not commit(base, root):
        raise TaskError(f"There is no branch or commit {base}; fetch it, or name another --base.")
    onto = commit(base or "main", root) or commit("origin/main", root) or first
    try:
        return onto, lines("merge-base", onto, branch, root=root)[0]
    except TaskError:
        return onto, first


def unpack(revision: str, folder: Path, root: Path, *paths: str) -> None:
    """Write the files of a commit into a folder; links become plain files."""
    archive = git("archive", "--format=zip", revision, *paths, root=root)
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)


def find_task(name: str, branch: str, root: Path) -> str:
    """Return the path of the task `name`, "pixelcnn" or "image_generation/pixelcnn", on a branch.

    Raises TaskError if there is no such branch, or if it has no such notebook, or several.
    """
    if not commit(branch, root):
        hint = f"fetch it first: git fetch REPOSITORY {branch}:{branch}"
        raise TaskError(f"There is no branch {branch}; {hint}")
    wanted = name.replace("\\", "/").strip("/")
    files = lines("ls-tree", "-r", "-z", "--name-only", branch, root=root)
    paths = [match[1] for match in map(TASK_FILE.fullmatch, files) if match]
    fitting = [path for path in paths if wanted in (path, path.partition("/")[2])]
    if len(fitting) != 1:
        known = {key: path for path in paths for key in (path, path.partition("/")[2])}
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f" Did you mean {known[near[0]]}?" if near else ""
        found = "several tasks are" if fitting else "no task is"
        raise TaskError(f"On {branch} {found} called {name}.{hint}")
    return fitting[0]


def check_files(task: Task, branch: str, start: str, root: Path) -> Iterator[str]:
    """Yield what is wrong with the set of files that the branch changes."""
    changed = lines("diff", "--name-only", "--no-renames", "-z", start, branch, root=root)
    if outside := [name for name in changed if not name.startswith(f"{task.path}/")]:
        names = ", ".join(outside[:5]) + (" and more" if len(outside) > 5 else "")
        yield f"The branch also changes {names}; a task touches only its own folder."
    known = [name.format(task.name) for name in FILES]
    for entry in lines("ls-tree", "-r", "-z", branch, f"{task.path}/", root=root):
        mode, name = entry.split()[0], entry.partition("\t")[2].removeprefix(f"{task.path}/")
        if name not in known or mode not in ("100644", "100755"):
            yield f"{task.path}/{name} is none of {', '.join(known)}; remove it."
    if commit("HEAD", root) == commit(branch, root):
        if lines("status", "--porcelain", "-z", "--", task.path, root=root):
            yield f"{task.path} has changes that are not committed; only commits are examined."


def check_style(task: Task) -> Iterator[str]:
    """Yield what ruff, which does not run code, finds in the task's notebook."""
    for command in (["format", "--check"], ["check", "--output-format=concise"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", task.path],
            cwd=task.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if done.returncode:
            found = "; ".join(done.stdout.split("\n")[:3])
            yield f"Run ruff {command[0]} {task.path} and fix what is left ({found})."


def run(task: Task, mode: str, *options: str) -> tuple[dict | None, str]:
    """Run the examined notebook, isolated; return its record, or None and why it failed."""
    record = task.root.parent / "home" / "record.json"
    command = [sys.executable, "-m", "tools.run", task.path, "--record", str(record), *options]
    command += ["--cell-timeout", str(QUICK_SECONDS)] if mode == "quick" else []
    command, environment = isolated(command, best_level(), task.root, mode)
    record.unlink(missing_ok=True)
    printed, last = 0, ""
    with subprocess.Popen(
        command,
        cwd=task.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            printed += len(line)
            if printed > MOST_PRINTED:
                process.kill()
                return None, f"It prints more than {MOST_PRINTED:,} characters."
            say(f"    {line.rstrip()}")
            last = line.strip() if "failed:" in line or not last else last
    if process.returncode or not record.exists():
        return None, last
    return json.loads(record.read_text(encoding="utf-8")), ""


def check_mutations(task: Task) -> Iterator[str]:
    """Yield which of the task's mutations its own checks do not notice."""
    command = [sys.executable, "-m", "tools.mutate", task.path]
    command, environment = isolated(command, best_level(), task.root, "quick")
    done = subprocess.run(
        command, cwd=task.root, env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        lines = [line.strip(" -") for line in done.stdout.splitlines() if line.startswith("  - ")]
        yield from lines or [done.stderr.strip()[-500:]]


def gain(record: dict, value: float) -> float:
    """Return by how much a value of the record's metric beats its baseline; negative if not."""
    difference = value - record["baseline"]["value"]
    return difference if record["higher_is_better"] else -difference


def check_learning(task: Task, record: dict) -> Iterator[str]:
    """Yield what shows that the result does not come from training, or not from the seed.

    With its learning rate at zero the network learns nothing, so at most half of the gain over the
    baseline may remain. Another seed must give another figure, close by.
    """
    full_gain = gain(record, record["value"])
    code = "\n".join(cell.source for cell in code_cells(task.read_notebook()))
    rates = RATE.findall(code)
    if not rates:
        yield "No setting is called learning_rate, so that its effect cannot be tested; name it so."
        return
    options = [part for rate in dict.fromkeys(rates) for part in ("--set", f"{rate}=0.0")]
    frozen, _ = run(task, "quick", *options)  # a failed assert is a good answer
    if frozen and gain(frozen, frozen["value"]) > 0.5 * full_gain:
        yield (
            f"With a learning rate of zero the result is still {figure(frozen)}: "
            "it does not come from training."
        )
    other, reason = run(task, "quick", "--set", "seed=1")
    if not other:
        yield f"With seed = 1 the run fails. {reason}"
    elif other["value"] == record["value"]:
        yield f"With seed = 1 the result is {figure(other)} again; let the seed reach everything."
    elif abs(other["value"] - record["value"]) > GAIN_SHARE * full_gain:
        yield f"With seed = 1 the result is {figure(other)}, too far from {figure(record)}."


def compare(claim: dict, record: dict) -> Iterator[str]:
    """Yield where the contributor's claim differs from what was measured here."""
    for key in ("metric", "unit", "data", "parameters", "higher_is_better"):
        if claim.get(key) != record[key]:
            yield f"results.json claims {key} {claim.get(key)!r}; the run says {record[key]!r}."
    difference = abs(float(claim.get("value", math.nan)) - record["value"])
    if not difference <= CLAIM_SHARE * gain(record, record["value"]):
        yield f"results.json claims {claim.get('value')}; the run gave {figure(record)}."


def say(text: str) -> None:
    """Print text from a branch with its control characters made visible."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    print("".join(shown), flush=True)


def verdict(title: str, findings: list[str]) -> int:
    """Print one line for a group of checks and one for each finding; return their number."""
    say(f"{'REFUSED' if findings else 'ok':8} {title}")
    for finding in findings:
        say(f"         - {finding}")
    return len(findings)


def show_code(task: Task, before: Path) -> None:
    """Print the differences of the code cells between the base's notebook and the branch's."""

    def source(path):
        cells = code_cells(nbformat.read(path, as_version=4)) if path.exists() else []
        return [line for cell in cells for line in ["# %%", *cell.source.split("\n")]]

    old, new = source(before / task.path / task.notebook.name), source(task.notebook)
    for line in difflib.unified_diff(old, new, "base", "branch", lineterm=""):
        say(line)
    requirements = task.folder / "requirements.txt"
    if requirements.exists():
        say(f"requirements.txt:\n{requirements.read_text(encoding='utf-8', errors='replace')}")


def examine(options, root: Path, folder: Path) -> int:
    """Examine one task in the empty `folder`; return the number of findings.

    Raises TaskError for a wrong name.
    """
    path = find_task(options.task, options.branch, root)
    onto, start = find_base(options.base, options.branch, root)
    before, task = folder / "base", Task(*path.split("/"), folder / "tree")
    unpack(onto, before, root)
    unpack(onto, task.root, root)
    is_new = not (before / task.path).exists()
    shutil.rmtree(task.folder, ignore_errors=True)
    unpack(options.branch, task.root, root, task.path)
    shown = commit(options.branch, root)[:10]
    kind = "a new task" if is_new else "a changed task"
    say(f"{task.path} on {options.branch} ({shown}), {kind}, as if merged into {onto[:10]}")
    if options.commit and not commit(options.branch, root).startswith(options.commit):
        raise TaskError(f"The branch is at {shown}, not at {options.commit}; fetch it again.")
    if options.code:
        show_code(task, before)
        return 0

    names = []
    if is_new:
        try:
            new_task(path, before)
        except TaskError as error:
            names.append(str(error))
    files = list(check_files(task, options.branch, start, root))
    count = verdict("name and files", names + files)
    count += verdict("checker: anatomy, requirements, outputs that belong to the code", check(task))
    count += verdict("ruff: format and common mistakes", list(check_style(task)))
    if count:
        say("The notebook was not run: fix the above first.")
        return count
    claims = task.read_results()
    task.results.unlink(missing_ok=True)  # from here on only what is measured here counts
    clear_outputs(task)
    say(f"         isolation: {best_level()} ({LEVELS[best_level()]})")
    modes = ("quick", "full") if options.full else ("quick",)
    for mode in modes:
        record, reason = run(task, mode, "--save")
        if not record:
            count += verdict(f"{mode} run", [f"The {mode} run failed. {reason}"])
            break
        findings = [*compare(claims[mode], record)] if mode in claims else []
        if mode == "quick":
            if record["seconds"] > QUICK_SECONDS:
                took = duration(record["seconds"])
                findings.append(f"Quick mode took {took}; make it smaller: the aim is 45 s.")
            findings += check_learning(task, record)
            findings += check_mutations(task)
        count += verdict(f"{mode} run: {figure(record)}, {duration(record['seconds'])}", findings)
    if "full" in claims and not options.full:
        claim = figure(claims["full"])
        say(f"         claimed for full mode, not repeated here, so not published: {claim}")
    if options.merge and not count:
        shutil.rmtree(root / task.path, ignore_errors=True)
        shutil.copytree(task.folder, root / task.path)
        say(f"         {task.path} is in this checkout, with the outputs of the runs above")
    return count


def clear_outputs(task: Task) -> None:
    """Remove the contributor's outputs and stamp from the examined copy."""
    notebook = task.read_notebook()
    notebook.metadata.pop("stamp", None)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    write_notebook(task.notebook, notebook)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("tools.examine", __doc__)
    parser.add_argument("task", metavar="TASK", help="image_generation/pixelcnn, or pixelcnn")
    parser.add_argument("--branch", default="HEAD", help="default: the one checked out")
    parser.add_argument("--commit", help="refuse if the branch is not at this commit")
    parser.add_argument("--base", help="merge into this; default: main, else the branch's start")
    parser.add_argument("--full", action="store_true", help="also run in full mode")
    parser.add_argument("--code", action="store_true", help="only print the new code; run nothing")
    parser.add_argument("--merge", action="store_true", help="put the task into this checkout")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            count = examine(options, root, Path(folder).resolve())
    except TaskError as error:
        print(error, file=sys.stderr)
        return 2
    if not options.code:
        print(f"\nVerdict: {f'refused, {count} to fix' if count else 'nothing to refuse'}.")
    return int(count > 0)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # not every Windows pipe knows every character
    sys.exit(main())
