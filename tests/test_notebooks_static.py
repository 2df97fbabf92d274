"""The checker finds nothing in any task, and no code uses what the oldest supported torch lacks."""

import ast

import nbformat
import pytest

from tools.check import check
from tools.tasks import ROOT, all_tasks, code_cells

# What torch 2.2 lacks, or what the newest torch warns of or refuses.
REFUSED = {
    *("RMSNorm", "rms_norm", "Buffer", "GradScaler", "enable_gqa", "accelerator", "including_emulation", "Muon"),
    *("get_default_device", "attention", "flex_attention", "sdpa_kernel", "verbose", "weight_norm", "script"),
    *("GaussianNoise", "JPEG", "read_video", "torch.cuda.amp", "torch.ao", "torch.jit"),
}
ALLOWED = {"parametrizations.weight_norm"}
FILES = [*(ROOT / "common").glob("*.py"), *(path for task in all_tasks() for path in task.folder.glob("*.ipynb"))]


def refused_names(source: str) -> set[str]:
    """Return what a piece of code takes from torch that is refused: attributes, imported names, arguments."""
    found = set()
    for node in ast.walk(ast.parse(source)):
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


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.path)
def test_the_checker_finds_nothing(task):
    assert check(task) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_used_that_torch_2_2_lacks(path):
    text = path.read_text(encoding="utf-8")
    sources = [cell.source for cell in code_cells(nbformat.reads(text, 4))] if path.suffix == ".ipynb" else [text]
    assert set().union(*map(refused_names, sources)) == set()


@pytest.mark.parametrize(
    "source",
    [
        "nn.RMSNorm(8)",
        "torch.nn.functional.rms_norm(x)",
        "F.rms_norm(x, (8,))",
        "torch.amp.GradScaler('cuda')",
        "from torch.amp import GradScaler",
        "torch.cuda.amp.autocast()",
        "from torch.cuda.amp import autocast",
        "F.scaled_dot_product_attention(q, k, v, enable_gqa=True)",
        "torch.accelerator.current_accelerator()",
        "torch.cuda.is_bf16_supported(including_emulation=False)",
        "from torch.nn.attention import sdpa_kernel",
        "optim.Muon(model.parameters())",
        "nn.utils.weight_norm(layer)",
        "torch.jit.script(model)",
        "ReduceLROnPlateau(optimizer, verbose=True)",
    ],
)
def test_the_search_finds_each(source):
    assert refused_names(source)


def test_the_search_lets_the_rest_pass():
    assert not refused_names("nn.utils.parametrizations.weight_norm(layer)\nself.attention(x)\nattention = script = 1")
