"""tools.new: names are checked, and the new notebook lacks nothing but the parts it names."""

import shutil

import pytest

from tools import new
from tools.check import check
from tools.examine import check_style
from tools.tasks import ROOT, Task


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pixelcnn", "pixelcnn is not of the form category/task, as in image_generation/pixelcnn."),
        ("image_gen/pixelcnn", "There is no category image_gen; did you mean image_generation?"),
        ("music/wavenet", "there are image_classification, image_generation,"),
        ("image_generation/PixelCNN", "PixelCNN is not in snake_case"),
        ("image_generation/2d", "2d is not in snake_case"),
        ("image_generation/a__b", "a__b is not in snake_case"),
        ("image_generation/tiny", "The name tiny is taken by image_generation/tiny; choose another, as in tiny_2."),
        ("text_generation/tiny", "The name tiny is taken by image_generation/tiny"),
        ("text_generation/gpt", "The name gpt is taken by text_generation/gpt"),
        ("image_generation/begun", "The folder image_generation/begun exists already"),
        ("text_generation/json", "json is the name of a Python module"),
        ("text_generation/torch", "torch is the name of a Python module"),
        ("text_generation/common", "common is the name of a Python module"),
        ("text_generation/text_generation", "text_generation is the name of a Python module"),
    ],
)
def test_an_unfit_name_is_refused(repository, capsys, path, message):
    (repository.root / "README.md").write_text("- `text_generation/gpt/gpt.ipynb`\n")  # as on dev_start
    (repository.root / "image_generation" / "begun").mkdir()
    before = sorted(repository.root.rglob("*"))
    assert new.main([path], repository.root) == 2
    assert message in capsys.readouterr().err
    assert sorted(repository.root.rglob("*")) == before


@pytest.mark.parametrize("path", ["image_generation/flow_matching_2", "text_generation\\flow_matching_2"])
def test_the_new_notebook_passes_but_for_the_parts_it_names(repository, path):
    assert new.main([path], repository.root) == 0
    task = Task(path[: path.index("_gen") + 11], "flow_matching_2", repository.root)
    notebook = task.read_notebook()
    assert notebook.cells[0].source.startswith("# TODO: Flow matching 2: ") and len(notebook.cells) < 30
    *unwritten, unstamped = check(task)
    assert len(unwritten) > 10 and all("write this part and delete its marker: TODO: " in text for text in unwritten)
    assert unstamped.endswith("it has no stamped outputs; run python -m tools.run --save flow_matching_2.")
    shutil.copy(ROOT / "pyproject.toml", repository.root)
    assert list(check_style(task)) == []


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_help(arguments, capsys):
    assert new.main(arguments) == 2
    assert "python -m tools.new image_generation/pixelcnn" in capsys.readouterr().out
