"""The branch dev_start, and a task's whole way: from a clone of it through tools.examine into main."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools.tasks import ROOT

pytestmark = pytest.mark.skipif(not (shutil.which("git") and (ROOT / ".git").exists()), reason="this is no git clone")
IDENTITY = {f"GIT_{who}_{key}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}


def run(*command, cwd):
    finished = subprocess.run(command, cwd=cwd, env=os.environ | IDENTITY, capture_output=True, encoding="utf-8")
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout.strip()


def git(*arguments, cwd):
    return run("git", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository whose branch main holds the files of this one, and whose dev_start was built from it."""
    folder = tmp_path_factory.mktemp("origin")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--message", "main", cwd=folder)
    run(sys.executable, ".github/build_dev_start.py", cwd=folder)
    return folder


def test_the_branch_is_small_and_has_no_history(origin):
    files = git("ls-tree", "-r", "--name-only", "dev_start", cwd=origin).splitlines()
    assert {"CONTRIBUTING.md", "README.md", "common/__init__.py", "tools/template.py", "tools/examine.py"} <= {*files}
    assert not [name for name in files if name.endswith((".ipynb", ".png")) or name.startswith(".github")]
    assert git("rev-list", "--count", "dev_start", cwd=origin) == "1"
    assert not [line for line in git("show", "dev_start:requirements.txt", cwd=origin).splitlines() if line[:2] == "-r"]
    assert "`image_generation/vae/vae.ipynb`" in git("show", "dev_start:README.md", cwd=origin)


def test_building_disturbs_nothing_and_repeats(origin):
    before = git("rev-parse", "HEAD", "dev_start", cwd=origin)
    assert "dev_start is up to date: " in run(sys.executable, ".github/build_dev_start.py", cwd=origin)
    assert git("rev-parse", "HEAD", "dev_start", cwd=origin) == before
    assert git("status", "--porcelain", cwd=origin) == "" and git("branch", "--show-current", cwd=origin) == "main"


def test_a_task_from_clone_to_merge(origin, tmp_path):
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--single-branch", "--branch", "dev_start", origin.as_uri(), str(clone), cwd=tmp_path)
    assert sum(path.stat().st_size for path in clone.rglob("*") if path.is_file()) < 1_000_000
    git("switch", "--quiet", "--create", "ada.pixelcnn", cwd=clone)
    run(sys.executable, "-m", "tools.new", "image_generation/pixelcnn", cwd=clone)
    path = clone / "image_generation" / "pixelcnn" / "pixelcnn.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("TODO: ", "")
    nbformat.write(notebook, path)
    run(sys.executable, "-m", "tools.run", "--save", "pixelcnn", cwd=clone)
    git("add", "image_generation/pixelcnn", cwd=clone)
    git("commit", "--quiet", "--message", "PixelCNN", cwd=clone)
    printed = run(sys.executable, "-m", "tools.examine", "image_generation/pixelcnn", cwd=clone)
    assert "Verdict: nothing to refuse." in printed, printed

    git("fetch", "--quiet", str(clone), "ada.pixelcnn:ada.pixelcnn", cwd=origin)
    git("checkout", "ada.pixelcnn", "--", "image_generation/pixelcnn", cwd=origin)
    brought = git("diff", "--cached", "--name-only", cwd=origin).splitlines()
    files = ("pixelcnn.ipynb", "requirements.txt", "results.json")
    assert brought == [f"image_generation/pixelcnn/{name}" for name in files]
    run(sys.executable, "-m", "tools.readme", cwd=origin)
    assert git("diff", "--name-only", cwd=origin).splitlines() == ["README.md", "requirements.txt"]
    assert "-r image_generation/pixelcnn/requirements.txt\n" in (origin / "requirements.txt").read_text()
