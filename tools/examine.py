"""Examine a task on a contributor's branch, as it would be after merging; then merge it.

    python -m tools examine pixelcnn --branch ada.pixelcnn --code     show what it adds, run nothing
    python -m tools examine pixelcnn --branch ada.pixelcnn            check it, run quick mode
    python -m tools examine pixelcnn --branch ada.pixelcnn --full     also run full mode
    python -m tools examine pixelcnn --branch ada.pixelcnn --full --merge
                                      if nothing is refused, put the task into this checkout

Only the task's known files are taken from the branch, so stay on main: then the tools that judge
are main's. Each run happens in a sandbox (bubblewrap or a container), in a fresh copy that cannot
be written: the notebook as it is; with training stopped (it must get worse); with another seed (it
must change a little); with the mistakes of mutations.toml. What is merged are the files of the
branch with the text and pictures of our runs, never the contributor's. These are checks against
mistakes; against a forger only reading helps. The exit status is 0 if nothing was refused, 1 if
something was, 2 if the command is wrong or there is no sandbox.
"""

import copy
import difflib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.check import QUICK_SECONDS, check, helpers, markdown, rates
from tools.command import Parser, explained
from tools.mutate import FEWEST
from tools.new import new_task
from tools.results import RUN, Results, check_keys, duration, result_text
from tools.run import save
from tools.sandbox import find_sandbox, limited, read_output, sandboxed
from tools.stamp import code_digest
from tools.tasks import ROOT, TASK_FILE, Task, TaskError, code_cells, find_tasks, write_notebook

LIMITS = {"quick": 1200, "mutations": 3600, "full": 12 * 3600}  # seconds of a run, by the clock
FROZEN_SHARE = 0.5  # of its gain over the baseline may be left to a result without training
SEED_SHARE = 0.25  # of it must be left with another seed
CLAIM_SHARE = 0.1  # the contributor's result may differ from ours by this share of the gain
MOST_BYTES = 2_000_000  # of a notebook as it comes out of a run
FILES = ("{}.ipynb", "requirements.txt", "results.json", "mutations.toml")
NEEDED = re.compile(r"(common|tools)/.*|[^/]+|(?!docs|tests|benchmarks)\w+/[^/]+")
SETS = re.compile(r"\b(mnist|cifar10|shakespeare)\(")  # the common data sets, by their functions
OURS = {"stamp", "kernelspec", "language_info"}  # metadata that our own runs write
NOT_CHECKED = """
Not checked; read for it (--code shows all that is new):
  - {}
  - figures forged on purpose: typed in, or chosen by the number of images
  - test data used for training, or to choose by
  - whether the text says what the figures say, and the baseline is fair
  - whether the mutations are mistakes that somebody would make; licences"""
FULL = {
    True: "full mode with its training stopped or with another seed",
    False: "full mode, which was not run: the task is published with its quick run",
}
STILL = """\
def _still(value):
    if isinstance(value, dict):
        return {key: _still(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_still(item) for item in value]
    return value if isinstance(value, int) else value * 0  # an int is a count

"""
STOP = """\
def _stop(optimizer, *arguments):
    for group in optimizer.param_groups:
        group["lr"] = 0.0


import torch.optim.optimizer as _optimizer

_optimizer.register_optimizer_step_pre_hook(_stop)
"""


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


def find_base(branch: str, root: Path) -> tuple[str, str]:
    """Return the commit to merge into, main's, and the one that the branch started from.

    Raises TaskError if there is none.
    """
    for name in ("main", "origin/main", "origin/dev_start"):
        if onto := commit(name, root):
            try:
                return onto, lines("merge-base", onto, branch, root=root)[0]
            except TaskError as error:
                raise TaskError(f"{branch} did not start from {name}; fetch both again.") from error
    raise TaskError("There is no main to compare with; fetch it.")


def find_task(name: str, branch: str, root: Path) -> Task:
    """Return the task `name`, "pixelcnn" or "image_generation/pixelcnn", of a branch.

    Raises TaskError if there is no such branch, or if it has no such notebook, or several.
    """
    if not commit(branch, root):
        hint = f"fetch it first: git fetch REPOSITORY {branch}:{branch}"
        raise TaskError(f"There is no branch {branch}; {hint}")
    files = lines("ls-tree", "-r", "-z", "--name-only", branch, root=root)
    tasks = [Task(match[2], match[3]) for match in map(TASK_FILE.fullmatch, files) if match]
    try:
        return find_tasks([name], among=tasks)[0]
    except TaskError as error:
        raise TaskError(f"On {branch}: {error}") from error


def unpack_base(revision: str, folder: Path, root: Path) -> set[str]:
    """Write main's common, tools and category modules to a folder; of other files only names.

    Each file is asked for by itself: `git archive` would make a sparse clone fetch everything.
    """
    names = set()
    for entry in lines("ls-tree", "-r", "-z", revision, root=root):
        blob, name = entry.split()[2], entry.partition("\t")[2]
        names.add(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        needed = NEEDED.fullmatch(name)
        (folder / name).write_bytes(git("cat-file", "blob", blob, root=root) if needed else b"")
    return names


def unpack_task(task: Task, branch: str, start: str, new: bool, root: Path) -> Iterator[str]:
    """Write the branch's known files of a task; yield what is wrong with the others."""
    readme = f"{task.category}/README.md"
    changed = lines("diff", "--name-only", "--no-renames", "-z", start, branch, root=root)
    outside = [name for name in changed if not name.startswith(f"{task.path}/")]
    if outside := [name for name in outside if not (new and name == readme)]:
        names = ", ".join(outside[:5]) + (" and more" if len(outside) > 5 else "")
        yield f"The branch also changes {names}; a task touches only its own folder."
    known = [name.format(task.name) for name in FILES]
    wanted = [f"{task.path}/", *([readme] if new else [])]
    for entry in lines("ls-tree", "-r", "-l", "-z", branch, "--", *wanted, root=root):
        (mode, _, blob, size), path = entry.split()[:4], entry.partition("\t")[2]
        name = path.removeprefix(f"{task.path}/")
        if mode not in ("100644", "100755"):
            yield f"{path} is a link or a repository; put a plain file there."
        elif name not in known and path != readme and not re.fullmatch(r"[a-z]\w*\.py", name):
            yield f"{path} is none of {', '.join(known)}, no module beside them; remove it."
        elif int(size) > MOST_BYTES:
            yield f"{path} has {int(size):,} bytes; make it smaller."
        else:
            (task.root / path).parent.mkdir(parents=True, exist_ok=True)
            (task.root / path).write_bytes(git("cat-file", "blob", blob, root=root))
    if lines("status", "--porcelain", "-z", "--", task.path, root=root):
        yield f"{task.path} has changes here that are not committed; only commits are examined."


def check_style(task: Task) -> Iterator[str]:
    """Yield what ruff, which does not run code, finds in the task's folder."""
    for command in (["format", "--check"], ["check", "--output-format=concise"]):
        command = [sys.executable, "-m", "ruff", *command, "--no-cache", task.path]
        done = subprocess.run(command, cwd=task.root, capture_output=True, encoding="utf-8")
        if done.returncode:
            found = "; ".join((done.stdout or done.stderr).split("\n")[:3])
            yield f"Run ruff {command[3]} {task.path} and fix what is left ({found})."


class Runs:
    """Runs of one task, each in a sandbox and a fresh copy of the tree."""

    def __init__(self, task: Task, kind: str, folder: Path, data: Path | None = None):
        self.task, self.kind, self.folder, self.data, self.count = task, kind, folder, data, 0

    def start(self, mode: str, *command: str, notebook=None, **settings: str):
        """Run a tool on the task; return its exit status or a reason, its lines, and its tree."""
        self.count += 1
        tree = self.folder / f"run{self.count}"
        shutil.copytree(self.task.root, tree)
        if notebook:
            write_notebook(tree / self.task.path / self.task.notebook.name, notebook)
        settings |= {"DL_MODE": "full" if mode == "full" else "quick"}
        data = self.data if mode == "full" else None
        arguments = ["-m", command[0], self.task.path, *command[1:]]
        arguments, environment, folder = sandboxed(self.kind, arguments, tree, data, **settings)
        show = say if mode != "mutations" else (lambda line: None)
        run = (arguments, environment, folder, LIMITS[mode])
        return *limited(*run, lambda line: show(f"    {line}")), tree

    def notebook(self, mode: str, *options: str, notebook=None, **settings: str):
        """Run the notebook; return its record, or None, a reason why it failed, and its tree."""
        command = ("tools.run", "--record", "runs/record.json", *options)
        status, printed, tree = self.start(mode, *command, notebook=notebook, **settings)
        said = [line for line in printed if line.startswith(f"{self.task.path}: ")] or printed
        reason = next((line for line in reversed(said) if line.strip()), "It says nothing.")
        if status:
            return None, status if isinstance(status, str) else reason, tree
        try:
            record = json.loads(read_output(tree / "runs" / "record.json", 20_000) or "")
            check_keys(record | dict.fromkeys(("digest", "shared"), ""), RUN)
        except (ValueError, TypeError, AttributeError) as error:  # TaskError is a ValueError
            return None, f"It recorded no result: {error}", tree
        return record, "", tree


def take_outputs(task: Task, mode: str, record: dict, tree: Path) -> str:
    """Put text and pictures of a run into the branch's own notebook, stamped; return a reason."""
    notebook = task.read_notebook()
    try:
        text = read_output(tree / "runs" / f"{task.name}.{mode}.ipynb", MOST_BYTES)
        ran = code_cells(nbformat.reads(text or "", as_version=4))
        executed = nbformat.v4.new_notebook(cells=copy.deepcopy(code_cells(notebook)))
        if [cell.source for cell in ran] != [cell.source for cell in executed.cells]:
            return "The executed copy holds other code than the branch."
        for number, (cell, done) in enumerate(zip(executed.cells, ran, strict=True), 1):
            cell.outputs, cell.execution_count = [*map(plain, done.outputs)], number
        executed.metadata["language_info"] = {"name": "python"}
        save(executed, task, record | {"mode": mode})
    except Exception as error:  # whatever a hostile copy makes nbformat raise
        return f"The executed copy cannot be read: {str(error)[:200]}"
    return ""


def plain(output: dict) -> nbformat.NotebookNode:
    """Return an output with nothing but text and a described PNG in it."""
    if output["output_type"] == "stream":
        return nbformat.v4.new_output("stream", name=output["name"], text=str(output["text"]))
    kinds = [kind for kind in ("text/plain", "image/png") if kind in output["data"]]
    data = {kind: str(output["data"][kind]) for kind in kinds}
    about = output["metadata"].get("image/png", {})
    about = {key: about[key] for key in ("alt", "width") if isinstance(about.get(key), (str, int))}
    metadata = {"image/png": about} if "image/png" in data else {}
    return nbformat.v4.new_output("display_data", data, metadata=metadata)


def gain(record: dict, value: float) -> float:
    """Return by how much a value of the record's metric beats its baseline; negative if not."""
    difference = value - record["baseline"]["value"]
    return difference if record["higher_is_better"] else -difference


def frozen(notebook: nbformat.NotebookNode, settings: bool) -> nbformat.NotebookNode:
    """Return a copy in which optimizers of torch do not move and, if asked, all rates are zero."""
    changed = copy.deepcopy(notebook)
    code = code_cells(changed)
    stop = STOP if any(".step(" in cell.source for cell in code) else ""
    for cell in code if settings else []:
        source = cell.source.split("\n")
        for name, end in sorted(rates(cell.source), key=lambda rate: -rate[1]):
            source.insert(end, f"{name} = _still({name})")
        cell.source = "\n".join(source)
    code[0].source = f"{STILL}\n{stop}\n{code[0].source}"
    return changed


def check_learning(runs: Runs, record: dict) -> Iterator[str]:
    """Yield what shows that the result does not come from training, or not from the seed.

    Without training at most half of the gain over the baseline may remain; asserts are off, so that
    the frozen run gets to its record. Another seed must give another figure, close by.
    """
    notebook, whole = runs.task.read_notebook(), gain(record, record["value"])
    code = "\n".join(cell.source for cell in code_cells(notebook))
    ways = [settings for settings in (False, True) if rates(code) or not settings]
    still = None
    for settings in ways if ".step(" in code else ways[1:]:
        changed = frozen(notebook, settings)
        still, reason, _ = runs.notebook("quick", notebook=changed, PYTHONOPTIMIZE="1")
        if not still:
            yield f"With training stopped it does not get to record(...): {reason}"
            break
        if gain(still, still["value"]) <= FROZEN_SHARE * whole:
            break
    else:
        if still:
            yield f"With training stopped the result is still {result_text(still)}."
        else:
            say("         not checked: does the result come from training? No torch optimizer, no")
            say("         top-level setting whose name contains the word rate. Read how it learns.")
    other, reason, _ = runs.notebook("quick", "--set", "seed=1")
    if not other:
        yield f"With seed = 1 the run fails. {reason}"
    elif other["value"] == record["value"]:
        yield f"With seed = 1 it is {result_text(other)} again; let the seed reach everything."
    elif gain(other, other["value"]) < SEED_SHARE * whole:
        yield f"With seed = 1 it is {result_text(other)}, too far from {result_text(record)}."


def check_mutations(runs: Runs) -> Iterator[str]:
    """Yield which of the task's mutations its own checks do not notice."""
    status, printed, _ = runs.start("mutations", "tools.mutate")
    done = [re.search(r"(\d+) of (\d+) mutations killed", line) for line in printed]
    counts = [(int(match[1]), int(match[2])) for match in done if match]
    if status or not counts or not FEWEST <= counts[-1][0] == counts[-1][1]:
        found = [line.strip(" -") for line in printed if line.startswith("  - ")] or printed[-1:]
        yield from found if not isinstance(status, str) else [status]
        if not counts:
            yield "The mutations ended before the last of them."


def compare(claim: dict, record: dict) -> Iterator[str]:
    """Yield where the contributor's claim differs from what was measured here."""
    for key in ("metric", "unit", "data", "parameters", "higher_is_better"):
        if claim.get(key) != record[key]:
            yield f"results.json claims {key} {claim.get(key)!r}; the run says {record[key]!r}."
    difference = abs(float(claim.get("value", math.nan)) - record["value"])
    if not difference <= CLAIM_SHARE * gain(record, record["value"]):
        yield f"results.json claims {claim.get('value')}; the run gave {result_text(record)}."


def fetch_data(task: Task, root: Path) -> Path:
    """Download what a full run reads, outside the sandbox; return the folder of the data sets.

    That are the common sets, by the functions that the code calls, and the files of the metadata's
    `task.data`, each with its hash, into a folder of the task's own. Raises TaskError.
    """
    from common.data import DataError, data_folder, fetch, require_hash  # imports torch

    sources = [cell.source for cell in code_cells(task.read_notebook())]
    sources += [path.read_text(encoding="utf-8") for path in helpers(task)]
    for name in sorted(set(SETS.findall("\n".join(sources)))):
        command = [sys.executable, "-c", f"from common import data; data.{name}('cpu')"]
        environment = os.environ | {"DL_MODE": "full"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-300:]
            raise TaskError(f"The data set {name} cannot be fetched: {reason}")
    for item in task.facts().get("data", []):
        target = data_folder() / task.name / item["file"]
        try:
            say(f"    fetching {item['url']}")
            blob = fetch([item["url"]], target, item["hash"]).read_bytes()
            require_hash("sha256", blob, item["hash"].removeprefix("sha256:"))
        except (DataError, ValueError) as error:
            raise TaskError(f"{target}: {error}") from error
    data_folder().mkdir(parents=True, exist_ok=True)
    return data_folder().resolve()


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


def show_code(task: Task, onto: str, root: Path) -> None:
    """Print all text of the branch's files that differs from the base: code, prose, metadata."""

    def readable(name: str, content: bytes) -> list[str]:
        text = content.decode(errors="replace")
        try:
            notebook = nbformat.reads(text if name.endswith(".ipynb") else "", as_version=4)
        except Exception:  # no notebook, or a broken one
            return text.split("\n")
        cells = []
        for cell in notebook.cells:
            extra = {**cell.metadata, **cell.get("attachments", {})}
            cells.append(f"# %% {cell.cell_type} {extra or ''}\n{cell.source}")
        about = {key: notebook.metadata[key] for key in notebook.metadata.keys() - OURS}
        return "\n".join([*cells, json.dumps(about, indent=1, sort_keys=True)]).split("\n")

    for path in sorted(task.folder.parent.glob("README.md")) + sorted(task.folder.iterdir()):
        name = path.relative_to(task.root).as_posix()
        try:
            old = git("show", f"{onto}:{name}", root=root)
        except TaskError:
            old = b""
        if path.name != "results.json":
            texts = readable(name, old), readable(name, path.read_bytes())
            for line in difflib.unified_diff(*texts, "base", name, lineterm=""):
                say(line)


def examine(options, root: Path, folder: Path) -> int:
    """Examine one task in the empty `folder`; return the number of findings.

    Raises TaskError for a wrong name, and if there is no sandbox.
    """
    found = find_task(options.task, options.branch, root)
    task = Task(found.category, found.name, folder / "tree")
    onto, start = find_base(options.branch, root)
    before = unpack_base(onto, task.root, root)
    is_new = f"{task.path}/{task.name}.ipynb" not in before
    new_category = f"{task.category}/README.md" not in before
    shown = commit(options.branch, root) or ""
    kind = "a new task" if is_new else "a changed task"
    say(f"{task.path} on {options.branch} ({shown[:10]}), {kind}, as if merged into {onto[:10]}")
    if options.commit and not shown.startswith(options.commit):
        raise TaskError(f"The branch is at {shown[:10]}, not at {options.commit}; fetch it again.")
    shutil.rmtree(task.folder, ignore_errors=True)
    task.folder.mkdir(parents=True)
    files = list(unpack_task(task, shown, start, new_category, root))
    readme = task.folder.parent / "README.md"
    if options.code:
        show_code(task, onto, root)
        return verdict("name and files", files)
    if new_category and readme.exists():
        text = readme.read_text(encoding="utf-8", errors="replace")
        files += [
            f"{readme.name} of {task.category}: {said}" for said in markdown(text, task.folder)
        ]
    if is_new:
        try:
            task.folder.rename(folder / "aside")
            new_task(task.path, task.root)
        except TaskError as error:
            files.insert(0, str(error))
        (folder / "aside").rename(task.folder)
    count = verdict("name and files", files)
    count += verdict("checker: anatomy, requirements, outputs that belong to the code", check(task))
    count += verdict("ruff: format and common mistakes", list(check_style(task)))
    if count:
        say("The notebook was not run: fix the above first.")
        return count
    sandbox = "none" if options.no_sandbox else find_sandbox()
    say(f"         sandbox: {sandbox}")
    claims = Results.read(task)
    task.results.unlink(missing_ok=True)  # from here on only what is measured here counts
    notebook = task.read_notebook()
    notebook.metadata.pop("stamp", None)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    write_notebook(task.notebook, notebook)
    digest = code_digest(notebook)
    runs = Runs(task, sandbox, folder, fetch_data(task, root) if options.full else None)
    for mode in ("quick", "full") if options.full else ("quick",):
        record, reason, tree = runs.notebook(mode)
        reason = reason or take_outputs(task, mode, record, tree)
        if reason:
            count += verdict(f"{mode} run", [f"The {mode} run failed. {reason}"])
            break
        claim = getattr(claims, mode)
        findings = [*compare(claim, record)] if claim else []
        if mode == "quick":
            if (cpu := record.get("cpu_seconds", record["seconds"])) > QUICK_SECONDS:
                findings.append(f"Quick mode took {cpu:.0f} s of CPU, more than {QUICK_SECONDS}.")
            findings += [*check_learning(runs, record), *check_mutations(runs)]
        took = duration(record["seconds"])
        count += verdict(f"{mode} run: {result_text(record)}, {took}", findings)
    if not count:
        findings = [] if code_digest(task.read_notebook()) == digest else ["The code has changed."]
        count += verdict("checker: the files as they would be merged", findings + check(task))
    if claims.full and not options.full:
        claimed = result_text(claims.full)
        say(f"         claimed for full mode, not repeated here, so not published: {claimed}")
    if options.merge and not count:
        shutil.rmtree(root / task.path, ignore_errors=True)
        shutil.copytree(task.folder, root / task.path)
        if new_category:
            shutil.copy(readme, root / task.category)
        say(f"         {task.path} is in this checkout, with the outputs of the runs above")
    return count


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("examine", __doc__)
    parser.add_argument("task", metavar="TASK", help="image_generation/pixelcnn, or pixelcnn")
    parser.add_argument("--branch", default="HEAD", help="default: the one checked out")
    parser.add_argument("--commit", help="refuse if the branch is not at this commit")
    parser.add_argument("--full", action="store_true", help="also run in full mode")
    parser.add_argument("--code", action="store_true", help="only show what is new; run nothing")
    parser.add_argument("--merge", action="store_true", help="put the task into this checkout")
    parser.add_argument("--no-sandbox", action="store_true", help="only for code of your own")
    options = parser.parse_args(arguments)
    if options.merge and (options.code or options.no_sandbox):
        parser.error("--merge needs the runs in a sandbox: leave out --code and --no-sandbox")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        count = examine(options, root, Path(folder).resolve())
    if not options.code:
        print(f"\nVerdict: {f'refused, {count} to fix' if count else 'nothing to refuse'}.")
        if not count:
            print(NOT_CHECKED.format(FULL[options.full]))
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(explained(main))
