"""tools.mutate: what kills a mutation and what does not; and every notebook's own mutations."""

import sys
from unittest.mock import Mock

import pytest

from tools import command, mutate
from tools.results import Results
from tools.tasks import all_tasks

CHECKED = "assert steps > 0"


@pytest.fixture
def task(repository, monkeypatch):
    """The tiny task; its modules are imported from its own repository and forgotten afterwards."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "common"]:
        monkeypatch.delitem(sys.modules, name)
    repository.edit(3, CHECKED, "double = steps * 2\nassert (\n    double == 2 * steps\n)")
    return repository.task


def write(task, **changes):
    keys = {"name": "a", "old": "steps * 2", "new": "steps * 3", "check": "double == 2 * steps"}
    lines = [f'{key} = "{value}"' for key, value in (keys | changes).items()]
    text = "settings = {steps = 2}\n[[mutation]]\n" + "\n".join(lines)
    (task.folder / "mutations.toml").write_text(text)


def test_a_check_that_fails_kills_and_counts_are_stored(task, repository, ask):
    # a cell can read the source of its functions
    new = "import inspect\ndef three():\n    return 3\n"
    new += "assert 'return 3' in inspect.getsource(three)\ndouble = steps * 2"
    repository.edit(3, "double = steps * 2", new)
    repository.store()
    write(task)
    status, printed = ask("mutate", "tiny", "--save")
    assert status == 0 and "1 of 1 mutations killed" in printed
    counts = Results.read(task).mutations
    assert (counts["killed"], counts["of"]) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"new": "steps + steps"}, "a: it survived"),
        ({"new": "steps / 0"}, "ZeroDivisionError in In [2], line 7 instead"),
        ({"old": "seed = 0", "new": "assert False"}, "AssertionError in In [2], line 3 instead"),
        ({"new": "nothing"}, "NameError in In [2], line 7 instead"),
        ({"new": "__import__('sys').exit(0)"}, "SystemExit in In [2], line 7 instead"),
    ],
)
def test_anything_else_is_a_failure(task, ask, changes, message):
    write(task, **changes)
    status, printed = ask("mutate", "tiny")
    assert status == 1 and message in printed, printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old": "steps * 7"}, "'steps * 7' occurs 0 times in the notebook, not once"),
        ({"check": "steps"}, "times in the notebook, not once"),
        ({"new": "steps * 2"}, "changes nothing"),
        ({"check": "double = steps * 2"}, "changes the check itself"),
        ({"colour": "x"}, "has an unknown key or an odd value: colour"),
        ("[[mutations]]", "has mutations, which is neither settings nor [[mutation]]"),
        ('mutation = "x"', "write settings = {...} and [[mutation]]"),
        ("settings = 3", "write settings = {...} and [[mutation]]"),
        ("[[mutation]]", "the mutation 'number 1' needs name, old, new and check"),
        ("<", "is not TOML"),
    ],
)
def test_odd_files_are_refused_in_a_sentence(task, ask, changes, message):
    if isinstance(changes, dict):
        write(task, **changes)
    else:
        (task.folder / "mutations.toml").write_text(changes)
    status, printed = ask("mutate", "tiny")
    assert status == 2 and message in printed and "image_generation/tiny/mutations.toml" in printed


def test_a_folder_that_cannot_be_written_is_found_before(task, ask, monkeypatch):
    write(task)
    monkeypatch.setattr(mutate, "run", None)
    monkeypatch.setattr(command.tempfile, "TemporaryFile", Mock(side_effect=OSError("read-only")))
    status, printed = ask("mutate", "tiny", "--save")
    assert status == 2 and "Nothing was run: tiny/ cannot be written (read-only)" in printed


def test_a_broken_notebook_kills_nothing(task, repository, ask):
    repository.edit(3, "steps * 2", "steps * 4")
    write(task, old="steps * 4")
    status, printed = ask("mutate", "tiny")
    assert status == 1 and "the notebook as it is fails: killed" in printed


@pytest.mark.mutations
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.path)
def test_the_checks_of_every_notebook_notice(task):
    assert len(mutate.read_mutations(task)[1]) >= 6, "write at least six mutations"
    killed, problems = mutate.run(task)
    assert not problems, "\n".join(problems)
