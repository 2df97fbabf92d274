"""tools.run and what the commands share, on a tiny notebook, in real kernels."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest

from tests.conftest import RECORD
from tools import __main__, run
from tools.check import check
from tools.command import explained
from tools.results import Results
from tools.tasks import TaskError, find_tasks, learning_path


def copies(repository):
    return sorted(path.name for path in (repository.root / "runs").glob("*"))


def read_copy(repository, name="tiny.quick"):
    return nbformat.read(repository.root / "runs" / f"{name}.ipynb", as_version=4)


def test_a_run_writes_a_copy_that_speaks_of_itself(repository, ask, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(repository.root))  # another Python's kernel
    (repository.root / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "x"}
    (repository.root / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    repository.store(mode="full", value=1.0)
    before = repository.task.notebook.read_bytes()
    status, printed = ask("run", "image_generation/tiny")
    assert status == 0
    for line in ("[2/4] Settings", "[3/4] Training", "step 2", "This quick run on noise: test err"):
        assert line in printed
    assert repository.task.notebook.read_bytes() == before
    assert copies(repository) == ["tiny.quick.ipynb"]
    cells = read_copy(repository).cells
    assert [c.execution_count for c in cells if c.cell_type == "code"] == [1, 2, 3, 4]
    assert "(quick mode" in cells[0].source and "(full mode" not in cells[0].source


def test_save_stores_checked_outputs_and_a_second_run_repeats_them(repository, ask):
    assert ask("run", "--save", "tiny")[0] == 0
    assert check(repository.task) == []
    first = repository.task.read_notebook()
    assert first.metadata.stamp.mode == "quick" and first.metadata.language_info.version
    assert os.name == "nt" or 0.1 < Results.read(repository.task).quick["cpu_seconds"] < 60
    assert ask("run", "--save", "tiny")[0] == 0
    second = repository.task.read_notebook()
    assert check(repository.task) == [] and first.cells[2:7] == second.cells[2:7]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import no_such", "pip install -r image_generation/tiny/requirements.txt"),
        ('raise RuntimeError("CUDA out of memory. Tried")', "Lower the batch size in the settings"),
        ("import os; os._exit(1)", "the kernel died, most likely for lack of memory"),
        ("import time; time.sleep(60)", "it took longer than the limit of a cell"),
    ],
)
def test_a_failing_cell_is_named_and_a_good_copy_stays(repository, ask, line, message):
    notebook = repository.notebook()
    notebook.cells[1].source = "import os"  # nothing that takes seconds
    notebook.cells[3].source = 'print("before")'
    notebook.cells[5].source = line
    repository.write(notebook)
    (repository.root / "runs").mkdir()
    (repository.root / "runs" / "tiny.quick.ipynb").write_text("good")
    before = repository.task.notebook.read_bytes()
    status, printed = ask("run", "--save", "--cell-timeout", 2, "tiny")
    assert status == 1 and message in printed
    assert 'image_generation/tiny: Cell [3] under "Training" failed: ' in printed
    assert repository.task.notebook.read_bytes() == before and not repository.task.results.exists()
    assert copies(repository) == ["tiny.quick.failed.ipynb", "tiny.quick.ipynb"]
    assert (repository.root / "runs" / "tiny.quick.ipynb").read_text() == "good"
    copy = read_copy(repository, "tiny.quick.failed")
    assert copy.cells[3].outputs[0].text == "before\n" and copy.cells[7].execution_count is None
    assert "This run did not finish. Cell [3]" in copy.cells[0].source


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_an_interrupted_run_keeps_what_it_has_and_leaves_no_kernel(repository):
    repository.edit(5, "value = 80.0", "import time\nprint('sleeping')\ntime.sleep(60)")
    command = [sys.executable, "-m", "tools", "run", "tiny"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=repository.root, **piped) as process:
        for line in process.stdout:
            if "sleeping" in line:
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in error
    assert "Traceback" not in error and copies(repository) == ["tiny.quick.interrupted.ipynb"]
    time.sleep(1)
    processes = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True).stdout
    assert not [line for line in processes.splitlines() if line.split()[0] == str(process.pid)]


def test_what_cannot_be_stored_is_said(repository, ask):
    repository.edit(7, "record(", "dict(")
    status, printed = ask("run", "--save", "tiny")
    assert status == 1 and "Nothing was stored: the notebook did not call record" in printed
    repository.edit(0, "<!-- result -->", "")
    status, printed = ask("run", "tiny")
    assert status == 1 and "lacks the lines <!-- result -->" in printed
    shutil.rmtree(repository.root / "runs")
    (repository.root / "runs").write_text("a file where the folder should be")
    status, printed = ask("run", "tiny")
    assert status == 1 and "Nothing was run: runs/ cannot be written" in printed


def test_an_hour_is_not_lost_by_an_edit(repository, ask, monkeypatch):
    real = run.execute

    def execute_and_edit(notebook, task, mode, timeout):
        recorded = real(notebook, task, mode, timeout)
        repository.edit(3, "quick=3", "quick=4")
        return recorded

    monkeypatch.setattr(run, "execute", execute_and_edit)
    status, printed = ask("run", "--save", "tiny")
    assert status == 1 and "code was changed while it ran" in printed
    assert "stamp" not in repository.task.read_notebook().metadata
    assert "This quick run" in read_copy(repository).cells[7].outputs[0].text


@pytest.mark.parametrize("full", ["runs", "results.json", "tiny.ipynb"])
def test_a_full_disk_loses_nothing(repository, ask, monkeypatch, tmp_path_factory, full):
    elsewhere, write = tmp_path_factory.mktemp("elsewhere"), Path.write_bytes

    def write_bytes(path, content):
        if full in (path.parent.name, path.stem):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(run.tempfile, "tempdir", str(elsewhere))
    before = repository.task.notebook.read_bytes()
    status, said = ask("run", "--save", "tiny")
    assert status == (full != "runs")
    copy = elsewhere if full == "runs" else repository.root / "runs"
    assert ("Nothing was stored: No space left" in said) == (full != "runs"), said
    assert "No space left" in said and (copy / "tiny.quick.ipynb").exists(), said
    assert (repository.task.notebook.read_bytes() == before) == (full != "runs")
    assert repository.task.results.exists() == (full == "runs")
    assert not list(repository.root.rglob("*.part"))


def test_text_and_a_comment_cell_written_during_a_run_are_kept(repository):
    executed, edited = (repository.task.read_notebook() for _ in range(2))
    edited.cells[2].source = "See [the needs](requirements.txt)."
    edited.cells.insert(4, nbformat.v4.new_code_cell("# a remark"))
    repository.write(edited)
    executed.metadata["language_info"] = {"name": "python"}
    for cell in executed.cells[1::2]:
        cell.outputs = [nbformat.v4.new_output("stream", text=cell.id)]
    run.save(executed, repository.task, RECORD)
    stored = repository.task.read_notebook().cells
    assert stored[2].source.startswith("See [the needs]") and stored[4].source == "# a remark"
    assert stored[6].outputs[0].text == "cell5"


def test_a_quick_run_never_replaces_a_full_one(repository):
    repository.store(mode="full", seconds=400.0)
    full = repository.task.read_notebook()
    said = repository.store(mode="quick", seconds=24.0, value=50.0)
    assert "outputs of the full run stay" in said
    assert repository.task.read_notebook() == full
    results = Results.read(repository.task)
    assert results.stored == "full" and results.quick["seconds"] == 24.0
    repository.store(mode="full", seconds=300.0)
    assert Results.read(repository.task).quick["seconds"] == 24.0
    assert check(repository.task) == []
    repository.edit(3, "learning_rate = 0.5", "learning_rate = 0.4")
    repository.store(mode="quick")  # the full run belongs to other code
    assert not Results.read(repository.task).full and check(repository.task) == []


def test_seeds_are_run_and_their_figures_stored(repository, ask):
    repository.store()
    status, printed = ask("run", "--seeds", 2, "tiny")
    assert status == 0 and "seed 1: test error" in printed and "standard deviation" in printed
    values = Results.read(repository.task).seeds["quick"]["values"]
    assert len(values) == 2 and values[0] != values[1]
    assert check(repository.task) == []
    repository.edit(7, "record(", "assert seed < 1\nrecord(")
    assert ask("run", "--seeds", 2, "tiny")[0] == 1  # the first figure is kept
    assert len(Results.read(repository.task).seeds["quick"]["values"]) == 1


def test_settings_are_replaced_and_never_stored(repository, ask):
    before = repository.task.notebook.read_bytes()
    file = repository.root / "record.json"
    assert ask("run", "--set", "learning_rate=0.0", "--record", file, "tiny")[0] == 0
    assert 80 <= json.loads(file.read_text())["value"] <= 81
    assert copies(repository) == ["tiny.quick.learning_rate=0.0.ipynb"]
    assert repository.task.notebook.read_bytes() == before and not repository.task.results.exists()
    status, printed = ask("run", "--set", "rate=0.0", "tiny")
    assert status == 2 and "No cell assigns rate at top level" in printed


def test_a_broken_task_hides_no_other(repository, ask):
    broken = repository.root / "image_generation" / "broken"
    broken.mkdir()
    (broken / "broken.ipynb").write_text("<<<<<<< HEAD\n")
    status, printed = ask("run", "--list")
    assert status == 0 and "image_generation/tiny" in printed
    assert "broken.ipynb is not a notebook" in printed
    status, printed = ask("run", "broken")
    assert status == 2 and "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["TINNY"], "There is no task TINNY; did you mean tiny?"),
        (["text_generation/tiny"], "There is no task text_generation/tiny; did you mean tiny?"),
        (["xyz"], "There is no task xyz; python -m tools run --list shows all."),
        ([], "name a task, or use --list to see them"),
        (["--sav", "tiny"], "there is no option --sav; did you mean --save?"),
        (["--cell-timeout", "0.5", "tiny"], "'0.5' is not a whole number above 0"),
        (["--set", "epochs", "tiny"], "'epochs' is not of the form NAME=VALUE"),
        (["--set", "learning_rate=nan", "tiny"], "learning_rate is a number, and 'nan' is none"),
        (["--set", "steps=None", "tiny"], "steps is a number, and None is none"),
        (["--set", "seed=-1", "tiny"], "seed is a whole number from 0 to 2**32 - 1, not -1"),
        (["--set", "seed=1.5", "tiny"], "seed is a whole number"),
        (["tiny"], "DL_MODE is 'fast'; set it to quick or full"),
        (["--save", "--seeds", "2", "tiny"], "leave out --set and --seeds"),
    ],
)
def test_a_wrong_command_gets_a_sentence(ask, monkeypatch, arguments, message):
    monkeypatch.setenv("DL_MODE", "fast")
    status, printed = ask("run", *arguments)
    assert status == 2 and message in printed


def test_names_of_tasks(repository):
    for name in ("tiny", "image_generation/tiny/tiny.ipynb", "image_generation\\tiny"):
        assert find_tasks([name, name], repository.root) == [repository.task]
    other = repository.root / "text_generation" / "tiny"
    other.mkdir(parents=True)
    (other.parent / "README.md").write_text("# Text generation\n")
    shutil.copy(repository.task.notebook, other)
    with pytest.raises(TaskError, match="tiny fits image_generation/tiny and text_generation/tiny"):
        find_tasks(["tiny"], repository.root)


def test_the_learning_path_follows_its_file(repository):
    for name in ("b", "a"):
        (repository.root / "image_generation" / name).mkdir()
        (repository.root / "image_generation" / name / f"{name}.ipynb").touch()
    strands = '[[strand]]\nname = "S"\ntasks = ["tiny", "later", "a"]\n'
    (repository.root / "path.toml").write_text(strands)
    path = learning_path(repository.root)
    names = {strand: [task.name for task in tasks] for strand, tasks in path.items()}
    assert names == {"S": ["tiny", "a"], "More": ["b"]}


def test_one_entry_point(capsys):
    assert __main__.main([]) == 0 and "  run " in capsys.readouterr().out
    assert __main__.main(["rnu"]) == 2 and "did you mean run?" in capsys.readouterr().err
    assert __main__.main(["run", "no_such_task"]) == 2
    assert "There is no task no_such_task" in capsys.readouterr().err


def test_what_is_the_users_doing_is_said_in_a_sentence(capsys):
    full, missing = OSError(28, "No space", "x.ipynb"), ModuleNotFoundError("", name="nbval")
    cases = [(full, 1, "x.ipynb cannot be written: No space"), (KeyboardInterrupt(), 130, "interr")]
    cases += [(missing, 1, "nbval is not installed"), (TaskError("so"), 2, "so")]
    for error, status, said in cases:
        assert explained(Mock(side_effect=error)) == status and said in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        explained(lambda: 1 // 0)
    with pytest.raises(ModuleNotFoundError):
        explained(lambda: __import__("common.nosuch"))
