"""Check task notebooks without running them: anatomy, sizes, requirements, links, and that stored outputs are true.

    python -m tools.check            every task
    python -m tools.check vae        one task

One sentence for each finding; the exit status is 1 if there is any. Cells are counted from 1, Markdown included.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.stamp import code_digest, framed, outputs_digest, result_block
from tools.tasks import ROOT, Task, all_tasks, called_names, code_cells, find_tasks, lines_of_code

MOST_CELLS, MOST_LINES, MOST_WORDS, MOST_BYTES = 50, 400, 2500, 1_000_000
DISTRIBUTIONS = {"sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow", "cv2": "opencv-python"}
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[\w, -]+\])?\s*>=\s*[\w.]+\s*(;.*)?")
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.])/(?:home|root|Users|work|workspace|tmp|mnt|content|opt|var|data)/[\w.-]+"
    r"|\b[A-Za-z]:\\\w+|(?<![\w/])~/\w+|/(?:site|dist)-packages/"
)
LINK = re.compile(r"(!?)\[[^\]]*\]\(\s*<?([^)>\s]+)[^)]*\)|<(img)\b[^>]*\bsrc=[\"']([^\"']+)")
UNWRITTEN = re.compile(r"TODO:[^\n\"|]*")
MARKER = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
TAGS = re.compile(r"nbval|raises-exception|skip-execution")
ENTRY_KEYS = {
    *("task", "paper", "url", "data", "parameters", "metric", "value", "unit", "baseline", "band", "reference"),
    *("higher_is_better", "train_seconds", "seconds", "peak_memory_gib", "extra", "mode", "device", "versions"),
    *("digest", "date"),
}
# What torch 2.2 lacks, or what the newest torch warns of or refuses.
REFUSED = {
    *("RMSNorm", "rms_norm", "Buffer", "GradScaler", "enable_gqa", "accelerator", "including_emulation", "Muon"),
    *("get_default_device", "attention", "flex_attention", "sdpa_kernel", "verbose", "weight_norm", "script"),
    *("GaussianNoise", "JPEG", "read_video", "torch.cuda.amp", "torch.ao", "torch.jit"),
}
ALLOWED = {"parametrizations.weight_norm"}
STAMP_KEYS = ("mode", "digest", "device", "versions", "seconds", "peak_memory_gib", "date")


def check(task: Task) -> list[str]:
    """Return the findings for one task, each one a sentence that begins with the file and the cell."""
    findings = [f"{task.path}/{task.name}.ipynb{place}" for place in _check_notebook(task)]
    findings += [f"{task.path}/requirements.txt: {text}" for text in _check_requirements(task)]
    solutions = task.folder / "solutions.ipynb"
    if solutions.exists():
        findings += [f"{task.path}/solutions.ipynb{place}" for place in _check_any(solutions, task)]
    return findings


def _check_notebook(task: Task) -> Iterator[str]:
    findings = list(_check_any(task.notebook, task))
    yield from findings
    if any("is not plain Python" in text or "is not a notebook" in text for text in findings):
        return
    notebook = task.read_notebook()
    yield from _check_anatomy(notebook)
    yield from _check_outputs(notebook)
    yield from _check_stamp(notebook, task)


def _check_any(path: Path, task: Task) -> Iterator[str]:
    """What holds for every notebook: sizes, plain Python, covered imports, no absolute paths, no markers."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises many kinds
        yield f": it is not a notebook ({str(error).partition(chr(10))[0]})."
        return
    words = sum(map(_words, (cell.source for cell in notebook.cells if cell.cell_type == "markdown")))
    for number, unit, most in (
        (len(notebook.cells), "cells", MOST_CELLS),
        (lines_of_code(notebook), "lines of code", MOST_LINES),
        (words, "words of Markdown", MOST_WORDS),
        (path.stat().st_size, "bytes", MOST_BYTES),
    ):
        if number > most:
            yield f": it has {number:,} {unit}; at most {most:,} are allowed, so shorten or split it."
    listed = {_normal(name) for name in _requirements(task)}
    for number, cell in enumerate(notebook.cells, 1):
        place = f", cell {number}: "
        for match in ABSOLUTE_PATH.finditer(cell.source):
            yield f"{place}it names the path {match.group()}, which exists on one machine only; use a relative path."
        for match in UNWRITTEN.finditer(cell.source):
            yield f"{place}write this part and delete its marker: {match.group().strip()}"
        if match := TAGS.search(" ".join(cell.metadata.get("tags", []))):
            yield f"{place}remove its {match.group()} tag: every cell is run and checked."
        if cell.cell_type == "markdown":
            yield from (place + text for text in _check_links(cell.source, path.parent))
        if cell.cell_type != "code":
            continue
        if match := MARKER.search(cell.source):
            yield f"{place}remove the comment {match.group(1)}: every cell is run and checked."
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            yield f"{place}it is not plain Python (line {error.lineno}: {error.msg}); use no magics or shell commands."
            continue
        if refused := refused_names(tree):
            yield f"{place}it uses {', '.join(sorted(refused))}, which not every torch since 2.2 has; do without."
        for name in sorted(_imports(tree)):
            distribution = DISTRIBUTIONS.get(name, name)
            if _normal(distribution) not in listed:
                yield f"{place}it imports {name}; add a line {distribution}>=... to {task.path}/requirements.txt."


def _check_anatomy(notebook) -> Iterator[str]:
    cells = notebook.cells
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not first.startswith("# "):
        yield ", cell 1: it must be Markdown that begins with the title, as in '# Variational autoencoder'."
    if not re.search(r"^\|[-:| ]+\|\s*$", first, re.MULTILINE):
        yield ", cell 1: the table of facts (paper, data, parameters, metric, prerequisites) is missing."
    if result_block(notebook) is None:
        yield ", cell 1: the lines <!-- result --> and <!-- /result -->, for tools.run --save to fill, are missing."
    for number, cell in enumerate(cells[1:], 2):
        if cell.cell_type == "markdown" and re.search(r"^# ", _without_code(cell.source), re.MULTILINE):
            yield f", cell {number}: it has a second heading of level 1; use ## and below."
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    calls = set().union(*map(called_names, trees))
    for name, why in (("setup", "seeds and device"), ("pick", "the numbers of both modes"), ("record", "the result")):
        if name not in calls:
            yield f": no cell calls {name}(...), which gives {why}."
    if "record" in calls and "record" not in called_names(trees[-1]):
        yield ": record(...) must be called in the last code cell, after everything that can fail."
    if not any(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree)):
        yield ": there is no assert; check shapes, and formulas on tiny tensors against a closed form or torch."


def _check_outputs(notebook) -> Iterator[str]:
    if "widgets" in notebook.metadata:
        yield ": it stores widget state, which GitHub refuses to show; store outputs with tools.run --save."
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            place, data = f", cell {number}: ", output.get("data", {})
            if output.output_type == "error":
                yield f"{place}its output is the error {output.ename}; mend it and run tools.run --save."
            if output.get("name") == "stderr":
                yield f"{place}its output has warnings or error text (stderr); mend their cause and run it again."
            if any("widget" in kind for kind in data):
                yield f"{place}its output is a widget, which no one else can see; use common.progress or a picture."
            texts = [output.get("text", ""), *(data.get(kind, "") for kind in ("text/plain", "text/html"))]
            if match := ABSOLUTE_PATH.search("\n".join(texts)):
                yield f"{place}its output shows {match.group()}, a path of the machine it ran on."


def _check_stamp(notebook, task: Task) -> Iterator[str]:
    again = f"run python -m tools.run --save {task.name}"
    stamp = notebook.metadata.get("stamp")
    if not stamp:
        yield f": it has no stamped outputs; {again}."
        return
    cells = code_cells(notebook)
    if stamp.get("digest") != code_digest(notebook):
        yield f": the stored outputs are stale, the code has changed since the {stamp.get('mode')} run; {again}."
    if stamp.get("outputs") != outputs_digest(notebook):
        yield f": the stored outputs are not those that the stamped run wrote; {again}."
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f": the execution counts are not 1 to {len(cells)} in order; {again}."
    try:
        results = task.read_results()
        entry = results[results["stored"]]
        for mode in results.keys() - {"stored"}:
            if missing := ENTRY_KEYS - results[mode].keys():
                raise ValueError(f"its {mode} entry lacks {', '.join(sorted(missing))}")
            if results[mode]["digest"] != code_digest(notebook) or results[mode]["mode"] != mode:
                yield f": the {mode} entry of results.json belongs to other code; {again} in {mode} mode."
        block = framed(results)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        yield f": results.json beside it is missing, incomplete or no JSON ({error}); {again}."
        return
    if any(stamp.get(key) != entry[key] for key in STAMP_KEYS):
        yield f": the stamp and results.json tell of different runs; {again}."
    if result_block(notebook) not in (None, block):
        yield f", cell 1: the result block does not say what results.json says; {again}."
    printed = "".join(output.get("text", "") for output in cells[-1].outputs)
    if f"{entry['value']:.4g}" not in printed or f"{entry['mode']} mode" not in printed:
        yield f": the last cell's output does not show the recorded {entry['metric']}, {entry['value']:.4g}; {again}."
    if not any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs):
        yield ": no output is a picture; show what the model does with show_images or plot_curves."


def refused_names(tree: ast.AST) -> set[str]:
    """Return what code takes from torch that not every supported version has: attributes, imports, arguments."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            first, ends = dotted.split(".")[0], (node.attr, ".".join(dotted.split(".")[-2:]), dotted)
            if first in ("torch", "nn", "F", "optim", "torchvision", "transforms", "v2") and ends[1] not in ALLOWED:
                found |= REFUSED.intersection(ends)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (start + alias.name for alias in node.names):
                if name.split(".")[0] in ("torch", "torchvision"):
                    found |= REFUSED.intersection([name, name.rpartition(".")[0], *name.split(".")])
        elif isinstance(node, ast.keyword) and node.arg in ("enable_gqa", "including_emulation", "verbose"):
            found.add(node.arg)
    return found


def _check_requirements(task: Task) -> Iterator[str]:
    if not task.requirements.exists():
        yield "it is missing; list what the notebook imports, one name>=version to a line."
    for line in _requirement_lines(task):
        if not REQUIREMENT.fullmatch(line):
            yield f"{line!r} is not of the form name>=version; use lower bounds only, no pins, addresses or paths."


def _check_links(source: str, folder: Path) -> Iterator[str]:
    for bang, target, img, src in LINK.findall(_without_code(source)):
        target, picture = target or src, bool(bang or img)
        if re.match(r"(https?:)?//", target):
            if picture:
                yield f"the picture {target} lies on another server; let the notebook draw it."
        elif not re.match(r"#|mailto:|attachment:|data:", target) and not (folder / target.partition("#")[0]).exists():
            yield f"the link {target} leads nowhere."


def _requirement_lines(task: Task) -> list[str]:
    if not task.requirements.exists():
        return []
    lines = task.requirements.read_text(encoding="utf-8").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def _requirements(task: Task) -> list[str]:
    return [match.group(1) for match in map(REQUIREMENT.match, _requirement_lines(task)) if match]


def _imports(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"common"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_code(source: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", source, flags=re.DOTALL)


def _words(source: str) -> int:
    prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|<!--.*?-->|\]\([^)]*\)", " ", _without_code(source), flags=re.DOTALL)
    return len(re.findall(r"\w[\w'’-]*", prose))


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    names = sys.argv[1:] if arguments is None else arguments
    if any(name.startswith("-") for name in names):
        print(__doc__)
        return 0
    try:
        tasks = find_tasks(names, root) if names else all_tasks(root)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    findings = [finding for task in tasks for finding in check(task)]
    print("\n".join(findings) if findings else f"{len(tasks)} tasks checked: nothing found.")
    return int(bool(findings))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # not every Windows pipe knows every character
    sys.exit(main())
