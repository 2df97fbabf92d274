"""ResNet on CIFAR-10 against ResNet-18 of kuangliu/pytorch-cifar."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from tests.benchmarks.shared import endless, loader, resnet18, some

NOTEBOOK, DATA = "resnet", "cifar10"
NAMES = ["train", "predict", "accuracy", "prepare", "Network", "ResidualBlock", "data", "augment", "blocks", "width"]
NAMES += ["stem_stride", "last_scale", "batch_size", "peak_rate", "smoothing", "compile_model"]
METRIC, UNIT, HIGHER_IS_BETTER = "test accuracy", "%", True
UPDATES = 200 * 391  # of the baseline as published
CPU_MODE = "quick"
BASELINE = (
    "kuangliu/pytorch-cifar: ResNet-18 with a 3x3 stem, SGD 0.1 with momentum 0.9, weight decay 5e-4, batch 128, "
    "RandomCrop and flip through 2 workers, fp32, cosine to zero within the budget (published: within 200 epochs)"
)
OURS = (
    "augmentation on the device, one-cycle SGD with Nesterov momentum, label smoothing, cutout; on a CPU the network "
    "of quick mode (8 layers, 16 channels)"
)


# Quick mode takes the colour from its procedural shapes, which says nothing of them; in photographs it says much.
SETTINGS_CPU = {"remove_colour": 0.0}


def test_images(side, data):
    """Return test images and labels: on a CPU 1,000 of them, for which ResNet-18 takes some seconds."""
    rows = some(10_000, 10_000 if side.device.type == "cuda" else 1000, side.device)
    return data.x_test[rows], data.y_test[rows]


def baseline(side):
    data = side.data(DATA)
    images, labels = test_images(side, data)
    # pytorch-cifar/main.py (settings as of 2021-02, when it was last changed)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    steps = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])
    batches = loader(data.x_train, data.y_train, steps, 128, workers=2)
    torch.set_float32_matmul_precision("highest")
    mean, std = (torch.tensor(values, device=side.device).view(3, 1, 1) for values in (mean, std))

    def train(steps):
        model = nn.Sequential(resnet18(), nn.Linear(512, 10)).to(side.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        for x, y in side.watch(endless(batches, steps)):
            loss = F.cross_entropy(model(x.to(side.device)), y.to(side.device))
            optimizer.zero_grad()
            loss.backward()
            loss.item()  # the published loop prints it in each step
            optimizer.step()
            schedule.step()
        return model

    def evaluate(model):
        guesses = [model((part / 255 - mean) / std).argmax(dim=1) for part in images.split(250)]
        return 100 * (torch.cat(guesses) == labels).float().mean()

    side.run(train, evaluate, batch=128, points=20 if side.device.type == "cuda" else 1)


def ours(side):
    n = side.notebook(watch="batches", **side.settings)
    images, labels = test_images(side, n.data)
    per_epoch = len(n.data.x_train) // n.batch_size

    def train(steps):
        block = partial(n.ResidualBlock, last_scale=n.last_scale)
        model = n.prepare(n.Network(block, n.blocks, n.width, n.stem_stride), side.device, compile=n.compile_model)
        n.train(model, max(1, steps // per_epoch), n.batch_size, n.peak_rate, n.augment, n.smoothing)
        return model

    side.run(train, lambda m: 100 * n.accuracy(n.predict(m, images), labels), batch=n.batch_size, points=10)
