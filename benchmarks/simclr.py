"""SimCLR as in Lightly's CIFAR-10 benchmark: ResNet-18, batch 512, SGD 0.06, temperature 0.5."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from benchmarks.clock import descend
from benchmarks.resnet import resnet18
from common import autocast, cifar10, to_device

SOURCE = "https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html"
PUBLISHED = "84.8 % by nearest neighbours after 200 epochs, on original CIFAR-10"
STEPS = 200 * 97
SHORTER = {"epochs": 5}  # our notebook at a quarter of its training
FIGURE = "kNN accuracy"  # of our notebook's extra figures, measured alike
BATCH, TEMPERATURE, NEIGHBOURS = 512, 0.5, 200
POINTS = 2  # each evaluation takes minutes
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def run(clock, device):
    """Train within the clock's budget; the metric is the accuracy of 200 nearest neighbours, %."""
    data = cifar10(device)
    encoder = nn.Sequential(*resnet18()[:-1])
    head = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
    model = to_device(nn.Sequential(encoder, head), device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    view = v2.Compose(
        [
            v2.RandomResizedCrop(32, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
        ]
    )
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def step():
        rows = torch.randint(len(data.x_train), (BATCH,), device=device)
        views = [normalise(torch.stack([view(x) for x in data.x_train[rows]])) for _ in range(2)]
        with autocast(device):
            z = model(torch.cat(views))
        z = F.normalize(z.float(), dim=1)
        logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-math.inf)
        partner = torch.arange(2 * BATCH, device=device).roll(BATCH)
        rate = 0.03 * (1 + math.cos(math.pi * clock.progress))
        descend(optimizer, F.cross_entropy(logits, partner), rate)

    @torch.no_grad()
    def features(images):
        with autocast(device):
            parts = [encoder(normalise(part)).float() for part in images.split(500)]
        return F.normalize(torch.cat(parts), dim=1)

    @torch.no_grad()
    def evaluate():
        model.eval()
        train, right = features(data.x_train), 0
        for part, y in zip(features(data.x_test).split(500), data.y_test.split(500), strict=True):
            near, index = (part @ train.T).topk(NEIGHBOURS)
            votes = torch.zeros(len(y), 10, device=device)
            votes.scatter_add_(1, data.y_train[index], (near / 0.1).exp())
            right += (votes.argmax(dim=1) == y).sum()
        model.train()
        return 100 * right / len(data.y_test)

    clock.run(step, evaluate)
