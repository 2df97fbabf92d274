"""Flow matching on MNIST against torchcfm's conditional MNIST example."""

import math

import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import nn
from torchvision import transforms

from common.yardstick import Yardstick
from tests.benchmarks.shared import endless, fd_evaluation, loader

NOTEBOOK, DATA = "flow_matching", "mnist"
NAMES = ["train", "draw", "data", "new_network", "test_batch", "batch_size", "drop_label", "compiled"]
METRIC, UNIT, HIGHER_IS_BETTER = "FD-c", "", False
UPDATES = 10 * 468  # of the baseline as published
CPU_MODE = "quick"
EVALUATIONS = 20  # of ours for a sample, as in the notebook's result
BASELINE = (
    "torchcfm, conditional MNIST example: U-Net of 32 channels with attention at 28x28, Adam 1e-3, batch 128, fp32, "
    "no average of weights, Dormand-Prince with relative and absolute tolerance 1e-4"
)
OURS = "averaged weights, AdamW with warm-up, midpoint rule with 20 evaluations; on a CPU quick mode's small U-Net"

# examples/images/conditional_mnist.ipynb and the defaults of its UNetModel for 28 pixels (settings as of 2024-06)
WIDTHS, BATCH, RATE, TOLERANCE = (32, 64, 64), 128, 1e-3, 1e-4


class Residual(nn.Module):
    """Two convolutions and a skip; (B, inputs, H, W) and embeddings (B, E), added between -> (B, outputs, H, W)."""

    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.enter = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, 1, 1))
        self.embedding = nn.Sequential(nn.SiLU(), nn.Linear(size, outputs))
        self.leave = nn.Sequential(nn.GroupNorm(32, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, 1, 1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, x, embedding):
        return self.skip(x) + self.leave(self.enter(x) + self.embedding(embedding)[:, :, None, None])


class Attention(nn.Module):
    """One head over all pixels, added to its input: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(32, width),
            nn.Conv1d(width, 3 * width, 1),
            nn.Conv1d(width, width, 1),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x).flatten(2)).transpose(1, 2).chunk(3, dim=2)  # each (B, H * W, C)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(1, 2)).view_as(x)


class UNet(nn.Module):
    """Images, time (B,) in [0, 1], class (B,) -> velocity: one residual block a level down, two a level up."""

    def __init__(self):
        super().__init__()
        first, size = WIDTHS[0], 4 * WIDTHS[0]
        self.time = nn.Sequential(nn.Linear(first, size), nn.SiLU(), nn.Linear(size, size))
        self.label = nn.Embedding(10, size)
        self.enter = nn.Conv2d(1, first, 3, 1, 1)
        kept, inputs = [first], first
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(WIDTHS):
            self.down.append(
                nn.ModuleList([Residual(inputs, width, size), *([Attention(width)] if level == 0 else [])])
            )
            kept, inputs = [*kept, width], width
            if level < len(WIDTHS) - 1:
                self.down.append(nn.ModuleList([nn.Conv2d(width, width, 3, 2, 1)]))
                kept.append(width)
        self.bottom = nn.ModuleList([Residual(inputs, inputs, size), Attention(inputs), Residual(inputs, inputs, size)])
        for level, width in reversed(list(enumerate(WIDTHS))):
            for block in range(2):
                layers = [Residual(inputs + kept.pop(), width, size), *([Attention(width)] if level == 0 else [])]
                if level and block == 1:
                    layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1)]
                self.up.append(nn.ModuleList(layers))
                inputs = width
        self.leave = nn.Sequential(nn.GroupNorm(32, first), nn.SiLU(), nn.Conv2d(first, 1, 3, 1, 1))
        nn.init.zeros_(self.leave[-1].weight)

    @staticmethod
    def run(layers, h, embedding):
        for layer in layers:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
        return h

    def forward(self, t, x, label):
        half = WIDTHS[0] // 2
        angles = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(half, device=x.device) / half)
        embedding = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label(label)
        h = self.enter(x)
        kept = [h]
        for layers in self.down:
            h = self.run(layers, h, embedding)
            kept.append(h)
        h = self.run(self.bottom, h, embedding)
        for layers in self.up:
            h = self.run(layers, torch.cat([h, kept.pop()], dim=1), embedding)
        return self.leave(h)


def samples(side):
    return 1000 if side.device.type == "cuda" else 128  # scored against the 10,000 test images


def baseline(side):
    data, cuda = side.data(DATA), side.device.type == "cuda"
    yardstick, count = Yardstick(data), samples(side)
    torch.set_float32_matmul_precision("highest")
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    batches = loader(data.x_train, data.y_train, steps, BATCH, workers=0, drop_last=True)

    def train(steps):
        model = UNet().to(side.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for x1, y in side.watch(endless(batches, steps)):
            x1, y = x1.to(side.device), y.to(side.device)
            x0, t = torch.randn_like(x1), torch.rand(len(x1), device=side.device)
            at = t.view(-1, 1, 1, 1)
            loss = (model(t, (1 - at) * x0 + at * x1, y) - (x1 - x0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            loss.item()  # the published loop prints it in each step
            optimizer.step()
        return model

    @torch.no_grad()
    def draw(model, count):
        label, shape = data.y_train[:count], (count, 1, 28, 28)

        def velocity(t, flat):
            x = torch.as_tensor(flat, dtype=torch.float32, device=side.device).view(shape)
            return model(torch.full((count,), t, device=side.device), x, label).flatten().double().cpu().numpy()

        start = torch.randn(shape, device=side.device).flatten().double().cpu().numpy()
        path = solve_ivp(velocity, (0.0, 1.0), start, "RK45", t_eval=[1.0], rtol=TOLERANCE, atol=TOLERANCE)
        side.extra["evaluations"] = path.nfev
        return torch.as_tensor(path.y[:, -1], dtype=torch.float32, device=side.device).view(shape) / 2 + 0.5

    evaluate = fd_evaluation(side, yardstick, draw, count)
    side.run(train, evaluate, batch=BATCH, points=10 if cuda else 1)


def ours(side):
    n, cuda = side.notebook(watch="progress"), side.device.type == "cuda"
    if not cuda:  # the loss on 1,000 test images, which the notebook logs, is no part of training
        n.test_batch = tuple(part[:64] for part in n.test_batch)
    yardstick, count = Yardstick(n.data), samples(side)

    def train(steps):
        return n.train(n.new_network(), max(10, steps), n.drop_label, log=False)[0]

    def draw(model, count):
        return n.draw(model, n.data.y_train[:count], EVALUATIONS)

    evaluate = fd_evaluation(side, yardstick, draw, count)
    points = 20 if cuda else 3
    side.run(train, evaluate, batch=n.batch_size, points=points, subject="average", compiled=n.compiled)
