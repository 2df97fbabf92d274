"""Conditional flow matching of torchcfm on MNIST: a U-Net of width 32, Adam, ten epochs."""

import functools
from itertools import chain, count

import torch
import torch.nn.functional as F
from torch import nn

from common import batches, mnist
from image_generation.sample_quality import SampleQuality

STEPS, POINTS, PARAMETERS = 10 * 468, 1, 1_076_641
BATCH, SAMPLER_STEPS, SAMPLES = 128, 20, 10_000
conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1)


class Residual(nn.Module):
    """Norm, SiLU, convolution, twice, with the embedding between: B, C, H, W -> B, out, H, W."""

    def __init__(self, channels, out):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, channels), nn.GroupNorm(32, out)
        self.conv, self.zero, self.embed = conv(channels, out), conv(out, out), nn.Linear(128, out)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x, e):
        h = self.conv(F.silu(self.norm1(x))) + self.embed(F.silu(e))[:, :, None, None]
        return self.skip(x) + self.zero(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map, one head: (B, C, H, W) -> same."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(32, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.zero = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=3)
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.zero(mixed.reshape(x.shape))


class Stage(nn.Sequential):
    """Modules one after the other; residual blocks are given the embedding too."""

    def forward(self, x, e):
        for module in self:
            x = module(x, e) if isinstance(module, Residual) else module(x)
        return x


class UNet(nn.Module):
    """Widths 32, 64, 64 at full, half, quarter size; attention at full size and in the middle."""

    def __init__(self, a=32, b=64):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(a, 128), nn.SiLU(), nn.Linear(128, 128))
        self.label, self.first = nn.Embedding(10, 128), conv(1, a)
        down = [Stage(Residual(a, a), Attention(a)), Stage(conv(a, a, stride=2))]
        down += [Stage(Residual(a, b)), Stage(conv(b, b, stride=2)), Stage(Residual(b, b))]
        twice = nn.Upsample(scale_factor=2)
        up = [Stage(Residual(2 * b, b)), Stage(Residual(2 * b, b), twice, conv(b, b))]
        up += [Stage(Residual(2 * b, b)), Stage(Residual(a + b, b), twice, conv(b, b))]
        up += [Stage(Residual(a + b, a), Attention(a)), Stage(Residual(2 * a, a), Attention(a))]
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.middle = Stage(Residual(b, b), Attention(b), Residual(b, b))
        self.norm, self.zero = nn.GroupNorm(32, a), conv(a, 1)
        for name, parameter in self.named_parameters():
            if "zero" in name:
                nn.init.zeros_(parameter)

    def forward(self, x, t, y):
        angles = t[:, None] * 10_000 ** (-torch.arange(16, device=x.device) / 16)
        e = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label(y)
        kept = [self.first(x)]
        for stage in self.down:
            kept.append(stage(kept[-1], e))
        x = self.middle(kept[-1], e)
        for stage in self.up:
            x = stage(torch.cat([x, kept.pop()], dim=1), e)
        return self.zero(F.silu(self.norm(x)))


def run(clock, device):
    """Train in float32 on straight paths; FD by 20 Euler steps, and the last training losses."""
    data = mnist(device, quick_size=16)
    quality, losses, model = SampleQuality(data), [], UNet().to(device)
    settings = {"size": BATCH, "drop_last": True}
    images = chain.from_iterable(batches(data.x_train, data.y_train, **settings) for _ in count())

    def loss():
        x, y = next(images)
        x = x / 127.5 - 1
        noise, t = torch.randn_like(x), torch.rand(len(x), 1, 1, 1, device=device)
        error = F.mse_loss(model((1 - t) * noise + t * x, t.flatten(), y), x - noise)
        losses.append(error.item())
        return error

    @torch.no_grad()
    def evaluate():
        found = []
        for y in (torch.arange(SAMPLES, device=device) % 10).split(500):
            x = torch.randn(len(y), *data.x_train.shape[1:], device=device)
            for t in torch.arange(SAMPLER_STEPS, device=device) / SAMPLER_STEPS:
                x = x + model(x, t.expand(len(y)), y) / SAMPLER_STEPS
            found.append((x + 1) / 2)
        return quality.distance(torch.cat(found)), sum(losses[-100:]) / len(losses[-100:])

    clock.train(model, torch.optim.Adam(model.parameters(), lr=1e-3), loss, evaluate)
