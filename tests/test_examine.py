"""tools.examine: good contributions pass, lies and attacks are refused, ours is what is merged."""

import functools
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from tests.conftest import served
from tools import examine, sandbox
from tools.results import Results
from tools.tasks import TaskError

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
SETTINGS, TRAINING, RECORD = 3, 5, 7


@functools.cache
def kind():
    """The sandbox of this machine; where REQUIRE_SANDBOX is set, as in CI, there must be one."""
    try:
        return sandbox.find_sandbox()
    except TaskError as error:
        if os.environ.get("REQUIRE_SANDBOX"):
            raise
        return str(error)


needs_sandbox = pytest.mark.skipif(
    kind() not in ("bubblewrap", "container"), reason="no sandbox works on this machine"
)


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
    change(repository, RECORD, "record(", "record(")  # formats it
    return repository


@pytest.fixture
def verdict(contribution, ask):
    """Return a function that commits, examines from main, and returns status and printed text."""

    def judge(*options):
        commit(contribution)
        git(contribution, "switch", "--quiet", "main")
        status, printed = ask("examine", "image_generation/tiny", "--branch", "ada.tiny", *options)
        return status, " ".join(printed.split())

    return judge


def merged_files(contribution):
    return sorted(path.name for path in contribution.task.folder.iterdir())


REACH = """
import contextlib
import ctypes
import socket
from pathlib import Path

reached, home = [], Path("/", *HOME)
for path in ("conftest.py", "tiny.ipynb", "../../tools/mutate.py", "../../common/data.py"):
    with contextlib.suppress(OSError):
        Path(path).write_text("print('owned')")
        reached.append(path)
with contextlib.suppress(OSError):
    Path("notes.txt").symlink_to(home / FOLDER / "secret.txt")
    reached.append("a link beside the notebook")
with contextlib.suppress(OSError, RuntimeError):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.sendto(b"x", ("192.0.2.1", 9))
    reached.append("the network")
with contextlib.suppress(OSError):
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(str(home / FOLDER / "socket"))
    reached.append("a socket of the machine")
for place in ("/proc/*/environ", "/tmp/**/secret.txt", f"{home}/.*", f"{home}/**/secret.txt"):
    for path in Path("/").glob(place[1:]):
        with contextlib.suppress(OSError):
            if path.is_file() and b"hush" in path.read_bytes():
                reached.append(str(path))
libc = ctypes.CDLL(None)
for place in (b"/home", b"/tmp", str(home).encode(), b"/repository", b"/repository/runs"):
    if not libc.umount2(place, 2) or not libc.mount(b"none", place, b"tmpfs", 0, 0):
        reached.append(f"the mount {place}")
display({"text/html": "<script>x</script>", "text/plain": "text"}, raw=True)
assert not reached, reached
"""


@needs_sandbox
def test_a_run_reaches_nothing_and_what_is_merged_is_ours(contribution, verdict, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setattr(examine, "check_mutations", lambda runs: [])
    monkeypatch.setattr(examine, "check_learning", lambda runs, record: [])
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        secret, place = Path(folder, "secret.txt"), Path(folder, "socket")
        secret.write_text("hush")
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(place))
        server.listen()
        code = REACH.replace("FOLDER", repr(Path(folder).name))
        code = code.replace("HOME", repr(Path.home().parts[1:]))
        change(
            contribution, SETTINGS, "from common import pick", f"{code}\nfrom common import pick"
        )
        contribution.store(value=10.2)  # what the run gives, up to the seed
        results = Results.read(contribution.task)
        results.full = results.quick | {"mode": "full", "data": "MNIST", "value": 0.001}
        results.write(contribution.task)
        status, printed = verdict("--merge")
        server.close()
    assert status == 0, printed
    assert "image_generation/tiny on ada.tiny" in printed and "a new task" in printed
    assert "claimed for full mode, not repeated here, so not published: test error 0.001" in printed
    assert "Verdict: nothing to refuse. Not checked; read for it" in printed
    assert "full mode, which was not run" in printed and "forged on purpose" in printed
    assert merged_files(contribution) == sorted(
        ["mutations.toml", "requirements.txt", "results.json", "tiny.ipynb"]
    )
    results = Results.read(contribution.task)
    assert results.full is None and results.quick["value"] != 10.2
    cells = contribution.task.read_notebook().cells
    assert "text" in str(cells[SETTINGS].outputs) and "html" not in str(cells[SETTINGS].outputs)


@needs_sandbox
def test_processes_of_one_training_can_talk(tmp_path):
    listen = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
    listen += "socket.create_connection(server.getsockname(), timeout=5)"
    command = sandbox.sandboxed(kind(), ["-c", listen], tmp_path, None)
    assert sandbox.limited(*command, 60, print) == (0, [])


def test_endless_runs_and_links_as_results_are_stopped(tmp_path):
    command = [sys.executable, "-c", "import time\ntime.sleep(1000)"]
    assert sandbox.limited(command, {}, tmp_path, 1, print)[0] == "It took longer than 1 s."
    command = [sys.executable, "-c", "while True: print('x' * 999)"]
    status, lines = sandbox.limited(command, {}, tmp_path, 60, lambda line: None)
    assert "prints more than 200,000" in status and len("".join(lines)) < 200_001
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "record.json").symlink_to(tmp_path / "secret")
    assert sandbox.read_output(tmp_path / "record.json", 1000) is None
    assert sandbox.read_output(tmp_path / "secret", 3) is None


def test_without_a_sandbox_nothing_runs(contribution, verdict, monkeypatch):
    contribution.store()
    monkeypatch.setattr(sandbox, "find_sandbox", sandbox.find_sandbox.__wrapped__)
    monkeypatch.setattr(examine, "find_sandbox", sandbox.find_sandbox)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    monkeypatch.setattr(examine, "limited", None)
    status, printed = verdict()
    assert status == 2 and "Nothing was run" in printed and "apt install bubblewrap" in printed


def test_the_container_has_the_same_walls(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    command, _, _ = sandbox.sandboxed("container", ["-m", "x"], tmp_path, tmp_path / "data")
    for wall in ("--network=none", "--cap-drop=ALL", "--read-only", "--rm"):
        assert wall in command
    assert f"--volume={tmp_path}:/repository:ro" in command and "hush" not in str(command)
    assert f"--volume={tmp_path / 'data'}:/data:ro" in command


LIES = {  # found by running: edits of cells, messages
    "a result that is typed in, with an assert that only a rate of zero fails": (
        [
            (RECORD, "value=value", "value=12.5"),
            (SETTINGS, "steps > 0", "steps > 0 and learning_rate"),
        ],
        [
            "With training stopped the result is still test error 12.5 %",
            "With seed = 1 it is test error 12.5 % again",
        ],
    ),
    "one that divides by a rate, and a seed that decides everything": (
        [
            (RECORD, "value=value", "value=value / learning_rate * 0.5"),
            (TRAINING, "np.random.rand()", "np.random.rand() + 65 * seed"),
        ],
        ["With training stopped it does not get to record(...)", "too far from test error"],
    ),
    "endless printing": (
        [(TRAINING, "value = 80.0", "value = 80.0\nfor _ in range(9000):\n    print('x' * 99)")],
        ["It prints more than 200,000 characters"],
    ),
    "HTML in what it records": (
        [(RECORD, '"chance"', '"<script>x</script>"')],
        ["It recorded no result: a text in it holds <s"],
    ),
    "no rate at all, and no seed": (
        [
            (SETTINGS, "learning_rate = 0.5", "speed = 0.5"),
            (TRAINING, "learning_rate", "speed"),
            (TRAINING, "np.random.rand()", "0 * np.random.rand()"),
        ],
        ["not checked: does the result come from training?", "With seed = 1 it is test error 10 %"],
    ),
}


@needs_sandbox
@pytest.mark.parametrize("name", LIES)
def test_a_lie_that_only_a_run_can_find_is_refused(contribution, verdict, name, monkeypatch):
    monkeypatch.setattr(examine, "check_mutations", lambda runs: [])
    edits, messages = LIES[name]
    for edit in edits:
        change(contribution, *edit)
    contribution.store(value=10.5)
    status, printed = verdict()
    assert status == 1 and all(message in printed for message in messages), printed


def test_frozen_optimizers_and_rates_do_not_move():
    code = [
        "import torch\nlearning_rate = {'a': [1.0], 'b': 2.0}",
        "w = torch.nn.Parameter(torch.ones(1))",
        "optimizer = torch.optim.Adam([w])\nw.sum().backward()\noptimizer.step()",
        "print(w.item(), learning_rate)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
    cells = examine.frozen(notebook, settings=True).cells
    command = [sys.executable, "-c", "\n".join(cell.source for cell in cells)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "1.0 {'a': [0.0], 'b': 0.0}", done.stderr


@needs_sandbox
def test_mutations_that_end_early_are_refused(contribution, tmp_path_factory):
    path = contribution.task.folder / "mutations.toml"
    path.write_text(path.read_text().replace("quick=-3", "quick=__import__('os')._exit(0)"))
    runs = examine.Runs(contribution.task, kind(), tmp_path_factory.mktemp("runs"))
    assert "The mutations ended before the last of them." in list(examine.check_mutations(runs))


@needs_sandbox
@pytest.mark.parametrize("right", [True, False])
def test_a_full_run_reads_declared_data(
    contribution, verdict, monkeypatch, tmp_path_factory, right
):
    folder = tmp_path_factory.mktemp("served")
    (folder / "numbers.txt").write_text("80.0")
    monkeypatch.setenv("DL_DATA", str(folder / "data"))
    digest = hashlib.sha256(b"80.0" if right else b"81.0").hexdigest()
    read = 'value = 80.0\npath = data_folder() / "tiny" / "numbers.txt"\n'
    read += "value = float(path.read_text()) if path.exists() else value\nprint(path.exists())"
    change(contribution, TRAINING, "value = 80.0", read)
    change(contribution, TRAINING, "value = 80.0", "from common import data_folder\n\nvalue = 80.0")
    contribution.store(value=10.5)
    monkeypatch.setattr(examine, "check_mutations", lambda runs: [])
    monkeypatch.setattr(examine, "check_learning", lambda runs, record: [])
    with served(folder) as address:
        item = {"url": f"{address}/numbers.txt", "hash": f"sha256:{digest}", "file": "numbers.txt"}
        contribution.tell(data=[item])
        status, printed = verdict("--full", "--merge")
    if right:
        assert status == 0 and Results.read(contribution.task).stored == "full", printed
        assert "True" in contribution.task.read_notebook().cells[TRAINING].outputs[0].text
    else:
        assert status == 2 and "numbers.txt" in printed and "could not be downloaded" in printed


def write(name, text):
    return lambda contribution: (contribution.root / name).write_text(text)


def link(contribution):
    path = contribution.task.folder / "mutations.toml"
    path.unlink()
    path.symlink_to("/etc/hostname")


def take_name(contribution):
    git(contribution, "switch", "--quiet", "main")
    (contribution.root / "README.md").write_text("- `text_generation/tiny/tiny.ipynb`\n")
    commit(contribution, "README.md")
    git(contribution, "switch", "--quiet", "ada.tiny")


TINY = "image_generation/tiny"
STATIC = {  # found without running; what test_check tries is not tried again
    "stale outputs": (lambda c: c.edit(3, "quick=3", "quick=4"), "the stored outputs are stale"),
    "unformatted": (lambda c: c.edit(3, "  # few", "; import os"), "Run ruff format"),
    "another file": (write(f"{TINY}/a.png", "x"), "tiny/a.png is none of"),
    "a test's settings": (write(f"{TINY}/conftest.py", "x = 1\n"), "conftest.py: rename it"),
    "a taken name": (take_name, "The name tiny is taken; choose another"),
    "a link": (link, "mutations.toml is a link or a repository"),
    "another folder": (write("common/data.py", "x = 1\n"), "also changes common/data.py"),
    "another readme": (write("image_generation/README.md", "x\n"), "also changes image_generation"),
}


@pytest.mark.parametrize("name", STATIC)
def test_what_is_wrong_on_paper_is_refused_without_running(
    contribution, verdict, monkeypatch, name
):
    spoil, message = STATIC[name]
    contribution.store()
    spoil(contribution)
    monkeypatch.setattr(examine, "limited", None)
    status, printed = verdict()
    assert status == 1 and message in printed and "was not run" in printed, printed


@needs_sandbox
def test_an_honest_task_with_a_module_in_a_new_category_is_merged(contribution, verdict):
    git(contribution, "switch", "--quiet", "--force-create", "ada.tiny", "main")
    git(contribution, "rm", "--quiet", "--cached", "image_generation/README.md")
    git(contribution, "commit", "--quiet", "--message", "no category")
    git(contribution, "branch", "--force", "main")
    (contribution.task.folder / "speed.py").write_text("SPEED = 0.5\n")
    new = "from image_generation.tiny.speed import SPEED\n\nfrom common import pick"
    change(contribution, SETTINGS, "from common import pick", new)
    change(contribution, SETTINGS, "rate = 0.5", "rate = SPEED")
    contribution.store()
    status, printed = verdict("--merge")
    assert status == 0, printed
    assert "speed.py" in merged_files(contribution)
    assert (contribution.root / "image_generation" / "README.md").exists()


def test_all_text_is_shown_without_running_it(contribution, verdict, monkeypatch):
    change(contribution, 3, "  # few", '  # few\nhidden = "\x1b[2K\u202e"')
    contribution.store()
    notebook = contribution.task.read_notebook()
    notebook.cells[4] |= {"metadata": {"tags": ["x"]}, "attachments": {"a.svg": {}}}
    notebook.metadata["mystnb"] = {"execution_mode": "force"}
    contribution.write(notebook)
    (contribution.task.folder / "a.png").write_text("x")
    monkeypatch.setattr(examine, "limited", None)
    status, printed = verdict("--code")
    assert status == 1 and "tiny/a.png is none of" in printed and "Verdict" not in printed
    assert "+steps = pick(full=5, quick=3)" in printed and '"execution_mode": "force"' in printed
    assert "+# %% markdown {'tags': ['x'], 'a.svg': {}}" in printed
    assert r'+hidden = "\x1b[2K\u202e"' in printed and "-r ../../common" in printed
    assert "+## Training" in printed and '"summary": "learn a number"' in printed
    assert '+name = "0 steps"' in printed


@pytest.mark.parametrize(
    ("arguments", "expected", "message"),
    [
        (
            ["tinny", "--branch", "ada.tiny"],
            2,
            "On ada.tiny: There is no task tinny; did you mean tiny?",
        ),
        (["tiny", "--branch", "ada"], 2, "There is no branch ada; fetch it first: git fetch"),
        (["tiny", "--branch", "main"], 2, "On main: There is no task tiny"),
        (["tiny", "--commit", "abc"], 2, "not at abc; fetch it again"),
        (["tiny"], 1, "has changes here that are not committed"),
    ],
)
def test_wrong_commands_and_uncommitted_changes_are_refused(
    contribution, ask, arguments, expected, message
):
    contribution.store()
    commit(contribution)
    (contribution.task.folder / "requirements.txt").write_text("torch>=2.3\n")
    status, printed = ask("examine", *arguments)
    assert status == expected and message in printed


def test_compare_accepts_what_is_close():
    record = dict.fromkeys(("metric", "unit", "data", "parameters"), "x")
    record |= {"higher_is_better": False, "value": 3.0, "baseline": {"name": "b", "value": 90.0}}
    assert not list(examine.compare(record | {"value": 5.0}, record))
    assert len(list(examine.compare(record | {"value": 20.0}, record))) == 1
