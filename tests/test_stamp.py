"""The digest of the code cells and the result block."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.stamp import code_digest, duration, framed, render_result, state

TRICKY = '''
def f(a: int = -1, *b, c=None, **d) -> "x":
    """Doc."""
    return f"a{x!r:>{10}}b" "c" f"" f"{y:}" f"{x = }" f"{{}}" f"{a['k']}{f'in {b:{c}} {d!a}'}" f"{'lit'}{z:%H:%M}"
class C(B, metaclass=M):
    x, *y = a[1:2, ..., ::3], 4.5e-10, 1j, b"\\xff", u"\\u00e9\\U0001F600", 0xffffffffffffffffff
match p:
    case {"a": 1, **rest} | [1, *_] | Point(x=0) if x: pass
with (open(a) as f, open(b) as g): n = [i async for i in j if (k := i)]  # type: ignore
'''


def digest(*sources):
    return code_digest(new_notebook(cells=[new_code_cell(source) for source in sources]))


def test_the_digest_is_the_same_on_every_python():
    assert digest(TRICKY) == "2eb42f507f2741df6e85aa5bf94cad203a1b3ed5be251a69cfd0162a223a5a3c"


def test_comments_formatting_and_markdown_do_not_count():
    assert digest("x = f(1)") == digest("x=f( 1 ) # so", "# only a comment", "  ")
    cells = [new_markdown_cell("text"), new_code_cell("x = f(1)")]
    assert code_digest(new_notebook(cells=cells)) == digest("x = f(1)")


@pytest.mark.parametrize(
    "other", ["x = f(2)", "x = f(1.0)", "x = f(True)", "x = f('1')", "x = g(1)", "y = f(1)", "x += f(1)", "x = f(1)\nx"]
)
def test_what_the_code_means_counts(other):
    assert digest("x = f(1)") != digest(other)


@pytest.mark.parametrize(("one", "two"), [('f"a{b}"', 'f"a{c}"'), ('f"a{b}"', '"a{b}"'), ('f"{b:.1f}"', 'f"{b:.2f}"')])
def test_f_strings_count(one, two):
    assert digest(one) != digest(two)


def test_cells_and_their_order_count():
    assert len({digest("a", "b"), digest("b", "a"), digest("a\nb")}) == 3


def test_states(repository):
    assert state(repository.task.read_notebook()) == "no outputs"
    repository.store(mode="full")
    notebook = repository.task.read_notebook()
    assert state(notebook) == "full"
    notebook.cells[3].source = "steps = 6"
    assert state(notebook) == "stale"
    notebook.cells[3].source = "%magic"
    assert state(notebook) == "stale"


def test_the_block_of_a_full_run(repository):
    repository.store(mode="full", device="NVIDIA GeForce RTX 4090", seconds=400.0, value=4.123456)
    results = repository.task.read_results()
    assert "**Result (full run): test error 4.123 % on noise** (reference: 5 in the paper; baseline chance: 90)." in (
        render_result(results)
    )
    assert (
        "NVIDIA GeForce RTX 4090, torch 2.15.0: training 2 s, whole notebook 7 min, peak memory 0.5 GiB on the GPU."
        in (render_result(results))
    )
    assert "Quick mode" not in render_result(results)
    results["quick"] = results["full"] | {"seconds": 24.0, "device": "CPU, 2 cores", "peak_memory_gib": None}
    assert render_result(results).endswith("Quick mode: 24 s on CPU, 2 cores.")


def test_the_block_of_a_quick_run_cannot_be_taken_for_the_result(repository):
    repository.store()
    text = repository.task.read_notebook().cells[0].source
    assert "**Quick run on stand-in data, not the result of this task: test error 3 % on noise**" in text
    assert "0.5 GiB of the process" in text and "**Result" not in text
    assert framed(repository.task.read_results()) in text


def test_durations_are_easy_to_read():
    assert [duration(seconds) for seconds in (24.4, 119, 400, 9000)] == ["24 s", "119 s", "7 min", "2.5 h"]
