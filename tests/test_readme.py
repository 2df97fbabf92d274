"""The generated parts of README.md and requirements.txt."""

import pytest

from tools import readme
from tools.tasks import ROOT


@pytest.fixture
def page(repository):
    (repository.root / "requirements.txt").write_text("torch>=2.2\n# tasks\nold\n# end of tasks\nlast\n")
    text = "# Deep Learning in 7 4090 Hours\n\nIntroduction.\n<!-- tasks -->\nold\n<!-- /tasks -->\n"
    text += "<!-- generators -->\nold\n<!-- /generators -->\nEnd.\n"
    (repository.root / "README.md").write_text(text)

    def write(**changes):
        if changes:
            repository.store(**changes)
        assert readme.main([], repository.root) == 0
        assert readme.main(["--check"], repository.root) == 0
        return (repository.root / "README.md").read_text(encoding="utf-8")

    return write


@pytest.mark.parametrize("name", ["README.md", "requirements.txt"])
def test_this_repository_is_in_sync(name):
    assert (ROOT / name).read_text(encoding="utf-8") == readme.render()[ROOT / name], "run python -m tools.readme"


def test_before_the_first_run(page, repository):
    text = page()
    assert text.startswith("# Deep Learning in N 4090 Hours\n\nIntroduction.\n<!-- tasks -->\n| Task |")
    assert "[tiny](image_generation/tiny/tiny.ipynb)" in text and "not run yet" in text
    assert "so the title says N.\n<!-- /tasks -->\n<!-- generators -->\n| Generator |" in text
    assert text.endswith("--:|\n<!-- /generators -->\nEnd.\n")
    wanted = "torch>=2.2\n# tasks\n-r image_generation/tiny/requirements.txt\n# end of tasks\nlast\n"
    assert (repository.root / "requirements.txt").read_text() == wanted


def test_a_quick_run_shows_no_result(page):
    text = page(mode="quick", device="NVIDIA GeForce RTX 4090")
    assert "[Tiny](image_generation/tiny/tiny.ipynb)" in text and "[Nobody 2013](https://arxiv.org" in text
    assert "quick run only" in text and "not measured yet" in text and "test error" not in text and "| 9 s |" in text
    assert "# Deep Learning in N 4090 Hours" in text


def test_a_full_run_on_a_4090_is_measured(page):
    text = page(mode="full", device="NVIDIA GeForce RTX 4090", seconds=3600.0)
    assert "test error **3** % (5 in the paper) | 60 min, NVIDIA GeForce RTX 4090 | 1 |" in text
    assert "# Deep Learning in 1 4090 Hours" in text and "est." not in text
    assert "Together 1 hours on one RTX 4090, from 1 of 1 tasks." in text


def test_a_full_run_on_an_h100_is_an_estimate_with_a_band(page):
    text = page(mode="full", device="NVIDIA H100 80GB HBM3", seconds=3600.0)
    assert "| est. 3.3 (2–5) |" in text and "# Deep Learning in 3.3 4090 Hours" in text
    assert "(2–5, since some are estimates)" in text


def test_a_full_run_on_a_cpu_says_nothing_of_a_4090(page):
    text = page(mode="full", seconds=3600.0)
    assert "60 min, CPU, 2 cores | not measured yet |" in text and "# Deep Learning in N 4090 Hours" in text


def test_the_title_says_when_tasks_are_missing():
    assert readme.title([(1.3, 1.3, 1.3)], 2) == "≥ 1.3" and readme.title([(1.3, 1, 2), (12, 12, 12)], 2) == "13"
    assert [readme.number(hours) for hours in (0.0172, 0.5, 1.34, 12.6)] == ["0.017", "0.5", "1.3", "13"]


def test_what_is_out_of_date_is_named(page, repository, capsys):
    page()
    repository.store()
    capsys.readouterr()
    assert readme.main(["--check"], repository.root) == 1
    assert capsys.readouterr().out == "README.md is out of date: run python -m tools.readme and commit it.\n"


def test_a_missing_marker_is_named(repository, page):
    (repository.root / "README.md").write_text("# Deep Learning in N 4090 Hours\n")
    with pytest.raises(ValueError, match="README.md lacks what is to be filled in: <!-- tasks -->"):
        readme.render(repository.root)


def test_the_order_is_category_then_year(repository, page):
    for category, name in (
        ("image_generation", "a_new_one"),
        ("image_classification", "zz"),
        ("text_generation", "gpt"),
    ):
        folder = repository.root / category / name
        folder.mkdir(parents=True)
        (folder / f"{name}.ipynb").write_bytes(repository.task.notebook.read_bytes())
    lines = page(paper="Nobody 2013").splitlines()
    names = [line.partition("](")[2].partition("/")[2].partition("/")[0] for line in lines if line.startswith("| [")]
    assert names == ["zz", "tiny", "a_new_one", "gpt"]


def test_generators_stand_side_by_side(page):
    figures = {"precision": 0.81, "recall": 0.9, "evaluations per sample": 20}
    text = page(mode="full", data="MNIST", extra=figures, metric="FD-c", value=0.4321)
    row = (
        "| [Tiny](image_generation/tiny/tiny.ipynb) | full, MNIST, CPU, 2 cores | 10 | 2 s | 20 | 0.432 | 0.81 | 0.9 |"
    )
    assert row in text


def test_the_picture_is_the_one_that_the_vae_drew():
    assert (ROOT / readme.PICTURE).read_bytes() == readme.picture(), "run python -m tools.readme"
