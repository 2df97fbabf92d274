"""Two moons in the plane, a small network for them, and two measures of samples."""

import math

import torch
from torch import Tensor, nn

SPREAD = 0.2  # of each Gaussian
_angle = torch.linspace(0, math.pi, 60)
_arc = torch.stack([_angle.cos(), _angle.sin()], dim=1)  # (60, 2)
_shift = torch.tensor([0.5, 0.25])
CENTRES = 1.6 * torch.cat([_arc - _shift, _shift - _arc])  # (120, 2): first the upper moon


def draw_moons(count: int = 128, told: int = 1) -> tuple[Tensor, Tensor]:
    """Return points (count, 2) and classes (count,): 1 for the lower moon, if told; else 0."""
    row = torch.randint(len(CENTRES), (count,))
    return CENTRES[row] + SPREAD * torch.randn(count, 2), row // 60 * told


class PlaneNetwork(nn.Module):
    """A multilayer perceptron: points (B, 2), times (B,), classes (B,) -> velocities (B, 2)."""

    def __init__(self):
        super().__init__()
        self.enter, self.label = nn.Linear(3, 64), nn.Embedding(2, 64)
        hidden = [nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()]
        self.body = nn.Sequential(*hidden, nn.Linear(64, 2))

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.body(self.enter(torch.cat([x, t[:, None]], dim=1)) + self.label(label))


def sliced_distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein distance of two sets of points (N, 2): over 50 directions.

    The root of the mean squared gap between their sorted projections.
    """
    angle = torch.arange(50) * math.pi / 50
    directions = torch.stack([angle.cos(), angle.sin()])  # (2, 50)
    gap = (a @ directions).sort(dim=0).values - (b @ directions).sort(dim=0).values
    return gap.square().mean().sqrt().item()


def off_moon(points: Tensor) -> float:
    """Return the percentage of points farther than three spreads from the upper moon."""
    return 100 * (torch.cdist(points, CENTRES[:60]).amin(dim=1) > 3 * SPREAD).float().mean().item()
