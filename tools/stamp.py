"""The stamp that ties stored outputs to the code that made them."""

import ast
import hashlib
import io
import json
import re
import tokenize
from pathlib import Path

from nbformat import NotebookNode

from tools.tasks import ROOT, code_cells

NO_EFFECT_ON_NUMBERS = ("common/plots.py", "common/record.py")
BLOCK = re.compile(r"<!-- result -->\n(.*?)\n?<!-- /result -->", re.DOTALL)


def code_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of the code cells, of what `decisive` leaves of them.

    Raises SyntaxError if a cell is not plain Python.
    """
    return _sha256([code for cell in code_cells(notebook) if (code := decisive(cell.source))])


def decisive(source: str) -> str:
    """Return Python code without comments, blank lines and asserts.

    A check decides no number: it may be sharpened without a new run, and the tests run it.
    """
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def shared_digest(notebook: NotebookNode, folder: Path, root: Path = ROOT) -> str:
    """Return the SHA-256 of what decides the notebook's numbers outside it.

    These are the modules that it imports, from `common`, its category or its own folder, what those
    import in turn, and the data files that bear their names.
    """
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    todo = [found for tree in trees for found in imported_modules(tree, folder, root)]
    files: dict[str, str] = {}
    while todo:
        path = todo.pop()
        name = path.relative_to(root).as_posix()
        if name in files or name in NO_EFFECT_ON_NUMBERS:
            continue
        source = path.read_text(encoding="utf-8")
        files[name] = decisive(source)
        for data in sorted(set(path.parent.glob(f"{path.stem}.*")) - {path}):
            files[data.relative_to(root).as_posix()] = hashlib.sha256(data.read_bytes()).hexdigest()
        todo += imported_modules(ast.parse(source), path.parent, root)
    return _sha256(sorted(files.items()))


def imported_modules(tree: ast.AST, folder: Path, root: Path) -> list[Path]:
    """Return the files of this repository that a piece of code imports.

    A name that a package's `__init__` takes from one of its modules leads to that module.
    """
    wanted = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted += [(node.module, alias.name) for alias in node.names]
    found = []
    for module, name in wanted:
        for base in (root, folder):
            path = base.joinpath(*module.split("."))
            init = path / "__init__.py"
            if (path / f"{name}.py").is_file():
                found.append(path / f"{name}.py")
            elif path.with_suffix(".py").is_file():
                found.append(path.with_suffix(".py"))
            elif init.is_file() and base == root:
                froms = ast.parse(init.read_text(encoding="utf-8")).body
                found += [
                    root.joinpath(*node.module.split(".")).with_suffix(".py")
                    for node in froms
                    if isinstance(node, ast.ImportFrom) and node.module
                    if not name or name in [alias.name for alias in node.names]
                ]
            else:
                continue
            break
    return found


def outputs_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of all outputs, to notice edits made after the run."""
    return _sha256([cell.outputs for cell in code_cells(notebook)])


def _sha256(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def state(notebook: NotebookNode, folder: Path, root: Path = ROOT) -> str:
    """Return what the stored outputs are: "full", "quick", "none", or why they are out of date.

    That is "stale" if the notebook's code has changed since the run, and "quick, older modules" or
    "full, older modules" if only what it imports has.
    """
    stamp = notebook.metadata.get("stamp")
    if not isinstance(stamp, dict):
        return "none"
    try:
        if stamp.get("digest") != code_digest(notebook):
            return "stale"
        older = stamp.get("shared") != shared_digest(notebook, folder, root)
    except (SyntaxError, tokenize.TokenError):
        return "stale"
    return f"{stamp.get('mode')}, older modules" if older else str(stamp.get("mode"))


def replace_block(notebook: NotebookNode, text: str) -> None:
    """Put a text between the marker lines of the first cell."""
    text = f"<!-- result -->\n{text}\n<!-- /result -->"
    notebook.cells[0].source = BLOCK.sub(lambda _: text, notebook.cells[0].source, count=1)


def find_block(notebook: NotebookNode) -> str | None:
    """Return what stands between the marker lines of the first cell; None if they are missing."""
    match = BLOCK.search(notebook.cells[0].source) if notebook.cells else None
    return match and match[1]
