"""tools.new: names are checked, and the new notebook lacks nothing but the parts it names."""

import re
import subprocess
import sys

import pytest

from tools import new
from tools.check import check
from tools.tasks import Task, TaskError


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pixelcnn", "'pixelcnn' is not of the form category/task"),
        ("image_gen/pixelcnn", "There is no category image_gen; did you mean image_generation?"),
        ("music/wavenet", "there are image_generation. To begin it, write music/README.md"),
        ("Music/wavenet", "Music is not in snake_case"),
        ("docs/wavenet", "docs cannot be a category"),
        ("image_generation/PixelCNN", "PixelCNN is not in snake_case"),
        ("image_generation/tiny", "The name tiny is taken; choose another, as in tiny_2."),
        ("image_generation/gpt", "The name gpt is taken"),
        ("image_generation/types", "The name types is taken"),
        ("image_generation/class", "The name class is taken"),
        ("image_generation/torch", "The name torch is taken"),
        ("image_generation/begun", "The folder image_generation/begun exists already"),
    ],
)
def test_an_unfit_name_is_refused(repository, path, message):
    (repository.root / "README.md").write_text("- `text_generation/gpt/gpt.ipynb`\n")
    (repository.root / "image_generation" / "begun").mkdir()
    before = sorted(repository.root.rglob("*"))
    with pytest.raises(TaskError, match=re.escape(message)):
        new.main([path], repository.root)
    assert sorted(repository.root.rglob("*")) == before


def test_the_new_notebook_passes_but_for_the_parts_it_names(repository):
    assert new.main(["image_generation/pixel_cnn"], repository.root) == 0
    task = Task("image_generation", "pixel_cnn", repository.root)
    notebook = task.read_notebook()
    assert notebook.cells[0].source.startswith("# Pixel cnn: TODO: ")
    findings = check(task)
    rest = [text for text in findings if "TODO: " not in text]
    assert len(findings) > 10 and len(rest) == 2 and "no stamped outputs" in rest[0]
    for command in (["format", "--check"], ["check"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, str(task.folder)], check=True)


def test_adding_a_category_is_adding_a_folder(repository):
    (repository.root / "audio").mkdir()
    (repository.root / "audio" / "README.md").write_text("# Audio\n")
    assert new.main(["audio/wavenet"], repository.root) == 0
