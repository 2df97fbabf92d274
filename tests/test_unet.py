"""The module of the U-Net holds what the notebook DDPM explains."""

import ast
from pathlib import Path

from tools.tasks import ROOT, code_cells, find_tasks


def classes(source: str) -> dict[str, str]:
    return {
        node.name: ast.dump(node)
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def test_module_and_notebook_agree():
    notebook = find_tasks(["ddpm"])[0].read_notebook()
    shown = classes("\n".join(cell.source for cell in code_cells(notebook)))
    module = classes(Path(ROOT, "image_generation/unet.py").read_text(encoding="utf-8"))
    assert module and all(shown[name] == code for name, code in module.items())
