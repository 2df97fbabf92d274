"""The U-Net of the notebook: two resolutions, shortcuts between equal sizes, attention below.

Shapes: B images, C channels, H W pixels, E numbers in the embedding of time and class.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import autocast


def zero(layer: nn.Module) -> nn.Module:
    """Let a layer start by answering zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def norm(channels: int) -> nn.Module:
    """Group normalisation with 16 channels a group."""
    return nn.GroupNorm(channels // 16, channels)


class Block(nn.Module):
    """Two convolutions around a residual sum; the embedding scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(size, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, E) -> (B, outputs, H, W)."""
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Self-attention of all places, with one head: (B, C, H, W) -> same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.mix = norm(channels), zero(nn.Linear(channels, channels))
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).mT  # (B, H W, C)
        q, k, v = self.query(places), self.key(places), self.value(places)
        weights = (q @ k.mT / q.shape[2] ** 0.5).softmax(dim=2)  # (B, H W, H W)
        return x + self.mix(weights.to(v.dtype) @ v).mT.unflatten(2, x.shape[2:])


class UNet(nn.Module):
    """Noisy images (B, 1, H, W), times in [0, 1] (B,) and classes (B,) -> (B, 1, H, W)."""

    def __init__(self, fine: int, coarse: int, classes: int = 10, size: int = 128):
        super().__init__()
        self.register_buffer("frequencies", 2 * torch.logspace(0, 2, 32))
        self.time = nn.Sequential(nn.Linear(64, size), nn.SiLU(), nn.Linear(size, size))
        self.label = nn.Embedding(classes, size)
        self.enter = nn.Conv2d(4, fine, 3, padding=1)
        self.down1, self.down2 = Block(fine, fine, size), Block(fine, fine, size)
        self.shrink = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.middle1, self.middle2 = Block(coarse, coarse, size), Block(coarse, coarse, size)
        self.attention, self.middle3 = Attention(coarse), Block(coarse, coarse, size)
        self.grow = nn.Conv2d(coarse, fine, 3, padding=1)
        self.up1, self.up2 = Block(2 * fine, fine, size), Block(2 * fine, fine, size)
        self.leave = nn.Sequential(norm(fine), nn.SiLU(), zero(nn.Conv2d(fine, 4, 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """The layers run in bfloat16 where the machine can; the answer is float32."""
        with autocast(x.device):
            return self.body(x, t, label).float()

    def body(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """Down, across, up."""
        angles = t[:, None] * self.frequencies
        embedding = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.label(label)
        embedding = F.silu(embedding)  # (B, E)
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        a = self.down1(self.enter(x), embedding)  # (B, fine, H / 2, W / 2)
        b = self.down2(a, embedding)
        h = self.middle1(self.shrink(b), embedding)  # (B, coarse, H / 4, W / 4)
        h = self.attention(self.middle2(h, embedding))
        h = F.interpolate(self.grow(self.middle3(h, embedding)), scale_factor=2.0)
        h = self.up1(torch.cat([h, b], dim=1), embedding)  # (B, fine, H / 2, W / 2)
        h = self.up2(torch.cat([h, a], dim=1), embedding)
        return F.pixel_shuffle(self.leave(h), 2)
