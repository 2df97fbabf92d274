"""Pictures: image grids, curves, and the one function that shows a figure with its description."""

import base64
import io
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display

# Okabe and Ito's eight colours, told apart with every common form of colour blindness (yellow left out)
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
plt.rcParams.update(
    {
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
)


def show(figure: plt.Figure, alt: str, dpi: int = 140) -> None:
    """Show a figure once, crisp on any screen, with `alt` as its description for people who do not see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    width = round(int.from_bytes(buffer.getvalue()[16:20], "big") * 96 / dpi)  # a PNG tells its width there
    image = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": alt}
    display(image, raw=True, metadata={"image/png": {"alt": alt, "width": width}})


def image_grid(images: torch.Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Tile images (B, C, H, W), float in [0, 1] or uint8, C = 1 or 3, into one (rows, width, 3) uint8 array.

    Raises ValueError for any other shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be (B, 1, H, W) or (B, 3, H, W), got {tuple(images.shape)}.")
    images = images.detach().cpu()
    if images.dtype != torch.uint8:
        images = (images.float().clamp(0, 1) * 255).round().to(torch.uint8)
    count, _, height, width = images.shape
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):  # (H, W, C), grey broadcasts to RGB
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def show_images(
    images: torch.Tensor,
    columns: int = 10,
    title: str = "",
    rows: list[str] | None = None,
    alt: str = "",
    zoom: float = 1.5,
) -> None:
    """Show images (B, C, H, W) as one grid; `rows` labels its rows from the top.

    `zoom` is the number of screen pixels for each image pixel.
    """
    grid = image_grid(images, columns)
    height, width = (side * zoom / 96 for side in grid.shape[:2])
    label_width = 0.09 * max(map(len, rows)) if rows else 0.0
    figure = plt.figure(figsize=(max(width + label_width, 3.0), height + 0.1 + (0.3 if title else 0)))
    axes = figure.add_subplot(frame_on=False)
    axes.imshow(grid)
    axes.grid(False)
    axes.set_xticks([])
    step = images.shape[2] + 2
    axes.set_yticks([row * step + step / 2 for row in range(len(rows))] if rows else [], rows)
    axes.tick_params(length=0)
    axes.set_title(title)
    show(figure, alt or title)


def plot_curves(curves: dict, xlabel: str, ylabel: str, title: str = "", log: bool = False, alt: str = "") -> None:
    """Draw named curves; each value is a sequence, or a pair of sequences (x, y)."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    styles = ["-", "--", "-.", ":"]
    for index, (name, values) in enumerate(curves.items()):
        x, y = values if isinstance(values, tuple) else (range(1, len(values) + 1), values)
        axes.plot(x, y, styles[index % 4], label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log else "linear")
    axes.legend()
    show(figure, alt or title or f"{ylabel} against {xlabel}")
