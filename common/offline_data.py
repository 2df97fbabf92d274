"""Data for quick mode: scikit-learn's digits, procedural shapes, Python's language reference."""

import math

import numpy as np
import torch
import torch.nn.functional as F

ASCII = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "-",
    "\u2026": "...",
}
SHAPES = [
    "disc",
    "ring",
    "square",
    "triangle",
    "cross",
    "star",
    "crescent",
    "bar",
    "half disc",
    "checker",
]


def digits(size: int = 28) -> list[np.ndarray]:
    """Return scikit-learn's 1,797 scanned digits (8x8 pixels) enlarged to 1 x size x size, uint8.

    Returns x_train (1500, 1, size, size), y_train (1500,), x_test (297, 1, size, size), y_test
    (297,), in a fixed random order: the file is sorted by writer.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images = F.interpolate(images, size=(24, 24), mode="bicubic", align_corners=False)
    images = torch.sigmoid(
        (images - 0.5) * 20
    )  # enlarging blurs; this brings the strokes' edges back
    inner = round(size * 24 / 28)  # a margin, as in MNIST
    images = F.interpolate(images, size=(inner, inner), mode="bicubic", antialias=True).clamp(0, 1)
    low = (size - inner) // 2
    images = F.pad(images, (low, size - inner - low, low, size - inner - low))
    images = (images * 255).round().to(torch.uint8).numpy()
    order = np.random.RandomState(0).permutation(len(images))
    train, test = order[:1500], order[1500:]
    return [images[train], labels[train], images[test], labels[test]]


def _depth(shape: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how deep points (x, y) lie inside a shape of radius about 1; negative outside."""
    radius, angle = torch.sqrt(x**2 + y**2), torch.atan2(y, x)
    square = 0.85 - torch.maximum(x.abs(), y.abs())
    match shape:
        case "disc":
            return 1 - radius
        case "ring":
            return 0.24 - (radius - 0.76).abs()
        case "square":
            return square
        case "triangle":
            return 0.5 - radius * torch.cos(torch.remainder(angle, 2 * math.pi / 3) - math.pi / 3)
        case "cross":
            return torch.minimum(
                1 - torch.maximum(x.abs(), y.abs()), 0.32 - torch.minimum(x.abs(), y.abs())
            )
        case "star":  # the ramp is 1 at each of the five points and 0 in the notches between
            ramp = (torch.remainder(angle, 2 * math.pi / 5) / (math.pi / 5) - 1).abs()
            return 0.42 + 0.58 * ramp**1.5 - radius
        case "crescent":
            return torch.minimum(1 - radius, torch.sqrt((x - 0.5) ** 2 + y**2) - 0.8)
        case "bar":
            return torch.minimum(1 - x.abs(), 0.3 - y.abs())
        case "half disc":
            return torch.minimum(1 - radius, y + 0.1)
        case "checker":
            return torch.minimum(square, x.sign() * y.sign() * torch.minimum(x.abs(), y.abs()))
    raise ValueError(f"{shape} is not one of {SHAPES}.")


def shapes(train: int = 5000, test: int = 1000) -> list[np.ndarray]:
    """Return images of ten shapes with random position, size, rotation, colours and texture, uint8.

    Returns x_train (train, 3, 32, 32), y_train, x_test, y_test. Colour and texture say nothing of
    the class. The generator is seeded, so the data are the same in each run.
    """
    count, side = train + test, 32
    generator = torch.Generator().manual_seed(0)

    def uniform(low, high, *shape):
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    label = torch.arange(count) % 10
    label = label[torch.randperm(count, generator=generator)]
    axis = torch.linspace(-1, 1, side)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    size, turn = uniform(0.42, 0.72, 1, 1), uniform(-math.pi, math.pi, 1, 1)
    x0, y0 = (column - uniform(-0.25, 0.25, 1, 1)) / size, (row - uniform(-0.25, 0.25, 1, 1)) / size
    x, y = turn.cos() * x0 + turn.sin() * y0, turn.cos() * y0 - turn.sin() * x0
    mask = torch.empty(count, 1, side, side)
    for index, shape in enumerate(SHAPES):
        rows = label == index
        mask[rows, 0] = torch.sigmoid(_depth(shape, x[rows], y[rows]) * 14)  # soft edges

    def surface():  # a random colour with stripes of random direction, width and strength
        direction, wave = uniform(0, math.pi, 1, 1), uniform(3, 12, 1, 1)
        phase = column * direction.cos() + row * direction.sin()
        stripes = torch.sin(phase * wave + uniform(0, 6.28, 1, 1)).unsqueeze(1)
        return uniform(0.0, 1.0, 3, 1, 1) + stripes * uniform(-0.18, 0.18, 3, 1, 1)

    front, back = surface(), surface()
    contrast = front.mean(dim=(2, 3), keepdim=True) - back.mean(dim=(2, 3), keepdim=True)
    distance = contrast.abs().amax(dim=1, keepdim=True)
    front = front + contrast.sign() * (0.45 - distance).clamp(
        min=0
    )  # no shape may vanish in its background
    noise = torch.randn(count, 3, side, side, generator=generator) * 0.04
    images = ((front * mask + back * (1 - mask) + noise).clamp(0, 1) * 255).to(torch.uint8).numpy()
    label = label.numpy()
    return [images[:train], label[:train], images[train:], label[train:]]


def text() -> str:
    """Return the language reference inside every CPython, about 370,000 characters.

    Its wording differs a little between versions of Python. Typographic characters are replaced by
    ASCII, and repeated paragraphs are dropped, so that little of the test part occurs in the
    training part.
    """
    from pydoc_data.topics import topics

    paragraphs = "\n\n".join(topics[key] for key in sorted(topics)).split("\n\n")
    joined = "\n\n".join(dict.fromkeys(paragraphs))
    joined = joined.translate({ord(old): new for old, new in ASCII.items()})
    return joined.encode("ascii", "ignore").decode()
