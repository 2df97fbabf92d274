"""A small repository with one task that has all that the checker asks for and runs in a second."""

import contextlib
import copy
import functools
import importlib
import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.check import TEMPLATE
from tools.command import explained
from tools.run import save
from tools.tasks import ROOT, Task

PNG = (  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
    "rkJggg=="
)
HEAD = nbformat.read(TEMPLATE, as_version=4).cells[2].source.partition("import")[0]
CELLS = [
    "# Tiny: a number\n\n<!-- result -->\n<!-- /result -->\n\n| | |\n|---|---|\n| Paper | none |",
    HEAD + "import numpy as np\n\nfrom common import setup",
    "## Settings\n\nSee [the requirements](requirements.txt).",
    "from common import pick, plot_curves, record\n\nseed = 0\n"
    "device = setup(seed)\n"
    "steps = pick(full=5, quick=3)  # few\nlearning_rate = 0.5\nassert steps > 0",
    "## Training",
    "value = 80.0\nfor step in range(steps):\n    value *= 1 - learning_rate\n"
    '    print(f"step {step}")\nvalue += np.random.rand()\n'
    'plot_curves({"error": [80.0, value]}, "step", "error")',
    "## Record",
    'record(data="noise", parameters=10, metric="test error", value=value, unit="%",\n'
    '    baseline=("chance", 90.0), reference="5 in the paper", train_seconds=1.5,\n'
    '    flops={"training": 3e15})',
]
MUTATIONS = "\n".join(
    f'[[mutation]]\nname = "{steps} steps"\nold = "quick=3"\nnew = "quick={steps}"\n'
    'check = "assert steps > 0"\n'
    for steps in range(-5, 1)
)
RECORD = json.loads("""{
"mode": "quick", "data": "noise", "metric": "test error", "value": 3.0, "unit": "%",
"baseline": {"name": "chance", "value": 90.0}, "reference": "5 in the paper",
"higher_is_better": false, "parameters": 10, "flops": {"training": 3e15}, "train_seconds": 1.5,
"seconds": 9.0, "peak_memory_gib": 0.5, "extra": {}, "device": "CPU, 2 cores", "precision": "fp32",
"versions": {"torch": "2.15.0", "python": "3.11.7"}, "date": "2026-01-02"}""")
LIGHT = f'''"""Stands for `common` where a test needs no torch, which takes seconds to import."""
import json
import os
from pathlib import Path

import numpy as np
from IPython.display import display


def setup(seed):
    np.random.seed(seed)


def pick(full, quick):
    return full if os.environ["DL_MODE"] == "full" else quick


def data_folder():
    return Path(os.environ["DL_DATA"])


def plot_curves(curves, x, y):
    picture = {{"image/png": "{PNG}", "text/plain": "curves"}}
    display(picture, raw=True, metadata={{"image/png": {{"alt": "curves"}}}})


def record(baseline, **result):
    mode, baseline = os.environ["DL_MODE"], dict(zip(("name", "value"), baseline))
    result = {RECORD} | result | {{"mode": mode, "baseline": baseline}}
    result.pop("date")
    Path(os.environ["DL_RECORD"]).write_text(json.dumps(result))
    print(f"This {{mode}} run on noise: test error {{result['value']:.4g}} %")
'''


class Repository:
    """A repository in a temporary folder with the task image_generation/tiny.

    Of `common` it has the files, but what the task imports is LIGHT.
    """

    def __init__(self, root):
        self.root, self.task = root, Task("image_generation", "tiny", root)
        self.task.folder.mkdir(parents=True)
        (self.task.folder.parent / "README.md").write_text("# Image generation\n")
        (self.task.folder / "requirements.txt").write_text("-r ../../common/requirements.txt\n")
        (self.task.folder / "mutations.toml").write_text(MUTATIONS)
        for name in ("common", "tools"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        names = "data_folder, pick, plot_curves, record, setup"
        (root / "common" / "__init__.py").write_text(f"from common.light import {names}\n")
        (root / "common" / "light.py").write_text(LIGHT)
        shutil.copy(ROOT / "pyproject.toml", root)
        self.write(self.notebook())

    def notebook(self):
        """Return the notebook without outputs."""
        kinds = (new_markdown_cell, new_code_cell)
        cells = [kinds[index % 2](source, id=f"cell{index}") for index, source in enumerate(CELLS)]
        notebook = new_notebook(cells=cells)
        facts = {"title": "Tiny", "summary": "learn a number", "needs": [], "cover": "cell5"}
        notebook.metadata["task"] = facts
        return notebook

    def write(self, notebook):
        nbformat.write(notebook, self.task.notebook)

    def edit(self, index, old, new):
        """Replace a text in the source of a cell."""
        notebook = self.task.read_notebook()
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)
        self.write(notebook)

    def tell(self, **facts):
        """Change what the notebook's metadata say of the task."""
        notebook = self.task.read_notebook()
        notebook.metadata["task"] |= facts
        self.write(notebook)

    def store(self, **changes):
        """Store outputs as if the notebook had been run, with `changes` to what it recorded."""
        notebook, record = copy.deepcopy(self.task.read_notebook()), RECORD | changes
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for count, cell in enumerate(code, 1):
            cell.execution_count = count
            cell.outputs = [new_output("stream", text="done\n")]
        code[-1].outputs[0].text = f"This {record['mode']} run: {record['value']:.4g} %\n"
        picture = new_output("display_data", {"image/png": PNG, "text/plain": "squares"})
        picture.metadata = {"image/png": {"alt": "squares"}}
        code[2].outputs.append(picture)
        notebook.metadata["language_info"] = {"name": "python"}
        return save(notebook, self.task, record)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served(folder, handler=Quiet):
    """Serve a folder on this machine and give its address."""
    make = functools.partial(handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def full(monkeypatch, tmp_path):
    """Full mode with an empty data folder; returns the folder."""
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def ask(repository, capfd):
    """Return a function that runs a command there; it returns status and printed text."""

    def run(command, *arguments):
        main = importlib.import_module(f"tools.{command}").main
        try:
            status = explained(lambda: main([*map(str, arguments)], repository.root))
        except SystemExit as stopped:  # of argparse
            status = stopped.code
        captured = capfd.readouterr()
        assert captured.err or status != 2, "a wrong command is refused on stderr"
        return status, captured.out + captured.err

    return run
