"""The digests of code and of what it imports, and the result block."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.stamp import code_digest, duration, render_block, shared_digest, state

TRICKY = '''
def f(a: int = -1, *b, c=None, **d) -> "x":
    """Doc."""
    return f"a{x!r:>{10}}b" "c" f"" f"{y:}" f"{x = }" f"{{}}" f"{a['k']}{f'in {b:{c}} {d!a}'}"
class C(B, metaclass=M):
    x, *y = a[1:2, ..., ::3], 4.5e-10, 1j, b"\\xff", u"\\u00e9\\U0001F600", 0xffffffffffffffffff
match p:
    case {"a": 1, **rest} | [1, *_] | Point(x=0) if x: pass
with (open(a) as f, open(b) as g): n = [i async for i in j if (k := i)]  # type: ignore
'''


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def digest(*sources):
    return code_digest(notebook(*sources))


def test_the_digest_is_the_same_on_every_python():
    assert digest(TRICKY) == "8ef0b5f4546170a5ed7a46646dfa4f1acf2462efde3eda963260baa33b8137e9"


def test_comments_formatting_and_markdown_do_not_count():
    assert digest("x = f(1)") == digest("x=f( 1 ) # so", "# only a comment", "  ")
    cells = [new_markdown_cell("text"), new_code_cell("x = f(1)")]
    assert code_digest(new_notebook(cells=cells)) == digest("x = f(1)")


@pytest.mark.parametrize(
    "other", ["x = f(2)", "x = f(1.0)", "x = f('1')", "x = g(1)", "y = f(1)", "x += f(1)"]
)
def test_what_the_code_means_counts(other):
    assert digest("x = f(1)") != digest(other)


@pytest.mark.parametrize(
    ("one", "two"),
    [('f"a{b}"', 'f"a{c}"'), ('f"a{b}"', '"a{b}"'), ('f"{b:.1f}"', 'f"{b:.2f}"')],
)
def test_f_strings_count(one, two):
    assert digest(one) != digest(two)


def test_cells_and_their_order_count():
    assert len({digest("a", "b"), digest("b", "a"), digest("a\nb")}) == 3


def test_the_shared_digest_follows_what_is_imported(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "group").mkdir()
    (tmp_path / "common" / "__init__.py").write_text("from common.a import f, g\n")
    module = tmp_path / "common" / "a.py"
    text = 'from common import b\nfrom group.c import h\nN = 3\n\ndef f():\n    """Doc."""\n'
    text += "    return N + b.x() + h()\n\ndef g():\n    return 1\n"
    module.write_text(text)
    (tmp_path / "common" / "b.py").write_text(
        "M = 1\n\ndef x():\n    return M\n\ndef y():\n    return 2\n"
    )
    (tmp_path / "group" / "c.py").write_text("def h():\n    return 4\n")
    imports_f = notebook("import torch\nfrom common import f")
    first = shared_digest(imports_f, tmp_path)

    def after(name, old, new):
        path = tmp_path / name
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))
        digest = shared_digest(imports_f, tmp_path)
        path.write_text(before)
        return digest

    assert (
        after("common/a.py", "Doc", "Other")
        == after("common/a.py", "return 1", "return 5")
        == first
    )
    assert after("common/b.py", "return 2", "return 3") == first
    for change in (
        ("common/a.py", "N = 3", "N = 4"),
        ("common/a.py", "N + ", "N - "),
        ("common/b.py", "M = 1", "M = 2"),
        ("group/c.py", "return 4", "return 5"),
    ):
        assert after(*change) != first, change


def test_states(repository):
    def current():
        return state(repository.task.read_notebook(), repository.root)

    assert current() == "none"
    repository.store(mode="full")
    assert current() == "full"
    repository.edit(3, "steps > 0", "steps > 1")
    assert current() == "stale"
    repository.edit(3, "seed = 0", "%magic")
    assert current() == "stale"


def test_the_block_says_which_run_it_is_about(repository):
    repository.store(mode="full", device="NVIDIA GeForce RTX 4090", seconds=400.0, value=4.123456)
    text = render_block(repository.task.stored_run())
    assert "**test error 4.123 %** on noise (full mode; baseline chance 90; reference: 5 in" in text
    assert (
        "on NVIDIA GeForce RTX 4090 in fp32 with torch 2.15.0: training 2 s, whole notebook" in text
    )
    assert "7 min, 3 PFLOP, peak memory 0.5 GiB" in text and "last cell prints your figures" in text
    assert text in repository.task.read_notebook().cells[0].source


def test_durations_are_easy_to_read():
    assert [duration(x) for x in (24.4, 119, 400, 9000)] == ["24 s", "119 s", "7 min", "2.5 h"]
