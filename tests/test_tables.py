"""The generated parts of README.md and docs/."""

import pytest

from tools import tables
from tools.results import Results
from tools.tasks import ROOT, TaskError, all_tasks

PAGE = """# Deep Learning in 7 RTX 4090 Hours

![](.github/tiny.png)
<!-- path -->
old
<!-- /path -->
<!-- results -->
<!-- /results -->
<!-- compare: FD-c | density | parameters | training FLOPs -->
<!-- /compare -->
End.
"""
LINK = "[Tiny](image_generation/tiny/tiny.ipynb)"


@pytest.fixture
def page(repository):
    """Return a function that stores a run and returns README.md as written from it."""
    (repository.root / "README.md").write_text(PAGE)
    for folder in (".github", "docs", "docs/static"):
        (repository.root / folder).mkdir()

    def write(**changes):
        if changes:
            repository.store(**changes)
        assert tables.main([], repository.root) == 0
        assert tables.main(["--check"], repository.root) == 0
        return (repository.root / "README.md").read_text(encoding="utf-8")

    return write


def test_this_repository_is_up_to_date(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_before_the_first_full_run(page):
    text = page()
    assert text.startswith("# Deep Learning in N RTX 4090 Minutes\n") and text.endswith("End.\n")
    assert f"### More\n\n| Notebook | In one line | Result |\n|---|---|---|\n| {LINK} |" in text
    assert f"| {LINK} | Learn a number | no full run yet |\n" in text and "old" not in text
    text = page(mode="quick", device="NVIDIA GeForce RTX 4090")  # shows its time only
    assert "|  | 9 s |" in text and "in N RTX" in text and "test error" not in text


@pytest.mark.parametrize(
    ("device", "hours", "time", "title"),
    [
        ("NVIDIA GeForce RTX 4090", "1", "60 min", "60 RTX 4090 Minutes"),
        ("NVIDIA H100 80GB HBM3", "≈ 3.3", "≈ 3.3 h", "≈ 3.3 RTX 4090 Hours"),
        ("CPU, 1 core", "≈ 0.02", "≈ 73 s", "≈ 1 RTX 4090 Minutes"),
    ],
)
def test_hours_are_measured_or_marked_as_estimates(page, repository, device, hours, time, title):
    text = page(mode="full", device=device, seconds=3600.0)
    assert f"| Learn a number | test error **3** % on noise; on a 4090 {time} |" in text
    row = f"test error 3 % on noise | 5 in the paper | 3 PFLOP | 60 min on {device} | {hours} |"
    assert row in text and f"# Deep Learning in {title}\n" in text
    assert (repository.root / ".github/tiny.png").read_bytes().startswith(b"\x89PNG")


def test_the_title_stays_approximate_while_a_task_is_missing(page, repository):
    path = repository.root / "image_generation" / "other" / "other.ipynb"
    path.parent.mkdir()
    path.write_bytes(repository.task.notebook.read_bytes())
    text = page(mode="full", device="NVIDIA GeForce RTX 4090", seconds=3600.0)
    assert "# Deep Learning in ≈ 60 RTX 4090 Minutes" in text


def test_what_a_larger_run_on_a_gpu_takes_is_in_the_title(page, repository):
    repository.tell(gpu={"flops": 165e12 * 0.25 * 7200, "expected": "0.1 %"})
    assert "# Deep Learning in ≈ 2 RTX 4090 Hours" in page()
    text = page(mode="full", device="CPU, 1 core")
    assert "3 PFLOP | 9 s on CPU, 1 core | ≈ 2 |" in text
    assert "on noise; on a 4090 ≈ 2.0 h, expected: 0.1 % |" in text
    text = page(mode="full", device="NVIDIA H100 80GB HBM3", seconds=3600.0)
    assert "# Deep Learning in ≈ 3.3 RTX 4090 Hours" in text


def test_runs_with_the_same_figure_are_compared(page):
    row = f"| {LINK} | full, MNIST, CPU, 2 cores |"
    assert row not in page(mode="full", data="MNIST", extra={"density": 0.5})
    text = page(mode="full", data="MNIST", metric="FD-c", value=0.4321, extra={"density": 0.5})
    assert f"{row} 0.432 | 0.5 | 10 | 3e+15 |" in text
    text = page(mode="full", data="MNIST", extra={"FD-c": 2.0})  # not the metric, no density
    assert f"{row} 2 |  | 10 | 3e+15 |" in text


def test_pages_show_mutations_and_pictures_and_link_to_their_parent(page, repository):
    repository.store(mode="full")
    results = Results.read(repository.task)
    results.mutations = {"digest": "x", "killed": 7, "of": 8, "seconds": 150}
    results.write(repository.task)
    path, static = repository.root / "docs" / "checks.md", repository.root / "docs" / "static"
    figure = "<!-- figure: image_generation/tiny cell5 -->\n<!-- /figure -->"
    path.write_text(f"# Checks\n\n<!-- mutations -->\n<!-- /mutations -->\n{figure}\n")
    page()
    assert "| [Tiny](../image_generation/tiny/tiny.ipynb) | 8 | 7 | 2 min |" in path.read_text()
    assert "![squares](static/tiny.cell5.png)" in path.read_text()
    assert (static / "tiny.cell5.png").read_bytes().startswith(b"\x89PNG")
    path.write_text(path.read_text().replace("cell5 -->", "cell4 -->"))
    with pytest.raises(TaskError, match="no cell cell4 with a picture"):
        tables.main([], repository.root)


def test_what_is_out_of_date_or_broken_is_named(page, repository, ask):
    page()
    repository.store(mode="full")
    status, printed = ask("tables", "--check")
    assert status == 1 and "README.md is out of date: run python -m tools tables" in printed
    repository.task.results.write_text("<<<<<<<")
    with pytest.raises(TaskError, match="image_generation/tiny/results.json is not a record"):
        tables.main([], repository.root)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"practice": [3]}, "task.practice must be a list, with name and hint in each row"),
        ({"exercises": 3}, "task.exercises must be a list"),
        ({"gpu": "x"}, "task.gpu must be a dict"),
    ],
)
def test_odd_metadata_and_files_are_named(page, repository, facts, message):
    page()
    for text in ("[[strand", "strand = 3", '[[strand]]\nname = "x"'):
        (repository.root / "path.toml").write_text(text)
        with pytest.raises(TaskError, match="path.toml is no list of strands"):
            tables.main([], repository.root)
    (repository.root / "path.toml").unlink()
    repository.tell(**facts)
    with pytest.raises(TaskError, match=message):
        tables.main([], repository.root)
    (repository.root / "README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match="README.md cannot be read"):
        tables.main([], repository.root)


def test_each_task_has_a_cover_and_its_requirements_are_installed():
    listed = (ROOT / "requirements.txt").read_text()
    for task in all_tasks(ROOT):
        assert tables.cover(task), task.path
        needs = (task.folder / "requirements.txt").read_text().splitlines()[1:]
        assert all(line in listed for line in needs), f"add {needs} to requirements.txt"
