"""Check task notebooks without running them: anatomy, sizes, requirements, links, stored outputs.

    python -m tools check            every task
    python -m tools check vae        one task

Prints one sentence for each finding; the exit status is 1 if there is any, 2 if the command is
wrong. Cells are counted from 1, Markdown included.
"""

import ast
import base64
import contextlib
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import nbformat
from markdown_it.renderer import RendererHTML
from markdown_it.tree import SyntaxTreeNode
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tools import practice
from tools.command import Parser, explained
from tools.mutate import FEWEST, read_mutations
from tools.results import Results, result_block
from tools.stamp import code_digest, find_block, outputs_digest, shared_digest
from tools.tasks import FACTS, ROOT, Task, TaskError, all_tasks, code_cells, find_tasks

MOST_CELLS, MOST_LINES, MOST_CELL_LINES, MOST_WORDS, MOST_BYTES = 40, 320, 45, 2000, 1_000_000
# Not yet reworked: a quarter more of everything, and cells of any length. The list only shrinks.
FIRST_EDITIONS = {
    *"simclr moco mae".split(),
    *"char_rnn gpt translation distributed_training".split(),
}
MOST_WIDTH = 100  # columns of code and of printed lines; JupyterLab shows 103 at 1,280 pixels
WIDE_PRINTS = {  # stored before lines were measured; the list only shrinks
    *"backpropagation distributed_training losses optimizers perceptron".split(),
    *"regularization schedules_and_muon gpt translation vae".split(),
}
MOST_TEXT = 40_000  # bytes of all printed outputs
MOST_HELPER_LINES = 350  # of all modules beside a notebook: they hold plumbing, not the idea
QUICK_SECONDS = 60  # of CPU time for a run in quick mode, start included
TEMPLATE = Path(__file__).with_name("template.ipynb")
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python"}
HIDING = {"exec", "eval", "compile", "__import__", "importlib.import_module"}
MARKER = r'(;\s*(python_version|sys_platform)\s*[<>=!]=?\s*"[\w.]+")?'
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[\w, -]+\])?\s*>=\s*([\w.]+)\s*" + MARKER)
SHARED_REQUIREMENTS = "-r ../../common/requirements.txt"
ABSOLUTE_PATH = re.compile(
    r"(?<![\w./:])/(?:home|root|Users|work|workspace|tmp|mnt|content|opt|var|data)/[\w.-]+"
    r"|\b[A-Za-z]:\\\w+|(?<![\w/])~/\w+|/(?:site|dist)-packages/"
)
MARKDOWN = set(  # all that the text of a notebook is made of, as the site's parser names it
    "inline text softbreak hardbreak hr fence code_block code_inline image heading paragraph "
    "strong em link table thead tbody tr th td bullet_list ordered_list list_item blockquote "
    "math_inline math_inline_double math_block".split()
)
RESULT_MARKS = ("<!-- result -->", "<!-- /result -->")
MATH_MARKUP = re.compile(r"\\(href|style|class|cssId|require|data|special)\b")  # HTML by MathJax
NOT_PLAIN = re.compile(r"[<>\[\]|\\`\n\r]")  # in texts that README and site show
NOT_ALT = re.compile(r"[<>\n\r]|\]\(")  # in a picture's description
MOST_PIXELS = 4000  # of a picture's width and height
UNWRITTEN = re.compile(r"TODO:[^\n\"|]*")
FIRST_EDITION = "import sys\nfrom pathlib import Path\n\nroot = Path("  # until they are run again
SKIP = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
MOST_LETTERS = {"title": 40, "summary": 160}
METADATA = {"kernelspec", "language_info", "stamp", "task"}
DATA = {"url": r"https?://[\w.:/%~?=&+-]+", "hash": r"sha256:[0-9a-f]{64}", "file": r"\w[\w.-]*"}
SPECIAL = re.compile(r"test_|.*_test$|conftest$|site|usercustomize|setup$")  # to Python, pytest
GPU: dict = {"expected": str, "flops": (int, float), "source": str}
RATE = re.compile(r"(^|_)(rates?|lr)(_|$)")
OUTPUT_KINDS = {"text/plain", "image/png"}


def check(task: Task) -> list[str]:
    """Return the findings for one task, each a sentence that begins with the file and the cell."""
    try:
        notebook = task.read_notebook()
        nbformat.validate(notebook)
        task.facts()
    except (TaskError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        return [reason if task.path in reason else f"{task.path}: not a valid notebook: {reason}"]
    findings = [*_sizes(task, notebook), *_cells(task, notebook), *_anatomy(notebook)]
    findings += _facts(task, notebook)
    if not any("is not plain Python" in finding for finding in findings):
        findings += [*_code(notebook), *_outputs(task, notebook), *_stamp(notebook, task)]
        findings += _practice(task)
    findings = [f"{task.path}/{task.name}.ipynb{finding}" for finding in findings]
    findings += [f"{task.path}/requirements.txt: {text}" for text in _requirements(task, notebook)]
    return findings + [
        f"{task.path}/{text}" for text in [*_helpers(task, notebook), *_mutations(task)]
    ]


def _sizes(task: Task, notebook) -> Iterator[str]:
    markdown = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    longest = max((len(cell.source.splitlines()) for cell in code_cells(notebook)), default=0)
    room = 1.25 if task.name in FIRST_EDITIONS else 1
    for number, unit, most in (
        (len(notebook.cells), "cells", round(room * MOST_CELLS)),
        (lines_of_code(notebook), "lines of code", round(room * MOST_LINES)),
        (longest, "lines in one code cell", 65 if room > 1 else MOST_CELL_LINES),
        (sum(map(words, markdown)), "words of Markdown", round(room * MOST_WORDS)),
        (task.notebook.stat().st_size, "bytes", MOST_BYTES),
    ):
        if number > most:
            yield f": it has {number:,} {unit}, more than {most:,}; drop a section or split it."


def _cells(task: Task, notebook) -> Iterator[str]:
    """What holds for every cell by itself."""
    for number, cell in enumerate(notebook.cells, 1):
        place = f", cell {number}: "
        yield from (place + text for text in _text(cell.source))
        for match in UNWRITTEN.finditer(cell.source):
            yield f"{place}write this part and delete its marker: {match.group().strip()}"
        for name in sorted({*cell.metadata} - {"lines_to_next_cell"}):
            yield f"{place}remove its metadata {name}: nothing is hidden."
        if cell.get("attachments"):
            yield f"{place}remove its attachments; let the notebook draw its pictures."
        if cell.cell_type == "raw":
            yield f"{place}make this raw cell Markdown or code."
        if cell.cell_type == "markdown":
            yield from (place + text for text in markdown(cell.source, task.folder, number == 1))
        if cell.cell_type != "code":
            continue
        if skip := SKIP.search(cell.source):
            yield f"{place}remove the comment {skip[1]}: every cell is run and checked."
        for line in cell.source.splitlines():
            if len(line) > MOST_WIDTH:
                yield f"{place}a line has {len(line)} columns, more than {MOST_WIDTH}: {line[:40]}"
        yield from (place + text for text in _python(cell.source, task))


def _text(source: str) -> Iterator[str]:
    """What holds for every text of a contributor."""
    for character in sorted(invisible(source)):
        yield f"it holds an invisible character, U+{ord(character):04X}; remove it."
    if match := ABSOLUTE_PATH.search(source):
        yield f"{match[0]} exists on one machine only; use a relative path."


def _python(source: str, task: Task) -> Iterator[str]:
    """What holds for every piece of code."""
    try:
        names = _imports(ast.parse(source), task)
    except SyntaxError as error:
        yield (
            f"line {error.lineno} is not plain Python ({error.msg}); "
            "use no magics or shell commands."
        )
        return
    for name in sorted(names - _listed(task)):
        yield f"it imports {name}; add {name}>=VERSION to {task.path}/requirements.txt."


@functools.cache
def _parser():
    """Return the site's own Markdown parser."""
    return create_md_parser(MdParserConfig(enable_extensions={"dollarmath"}), RendererHTML)


def parts(source: str) -> list[SyntaxTreeNode]:
    """Return the parts of a Markdown text, those inside of others too."""
    return list(SyntaxTreeNode(_parser().parse(source)).walk(include_self=False))


def markdown(source: str, folder: Path, first: bool = False) -> Iterator[str]:
    """Yield what a Markdown cell must not hold: HTML, directives, remote pictures, dead links."""
    for part in parts(source):
        info, shown = part.info.strip(), part.content.strip().partition("\n")[0][:40]
        if part.type.startswith("html"):
            if not (first and part.content.strip() in RESULT_MARKS):
                yield f"raw HTML ({shown}) is not shown everywhere; write plain Markdown."
        elif part.type not in MARKDOWN:
            yield f"{part.type} ({shown}) is more than Markdown; write plain Markdown."
        elif part.type == "fence" and info.startswith("{"):
            yield f"the directive {info} runs on the site; write plain Markdown."
        elif part.type.startswith("math") and (match := MATH_MARKUP.search(part.content)):
            yield f"the formula's {match[0]} is HTML by another name; write plain mathematics."
        target = str(part.attrs.get("href") or part.attrs.get("src") or "")
        remote = re.match(r"(\w[\w+.-]*:)?//|mailto:", target)
        if part.type == "image" and remote:
            yield f"the picture {target} lies on another server; let the notebook draw it."
        elif remote and not re.match(r"https?://|mailto:", target):
            yield f"the link {target} is neither http nor https."
        elif target and not remote and not target.startswith("#"):
            if not _reached(target.partition("#")[0], folder):
                yield f"the link {target} leads nowhere."


def _reached(target: str, folder: Path) -> bool:
    """Return whether a relative link leads to a file of the repository, checked out or not."""
    root = folder.resolve().parents[1]
    path = (folder / target).resolve()
    if not path.is_relative_to(root):
        return False
    name = path.relative_to(root).as_posix()
    hidden = re.search(r"(^|/)(\.|(data|runs|build)(/|$))", name)
    return not hidden and (path.exists() or name in tracked(root))


@functools.cache
def tracked(root: Path) -> set[str]:
    """Return the files and folders that git knows, also those that a sparse clone left out."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    except OSError:  # no git
        return set()
    files = [Path(name) for name in done.stdout.decode(errors="replace").split("\0") if name]
    return {path.as_posix() for file in files for path in (file, *file.parents)}


def _anatomy(notebook) -> Iterator[str]:
    cells = notebook.cells
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not first.startswith("# "):
        yield ", cell 1: it must be Markdown that begins with the title, as in '# ResNet: ...'."
    if not any(part.type == "table" for part in parts(first)):
        yield ", cell 1: the table of facts (paper, data, model, metric, needs) is missing."
    if find_block(notebook) is None:
        yield ", cell 1: the lines <!-- result --> and <!-- /result --> are missing."
    for number, cell in enumerate(cells[1:], 2):
        if cell.cell_type == "markdown":
            if any(part.tag == "h1" for part in parts(cell.source)):
                yield f", cell {number}: it has a second heading of level 1; use ## and below."
    template = code_cells(nbformat.read(TEMPLATE, as_version=4))[0].source
    head = template.partition("import")[0]
    code = code_cells(notebook)
    if not code or not code[0].source.startswith((head, FIRST_EDITION)):
        yield ": the first code cell must begin with the two lines of tools/template.ipynb."


def _facts(task: Task, notebook) -> Iterator[str]:
    """What README and site say of the task stands in the notebook's metadata."""
    facts = notebook.metadata.get("task", {})
    unknown = {f"task.{key}" for key in facts.keys() - FACTS}
    for name in sorted(unknown | {*notebook.metadata} - METADATA):
        yield f": remove {name} from its metadata; the site and the tools know no such entry."
    for name in ("title", "summary", "needs", "cover"):
        if facts.get(name, "") == "":
            yield f": its metadata lacks task.{name}; see tools/template.ipynb."
    for name, value in facts.items():
        if "TODO:" in str(value):
            yield f": its metadata says task.{name} {str(value)[:80]!r}; write it."
    for name in ("title", "summary"):
        text = str(facts.get(name, ""))
        bad = NOT_PLAIN.findall(text) + [*invisible(text)]
        if bad := bad + (re.findall(r"[()]", text) if name == "title" else []):
            yield f": its metadata task.{name} holds {bad[0]!r}; write plain text."
        if len(text) > MOST_LETTERS[name]:
            yield f": its metadata task.{name} has more than {MOST_LETTERS[name]} letters."
    for need in facts.get("needs", []):
        if not re.fullmatch(r"\w+/\w+", str(need)) or not _reached(f"../../{need}", task.folder):
            yield f": its metadata says that it needs {need}, and there is no such task."
    for item in facts.get("data", []):
        right = isinstance(item, dict) and item.keys() == DATA.keys()
        if not (right and all(re.fullmatch(DATA[key], str(item[key])) for key in DATA)):
            yield f": its metadata task.data needs url, hash and file, not {str(item)[:80]}."
    gpu = facts.get("gpu", {})
    if not all(isinstance(gpu[key], GPU.get(key, ())) for key in gpu):
        yield ": its metadata task.gpu needs expected, flops and source: a text, a number, a text."
    elif NOT_PLAIN.search(str(gpu.get("expected", ""))):
        yield ": its metadata task.gpu.expected is not plain text."
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
    top = [ast.unparse(node) for tree in trees for node in tree.body]
    if not any(re.fullmatch(r"seed = \d+", line) for line in top):
        yield ": no cell says `seed = 0`, from which everything random must follow."
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {name for cell in code_cells(notebook) for name, _ in rates(cell.source)}
    tests = [node for node in nodes if isinstance(node, ast.Assert)]
    if not tests and not any("assert_close" in ast.unparse(node) for node in nodes):
        yield ": there is no assert; check formulas on tiny tensors against a closed form."
    for node in nodes:
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if re.match(r"(torch\.manual_seed|np\.random\.seed|random\.seed)\(\d", text):
            yield f": {text} hides the run's seed; write `seed` or `seed + 1` in it."
        test = node.test if isinstance(node, (ast.If, ast.IfExp, ast.While)) else None
        if text.startswith("mode(") or test and _calls(test) & {"mode", "pick"}:
            yield ": the code depends on the mode; it changes sizes and data by pick(...) only."
        if text.startswith("pick(") and re.search(r"=(True|False)\b", text):
            yield f": {text} switches code by the mode; a mode changes sizes and data only."
        if text.startswith("record(") and re.search(r"\bvalue=[^,]*\bpick\(", text):
            yield ": the recorded value depends on the mode; hand it what was measured."
        if isinstance(node, ast.Compare):
            sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
            for pair in zip(sides, sides[1:], strict=False):
                if "0" in pair and (found := named & set(pair)):
                    yield f": it compares {min(found)} with 0; a rate only trains."
        if isinstance(node, ast.Call) and ast.unparse(node.func) in HIDING:
            yield f": {ast.unparse(node.func)}(...) runs code that nobody can read; write it out."
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


def _practice(task: Task) -> Iterator[str]:
    """Each item of the practice version is judged nearby, by checks that see two mistakes in it."""
    listed = task.facts().get("practice", [])
    try:
        items = practice.build(task)[1] if listed else {}
        judges = {entry["name"]: len(items[entry["name"]].judges) for entry in listed}
    except TaskError as error:
        if "mutations.toml" not in str(error):  # that is told below
            yield f": {error}"
        return
    texts = [cell.source for cell in task.read_notebook().cells if cell.cell_type == "markdown"]
    begin = f"python -m tools practice {task.name}"
    if listed and begin not in texts[-1] and task.name not in FIRST_EDITIONS:
        yield f": its last section does not say how to practise: {begin}."
    for name, count in judges.items():
        if count < 2:
            wanted = "needs two mutations in its body, caught within two code cells"
            yield f": the practice item {name} {wanted}; has {count}."


def _outputs(task: Task, notebook) -> Iterator[str]:
    """Outputs are plain text in short lines, and PNG pictures with a description."""
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
            if "image/png" in data:
                alt = str(output.metadata.get("image/png", {}).get("alt", ""))
                if not alt or NOT_ALT.search(alt) or invisible(alt):
                    yield f"{place}its picture has no plain description; use show(figure, alt)."
                if max(png_size(data["image/png"])) > MOST_PIXELS:
                    yield f"{place}its picture is no PNG, or has more than {MOST_PIXELS} pixels."
            text = output.get("text", "") + str(data.get("text/plain", ""))
            printed += len(text)
            # the line of `record` was not broken before
            lines = re.sub(r"^This \w+ run on .*", "", output.get("text", ""), flags=re.M)
            width = max(map(len, lines.split("\n")))
            if width > MOST_WIDTH and task.name not in WIDE_PRINTS:
                yield f"{place}it prints a line of {width} columns, more than {MOST_WIDTH}."
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
        for known in filter(None, (results.full, results.quick)):
            if known["digest"] != stamp["digest"]:
                yield f": the {known['mode']} run of results.json belongs to other code; {again}."
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


def _requirements(task: Task, notebook) -> Iterator[str]:
    path = task.folder / "requirements.txt"
    lines = _requirement_lines(path)
    if path.is_file() and re.search(rb"coding[:=]|[^\n -~]|\\", path.read_bytes()):
        yield "remove encodings, backslashes and all but plain ASCII; pip reads them its own way."
    if SHARED_REQUIREMENTS not in lines:
        yield f"its first line must be {SHARED_REQUIREMENTS}, which lists what every task needs."
    imported = {name for tree in _trees(task, notebook) for name in _imports(tree, task)}
    for line in lines:
        if line == SHARED_REQUIREMENTS:
            continue
        if not (match := REQUIREMENT.fullmatch(line)):
            yield f"{line!r} is not of the form name>=version; use lower bounds only."
        elif canonicalize_name(match[1]) not in imported:
            yield f"nothing imports {match[1]}; remove it, or correct its name."
        else:
            with contextlib.suppress(metadata.PackageNotFoundError, InvalidVersion):
                if Version(match[3]) > Version(installed := metadata.version(match[1])):
                    yield f"{line!r} asks for more than {installed}, which is installed here."


def _requirement_lines(path: Path) -> list[str]:
    text = path.read_bytes().decode("ascii", "replace") if path.is_file() else ""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def _listed(task: Task) -> set[str]:
    """Return the distributions that a task's notebook may import."""
    paths = (task.folder / "requirements.txt", task.root / "common" / "requirements.txt")
    lines = [line for path in paths for line in _requirement_lines(path)]
    return {canonicalize_name(match[1]) for match in map(REQUIREMENT.match, lines) if match}


def helpers(task: Task) -> list[Path]:
    """Return the modules beside the notebook."""
    return sorted(task.folder.glob("*.py"))


def _trees(task: Task, notebook) -> list[ast.Module]:
    """Return the code of the notebook and of the modules beside it, as far as it is Python."""
    sources = [cell.source for cell in code_cells(notebook)]
    sources += [path.read_text(encoding="utf-8", errors="replace") for path in helpers(task)]
    trees = []
    for source in sources:
        with contextlib.suppress(SyntaxError):
            trees.append(ast.parse(source))
    return trees


def _helpers(task: Task, notebook) -> Iterator[str]:
    """The modules beside the notebook are imported, few, and shadow nothing."""
    paths, text = helpers(task), "\n".join(cell.source for cell in notebook.cells)
    names = {name for tree in _trees(task, notebook) for name in _modules(tree)}
    imported = {part for name in names for part in name.split(".")}
    lines = sum(path.read_bytes().count(b"\n") for path in paths)
    if lines > MOST_HELPER_LINES:
        yield f"{paths[0].name}: the modules have {lines} lines, more than {MOST_HELPER_LINES}."
    for path in paths:
        name, source = path.stem, path.read_text(encoding="utf-8", errors="replace")
        taken = {*sys.stdlib_module_names, *_listed(task), *DISTRIBUTIONS}
        if name in taken or SPECIAL.match(name) or importlib.util.find_spec(name):
            yield f"{path.name}: rename it; Python or pytest would load it in place of another."
        if name not in imported and path.name not in text:
            yield f"{path.name}: the notebook neither imports nor names it; remove it."
        for finding in (*_text(source), *_python(source, task)):
            yield f"{path.name}: {finding}"


def _mutations(task: Task) -> Iterator[str]:
    try:
        if (count := len(read_mutations(task)[1])) < FEWEST:
            yield f"mutations.toml: it has {count} mutations of the code; write at least {FEWEST}."
    except TaskError as error:
        yield str(error).removeprefix(f"{task.path}/")


def rates(source: str) -> list[tuple[str, int]]:
    """Return the settings at top level with the word rate in their names, and their last lines."""
    found = [
        (name.id, node.end_lineno or node.lineno)
        for node in ast.parse(source).body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in _names(target)
    ]
    return [(name, line) for name, line in found if RATE.search(name)]


def _modules(tree: ast.AST) -> set[str]:
    """Return the modules that a piece of code imports, with their packages."""
    nodes = list(ast.walk(tree))
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return names | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def _imports(tree: ast.AST, task: Task) -> set[str]:
    """Return the distributions that a piece of code imports from outside of the repository."""
    names = {name.partition(".")[0] for name in _modules(tree)} - set(sys.stdlib_module_names)
    own = {"common", *(path.stem for path in helpers(task))}
    others = {name for name in names - own if not (task.root / name).is_dir()}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in others}


def invisible(text: str) -> set[str]:
    """Return the characters of a text that are not shown, or that turn what follows around."""
    return {character for character in text if not character.isprintable()} - {"\n"}


def png_size(content: object) -> tuple[int, ...]:
    """Return width and height of a PNG in base64; infinite ones if it is none."""
    with contextlib.suppress(ValueError, TypeError):
        head = base64.b64decode("".join(str(content).split()), validate=True)[:24]
        if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) == 24:
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:], "big")
    return (sys.maxsize,)


def pictures(cell) -> list[str]:
    """Return the pictures among a cell's outputs, as base64 text."""
    found = (output.get("data", {}).get("image/png") for output in cell.get("outputs", []))
    return [picture for picture in found if picture]


def reading_minutes(notebook) -> int:
    """Return how long a notebook takes to read: 200 words of text or 15 lines of code a minute."""
    text = sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    return round(text / 200 + lines_of_code(notebook) / 15)


def lines_of_code(notebook) -> int:
    """Return the number of code lines: neither blank nor only a comment or a docstring."""
    count = 0
    for cell in code_cells(notebook):
        texts = docstring_lines(cell.source)
        for number, line in enumerate(cell.source.splitlines(), 1):
            count += number not in texts and line.strip() != "" and line.strip()[0] != "#"
    return count


def docstring_lines(source: str) -> set[int]:
    """Return the numbers of the lines, from 1, on which functions and classes have docstrings."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    found = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    texts = [node.body[0] for node in found if ast.get_docstring(node) is not None]
    return {row for text in texts for row in range(text.lineno, (text.end_lineno or 0) + 1)}


def _calls(tree: ast.AST) -> set[str]:
    """Return the names of the plain functions that a piece of code calls."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def _names(tree: ast.AST) -> list[ast.Name]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name)]


def words(source: str) -> int:
    """Return the number of words of a Markdown text, without code and formulas."""
    prose = " ".join(part.content for part in parts(source) if part.type == "text")
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
    sys.exit(explained(main))
