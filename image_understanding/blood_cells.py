"""Pictures with boxes: blood cells under the microscope, or in quick mode digits on a canvas.

    name, classes, parts = pictures_with_boxes()
    images, boxes = parts["train"]        # also "val" and "test"
    draw_boxes(axes, images[0], boxes[0])
    found = connected_pieces(images, 0.7, 40, boxes)

Images are uint8 (N, 3, H, W). Boxes are float (N, 32, 5): a class and the corners x1, y1, x2, y2 in
pixels; pictures with fewer than 32 boxes are filled up with the class -1.
"""

import io
from xml.etree import ElementTree

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from PIL import Image
from scipy import ndimage

from common import data_folder, fetch
from common.data import reading
from common.device import mode
from common.offline_data import digits
from image_understanding.archives import checksum, files_below

COMMIT = "ec96fe4104e9bb329f0d263db95cf1edd8c09909"
URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{COMMIT}.zip"
SHA256 = "f089def4033a2a8c1734218b95ce56283ec91021faa7eb4495207698b9922e49"  # names and contents
CELLS = ("RBC", "WBC", "Platelets")  # as the files name them
CANVAS = (96, 128)  # height and width in quick mode
MOST_BOXES = 32  # in a picture
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of the three classes

Part = tuple[torch.Tensor, torch.Tensor]


def pictures_with_boxes() -> tuple[str, list[str], dict[str, Part]]:
    """Return a name, the names of the classes, and the parts "train", "val" and "test".

    In full mode BCCD (Shenggan 2017), 205, 87 and 72 pictures of 640x480 pixels, halved to 320x240.
    In quick mode scikit-learn's digits 0, 1 and 2 on canvases of 128x96. Raises DataError if the
    archive is missing and cannot be downloaded, is corrupt, or holds other files.
    """
    if mode() == "quick":
        name, classes, parts = "digits on a canvas", ["zero", "one", "two"], _canvases()
    else:
        name, classes = "BCCD, halved", ["red cell", "white cell", "platelet"]
        parts = _blood_cells()
    for part, (images, boxes) in parts.items():
        counts = [(boxes[..., 0] == label).sum().item() for label in range(3)]
        text = ", ".join(f"{n} {kind}s" for n, kind in zip(counts, classes, strict=True))
        print(f"Data: {name}, {part:5s} {len(images)} pictures with {text}")
    return name, classes, parts


def draw_boxes(axes, image: torch.Tensor, boxes: torch.Tensor, texts=None, style="-") -> None:
    """Draw an image (3, H, W) of bytes and boxes (M, 5) on matplotlib axes, coloured by class."""
    axes.imshow(image.permute(1, 2, 0).cpu())
    axes.axis("off")
    for index, (label, x1, y1, x2, y2) in enumerate(boxes.tolist()):
        if label >= 0:
            colour = COLOURS[int(label)]
            frame = {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 1.4}
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **frame))
            if texts:
                box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
                axes.text(x1, y1, texts[index], color=colour, fontsize=7, va="bottom", bbox=box)


def connected_pieces(
    images: torch.Tensor, quantile: float, limit: float, known: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Find things without a network: boxes around connected pieces of what is not the ground.

    The colour of the ground is a quantile of the image's colours; a pixel is foreground if a
    colour differs from it by more than `limit` (0 to 255). A piece has the class whose median area
    among the boxes `known` (N, M, 5) is nearest, and the score falls with the distance. Returns
    boxes (D, 4), scores (D,) and labels (D,) for each image, on the CPU.
    """
    known, found = known.cpu().flatten(0, 1), []
    areas = (known[:, 3] - known[:, 1]) * (known[:, 4] - known[:, 2])
    sizes = torch.stack([areas[known[:, 0] == label].median() for label in range(3)])
    for image in images.cpu().float():
        ground = image.flatten(1).quantile(quantile, dim=1)
        distance = (image - ground[:, None, None]).abs().amax(dim=0)
        marked, _ = ndimage.label((distance > limit).numpy())
        places = ndimage.find_objects(marked)
        corners = [[x.start, y.start, x.stop, y.stop] for y, x in places]
        boxes = torch.tensor(corners, dtype=torch.float).view(-1, 4)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        boxes, areas = boxes[areas > 0.3 * sizes.min()], areas[areas > 0.3 * sizes.min()]
        apart = (areas.log()[:, None] - sizes.log()).abs()  # (pieces, classes)
        found.append((boxes, -apart.min(dim=1).values, apart.argmin(dim=1)))
    return found


def _blood_cells() -> dict[str, Part]:
    path = data_folder() / "BCCD.zip"
    fetch([URL], path, None)  # GitHub packs anew from time to time: the contents have the checksum
    files = files_below(path, "BCCD")
    with reading(path):
        if checksum(files) != SHA256:
            raise ValueError("the checksum differs")
        return {part: _read(files, part) for part in ("train", "val", "test")}


def _read(files: dict[str, bytes], part: str) -> Part:
    names = files[f"BCCD/ImageSets/Main/{part}.txt"].decode().split()
    images, boxes = [], []
    for name in names:
        picture = Image.open(io.BytesIO(files[f"BCCD/JPEGImages/{name}.jpg"])).convert("RGB")
        images.append(torch.from_numpy(np.array(picture.reduce(2))).permute(2, 0, 1))
        rows = []
        for cell in ElementTree.fromstring(files[f"BCCD/Annotations/{name}.xml"]).iter("object"):
            corners = [
                int(cell.findtext(f"bndbox/{key}")) / 2 for key in "xmin ymin xmax ymax".split()
            ]
            if corners[2] > corners[0] and corners[3] > corners[1]:  # two boxes are empty
                rows.append([CELLS.index(cell.findtext("name")), *corners])
        boxes.append(torch.tensor(rows))
    return torch.stack(images), fill_up(boxes)


def fill_up(boxes: list[torch.Tensor]) -> torch.Tensor:
    """Return boxes (n, 5) of several pictures as one tensor (N, 32, 5), filled up with class -1."""
    filled = torch.full((len(boxes), MOST_BOXES, 5), -1.0)
    for picture, rows in zip(filled, boxes, strict=True):
        picture[: len(rows)] = rows
    return filled


def _canvases() -> dict[str, Part]:
    """Three to six digits of different sizes on a grey, noisy canvas; at most a little overlap."""
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in digits(16))
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for part, count in (("train", 300), ("val", 80), ("test", 80)):
        x, y = (x_test, y_test) if part == "test" else (x_train, y_train)
        half = slice(None) if part == "test" else slice(300) if part == "val" else slice(300, None)
        known = y[half] < 3
        parts[part] = _canvas_part(x[half][known] / 255, y[half][known], count, generator)
    return parts


def _canvas_part(x, y, count, generator) -> Part:
    height, width = CANVAS
    images, boxes = [], []

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    for _ in range(count):
        canvas, rows = torch.zeros(height, width), []
        for _ in range(40):  # places to try
            row, side = draw(0, len(x)), draw(14, 44)
            ink = F.interpolate(x[row][None], size=(side, side), mode="bilinear")[0, 0]
            inked = ink > 0.3
            ys, xs = inked.any(dim=1).nonzero(), inked.any(dim=0).nonzero()
            top, left = draw(0, height - side), draw(0, width - side)
            box = [left + xs[0].item(), top + ys[0].item(), left + xs[-1].item() + 1.0]
            box.append(top + ys[-1].item() + 1.0)
            region = canvas[top : top + side, left : left + side]
            if (region[inked] > 0.3).any() or len(rows) == 6:
                continue
            region.copy_(torch.maximum(region, ink))
            rows.append([y[row].item(), *box])
        colour = 0.5 + 0.5 * torch.rand(3, 1, 1, generator=generator)
        noise = 0.1 * torch.rand(3, height, width, generator=generator)
        images.append(((0.9 * canvas * colour + noise) * 255).to(torch.uint8))
        boxes.append(torch.tensor(rows, dtype=torch.float))
    return torch.stack(images), fill_up(boxes)
