"""The branch dev_start, and a task's way from a clone of it through tools.examine to main."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools.tasks import ROOT

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="this is no git clone"
)
IDENTITY = {
    f"GIT_{who}_{key}": "ada@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for key in ("NAME", "EMAIL")
}


def run(*command, cwd):
    environment = os.environ | IDENTITY
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def git(*arguments, cwd):
    return run("git", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with this one's files on main, and the dev_start that was built from it."""
    folder = tmp_path_factory.mktemp("origin")
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
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
    needed = {"CONTRIBUTING.md", "README.md", "common/data.py", "tools/examine.py"}
    assert needed <= {*files} and "image_generation/README.md" in files
    notebooks = [name for name in files if name.endswith(".ipynb")]
    assert notebooks == ["tools/template.ipynb"]
    assert not [name for name in files if name.startswith(".github") or name.endswith(".png")]
    assert git("rev-list", "--count", "dev_start", cwd=origin) == "1"
    requirements = git("show", "dev_start:requirements.txt", cwd=origin).splitlines()
    assert [line for line in requirements if line[:2] == "-r"] == ["-r common/requirements.txt"]
    readme = git("show", "dev_start:README.md", cwd=origin)
    assert "`image_generation/vae/vae.ipynb`" in readme


def test_its_tests_can_be_imported(origin, tmp_path):
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--branch", "dev_start", origin.as_uri(), str(clone), cwd=tmp_path)
    run(sys.executable, "-m", "pytest", "--collect-only", "--quiet", cwd=clone)


def test_building_disturbs_nothing_and_repeats(origin):
    before = git("rev-parse", "HEAD", "dev_start", cwd=origin)
    said = run(sys.executable, ".github/build_dev_start.py", cwd=origin)
    assert "dev_start is up to date: " in said
    assert git("rev-parse", "HEAD", "dev_start", cwd=origin) == before
    assert git("status", "--porcelain", cwd=origin) == ""
    assert git("branch", "--show-current", cwd=origin) == "main"


def test_a_task_from_clone_to_merge(origin, tmp_path):
    clone = tmp_path / "clone"
    options = ["--quiet", "--single-branch", "--branch", "dev_start"]
    git("clone", *options, origin.as_uri(), str(clone), cwd=tmp_path)
    assert sum(path.stat().st_size for path in clone.rglob("*") if path.is_file()) < 1_000_000
    git("switch", "--quiet", "--create", "ada.pixelcnn", cwd=clone)
    run(sys.executable, "-m", "tools.new", "image_generation/pixelcnn", cwd=clone)
    path = clone / "image_generation" / "pixelcnn" / "pixelcnn.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("TODO: ", "")
    notebook.metadata["task"]["promise"] = "a small example"
    nbformat.write(notebook, path)
    run(sys.executable, "-m", "tools.run", "--save", "pixelcnn", cwd=clone)
    git("add", "image_generation/pixelcnn", cwd=clone)
    git("commit", "--quiet", "--message", "PixelCNN", cwd=clone)
    printed = run(sys.executable, "-m", "tools.examine", "pixelcnn", cwd=clone)
    assert "Verdict: nothing to refuse." in printed, printed

    git("fetch", "--quiet", str(clone), "ada.pixelcnn:ada.pixelcnn", cwd=origin)
    command = [sys.executable, "-m", "tools.examine", "pixelcnn", "--branch", "ada.pixelcnn"]
    printed = run(*command, "--merge", cwd=origin)
    assert "image_generation/pixelcnn is in this checkout" in printed
    files = sorted(path.name for path in (origin / "image_generation" / "pixelcnn").iterdir())
    assert files == ["mutations.toml", "pixelcnn.ipynb", "requirements.txt", "results.json"]
    run(sys.executable, "-m", "tools.readme", cwd=origin)
    assert {*git("diff", "--name-only", cwd=origin).splitlines()} == {
        "README.md",
        "requirements.txt",
    }
    needs = (origin / "requirements.txt").read_text()
    assert "-r image_generation/pixelcnn/requirements.txt\n" in needs
