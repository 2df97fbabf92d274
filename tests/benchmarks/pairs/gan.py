"""GAN on MNIST against the DCGAN of PyTorch's examples."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from common.yardstick import Yardstick
from tests.benchmarks.shared import endless, fd_evaluation, loader

NOTEBOOK, DATA = "gan", "mnist"
NAMES = ["train", "draw", "spectral_norm", "data", "batch_size", "snapshot_count"]
METRIC, UNIT, HIGHER_IS_BETTER = "FD-c", "", False
UPDATES = 25 * 938  # of the baseline as published
CPU_MODE = "quick"
SAMPLES = 1000  # scored against the 10,000 test images
BASELINE = (
    "pytorch/examples, dcgan: 64x64 pixels, widths 64 to 512, Adam 2e-4 with beta1 0.5, batch 64, PIL Resize "
    "through 2 workers; samples are scaled down to 28x28 for the metric"
)
OURS = "28x28 pixels, spectral normalisation, averaged generator, Adam with beta1 0, batches indexed on the device"


def convolutions(widths, layer, activation, last):
    """A chain of 4x4 convolutions that double or halve the side, with batch norm between, as DCGAN has it."""
    layers = []
    for index, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        first, final = index == 0, index == len(widths) - 2
        square = first if layer is nn.ConvTranspose2d else final  # between 1x1 and 4x4 pixels
        layers.append(layer(inputs, outputs, 4, *((1, 0) if square else (2, 1)), bias=False))
        if not final:
            normed = layer is nn.ConvTranspose2d or not first
            layers += [*([nn.BatchNorm2d(outputs)] if normed else []), activation]
    return nn.Sequential(*layers, last)


def weights(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def baseline(side):
    data = side.data(DATA)
    yardstick = Yardstick(data)
    torch.set_float32_matmul_precision("highest")
    # examples/dcgan/main.py (settings as of 2024-05)
    steps = [transforms.Resize(64), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
    batches = loader(data.x_train, data.y_train, transforms.Compose(steps), 64, workers=2)

    def train(steps):
        generator = convolutions([100, 512, 256, 128, 64, 1], nn.ConvTranspose2d, nn.ReLU(), nn.Tanh())
        judge = convolutions([1, 64, 128, 256, 512, 1], nn.Conv2d, nn.LeakyReLU(0.2), nn.Sigmoid())
        generator, judge = (player.apply(weights).to(side.device) for player in (generator, judge))
        g, d = (torch.optim.Adam(p.parameters(), lr=2e-4, betas=(0.5, 0.999)) for p in (generator, judge))
        for real, _ in side.watch(endless(batches, steps)):
            real = real.to(side.device)
            ones, zeros = (torch.full((len(real),), value, device=side.device) for value in (1.0, 0.0))
            judge.zero_grad()
            F.binary_cross_entropy(judge(real).flatten(), ones).backward()
            drawn = generator(torch.randn(len(real), 100, 1, 1, device=side.device))
            F.binary_cross_entropy(judge(drawn.detach()).flatten(), zeros).backward()
            d.step()
            generator.zero_grad()
            F.binary_cross_entropy(judge(drawn).flatten(), ones).backward()
            g.step()
        return generator

    @torch.no_grad()
    def draw(generator, count):
        generator.train()  # the example draws in training mode
        noise = torch.randn(count, 100, 1, 1, device=side.device).split(64)
        drawn = torch.cat([generator(part) for part in noise]) / 2 + 0.5
        return F.interpolate(drawn, size=28, mode="bilinear", antialias=True)

    evaluate = fd_evaluation(side, yardstick, draw, SAMPLES)
    side.run(train, evaluate, batch=64, points=20 if side.device.type == "cuda" else 2, subject="generator")


def ours(side):
    n = side.notebook(watch="progress")
    yardstick = Yardstick(n.data)

    def train(steps):
        steps = max(1, steps // n.snapshot_count) * n.snapshot_count  # so that the last step leaves a snapshot
        snapshots = n.train(n.spectral_norm, 0.0, steps, log=False)[-1]
        return snapshots[max(snapshots)]

    evaluate = fd_evaluation(side, yardstick, n.draw, SAMPLES)
    side.run(train, evaluate, batch=n.batch_size, points=20 if side.device.type == "cuda" else 6, subject="average")
