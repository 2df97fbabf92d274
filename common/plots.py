"""Image grids, curves, a progress bar, and the one function that displays a figure."""

import base64
import io
import math
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from PIL import Image
from tqdm import tqdm

# Okabe and Ito's palette without yellow: distinguishable with all common colour blindness.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
plt.rcParams.update(STYLE)  # notebooks draw with plain matplotlib


def show(figure: plt.Figure, alt: str, dpi: int = 120) -> None:
    """Display a figure as one PNG; `alt` describes it for readers who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    content = base64.b64encode(png(picture)).decode()
    image = {"image/png": content, "text/plain": alt}
    width = round(picture.width * 96 / dpi)
    display(image, raw=True, metadata={"image/png": {"alt": alt, "width": width}})


def png(picture: Image.Image) -> bytes:
    """Return a picture as PNG, with a palette of 256 colours if that changes it invisibly.

    That is a root mean square error of at most 1.6 of 255: curves and digits pass, a third as
    large. Photographs stay as they are up to 150 kB; larger ones may change by 4 of 255.
    """
    small = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    difference = np.asarray(small.convert("RGB"), float) - np.asarray(picture, float)
    error = np.sqrt(np.mean(difference**2))
    content = _encoded(small if error <= 1.6 else picture)
    return _encoded(small) if 1.6 < error <= 4 and len(content) > 150_000 else content


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def image_grid(images: torch.Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Tile images (N, 1 or 3, H, W), float in [0, 1] or uint8, into one uint8 array (H, W, 3).

    Raises ValueError for any other shape, and for N = 0.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        wanted = "(N, 1, H, W) or (N, 3, H, W) with N > 0"
        raise ValueError(f"images must be {wanted}, got {tuple(images.shape)}.")
    images = images.detach().cpu()
    if images.dtype != torch.uint8:
        images = (images.float().clamp(0, 1) * 255).round().to(torch.uint8)
    count, _, height, width = images.shape
    down, right = height + gap, width + gap
    rows = math.ceil(count / columns)
    grid = np.full((rows * down - gap, columns * right - gap, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):  # grey broadcasts to RGB
        top, left = index // columns * down, index % columns * right
        grid[top : top + height, left : left + width] = image
    return grid


def show_images(
    images: torch.Tensor,
    columns: int = 10,
    title: str = "",
    rows: list[str] | None = None,
    labels: list | None = None,
    alt: str = "",
    zoom: float = 1.5,
) -> None:
    """Show images (N, C, H, W) as one grid; `rows` labels its rows, `labels` its columns.

    `zoom` is the number of screen pixels for each image pixel. Prints a line if there are none.
    """
    if len(images) == 0:
        print(f"{title or 'Images'}: none.")
        return
    grid = image_grid(images, columns)
    height, width = (side * zoom / 96 for side in grid.shape[:2])
    left = 0.09 * max(map(len, rows)) if rows else 0.0
    top = 0.1 + (0.3 if title else 0) + (0.25 if labels else 0)
    figure = plt.figure(figsize=(max(width + left, 3.0), height + top))
    axes = figure.add_subplot(frame_on=False)
    axes.imshow(grid)
    axes.grid(False)
    step_y, step_x = images.shape[2] + 2, images.shape[3] + 2
    middle_y, middle_x = (images.shape[2] - 1) / 2, (images.shape[3] - 1) / 2
    axes.set_yticks([step_y * row + middle_y for row in range(len(rows or []))], rows)
    axes.set_xticks([step_x * column + middle_x for column in range(len(labels or []))], labels)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    lines = [line for label in labels or [] for line in str(label).split("\n")]
    longest = max([1, *map(len, lines)])
    column = 72 * step_x * zoom / 96  # in points; a letter is 0.58 times as wide as high
    axes.tick_params(axis="x", labelsize=min(10, 0.95 * column / (0.58 * longest)))
    axes.set_title(title)
    show(figure, alt or title)


def plot_curves(
    curves: dict,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: bool = False,
    alt: str = "",
    lines: dict | None = None,
) -> None:
    """Draw named curves, each a sequence or a pair (x, y); `lines` names horizontal lines."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    styles = ["-", "--", "-.", ":"]
    for index, (name, values) in enumerate(curves.items()):
        x, y = values if isinstance(values, tuple) else (range(1, len(values) + 1), values)
        axes.plot(x, y, styles[index % 4], label=name)
    for index, (name, height) in enumerate((lines or {}).items(), len(curves)):
        axes.axhline(height, color=COLOURS[index % len(COLOURS)], ls=":", label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log else "linear")
    axes.legend()
    show(figure, alt or title or f"{ylabel} against {xlabel}")


class Bar(tqdm):
    """A progress bar that takes itself away with backspaces, in a terminal as in JupyterLab.

    tqdm writes blanks over it, and JupyterLab keeps these as a line of the output.
    """

    @staticmethod
    def status_printer(file):
        """Return the function that shows the bar's text in place of the one before."""
        length = 0

        def show_text(text: str) -> None:
            nonlocal length
            rest = length - len(text)
            file.write("\b" * length + text + " " * rest + "\b" * rest)
            file.flush()
            length = len(text)

        return show_text


def progress(iterable, label: str = "", total: int | None = None) -> tqdm:
    """Wrap an iterable in a progress bar that vanishes at its end; use its `write` inside the loop.

    Plain text works in a terminal and in JupyterLab; TQDM_DISABLE=1, set by `tools run`, switches
    it off.
    """
    settings: dict[str, Any] = {"leave": False, "file": sys.stdout, "mininterval": 0.2, "ncols": 80}
    return Bar(iterable, desc=label, total=total, **settings)
