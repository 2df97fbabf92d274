"""The branch dev_start: a small clone of it, and a task's way from there through tools to main."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tests.conftest import MUTATIONS
from tools.tasks import ROOT

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="this is no git clone"
)
IDENTITY = dict.fromkeys(
    ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"), "ada"
)
MOST_BYTES = 1_000_000


def run(*command, cwd):
    environment = os.environ | IDENTITY
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with this one's files on main and dev_start."""
    folder = tmp_path_factory.mktemp("origin")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--message", "main", cwd=folder)
    run("git", "branch", "dev_start", cwd=folder)
    run("git", "config", "uploadpack.allowFilter", "true", cwd=folder)
    return folder


def test_a_task_from_a_small_clone_to_main(origin, tmp_path):
    commands = (ROOT / "CONTRIBUTING.md").read_text().partition("```sh\n")[2].partition("```")[0]
    lines = commands.replace("https://github.com/Hope7Happiness/Deep-Learning", origin.as_uri())
    lines = lines.replace("cd Deep-Learning", f"cd {origin.name}").splitlines()
    kept = [line for line in lines if "venv" not in line and "tools new" not in line]
    run("bash", "-ec", "\n".join(kept), cwd=tmp_path)
    clone = tmp_path / origin.name
    assert size(clone) < MOST_BYTES and not list(clone.glob("image_classification/*"))
    assert run("git", "branch", "--show-current", cwd=clone) == "ada.pixelcnn"
    run(sys.executable, "-m", "tools", "new", "image_generation/pixelcnn", cwd=clone)
    path = clone / "image_generation" / "pixelcnn" / "pixelcnn.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("TODO: ", "").replace("quick=15", "quick=3")
    notebook.metadata["task"]["summary"] = "a small example"
    notebook.metadata["task"].pop("practice", None)
    nbformat.write(notebook, path)
    mutations = MUTATIONS.replace("steps > 0", "parameters == (").replace(
        "quick=3", "hidden_size = 256"
    )
    mutations = mutations.replace("quick=", "hidden_size = ")
    path.with_name("mutations.toml").write_text(mutations)
    run("git", "add", "image_generation/pixelcnn", cwd=clone)
    run("git", "commit", "--quiet", "--message", "PixelCNN", cwd=clone)
    command = [sys.executable, "-m", "tools", "examine", "pixelcnn"]
    done = subprocess.run(command, cwd=clone, capture_output=True, encoding="utf-8")
    assert "pixelcnn.ipynb: it has no stamped outputs" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("   - ") == 1, done.stdout
    assert size(clone) < 2 * MOST_BYTES, "examine made the clone fetch everything"
