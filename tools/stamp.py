"""The stamp that ties stored outputs to the code that made them, and the result block that tells of it."""

import ast
import hashlib
import json
import re

from nbformat import NotebookNode

from tools.tasks import code_cells

IGNORED = {"ctx", "kind", "type_params", "type_comment", "type_ignores"}  # differ from Python to Python, or say nothing
BLOCK = re.compile(r"<!-- result -->\n.*?<!-- /result -->", re.DOTALL)


def code_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of what the code cells mean: comments and formatting do not count.

    It is the same from Python 3.10 on. Raises SyntaxError if a cell is not plain Python.
    """
    cells = [canonical(ast.parse(cell.source)) for cell in code_cells(notebook)]
    return _sha256([cell for cell in cells if cell != ["Module"]])  # without cells of comments only


def canonical(node) -> object:
    """Return an AST as nested lists that do not depend on the version of Python, ready for JSON."""
    if isinstance(node, list):
        return [canonical(child) for child in node]
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {ascii(node)}"
    if isinstance(node, ast.JoinedStr):  # versions cut the literal parts of an f-string in different places
        return ["JoinedStr", *_joined(node)]
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in IGNORED)
    fields = ([name, canonical(value)] for name, value in fields if value is not None and value != [])
    return [type(node).__name__, *([name, value] for name, value in fields if value != ["JoinedStr"])]


def _joined(node: ast.JoinedStr) -> list:
    parts = []
    for child in node.values:
        new = _joined(child) if isinstance(child, ast.JoinedStr) else [canonical(child)]
        if isinstance(child, ast.Constant):
            new = [child.value] if child.value else []
        for part in new:
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
    return parts


def outputs_digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of all outputs, to notice edits made after the run."""
    return _sha256([cell.outputs for cell in code_cells(notebook)])


def _sha256(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def state(notebook: NotebookNode) -> str:
    """Return "full" or "quick" for a notebook whose stamp fits its code, else "stale" or "no outputs"."""
    stamp = notebook.metadata.get("stamp")
    if not stamp:
        return "no outputs"
    try:
        return stamp["mode"] if stamp["digest"] == code_digest(notebook) else "stale"
    except (KeyError, SyntaxError):
        return "stale"


def duration(seconds: float) -> str:
    """Return a time to read: "24 s", "7 min" or "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def figure(entry: dict) -> str:
    """Return the metric with its value and unit: "test accuracy 93.1 %"."""
    return f"{entry['metric']} {entry['value']:.4g} {entry['unit']}".strip()


def render_result(results: dict) -> str:
    """Return the lines of the result block for the contents of a results.json file."""
    entry = results[results["stored"]]
    baseline = f"baseline {entry['baseline']['name']}: {entry['baseline']['value']:.4g}"
    if results["stored"] == "full":
        first = f"**Result (full run): {figure(entry)} on {entry['data']}**"
        first += f" (reference: {entry['reference']}; {baseline})."
    else:
        first = f"**Quick run on stand-in data, not the result of this task: {figure(entry)} on {entry['data']}**"
        first += f" ({baseline}; reference for the full run: {entry['reference']})."
    memory = entry["peak_memory_gib"]
    where = "of the process" if entry["device"].startswith(("CPU", "Apple")) else "on the GPU"
    second = (
        f"Outputs below: {results['stored']} run of {entry['date']} on {entry['device']}, "
        f"torch {entry['versions']['torch']}: training {duration(entry['train_seconds'])}, "
        f"whole notebook {duration(entry['seconds'])}, "
        + (f"peak memory {memory:.1f} GiB {where}." if memory else "peak memory not measured.")
    )
    if results["stored"] == "full" and "quick" in results:
        second += f" Quick mode: {duration(results['quick']['seconds'])} on {results['quick']['device']}."
    return f"{first}\n\n{second}"


def result_block(notebook: NotebookNode) -> str | None:
    """Return the result block of the first cell with its two marker lines; None if there is none."""
    match = BLOCK.search(notebook.cells[0].source) if notebook.cells else None
    return match and match.group()


def framed(results: dict) -> str:
    """Return the result block that belongs to `results`, between its two marker lines."""
    return f"<!-- result -->\n{render_result(results)}\n<!-- /result -->"
