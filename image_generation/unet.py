"""The U-Net of the notebook DDPM, which explains it, for notebooks that only use it."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two convolutions around a residual sum; the embedding scales and shifts between them."""

    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, inputs), nn.GroupNorm(4, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv2.weight)
        self.modulation = nn.Linear(size, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, embedding):
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class UNet(nn.Module):
    """Noisy images (B, 1, H, W), levels in [0, 1] (B,) and classes (B,) -> (B, 1, H, W)."""

    def __init__(self, fine, coarse, classes=10, size=128):
        super().__init__()
        self.register_buffer("frequencies", 2 * torch.logspace(0, 2, 32))
        self.time = nn.Sequential(nn.Linear(64, size), nn.SiLU(), nn.Linear(size, size))
        self.label = nn.Embedding(classes, size)
        self.enter = nn.Conv2d(4, fine, 3, padding=1)
        self.down1, self.down2 = Block(fine, fine, size), Block(fine, fine, size)
        self.shrink = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.middle1, self.middle2 = Block(coarse, coarse, size), Block(coarse, coarse, size)
        self.grow = nn.Conv2d(coarse, fine, 3, padding=1)
        self.up1, self.up2 = Block(2 * fine, fine, size), Block(2 * fine, fine, size)
        self.norm, self.leave = nn.GroupNorm(4, fine), nn.Conv2d(fine, 4, 3, padding=1, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, t, label):
        angles = t[:, None] * self.frequencies
        embedding = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.label(label)
        embedding = F.silu(embedding)  # (B, size)
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        a = self.down1(self.enter(x), embedding)  # (B, fine, H / 2, W / 2)
        b = self.down2(a, embedding)
        h = self.middle1(self.shrink(b), embedding)  # (B, coarse, H / 4, W / 4)
        h = F.interpolate(self.grow(self.middle2(h, embedding)), scale_factor=2.0)
        h = self.up1(torch.cat([h, b], dim=1), embedding)  # (B, fine, H / 2, W / 2)
        h = self.up2(torch.cat([h, a], dim=1), embedding)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)
