"""The digests of code and of what it imports, and what the states are called."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.stamp import code_digest, shared_digest, state

FILES = {
    "common/__init__.py": "from common.a import f\nfrom common.record import r\n",
    "common/a.py": "from common import b\nN = 3  # why\n\n\ndef f():\n    return N + b.M\n",
    "common/b.py": "M = 1\n",
    "common/c.py": "K = 1\n",
    "common/record.py": "R = 1\nr = R\n",
    "group/ruler.py": "def h():\n    return 4\n",
    "group/ruler.npz": "weights",
    "group/task/helper.py": "H = 1\n",
}


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def digest(*sources):
    return code_digest(notebook(*sources))


def test_comments_checks_and_markdown_do_not_count():
    code = 'x = f("# no comment")\nif x:\n    y = f"{x}#"'
    other = 'x = f("# no comment")  # so\nassert x, (\n    "y"\n)\n\nif x:\n    y = f"{x}#"\n'
    assert digest(code) == digest("# only a comment", other, "assert x", "  ")
    cells = [new_markdown_cell("text"), new_code_cell(code)]
    assert code_digest(new_notebook(cells=cells)) == digest(code)


@pytest.mark.parametrize("other", ["x = f(2)", "x = f(1.0)", "x = f('# 1')", "x\nf(1)"])
def test_what_the_code_means_counts(other):
    assert digest("x = f(1)") != digest(other) != digest("x = f('# 2')")


def test_cells_and_their_order_count():
    assert len({digest("a", "b"), digest("b", "a"), digest("a\nb")}) == 3


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("common/a.py", "N = 3", "N = 4", True),
        ("common/a.py", "# why", "# because", False),
        ("common/b.py", "M = 1", "M = 2", True),  # imported by common/a.py
        ("common/c.py", "K = 1", "K = 2", False),  # not imported
        ("common/record.py", "R = 1", "R = 2", False),  # decides no number
        ("group/ruler.py", "return 4", "return 5", True),
        ("group/ruler.npz", "weights", "others", True),  # the data file beside its module
        ("group/task/helper.py", "H = 1", "H = 2", True),
    ],
)
@pytest.mark.parametrize(
    "how", ["from common import f, r", "from common import a", "import common.a", "import common"]
)
def test_the_shared_digest_follows_what_is_imported(tmp_path, name, old, new, counts, how):
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    folder = tmp_path / "group" / "task"
    ours = notebook(f"import torch\n{how}\nfrom group.ruler import h", "import helper")
    first = shared_digest(ours, folder, tmp_path)
    (tmp_path / name).write_text(FILES[name].replace(old, new))
    assert (shared_digest(ours, folder, tmp_path) != first) == counts


def test_states(repository):
    def current():
        return state(repository.task.read_notebook(), repository.task.folder, repository.root)

    assert current() == "none"
    repository.store(mode="full")
    assert current() == "full"
    with open(repository.root / "common" / "light.py", "a") as file:
        file.write("X = 1\n")
    assert current() == "full, older modules"
    repository.edit(3, "quick=3", "quick=4")
    assert current() == "stale"
    repository.edit(3, "steps = ", "%magic ")
    assert current() == "stale"
