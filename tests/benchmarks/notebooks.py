"""Takes from a notebook what a benchmark needs, and runs that: the code that the reader sees, not a copy of it.

A notebook also draws pictures, checks formulas and runs ablations. `cut` finds the statements that bind the names asked
for, those that bind the names these use, and so on; everything else is left out.
"""

import ast
import builtins
import symtable
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from tools.tasks import code_cells, find_tasks


@dataclass
class Statement:
    """A statement at the top of a code cell: the global names it binds, and those that it needs."""

    tree: ast.stmt
    bound: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def __post_init__(self):
        top = symtable.symtable(ast.unparse(self.tree), "cell", "exec")
        for symbol in top.get_symbols():
            if symbol.is_assigned() or symbol.is_imported():
                self.bound.add(symbol.get_name())
            if symbol.is_referenced():
                self.used.add(symbol.get_name())
        inner = list(top.get_children())
        while inner:
            table = inner.pop()
            inner += table.get_children()
            self.used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        if not isinstance(self.tree, (ast.FunctionDef, ast.ClassDef)):
            nodes = list(ast.walk(self.tree))
            self.bound |= {name for node in nodes for name in _changed(node)}
            targets = [node.target for node in nodes if isinstance(node, ast.For)]  # a loop brings its own names
            self.used -= {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _changed(node: ast.AST) -> list[str]:
    """Return the name whose item or attribute a node sets: x for `x[0] = 1` and `x.a.b = 1`."""
    if not isinstance(node, (ast.Attribute, ast.Subscript)) or not isinstance(node.ctx, ast.Store):
        return []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return [node.id] if isinstance(node, ast.Name) else []


REPLACED = ("setup", "progress", "batches", "mnist", "cifar10", "shakespeare")  # of common, where a notebook has them


def cut(task: str, names: list[str], given: Iterable[str] = ()) -> list[Statement]:
    """Return the statements of a notebook that its global `names` depend on, in order, without those for `given`.

    Raises LookupError if the notebook does not bind one of the names.
    """
    (found,) = find_tasks([task])
    cells = code_cells(found.read_notebook())
    statements = [Statement(tree) for cell in cells for tree in ast.parse(cell.source).body]
    everything = set().union(*(statement.bound for statement in statements))
    if missing := sorted((set(names) | set(given)) - everything - set(REPLACED)):
        raise LookupError(
            f"{found.path} no longer binds {', '.join(missing)}, which its benchmark needs: "
            f"bring back the name, or change tests/benchmarks/pairs/{task}.py."
        )
    kept, wanted, seen = set(), set(names), set(given) | set(dir(builtins))
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        for index, statement in enumerate(statements):
            if name in statement.bound and index not in kept:
                kept.add(index)
                wanted |= statement.used
    return [statements[index] for index in sorted(kept)]


class _Seeds(ast.NodeTransformer):
    """Replaces the seed in each torch.manual_seed(...) by that of the run."""

    def __init__(self, seed: int):
        self.seed = seed

    def visit_Call(self, node):
        self.generic_visit(node)
        if ast.unparse(node.func) == "torch.manual_seed":
            node.args = [ast.Constant(self.seed)]
        return node


def execute(task: str, names: list[str], given: dict, seed: int) -> dict:
    """Run what `names` depend on, with `given` in place of the notebook's own values; return all global names."""
    space = {"__name__": "__main__", **given}
    for statement in cut(task, names, given):
        tree = ast.fix_missing_locations(_Seeds(seed).visit(statement.tree))
        exec(compile(ast.Module([tree], []), f"<{task}>", "exec"), space)
        space.update(given)
    torch.manual_seed(seed)
    return space
