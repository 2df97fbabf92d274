"""Tests of the reader of pictures with boxes that the detection notebook imports."""

import io
import zipfile

import pytest
import torch
from PIL import Image

from common.data import DataError
from image_understanding import blood_cells
from image_understanding.archives import checksum

XML = """<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object><object><name>RBC</name><bndbox><xmin>9</xmin><ymin>9</ymin>
<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """A small archive as GitHub packs it, at its place in the data folder; returns its path."""
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    files = {}
    for number, part in enumerate(("train", "val", "test")):
        files[f"BCCD/ImageSets/Main/{part}.txt"] = f"{part}0\n".encode()
        picture = io.BytesIO()
        Image.new("RGB", (640, 480), (50 * number, 10, 20)).save(picture, format="jpeg")
        files[f"BCCD/JPEGImages/{part}0.jpg"] = picture.getvalue()
        box = XML.format(blood_cells.CELLS[number], 100, 60, 200, 120 + 2 * number)
        files[f"BCCD/Annotations/{part}0.xml"] = box.encode()
    monkeypatch.setattr(blood_cells, "SHA256", checksum(files))
    path = tmp_path / "BCCD.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("BCCD_Dataset-main/README.md", "not one of the files")
        for name, content in files.items():
            packed.writestr(f"BCCD_Dataset-main/{name}", content)
    return path


def test_pictures_and_boxes_are_halved_and_empty_boxes_dropped(archive):
    name, classes, parts = blood_cells.pictures_with_boxes()
    assert name == "BCCD, halved" and classes == ["red cell", "white cell", "platelet"]
    images, boxes = parts["test"]
    assert images.shape == (1, 3, 240, 320) and images.dtype == torch.uint8
    assert abs(images[0, 0].float().mean().item() - 100) < 4  # JPEG changes colours a little
    assert boxes.shape == (1, 32, 5) and (boxes[0, 1:] == -1).all()
    assert boxes[0, 0].tolist() == [2, 50, 30, 100, 62]


def test_a_truncated_or_changed_archive_is_named(archive, monkeypatch):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-200])
    with pytest.raises(DataError, match="BCCD.zip is corrupt or truncated. Delete it"):
        blood_cells.pictures_with_boxes()
    archive.write_bytes(whole)
    monkeypatch.setattr(blood_cells, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="BCCD.zip is corrupt or truncated. Delete it"):
        blood_cells.pictures_with_boxes()


def test_a_missing_archive_is_named_with_its_source(archive, monkeypatch):
    archive.unlink()
    monkeypatch.setattr(blood_cells, "URL", "http://127.0.0.1:9/BCCD.zip")
    with pytest.raises(DataError, match="BCCD.zip could not be downloaded. Set DL_MODE=quick"):
        blood_cells.pictures_with_boxes()
    assert not archive.exists()


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
