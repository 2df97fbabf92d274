"""tools.examine: good contributions pass, lies and attacks are refused, ours is what is merged."""

import copy
import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools import examine, sandbox
from tools.run import write_results

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(repository, *arguments):
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=repository.root, check=True)


def commit(repository, *paths):
    git(repository, "add", *(paths or ["--all"]))
    git(repository, "commit", "--quiet", "--message", "work")


def change(repository, index, old, new):
    """Edit a cell and format the notebook as its author would."""
    repository.edit(index, old, new)
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "image_generation"]
    subprocess.run(command, cwd=repository.root, check=True)


@pytest.fixture
def contribution(repository):
    """The tiny repository under git: all but the task on main, the task uncommitted on ada.tiny."""
    (repository.root / "README.md").write_text("- `text_generation/gpt/gpt.ipynb`\n")
    (repository.root / ".gitignore").write_text("__pycache__/\n.ruff_cache/\n/runs/\n")
    git(repository, "init", "--quiet", "--initial-branch=main")
    shared = ("common", "tools", "README.md", ".gitignore", "pyproject.toml")
    commit(repository, *shared, "image_generation/README.md")
    git(repository, "switch", "--quiet", "--create", "ada.tiny")
    change(repository, 7, "record(", "record(")  # formats it
    return repository


@pytest.fixture
def verdict(contribution, capfd):
    """Return a function that commits, examines from main, and returns status and printed text."""

    def judge(*arguments):
        commit(contribution)
        git(contribution, "switch", "--quiet", "main")
        arguments = ["image_generation/tiny", "--branch", "ada.tiny", *arguments]
        status = examine.main(arguments, contribution.root)
        return status, " ".join(capfd.readouterr().out.split())

    return judge


def test_a_good_contribution_is_merged_with_our_outputs(contribution, verdict, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    contribution.store(value=10.2)  # what the run gives, up to the seed
    claims = contribution.task.read_results()
    claims["full"] = claims["quick"] | {"mode": "full", "data": "MNIST", "value": 0.001}
    write_results(contribution.task, claims)
    status, printed = verdict("--merge")
    assert status == 0, printed
    assert "image_generation/tiny on ada.tiny" in printed and "a new task" in printed
    assert f"isolation: {sandbox.best_level()}" in printed
    assert "claimed for full mode, not repeated here, so not published: test error 0.001" in printed
    assert "Verdict: nothing to refuse." in printed
    results = contribution.task.read_results()
    assert set(results) == {"quick", "stored"} and results["quick"]["value"] != 10.2
    text = "".join(cell.source for cell in contribution.task.read_notebook().cells)
    assert "hush" not in text and "value *= 1 - learning_rate" in text


SETTINGS, TRAINING = 3, 5
HONEST = "value *= 1 - learning_rate"
RUNTIME = {  # found by running: (cell, old, new), message
    "a metric that is typed in": (
        (7, "value=value", "value=12.5"),
        "With a learning rate of zero the result is still test error 12.5 %",
    ),
    "a seed that reaches nothing": (
        (TRAINING, "torch.rand(()).item()", "0.5"),
        "With seed = 1 the result is test error 10.5 % again",
    ),
    "a seed that decides everything": (
        (TRAINING, "torch.rand(()).item()", "torch.rand(()).item() + 60 * seed"),
        "too far from test error",
    ),
    "no learning rate": (
        (SETTINGS, "learning_rate = 0.5", "speed = learning_speed = 0.5"),
        "No setting is called learning_rate",
    ),
    "network by Python": (
        (
            SETTINGS,
            "assert",
            "import urllib.request\n\nurllib.request.urlopen('https://x.org')\nassert",
        ),
        "The quick run failed",
    ),
    "endless printing": (
        (TRAINING, "value = 80.0", "value = 80.0\nfor _ in range(9000):\n    print('x' * 99)"),
        "It prints more than 200,000 characters",
    ),
}
ATTACKS = {  # code that succeeds only if it reaches what it must not
    "network by a subprocess and by UDP": """
import socket
import subprocess

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.sendto(b"x", ("192.0.2.1", 9))
subprocess.run(["true"], check=True)
""",
    "the environment of other processes": """
import contextlib
from pathlib import Path

text = b""
for path in Path("/proc").glob("[0-9]*/environ"):
    with contextlib.suppress(OSError):
        text += path.read_bytes()
assert b"hush" in text
""",
    "the home folder": """
import os
import pwd
from pathlib import Path

assert (Path(pwd.getpwuid(os.getuid()).pw_dir) / "secret.txt").exists()
""",
}


@pytest.mark.parametrize("name", RUNTIME)
def test_a_lie_that_only_a_run_can_find_is_refused(contribution, verdict, name):
    edit, message = RUNTIME[name]
    change(contribution, *edit)
    if name == "no learning rate":
        change(contribution, TRAINING, "learning_rate", "speed")
    contribution.store(value=10.5)
    status, printed = verdict()
    assert status == 1 and message in printed and "Verdict: refused" in printed, printed


@pytest.mark.skipif(sandbox.best_level() == "audit hook", reason="no isolation on this machine")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_finds_nothing(contribution, verdict, name):
    secret = sandbox.Path.home() / "secret.txt"
    secret.write_text("hush")
    environment = os.environ | {"SECRET_TOKEN": "hush"}
    with subprocess.Popen(["sleep", "100"], env=environment) as bystander:
        try:
            if "network" not in name:  # outside the isolation the attack succeeds
                subprocess.run([sys.executable, "-c", ATTACKS[name]], check=True)
            change(contribution, SETTINGS, "import torch", f"import torch\n{ATTACKS[name]}")
            contribution.store(value=10.5)
            status, printed = verdict()
        finally:
            secret.unlink()
            bystander.kill()
    assert status == 1 and "The quick run failed" in printed, printed


def add_output(**content):
    def spoil(contribution):
        notebook = contribution.task.read_notebook()
        notebook.cells[3].outputs.append(nbformat.v4.new_output(**content))
        nbformat.write(notebook, contribution.task.notebook)

    return spoil


def write(name, text):
    return lambda contribution: (contribution.root / name).write_text(text)


def claim(**changes):
    def spoil(contribution):
        results = contribution.task.read_results()
        results["quick"] |= changes
        write_results(contribution.task, results)

    return spoil


STATIC = {  # found without running
    "stale outputs": (lambda c: c.edit(3, "quick=3", "quick=4"), "the stored outputs are stale"),
    "unlisted import": (lambda c: c.edit(3, "  # few", "\nimport scipy"), "add scipy>=VERSION"),
    "unformatted": (lambda c: c.edit(3, "  # few", "; import os"), "Run ruff format"),
    "unwritten": (lambda c: c.edit(3, "# few", "# TODO: say why"), "delete its marker: TODO: say"),
    "branch on the mode": (
        lambda c: c.edit(3, "assert", "import os\n\nos.environ['DL_MODE']\nassert"),
        "it reads DL_MODE",
    ),
    "edited output": (add_output(output_type="stream", text="99 %"), "not those that the stamped"),
    "script": (
        add_output(output_type="display_data", data={"text/html": "<script>x</script>"}),
        "its output is text/html",
    ),
    "raw HTML": (lambda c: c.edit(4, "## Training", "## A <script>x</script>"), "raw HTML"),
    "other seconds": (claim(seconds=1.0), "tell of different runs"),
    "large results": (claim(extra={"x" * 30_000: 1.0}), "is larger than 20,000 bytes"),
    "another file": (write("image_generation/tiny/a.png", "x"), "tiny/a.png is none of"),
    "another folder": (write("common/data.py", "x = 1\n"), "also changes common/data.py"),
}


LISTEN = """import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=5)
"""


@pytest.mark.skipif(sandbox.best_level() == "audit hook", reason="no isolation on this machine")
def test_processes_of_one_training_can_talk(tmp_path):
    (tmp_path / "tree").mkdir()
    command = [sys.executable, "-c", LISTEN]
    command, environment = sandbox.isolated(
        command, sandbox.best_level(), tmp_path / "tree", "quick"
    )
    subprocess.run(command, env=environment, check=True, timeout=60)


@pytest.mark.parametrize("name", STATIC)
def test_what_is_wrong_on_paper_is_refused_without_running(
    contribution, verdict, monkeypatch, name
):
    spoil, message = STATIC[name]
    contribution.store()
    spoil(contribution)
    monkeypatch.setattr(examine, "run", None)
    status, printed = verdict()
    assert status == 1 and message in printed and "was not run" in printed, printed


def test_a_claim_that_the_run_does_not_give_is_refused(contribution, verdict):
    contribution.store(value=30.0, parameters=7)
    status, printed = verdict("--merge")
    assert status == 1 and "results.json claims 30.0; the run gave test error" in printed
    assert "results.json claims parameters 7; the run says 10." in printed
    assert not contribution.task.folder.exists()  # nothing was merged


def test_a_taken_name_is_refused(contribution, verdict):
    git(contribution, "switch", "--quiet", "main")
    (contribution.root / "README.md").write_text("- `text_generation/tiny/tiny.ipynb`\n")
    commit(contribution, "README.md")
    git(contribution, "switch", "--quiet", "ada.tiny")
    contribution.store()
    status, printed = verdict()
    assert status == 1 and "The name tiny is taken; choose another" in printed


def test_code_is_shown_without_running_it(contribution, verdict, monkeypatch):
    change(contribution, 3, "  # few", '  # few\nhidden = "\x1b[2K\u202e"')
    contribution.store()
    monkeypatch.setattr(examine, "run", None)
    status, printed = verdict("--code")
    assert status == 0 and "+steps = pick(full=5, quick=3)" in printed
    assert r'+hidden = "\x1b[2K\u202e"' in printed and "-r ../../common" in printed


def test_uncommitted_changes_and_other_commits_are_refused(contribution, capsys):
    contribution.store()
    commit(contribution)
    (contribution.task.folder / "requirements.txt").write_text("torch>=2.3\n")
    assert examine.main(["tiny"], contribution.root) == 1
    assert "has changes that are not committed" in capsys.readouterr().out
    assert examine.main(["tiny", "--commit", "abc"], contribution.root) == 2
    assert "not at abc; fetch it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny", "--branch", "ada.tiny"], "no task is called tinny. Did you mean image_gener"),
        (["tiny", "--branch", "ada"], "There is no branch ada; fetch it first: git fetch"),
        (["tiny", "--branch", "main"], "On main no task is called tiny."),
        (["tiny", "--base", "trunk"], "There is no branch or commit trunk"),
    ],
)
def test_a_wrong_command_says_what_to_do(contribution, capsys, arguments, message):
    commit(contribution)
    assert examine.main(arguments, contribution.root) == 2
    assert message in capsys.readouterr().err


def test_compare_accepts_what_is_close():
    record = {
        "metric": "m",
        "unit": "%",
        "data": "d",
        "parameters": 1,
        "higher_is_better": False,
        "value": 3.0,
        "baseline": {"name": "b", "value": 90.0},
    }
    assert not list(examine.compare(copy.deepcopy(record) | {"value": 5.0}, record))
    assert len(list(examine.compare(record | {"value": 20.0}, record))) == 1
    assert len(list(examine.compare(json.loads('{"value": NaN}'), record))) == 6
