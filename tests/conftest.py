"""A tiny repository with one task that has everything the checker asks for and runs in seconds."""

import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.run import save
from tools.tasks import ROOT, Task

CELLS = [
    "# Tiny\n\n<!-- result -->\n<!-- /result -->\n\n| Fact | Value |\n|---|---|\n| Paper | none |",
    'import sys\nsys.path.insert(0, "../..")\nimport torch\nfrom common import *\nsetup()',
    "## Settings\n\nSee [the requirements](requirements.txt).",
    "steps = pick(full=5, quick=3)  # few\nassert steps > 0",
    "## Training",
    'for step in range(steps):\n    print(f"step {step}")\nshow_images(torch.zeros(4, 1, 8, 8))',
    "## Record",
    'record(task="Tiny", paper="Nobody 2013", url="https://arxiv.org/abs/1312.6114", data="noise", parameters=10,\n'
    '    metric="test error", value=float(steps), unit="%", baseline=("chance", 90.0), band=(0, 10),\n'
    '    reference="5 in the paper", train_seconds=1.5)',
]
RECORDED = {
    **{"task": "Tiny", "paper": "Nobody 2013", "url": "https://arxiv.org/abs/1312.6114", "data": "noise"},
    **{"parameters": 10, "metric": "test error", "value": 3.0, "unit": "%", "band": [0, 10], "extra": {}},
    **{"baseline": {"name": "chance", "value": 90.0}, "reference": "5 in the paper", "higher_is_better": False},
    **{"train_seconds": 1.5, "seconds": 9.0, "peak_memory_gib": 0.5, "mode": "quick", "device": "CPU, 2 cores"},
    "versions": {"torch": "2.15.0", "python": "3.11.7"},
}


class Repository:
    """A repository in a temporary folder with the task image_generation/tiny."""

    def __init__(self, root):
        self.root, self.task = root, Task("image_generation", "tiny", root)
        self.task.folder.mkdir(parents=True)
        self.task.requirements.write_text("torch>=2.2\n")
        self.write(self.notebook())

    def notebook(self):
        """Return the notebook without outputs."""
        kinds = (new_markdown_cell, new_code_cell)
        cells = [kinds[source[0] != "#"](source, id=f"cell{index}") for index, source in enumerate(CELLS)]
        return new_notebook(cells=cells)

    def write(self, notebook):
        nbformat.write(notebook, self.task.notebook)

    def store(self, **changes):
        """Stamp and store outputs as if the notebook had been run, with `changes` to what it recorded."""
        notebook, recorded = self.notebook(), RECORDED | changes
        for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
            cell.execution_count = count
            cell.outputs = [new_output("stream", text="done\n")]
        cell.outputs[0].text = f"Tiny, {recorded['mode']} mode on noise: test error {recorded['value']:.4g} %\n"
        notebook.cells[5].outputs.append(new_output("display_data", {"image/png": "iVBOR", "text/plain": "squares"}))
        return save(notebook, self.task, recorded)

    def add_common(self):
        """Add common/, which a notebook needs to run."""
        shutil.copytree(ROOT / "common", self.root / "common", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)
