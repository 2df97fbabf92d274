"""Conditional flow matching on MNIST as in torchcfm's example: a U-Net of width 32, Adam 1e-3."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import descend
from common import autocast, mnist
from image_generation.sample_quality import SampleQuality

SOURCE = "https://github.com/atong01/conditional-flow-matching (examples/images/conditional_mnist)"
PUBLISHED = "none on this scale"
STEPS = 10 * 469
SHORTER = {"digit_steps": 1250}  # our notebook at a quarter of its training
WIDTH, BATCH, SAMPLER_STEPS = 32, 128, 20
REMARK = (
    "Its tensors keep PyTorch's default layout, in which its step takes a third of the time that "
    "it takes in channels_last, because each of its normalisation groups is one to four channels."
)
POINTS = 3  # each evaluation takes 5 minutes on one core


class Residual(nn.Module):
    """Norm, SiLU, convolution, twice, with the embedding added between: (B, C, H, W) -> same."""

    def __init__(self, channels, out, embedding):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, channels), nn.GroupNorm(32, out)
        self.conv1, self.conv2 = (nn.Conv2d(size, out, 3, 1, 1) for size in (channels, out))
        self.embed = nn.Linear(embedding, out)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x))) + self.embed(F.silu(e))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map, one head: (B, C, H, W) -> same."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(32, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=3)
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.out(mixed.reshape(x.shape))


class UNet(nn.Module):
    """Widths 32, 64, 64 at full, half and quarter size, one residual block each way."""

    def __init__(self, classes=10):
        super().__init__()
        size = 4 * WIDTH
        self.time = nn.Sequential(nn.Linear(WIDTH, size), nn.SiLU(), nn.Linear(size, size))
        self.label = nn.Embedding(classes, size)
        self.first = nn.Conv2d(1, WIDTH, 3, 1, 1)
        down = [(WIDTH, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 2 * WIDTH)]
        up = [(4 * WIDTH, 2 * WIDTH), (4 * WIDTH, 2 * WIDTH), (3 * WIDTH, WIDTH)]
        self.down = nn.ModuleList(Residual(*widths, size) for widths in down)
        self.middle1 = Residual(2 * WIDTH, 2 * WIDTH, size)
        self.attention = Attention(2 * WIDTH)
        self.middle2 = Residual(2 * WIDTH, 2 * WIDTH, size)
        self.up = nn.ModuleList(Residual(*widths, size) for widths in up)
        self.last = nn.Sequential(nn.GroupNorm(32, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 1, 3, 1, 1))

    def forward(self, x, t, y):
        rates = torch.exp(-math.log(10_000) * torch.arange(WIDTH // 2, device=x.device) * 2 / WIDTH)
        angles = 1000 * t[:, None] * rates
        e = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label(y)
        x, kept = self.first(x), []
        for number, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if number else x, e)
            kept.append(x)
        x = self.middle2(self.attention(self.middle1(x, e)), e)
        for number, block in enumerate(self.up):
            x = F.interpolate(x, scale_factor=2) if number else x
            x = block(torch.cat([x, kept.pop()], dim=1), e)
        return self.last(x)


def run(clock, device):
    """Train within the clock's budget; the metric is FD-c of 10,000 samples by 20 Euler steps."""
    data = mnist(device, quick_size=16)
    quality = SampleQuality(data)
    model = UNet().to(device)  # in channels_last its small groups take three times as long
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        rows = torch.randint(len(data.x_train), (BATCH,), device=device)
        image = data.x_train[rows] / 127.5 - 1
        noise = torch.randn(image.shape, device=device)
        t = torch.rand(BATCH, device=device)
        place = t[:, None, None, None]
        with autocast(device):
            velocity = model((1 - place) * noise + place * image, t, data.y_train[rows])
        descend(optimizer, F.mse_loss(velocity.float(), image - noise))

    @torch.no_grad()
    def evaluate():
        images = []
        labels = torch.arange(quality.count, device=device) % 10
        for y in labels.split(500):
            x = torch.randn(len(y), *data.x_train.shape[1:], device=device)
            for number in range(SAMPLER_STEPS):
                t = torch.full((len(y),), number / SAMPLER_STEPS, device=device)
                with autocast(device):
                    velocity = model(x, t, y)
                x = x + velocity.float() / SAMPLER_STEPS
            images.append((x + 1) / 2)
        return quality.distance(torch.cat(images))

    clock.run(step, evaluate)
