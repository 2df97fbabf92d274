"""The checker finds nothing in any task, and common uses nothing that the oldest supported torch lacks."""

import ast

import pytest

from tools.check import check, refused_names
from tools.tasks import ROOT, all_tasks


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.path)
def test_the_checker_finds_nothing(task):
    assert check(task) == []


@pytest.mark.parametrize("path", [*(ROOT / "common").glob("*.py")], ids=lambda path: path.name)
def test_nothing_is_used_that_torch_2_2_lacks(path):
    assert refused_names(ast.parse(path.read_text(encoding="utf-8"))) == set()


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
    assert refused_names(ast.parse(source))


def test_the_search_lets_the_rest_pass():
    allowed = "nn.utils.parametrizations.weight_norm(layer)\nself.attention(x)\nattention = script = 1"
    assert not refused_names(ast.parse(allowed))
