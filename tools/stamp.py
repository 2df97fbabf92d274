"""The stamp that ties stored outputs to the code that made them, and the result block."""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from tools.tasks import ROOT, code_cells

IGNORED = {"ctx", "kind", "type_params", "type_comment", "type_ignores"}  # vary between Pythons
SILENT = {"common.plots", "common.record", "common.data.fetch"}  # they decide no number
BLOCK = re.compile(r"<!-- result -->\n.*?<!-- /result -->", re.DOTALL)


def code_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of the code cells' meaning: comments and formatting do not count.

    It is the same from Python 3.10 on. Raises SyntaxError if a cell is not plain Python.
    """
    cells = [canonical(ast.parse(cell.source)) for cell in code_cells(notebook)]
    return _sha256([cell for cell in cells if cell != ["Module"]])  # without comment-only cells


def shared_digest(notebook: NotebookNode, root: Path = ROOT) -> str:
    """Return the SHA-256 of what decides the notebook's numbers outside it.

    These are the functions, classes and constants of `common` and of category modules that the
    notebook imports, and what those use in turn. Docstrings and formatting do not count.
    """
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    found = {}
    todo = [name for tree in trees for name in _imported(tree, root).values()]
    while todo:
        module, name = todo.pop()
        if (module, name) in found or SILENT & {module, f"{module}.{name}"}:
            continue
        path = _file(module, root)
        tree = ast.parse(path.read_text(encoding="utf-8") if path else "")
        names = _imported(tree, root)
        if name in names:  # imported there from another module
            todo.append(names[name])
            continue
        nodes = [node for node in tree.body if name in _defined(node)]
        found[module, name] = canonical([_without_docstrings(node) for node in nodes])
        local = set().union(*map(_defined, tree.body))
        for node in (child for statement in nodes for child in ast.walk(statement)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                package, member = names.get(node.value.id, (None, None))
                if package and _file(f"{package}.{member}", root):
                    todo.append((f"{package}.{member}", node.attr))
            if isinstance(node, ast.Name) and node.id in local:
                todo.append((module, node.id))
            elif isinstance(node, ast.Name) and node.id in names:
                package, member = names[node.id]
                if not _file(f"{package}.{member}", root):
                    todo.append((package, member))
    return _sha256(sorted([*key, value] for key, value in found.items()))


def _file(module: str, root: Path) -> Path | None:
    """Return the file of a module of this repository, None if there is none."""
    path = root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _imported(tree: ast.AST, root: Path) -> dict[str, tuple[str, str]]:
    """Return what `from MODULE import NAME` takes from this repository: {name: (module, name)}."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in froms
        if (root / node.module.partition(".")[0]).is_dir()
        for alias in node.names
    }


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a top-level statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return set()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = (name for target in targets for name in ast.walk(target))
    return {name.id for name in names if isinstance(name, ast.Name)}


def _without_docstrings(node: ast.AST) -> ast.AST:
    for child in ast.walk(node):
        body = getattr(child, "body", None)
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(child):
            child.body = body[1:]
    return node


def canonical(node) -> object:
    """Return an AST as nested lists that do not depend on the version of Python, for JSON."""
    if isinstance(node, list):
        return [canonical(child) for child in node]
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {ascii(node)}"
    if isinstance(node, ast.JoinedStr):  # versions cut f-strings in different places
        return ["JoinedStr", *_joined(node)]
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in IGNORED)
    fields = [[name, canonical(value)] for name, value in fields if value not in (None, [])]
    return [type(node).__name__, *(field for field in fields if field[1] != ["JoinedStr"])]


def _joined(node: ast.JoinedStr) -> list:
    """Return the parts of an f-string, neighbouring literals joined."""
    parts = []
    for part in _parts(node):
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def _parts(node: ast.JoinedStr) -> Iterator:
    for child in node.values:
        if isinstance(child, ast.JoinedStr):
            yield from _parts(child)
        elif isinstance(child, ast.Constant):
            yield from [child.value] if child.value else []
        else:
            yield canonical(child)


def outputs_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of all outputs, to notice edits made after the run."""
    return _sha256([cell.outputs for cell in code_cells(notebook)])


def _sha256(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def state(notebook: NotebookNode, root: Path = ROOT) -> str:
    """Return what the stored outputs are: "full", "quick", "none", or why they are out of date.

    That is "stale" if the notebook's code has changed since the run, and "quick, older common" or
    "full, older common" if only what it imports has.
    """
    stamp = notebook.metadata.get("stamp")
    if not isinstance(stamp, dict):
        return "none"
    try:
        if stamp.get("digest") != code_digest(notebook):
            return "stale"
        older = stamp.get("shared") != shared_digest(notebook, root)
    except SyntaxError:
        return "stale"
    return f"{stamp.get('mode')}, older common" if older else str(stamp.get("mode"))


def duration(seconds: float) -> str:
    """Return a time to read: "24 s", "7 min" or "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def figure(run: dict) -> str:
    """Return the metric with its value and unit: "test accuracy 93.1 %"."""
    return f"{run['metric']} {run['value']:.4g} {run['unit']}".strip()


def compute(run: dict) -> str:
    """Return all floating-point operations of a run: "0.41 PFLOP"."""
    return f"{sum(run['flops'].values()) / 1e15:.2g} PFLOP"


def render_block(run: dict) -> str:
    """Return the result block, between its two marker lines, for the outputs of a run."""
    baseline = f"{run['baseline']['name']} {run['baseline']['value']:.4g}"
    first = f"**{figure(run)}** on {run['data']} ({run['mode']} mode; baseline {baseline}"
    first += f"; reference: {run['reference']})." if run["mode"] == "full" else ")."
    memory = run["peak_memory_gib"]
    second = (
        f"The outputs below were made on {run['date']} on {run['device']} in {run['precision']} "
        f"with torch {run['versions']['torch']}: training {duration(run['train_seconds'])}, whole "
        f"notebook {duration(run['seconds'])}, {compute(run)}"
        + (f", peak memory {memory:.1f} GiB." if memory else ".")
        + " When you run the notebook, the last cell prints your figures."
    )
    return f"<!-- result -->\n{first}\n\n{second}\n<!-- /result -->"


def replace_block(notebook: NotebookNode, text: str) -> None:
    """Put `text` in the place of the result block of the first cell."""
    notebook.cells[0].source = BLOCK.sub(lambda _: text, notebook.cells[0].source, count=1)


def result_block(notebook: NotebookNode) -> str | None:
    """Return the result block of the first cell with its marker lines; None if there is none."""
    match = BLOCK.search(notebook.cells[0].source) if notebook.cells else None
    return match and match.group()
