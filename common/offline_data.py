"""Data for quick mode: scikit-learn's digits, procedural shapes, Python's language reference."""

import math

import numpy as np
import torch
import torch.nn.functional as F

ASCII = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--") | {0x2026: "..."}
SHAPES = "disc,ring,square,triangle,cross,star,crescent,bar,half disc,checker".split(",")


def digits(size: int = 28) -> list[np.ndarray]:
    """Return scikit-learn's 1,797 scanned digits (8x8 pixels) enlarged to 1 x size x size, uint8.

    Returns x_train (1500, 1, size, size), y_train (1500,), x_test (297, 1, size, size), y_test
    (297,), in a fixed random order: the file is sorted by writer.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images = F.interpolate(images, size=(24, 24), mode="bicubic", align_corners=False)
    images = torch.sigmoid((images - 0.5) * 20)  # enlarging blurs; this sharpens the edges
    inner = round(size * 24 / 28)  # a margin, as in MNIST
    images = F.interpolate(images, size=(inner, inner), mode="bicubic", antialias=True).clamp(0, 1)
    low = (size - inner) // 2
    images = F.pad(images, (low, size - inner - low, low, size - inner - low))
    array = (images * 255).round().to(torch.uint8).numpy()
    order = np.random.RandomState(0).permutation(len(array))
    train, test = order[:1500], order[1500:]
    return [array[train], labels[train], array[test], labels[test]]


def _depth(shape: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how deep points (x, y) lie inside a shape of radius about 1; negative outside."""
    radius, angle = torch.sqrt(x**2 + y**2), torch.atan2(y, x)
    most, least = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    square = 0.85 - most
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
            return torch.minimum(1 - most, 0.32 - least)
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
            return torch.minimum(square, x.sign() * y.sign() * least)
    raise ValueError(f"{shape} is not one of {SHAPES}.")


def shapes(train: int = 5000, test: int = 1000) -> list[np.ndarray]:
    """Return 32-pixel images of ten kinds of objects before a background with clutter, uint8.

    Returns x_train (train, 3, 32, 32), y_train, x_test, y_test. As in photographs, size, place,
    tilt, light and sharpness vary at random, and the class shows in the outline, in the texture
    and, less reliably, in the colours. The generator is seeded: the data are always the same.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(train + test) % len(SHAPES)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    images = torch.cat([_draw(part, generator) for part in labels.split(250)])
    x, y = (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), labels.numpy()
    return [x[:train], y[:train], x[train:], y[train:]]


def _draw(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return one image (3, 32, 32), with values around 0 to 1, for each label."""
    count, side = len(labels), 32
    axis = torch.linspace(-1, 1, side)
    row, column = axis.view(1, 1, side, 1), axis.view(1, 1, 1, side)
    kind = labels.view(-1, 1, 1, 1) / len(SHAPES)

    def uniform(low, high, cells=1):
        return torch.rand(count, 1, cells, cells, generator=generator) * (high - low) + low

    def near(centre, spread):
        return centre + spread * torch.randn(count, 1, 1, 1, generator=generator)

    def texture(cells):  # smooth and random, with details of side / cells pixels
        grid = uniform(-0.5, 0.5, cells)
        return F.interpolate(grid, side, mode="bicubic", align_corners=False)

    def colour(hue, saturation, brightness):
        phase = hue + torch.tensor([0, 1 / 3, 2 / 3]).view(1, 3, 1, 1)
        waves = torch.cos(2 * math.pi * phase)
        return brightness * (1 + saturation * waves) / (1 + 0.5 * saturation)

    # The background: lighter above, with coarse and fine texture and two blobs of other colours
    image = colour(near(3 * kind, 0.25), uniform(0.1, 0.6), uniform(0.25, 0.75))
    image = image - uniform(0, 0.2) * row
    image = image + uniform(0.05, 0.35) * texture(4) + uniform(0, 0.35) * texture(10)
    for _ in range(2):
        x = (column - uniform(-1, 1)) / uniform(0.15, 0.5)
        y = (row - uniform(-1, 1)) / uniform(0.15, 0.5)
        paint = colour(uniform(0, 1), uniform(0.1, 0.6), uniform(0.2, 0.9))
        cover = torch.sigmoid(5 * (1 - x**2 - y**2)) * uniform(0.2, 0.9)
        image = torch.lerp(image, paint, cover)

    # The object: somewhere, tilted a little, perhaps mirrored
    size, tilt, mirror = uniform(0.55, 1.0), uniform(-0.35, 0.35), uniform(-1, 1).sign()
    right = (column - uniform(-0.4, 0.4)) * mirror / size
    down = (row - uniform(-0.4, 0.4)) / size
    x = tilt.cos() * right + tilt.sin() * down
    y = tilt.cos() * down - tilt.sin() * right
    depth = torch.empty(count, 1, side, side)
    for index, shape in enumerate(SHAPES):
        rows = labels == index
        depth[rows] = _depth(shape, x[rows], y[rows])
    # ... with stripes, fine texture and light from one side
    period = near(1.2 + 1.4 * (7 * kind % 1), 0.1).exp()
    direction = near(3 * kind % 1 * math.pi, 0.1)
    phase = period * (x * direction.cos() + y * direction.sin())
    stripes = torch.sin(phase + uniform(0, 2 * math.pi))
    light = uniform(0, 2 * math.pi)
    shade = 0.3 * (x * light.cos() + y * light.sin()).clamp(-1, 1)
    front = colour(near(kind, 0.2), uniform(0.2, 0.8), uniform(0.3, 0.95)) * (1 + shade)
    front = front + uniform(0.1, 0.3) * stripes + 0.2 * texture(10)
    contrast = (front - image).mean(dim=(1, 2, 3), keepdim=True)  # no object may vanish
    front = front + contrast.sign() * (0.35 - contrast.abs()).clamp(min=0)
    image = torch.lerp(image, front, torch.sigmoid(10 * depth))

    # The camera: not always in focus, a little noise
    blurred = F.avg_pool2d(F.pad(image, [1] * 4, mode="replicate"), 3, 1)
    image = torch.lerp(image, blurred, uniform(0, 0.8))
    return image + 0.03 * torch.randn(image.shape, generator=generator)


def text() -> str:
    """Return the language reference inside every CPython, about 370,000 characters.

    Its wording differs a little between versions of Python. Typographic characters are replaced by
    ASCII, and repeated paragraphs are dropped, so that little of the test part occurs in the
    training part.
    """
    from pydoc_data.topics import topics

    paragraphs = "\n\n".join(topics[key] for key in sorted(topics)).split("\n\n")
    joined = "\n\n".join(dict.fromkeys(paragraphs)).translate(ASCII)
    return joined.encode("ascii", "ignore").decode()
