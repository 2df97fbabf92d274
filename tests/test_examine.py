"""tools.examine: a good contribution passes; each bad one is refused with a message that says what to do."""

import copy
import json
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools import examine
from tools.tasks import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
AGAIN = "python -m tools.run --save"


def git(repository, *arguments):
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.autocrlf=false")
    subprocess.run(["git", *identity, *arguments], cwd=repository.root, check=True)


def commit(repository, *paths):
    git(repository, "add", *(paths or ["--all"]))
    git(repository, "commit", "--quiet", "--message", "work")


def store(repository, code="", **changes):
    """Stamp and store outputs as if the notebook, with `code` added to its settings cell, had been run."""
    notebook = repository.notebook()
    notebook.cells[1].source = notebook.cells[1].source.replace("import *", "import pick, record, setup, show_images")
    notebook.cells[3].source += code
    repository.write(notebook)
    for command in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "image_generation"], cwd=repository.root, check=True)
    formatted = repository.task.read_notebook()
    repository.notebook = lambda: copy.deepcopy(formatted)
    repository.store(**changes)


@pytest.fixture
def contribution(repository):
    """The tiny repository under git: common and tools on main, the task, not committed yet, on ada.tiny."""
    for name in ("common", "tools"):
        shutil.copytree(ROOT / name, repository.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (repository.root / "README.md").write_text("- `text_generation/gpt/gpt.ipynb`\n")
    (repository.root / ".gitignore").write_text("__pycache__/\n.ruff_cache/\n")
    shutil.copy(ROOT / "pyproject.toml", repository.root)
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository, "common", "tools", "README.md", ".gitignore", "pyproject.toml")
    git(repository, "switch", "--quiet", "--create", "ada.tiny")
    return repository


@pytest.fixture
def verdict(contribution, capfd):
    def judge(*arguments):
        status = examine.main(["image_generation/tiny", "--branch", "ada.tiny", *arguments], contribution.root)
        return status, " ".join(capfd.readouterr().out.split())

    return judge


def test_a_good_contribution_passes_without_seeing_secrets(contribution, verdict, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@example.org")
    store(
        contribution, "\nimport os\nassert 'hush' not in str(os.environ) and 'guard' in os.listdir(os.environ['HOME'])"
    )
    store(contribution, mode="full", value=5.0, seconds=900.0, device="NVIDIA GeForce RTX 4090")
    commit(contribution)
    git(contribution, "switch", "--quiet", "main")
    before = sorted(contribution.root.rglob("*"))
    status, printed = verdict("--full")
    assert status == 0, printed
    for text in (
        "image_generation/tiny on ada.tiny, a new task, as if merged into ",
        "test error: claimed 3, measured 3 % (may differ by 22); time: claimed 9 s on CPU, 2 cores, measured",
        "ok full run beside its claim. test error: claimed 5, measured 5 % (may differ by 5); time: claimed 15 min",
        "Verdict: nothing to refuse.",
    ):
        assert text in printed
    assert sorted(contribution.root.rglob("*")) == before  # it ran in a copy


def test_network_in_quick_mode_is_refused(contribution, verdict):
    store(contribution, "\nimport urllib.request\nurllib.request.urlopen('https://data.example.org/x.zip')")
    commit(contribution)
    status, printed = verdict()
    assert status == 1
    assert 'The quick run failed. image_generation/tiny: Cell [2] under "Settings" failed: RuntimeError: ' in printed
    assert "quick mode must work without a network, but this cell tried to reach data.example.org" in printed


def edit_notebook(old, new):
    def edit(contribution):
        notebook = contribution.task.read_notebook()
        notebook.cells[3].source = notebook.cells[3].source.replace(old, new)
        nbformat.write(notebook, contribution.task.notebook)

    return edit


def write(name, text):
    return lambda contribution: (contribution.root / name).write_text(text)


def claim_quick_as_full(contribution):
    results = contribution.task.read_results()
    results.update(full=results["quick"] | {"mode": "full"}, stored="full")
    contribution.task.results.write_text(json.dumps(results))


def claim_stand_ins(contribution):
    store(contribution, mode="full", data="handwritten digits of scikit-learn")


BAD = {
    "stale outputs": (edit_notebook("quick=3", "quick=4"), ["the stored outputs are stale", AGAIN]),
    "missing requirement": (edit_notebook("  # few", "\nimport sklearn"), ["add a line scikit-learn>=... to"]),
    "absolute path": (edit_notebook("# few", "# '/home/ada/x'"), ["the path /home/ada", "use a relative path"]),
    "unwritten": (edit_notebook("# few", "# TODO: say why"), ["write this part and delete its marker: TODO: say why"]),
    "unformatted": (edit_notebook("  # few", "; import os"), ["Run ruff format image_generation/tiny", "F401"]),
    "quick claimed as full": (claim_quick_as_full, ["the stamp and results.json tell of different runs", AGAIN]),
    "full on stand-ins": (claim_stand_ins, ["measured on quick mode's data", "Run DL_MODE=full"]),
    "outside the band": (lambda c: store(c, mode="full", value=20.0), ["20 lies outside its band, 0 to 10", AGAIN]),
    "worse than the baseline": (lambda c: store(c, value=95.0), ["95 does not beat its baseline 90", AGAIN]),
    "a band of everything": (lambda c: store(c, band=[0, 99]), ["holds the baseline, 90, too", "narrow it"]),
    "outside the folder": (
        write("common/data.py", "x = 1\n"),
        ["The branch also changes common/data.py", "git checkout"],
    ),
    "a stray file": (
        write("image_generation/tiny/picture.png", "x"),
        ["tiny/picture.png is none of", "remove it"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_contribution_is_refused(contribution, verdict, monkeypatch, name):
    spoil, messages = BAD[name]
    store(contribution)
    spoil(contribution)
    commit(contribution)
    monkeypatch.setattr(examine, "run", lambda task, mode, home: (None, ""))  # what is found without running
    status, printed = verdict()
    assert status == 1 and "Verdict: refused" in printed
    for message in messages:
        assert message in printed


def test_uncommitted_changes_are_refused(contribution, verdict):
    store(contribution)
    commit(contribution)
    contribution.task.requirements.write_text("torch>=2.3\n")
    status, printed = verdict()
    assert status == 1 and "has changes that are not committed" in printed and "was not run" in printed


def test_a_taken_name_is_refused(contribution, verdict):
    git(contribution, "switch", "--quiet", "main")
    (contribution.root / "README.md").write_text("- `text_generation/tiny/tiny.ipynb`\n")
    commit(contribution, "README.md")
    git(contribution, "switch", "--quiet", "ada.tiny")
    store(contribution)
    commit(contribution)
    status, printed = verdict()
    assert status == 1 and "The name tiny is taken by text_generation/tiny; choose another" in printed


def test_code_is_shown_without_running_it(contribution, verdict, monkeypatch):
    store(contribution, '\nhidden = "\x1b[2K\u202e"')
    commit(contribution)
    monkeypatch.setattr(examine, "run", None)
    status, printed = verdict("--code")
    assert status == 0 and "+steps = pick(full=5, quick=3)" in printed and r'+hidden = "\x1b[2K\u202e"' in printed
    git(contribution, "branch", "--force", "main")
    edit_notebook("quick=3", "quick=4")(contribution)
    commit(contribution)
    status, printed = verdict("--code")
    assert "a changed task" in printed and "-steps = pick(full=5, quick=3)" in printed and "quick=4" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny", "--branch", "ada.tiny"], "There is no task tinny on ada.tiny"),
        (["tiny", "--branch", "ada"], "There is no branch ada; fetch it first: git fetch"),
        (["tiny", "--branch", "main"], "There is no task tiny on main; name category and task, commit it"),
        (["tiny", "--base", "trunk"], "There is no branch or commit trunk"),
    ],
)
def test_a_wrong_command_says_what_to_do(contribution, capsys, arguments, message):
    commit(contribution)
    assert examine.main(arguments, contribution.root) == 2
    assert message in capsys.readouterr().err


CLAIM = {
    **{"mode": "full", "task": "T", "metric": "error", "unit": "%", "parameters": 1, "data": "d", "band": [2.0, 4.0]},
    **{"higher_is_better": False, "value": 3.0, "baseline": {"name": "b", "value": 90.0}, "seconds": 600.0},
    "device": "NVIDIA GeForce RTX 4090",
}


@pytest.mark.parametrize(
    ("claim", "measured", "message"),
    [
        ({}, {"value": 3.9, "seconds": 800.0}, None),
        ({}, {"value": 3.9, "seconds": 6000.0, "device": "Tesla T4"}, None),
        (
            {"value": 2.1},
            {"value": 3.9},
            "The claimed full result was not reproduced: error: claimed 2.1, measured 3.9",
        ),
        ({}, {"value": float("nan")}, "was not reproduced"),
        ({}, {"seconds": 1000.0}, "The claimed time differs by more than a factor of 1.5 on the same device"),
        ({}, {"seconds": 100.0}, "The claimed time differs"),
        ({"parameters": 2}, {}, "results.json claims parameters 2 in full mode; the run says 1."),
        ({"mode": "quick"}, {"value": 20.0, "seconds": 6000.0}, None),
        ({"mode": "quick"}, {"value": 40.0}, "The claimed quick result was not reproduced"),
    ],
)
def test_claims_are_compared_with_what_was_measured(claim, measured, message):
    _, wrong = examine.compare(CLAIM | claim, CLAIM | measured)
    assert not wrong if message is None else len(wrong) == 1 and message in wrong[0]


def test_the_names_of_the_stand_ins():
    source = (ROOT / "common" / "data.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in examine.STAND_INS)
