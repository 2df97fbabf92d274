"""Check task notebooks without running them: anatomy, sizes, requirements, links, stored outputs.

    python -m tools check            every task
    python -m tools check vae        one task

Prints one sentence for each finding; the exit status is 1 if there is any, 2 if the command is
wrong. Cells are counted from 1, Markdown included.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools import practice
from tools.command import Parser, explained
from tools.results import Results, result_block
from tools.stamp import code_digest, find_block, outputs_digest, shared_digest
from tools.tasks import ROOT, Task, TaskError, all_tasks, code_cells, find_tasks

MOST_CELLS, MOST_LINES, MOST_CELL_LINES, MOST_WORDS, MOST_BYTES = 40, 320, 45, 2000, 1_000_000
# Not yet reworked: a quarter more of everything, and cells of any length. The list only shrinks.
FIRST_EDITIONS = {
    *"backpropagation distributed_training initialization optimizers regularization".split(),
    *"resnet vit vae gan ddpm flow_matching simclr moco mae char_rnn gpt translation".split(),
}
MOST_WIDTH = 100  # columns of code; JupyterLab shows no more at 1,280 pixels
MOST_TEXT = 40_000  # bytes of all printed outputs
TEMPLATE = Path(__file__).with_name("template.ipynb")
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python"}
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[\w, -]+\])?\s*>=\s*[\w.]+\s*(;.*)?")
SHARED_REQUIREMENTS = "-r ../../common/requirements.txt"
ABSOLUTE_PATH = re.compile(
    r"(?<![\w./:])/(?:home|root|Users|work|workspace|tmp|mnt|content|opt|var|data)/[\w.-]+"
    r"|\b[A-Za-z]:\\\w+|(?<![\w/])~/\w+|/(?:site|dist)-packages/"
)
LINK = re.compile(r"(!?)\[[^\]]*\]\(\s*<?([^)>\s]+)[^)]*\)")
RAW_HTML = re.compile(
    r"<(?!!-- /?result -->|br>|/?(?:sub|sup|kbd|details|summary)>)[/!a-zA-Z][^>]*>"
)
UNWRITTEN = re.compile(r"TODO:[^\n\"|]*")
FIRST_EDITION = "import sys\nfrom pathlib import Path\n\nroot = Path("  # until they are run again
MARKER = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
FACTS = {"title": str, "summary": str, "needs": list, "cover": str}
OUTPUT_KINDS = {"text/plain", "image/png"}


def check(task: Task) -> list[str]:
    """Return the findings for one task, each a sentence that begins with the file and the cell."""
    try:
        notebook = task.read_notebook()
        nbformat.validate(notebook)
    except (TaskError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        return [reason if task.path in reason else f"{task.path}: not a valid notebook: {reason}"]
    parts = [_sizes(task, notebook), _cells(task, notebook), _anatomy(notebook), _facts(task)]
    findings = [finding for part in parts for finding in part]
    if not any("is not plain Python" in finding for finding in findings):
        findings += [*_code(notebook), *_outputs(notebook), *_stamp(notebook, task)]
        findings += [f": {problem}" for problem in practice.problems(task)]
    findings = [f"{task.path}/{task.name}.ipynb{finding}" for finding in findings]
    return findings + [f"{task.path}/requirements.txt: {text}" for text in _requirements(task)]


def _sizes(task: Task, notebook) -> Iterator[str]:
    markdown = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    longest = max((len(cell.source.splitlines()) for cell in code_cells(notebook)), default=0)
    room = 1.25 if task.name in FIRST_EDITIONS else 1
    for number, unit, most in (
        (len(notebook.cells), "cells", round(room * MOST_CELLS)),
        (lines_of_code(notebook), "lines of code", round(room * MOST_LINES)),
        (longest, "lines in one code cell", 65 if room > 1 else MOST_CELL_LINES),
        (sum(map(_words, markdown)), "words of Markdown", round(room * MOST_WORDS)),
        (task.notebook.stat().st_size, "bytes", MOST_BYTES),
    ):
        if number > most:
            yield f": it has {number:,} {unit}, more than {most:,}; drop a section or split it."


def _cells(task: Task, notebook) -> Iterator[str]:
    """What holds for every cell by itself."""
    listed = {_normal(name) for name in _listed(task)}
    for number, cell in enumerate(notebook.cells, 1):
        place = f", cell {number}: "
        if match := ABSOLUTE_PATH.search(cell.source):
            yield f"{place}{match.group()} exists on one machine only; use a relative path."
        for match in UNWRITTEN.finditer(cell.source):
            yield f"{place}write this part and delete its marker: {match.group().strip()}"
        if cell.metadata.get("tags"):
            yield f"{place}remove its tags: every cell is run and shown."
        if cell.cell_type == "raw":
            yield f"{place}make this raw cell Markdown or code."
        if cell.cell_type == "markdown":
            yield from (place + text for text in _markdown(cell.source, task.folder))
        if cell.cell_type != "code":
            continue
        if match := MARKER.search(cell.source):
            yield f"{place}remove the comment {match.group(1)}: every cell is run and checked."
        for line in cell.source.splitlines():
            if len(line) > MOST_WIDTH:
                yield f"{place}a line has {len(line)} columns, more than {MOST_WIDTH}: {line[:40]}"
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            yield (
                f"{place}line {error.lineno} is not plain Python ({error.msg}); "
                "use no magics or shell commands."
            )
            continue
        for name in sorted(_imports(tree, task.root)):
            distribution = DISTRIBUTIONS.get(name, name)
            if _normal(distribution) not in listed:
                where = f"{task.path}/requirements.txt"
                yield f"{place}it imports {name}; add {distribution}>=VERSION to {where}."


def _markdown(source: str, folder: Path) -> Iterator[str]:
    text = _without_code(source)
    if match := RAW_HTML.search(text):
        yield f"raw HTML ({match.group()[:30]}) is not shown everywhere; write plain Markdown."
    for picture, target in LINK.findall(text):
        if re.match(r"(https?:)?//", target):
            if picture:
                yield f"the picture {target} lies on another server; let the notebook draw it."
        elif (
            not re.match(r"#|mailto:", target) and not (folder / target.partition("#")[0]).exists()
        ):
            yield f"the link {target} leads nowhere."


def _anatomy(notebook) -> Iterator[str]:
    cells = notebook.cells
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not first.startswith("# "):
        yield ", cell 1: it must be Markdown that begins with the title, as in '# ResNet: ...'."
    if not re.search(r"^\|(?=.*--)[-:| ]+\|\s*$", first, re.MULTILINE):
        yield ", cell 1: the table of facts (paper, data, model, metric, needs) is missing."
    if find_block(notebook) is None:
        yield ", cell 1: the lines <!-- result --> and <!-- /result --> are missing."
    for number, cell in enumerate(cells[1:], 2):
        if cell.cell_type == "markdown":
            if re.search(r"^# ", _without_code(cell.source), re.MULTILINE):
                yield f", cell {number}: it has a second heading of level 1; use ## and below."
    template = code_cells(nbformat.read(TEMPLATE, as_version=4))[0].source
    head = template.partition("import")[0]
    code = code_cells(notebook)
    if not code or not code[0].source.startswith((head, FIRST_EDITION)):
        yield ": the first code cell must begin with the two lines of tools/template.ipynb."


def _facts(task: Task) -> Iterator[str]:
    """What README and site say of the task stands in the notebook's metadata."""
    facts, notebook = task.facts(), task.read_notebook()
    for name, kind in FACTS.items():
        if not isinstance(facts.get(name), kind) or facts[name] == "":
            yield f": its metadata lacks task.{name} ({kind.__name__}); see tools/template.ipynb."
    for name, value in facts.items():
        if isinstance(value, str) and "TODO:" in value:
            yield f": its metadata says task.{name} {value!r}; write it."
    needs = facts.get("needs", [])
    for need in needs if isinstance(needs, list) else []:
        if not (task.root / str(need)).is_dir():
            yield f": its metadata says that it needs {need}, and there is no such task."
    covers = [cell for cell in notebook.cells if cell.get("id") == facts.get("cover")]
    if "stamp" in notebook.metadata and not any(map(pictures, covers)):
        yield ": its metadata names no cell with a picture as task.cover."


def _code(notebook) -> Iterator[str]:
    """What holds for the code as a whole."""
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    calls = [_calls(tree) for tree in trees]
    for name, gives in (("setup", "the device"), ("pick", "both modes"), ("record", "the result")):
        if not any(name in called for called in calls):
            yield f": no cell calls {name}(...), which gives {gives}."
    if any("record" in called for called in calls[:-1]):
        yield ": record(...) must stand in the last code cell, after everything that can fail."
    assigned = [ast.unparse(node) for tree in trees for node in tree.body]
    if not any(re.fullmatch(r"seed = \d+", line) for line in assigned):
        yield ": no cell says `seed = 0`, from which everything random must follow."
    nodes = [node for tree in trees for node in ast.walk(tree)]
    tests = [node for node in nodes if isinstance(node, ast.Assert)]
    if not tests and not any("assert_close" in ast.unparse(node) for node in nodes):
        yield ": there is no assert; check formulas on tiny tensors against a closed form."
    for node in nodes:
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if re.match(r"(torch\.manual_seed|np\.random\.seed|random\.seed)\(\d", text):
            yield f": {text} hides the run's seed; write `seed` or `seed + 1` in it."
        if isinstance(node, (ast.If, ast.IfExp)) and "mode()" in ast.unparse(node.test):
            yield ": an if depends on mode(); a mode changes sizes and data by pick(...) only."
        if isinstance(node, ast.Constant) and node.value == "DL_MODE":
            yield ": it reads DL_MODE; use pick(...) for what differs between the modes."
    bars = {"progress"}
    for node in nodes:
        if isinstance(node, ast.Assign) and "progress" in _calls(node):
            bars |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.For) and bars & {n.id for n in _names(node.iter)}:
            if any("print" in _calls(statement) for statement in node.body):
                yield ": print inside a progress loop garbles the bar; use bar.write(...)."


def _outputs(notebook) -> Iterator[str]:
    """Outputs are plain text and PNG pictures with a description, and short."""
    printed = 0
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            place, data = f", cell {number}: ", output.get("data", {})
            if output.output_type == "error":
                yield f"{place}its output is the error {output.ename}; fix the cell and run it."
            if output.get("name") == "stderr":
                yield f"{place}its output has warnings (stderr); fix their cause and run it again."
            for kind in sorted(set(data) - OUTPUT_KINDS):
                yield f"{place}its output is {kind}; outputs are text or pictures made by show."
            if "image/png" in data and not output.metadata.get("image/png", {}).get("alt"):
                yield f"{place}its picture has no description; draw it with show(figure, alt)."
            text = output.get("text", "") + str(data.get("text/plain", ""))
            printed += len(text)
            if match := ABSOLUTE_PATH.search(text):
                yield f"{place}its output shows {match.group()}, a path of the machine it ran on."
    if printed > MOST_TEXT:
        yield f": it prints {printed:,} characters, more than {MOST_TEXT:,}; print less."


def _stamp(notebook, task: Task) -> Iterator[str]:
    """Stored outputs belong to the code above them, and results.json tells of the same run."""
    again = f"run python -m tools run --save {task.name}"
    stamp, cells = notebook.metadata.get("stamp"), code_cells(notebook)
    if not isinstance(stamp, dict):
        yield f": it has no stamped outputs; {again}."
        return
    if stamp.get("digest") != code_digest(notebook):
        yield f": the stored outputs are stale, the code has changed since; {again}."
        return
    if stamp.get("mode") == "quick" and stamp.get("shared") != shared_digest(
        notebook, task.folder, task.root
    ):
        yield f": the stored outputs are stale, what it imports from `common` has changed; {again}."
    if stamp.get("outputs") != outputs_digest(notebook):
        yield f": the stored outputs are not those that the stamped run wrote; {again}."
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f": the cells were not run in order; {again}."
    try:
        results = Results.read(task)
        for run in filter(None, (results.full, results.quick)):
            if run["digest"] != stamp["digest"]:
                yield f": the {run['mode']} run of results.json belongs to other code; {again}."
    except TaskError as error:
        yield f": {error}; {again}."
        return
    run = results.shown
    if not run or any(stamp.get(key) != run[key] for key in ("mode", "device", "seconds", "date")):
        yield f": the stamp and results.json tell of different runs; {again}."
        return
    if find_block(notebook) != result_block(run):
        yield f", cell 1: the result block does not say what results.json says; {again}."
    printed = "".join(output.get("text", "") for output in cells[-1].outputs)
    if f"{run['value']:.4g}" not in printed or f"{run['mode']} run" not in printed:
        yield f": the last cell's output does not show {run['metric']} {run['value']:.4g}; {again}."
    if not any(map(pictures, cells)):
        yield ": no output is a picture; show what the model does."


def _requirements(task: Task) -> Iterator[str]:
    lines = _requirement_lines(task)
    if SHARED_REQUIREMENTS not in lines:
        yield f"its first line must be {SHARED_REQUIREMENTS}, which lists what every task needs."
    for line in lines:
        if line != SHARED_REQUIREMENTS and not REQUIREMENT.fullmatch(line):
            yield f"{line!r} is not of the form name>=version; use lower bounds only."


def _requirement_lines(task: Task) -> list[str]:
    path = task.folder / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def _listed(task: Task) -> list[str]:
    shared = task.root / "common" / "requirements.txt"
    common = shared.read_text(encoding="utf-8").splitlines() if shared.exists() else []
    matches = map(REQUIREMENT.match, _requirement_lines(task) + common)
    return [match.group(1) for match in matches if match]


def _imports(tree: ast.AST, root: Path) -> set[str]:
    nodes = list(ast.walk(tree))
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    names = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    return {name for name in names if name != "common" and not (root / name).is_dir()}


def pictures(cell) -> list[str]:
    """Return the pictures among a cell's outputs, as base64 text."""
    found = (output.get("data", {}).get("image/png") for output in cell.get("outputs", []))
    return [picture for picture in found if picture]


def lines_of_code(notebook) -> int:
    """Return the number of code lines: neither blank nor only a comment."""
    lines = (line.strip() for cell in code_cells(notebook) for line in cell.source.splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def _calls(tree: ast.AST) -> set[str]:
    """Return the names of the plain functions that a piece of code calls."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def _names(tree: ast.AST) -> list[ast.Name]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_code(source: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", "", source, flags=re.DOTALL)


def _words(source: str) -> int:
    prose = re.sub(r"<!--.*?-->|\]\([^)]*\)", " ", _without_code(source), flags=re.DOTALL)
    return len(re.findall(r"\w[\w'’-]*", prose))


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("check", __doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="vae; default: every task")
    names = parser.parse_args(arguments).tasks
    tasks = find_tasks(names, root) if names else all_tasks(root)
    findings = [finding for task in tasks for finding in check(task)]
    print("\n".join(findings) if findings else f"{len(tasks)} tasks checked: nothing found.")
    return int(bool(findings))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(explained(main))
