"""The generated parts of README.md and docs/."""

import pytest

from tools import tables
from tools.results import Results
from tools.tasks import ROOT, TaskError, all_tasks

PAGE = """# Deep Learning in 7 4090 Hours

<!-- picture: image_generation/tiny -->
<!-- path -->
<!-- /path -->
<!-- tasks -->
old
<!-- /tasks -->
<!-- compare: FD-c | density | parameters | training FLOPs -->
<!-- /compare -->
End.
"""


@pytest.fixture
def page(repository):
    """Return a function that stores a run and returns README.md as written from it."""
    (repository.root / "README.md").write_text(PAGE)
    (repository.root / ".github").mkdir()

    def write(**changes):
        if changes:
            repository.store(**changes)
        assert tables.main([], repository.root) == 0
        assert tables.main(["--check"], repository.root) == 0
        return (repository.root / "README.md").read_text(encoding="utf-8")

    return write


def test_this_repository_is_up_to_date(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_before_the_first_run(page):
    text = page()
    assert text.startswith("# Deep Learning in N 4090 Hours\n") and text.endswith("End.\n")
    assert "| [Tiny](image_generation/tiny/tiny.ipynb) |  |  |  |  |" in text
    assert "1. [Tiny](image_generation/tiny/tiny.ipynb): learn a number" in text


def test_a_quick_run_shows_only_its_time(page):
    text = page(mode="quick", device="NVIDIA GeForce RTX 4090")
    assert "|  |  |  | 9 s |" in text and "in N 4090 Hours" in text and "test error" not in text


@pytest.mark.parametrize(
    ("device", "hours"),
    [("NVIDIA GeForce RTX 4090", "1"), ("NVIDIA H100 80GB HBM3", "≈ 3.3"), ("CPU", "≈ 0.02")],
)
def test_hours_are_measured_or_marked_as_estimates(page, repository, device, hours):
    text = page(mode="full", device=device, seconds=3600.0)
    row = f"test error **3** % on noise (5 in the paper) | 3 PFLOP | {hours} |"
    assert row in text and f"# Deep Learning in {hours} 4090 Hours" in text
    assert (repository.root / tables.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_title_stays_approximate_while_a_task_is_missing(page, repository):
    (repository.root / "image_generation" / "other").mkdir()
    path = repository.root / "image_generation" / "other" / "other.ipynb"
    path.write_bytes(repository.task.notebook.read_bytes())
    text = page(mode="full", device="NVIDIA GeForce RTX 4090", seconds=3600.0)
    assert "# Deep Learning in ≈ 1 4090 Hours" in text


def test_runs_with_the_same_figure_are_compared(page):
    row = "| [Tiny](image_generation/tiny/tiny.ipynb) | full, MNIST, CPU, 2 cores |"
    assert row not in page(mode="full", data="MNIST", extra={"density": 0.5})
    text = page(mode="full", data="MNIST", metric="FD-c", value=0.4321, extra={"density": 0.5})
    assert f"{row} 0.432 | 0.5 | 10 | 3e+15 |" in text
    text = page(mode="full", data="MNIST", extra={"FD-c": 2.0})  # not the metric, no density
    assert f"{row} 2 |  | 10 | 3e+15 |" in text


def test_killed_mutations_are_shown_to_maintainers(page, repository):
    repository.store()
    results = Results.read(repository.task)
    results.mutations = {"digest": "x", "killed": 7, "of": 8, "seconds": 150}
    results.write(repository.task)
    checks = repository.root / "docs" / "checks.md"
    checks.parent.mkdir()
    checks.write_text("# Checks\n\n<!-- mutations -->\n<!-- /mutations -->\n")
    page()
    row = "| [Tiny](../image_generation/tiny/tiny.ipynb) | 8 | 7 | 2 min |"
    assert row in checks.read_text()


def test_what_is_out_of_date_or_broken_is_named(page, repository, capsys):
    page()
    repository.store()
    capsys.readouterr()
    assert tables.main(["--check"], repository.root) == 1
    assert "README.md is out of date: run python -m tools tables" in capsys.readouterr().out
    repository.task.results.write_text("<<<<<<<")
    with pytest.raises(TaskError, match="image_generation/tiny/results.json is not a record"):
        tables.main([], repository.root)


def test_the_pages_of_docs_link_to_their_parent(repository, page):
    (repository.root / "docs").mkdir()
    path = repository.root / "docs" / "a.md"
    path.write_text("# A\n\n<!-- path -->\n<!-- /path -->\n")
    page()
    assert "[Tiny](../image_generation/tiny/tiny.ipynb)" in path.read_text()


def test_a_page_shows_the_picture_of_a_cell(repository, page):
    (repository.root / "docs" / "static").mkdir(parents=True)
    path = repository.root / "docs" / "a.md"
    path.write_text("# A\n\n<!-- figure: image_generation/tiny cell5 -->\n<!-- /figure -->\n")
    page(mode="full")
    assert "![squares](static/tiny.cell5.png)" in path.read_text()
    file = repository.root / "docs" / "static" / "tiny.cell5.png"
    assert file.read_bytes().startswith(b"\x89PNG")
    path.write_text(path.read_text().replace("cell5 -->", "cell4 -->"))
    with pytest.raises(TaskError, match="no cell cell4 with a picture"):
        tables.main([], repository.root)


def test_what_a_gpu_takes_is_in_the_title(page, repository):
    notebook = repository.task.read_notebook()
    notebook.metadata["task"]["gpu"] = {"flops": 165e12 * 0.25 * 7200}
    repository.write(notebook)
    assert "3 PFLOP | ≈ 2 |" in page(mode="full", device="CPU, 1 core")


def test_each_task_has_a_cover_and_its_requirements_are_installed():
    listed = (ROOT / "requirements.txt").read_text()
    for task in all_tasks(ROOT):
        assert tables.cover(task), task.path
        needs = (task.folder / "requirements.txt").read_text().splitlines()[1:]
        assert all(line in listed for line in needs), f"add {needs} to requirements.txt"
