"""ResNet-18 as in kuangliu/pytorch-cifar: SGD 0.1 with cosine decay, crops and flips, batch 128."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import descend
from common import autocast, cifar10, to_device

SOURCE = "https://github.com/kuangliu/pytorch-cifar"
PUBLISHED = "93.02 % for ResNet-18 (its README), on original CIFAR-10"
STEPS = 200 * 391
SHORTER = {"epochs": 6}  # our notebook at a quarter of its training
POINTS = 4  # each evaluation takes a minute


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, C, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        project = nn.Conv2d(channels, out, 1, stride, bias=False)
        self.shortcut = nn.Identity() if same else nn.Sequential(project, nn.BatchNorm2d(out))

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))


def resnet18():
    layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, out, stride), Block(out, out, 1)]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def run(clock, device):
    """Train within the clock's budget; the metric is the test accuracy in percent."""
    data, batch = cifar10(device), 128
    model = to_device(resnet18(), device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    mean = torch.tensor([0.4914, 0.4822, 0.4465], device=device).view(3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010], device=device).view(3, 1, 1)
    padded = F.pad(data.x_train, (4, 4, 4, 4))
    window = torch.arange(32, device=device)
    order = []

    def step():
        if not order:
            order.extend(torch.randperm(len(padded), device=device).split(batch))
        rows = order.pop(0)
        down, right = torch.randint(0, 9, (2, len(rows), 1), device=device)
        x = padded[rows[:, None, None], :, (down + window)[:, :, None], (right + window)[:, None]]
        x = x.permute(0, 3, 1, 2)
        x = torch.where(torch.rand(len(rows), 1, 1, 1, device=device) < 0.5, x.flip(3), x)
        model.train()
        with autocast(device):
            scores = model((x / 255 - mean) / std)
        loss = F.cross_entropy(scores.float(), data.y_train[rows])
        descend(optimizer, loss, rate=0.05 * (1 + math.cos(math.pi * clock.progress)))

    @torch.no_grad()
    def evaluate():
        model.eval()
        right = 0
        for x, y in zip(data.x_test.split(500), data.y_test.split(500), strict=True):
            with autocast(device):
                right += (model((x / 255 - mean) / std).argmax(dim=1) == y).sum()
        return 100 * right / len(data.y_test)

    clock.run(step, evaluate)
