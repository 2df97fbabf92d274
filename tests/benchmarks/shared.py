"""What several baselines have in common: images through PIL and a DataLoader, and ResNet-18 with a CIFAR stem."""

import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    """Images (N, C, H, W) uint8 one at a time as PIL images, transformed: what torchvision's MNIST and CIFAR10 do."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform):
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        self.arrays = np.ascontiguousarray(arrays[..., 0] if arrays.shape[-1] == 1 else arrays)
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def loader(images, labels, transform, size: int, workers: int, **options) -> DataLoader:
    """Return a shuffling DataLoader over `Pictures`; memory is pinned if there is a GPU."""
    pinned = torch.cuda.is_available()
    pictures = Pictures(images, labels, transform)
    return DataLoader(pictures, size, shuffle=True, num_workers=workers, pin_memory=pinned, **options)


def endless(batches, steps: int):
    """Yield `steps` batches, epoch after epoch."""
    while steps > 0:
        for batch in batches:
            yield batch
            steps -= 1
            if not steps:
                return


def some(total: int, count: int, device: torch.device) -> torch.Tensor:
    """Return `count` fixed random row numbers below `total`; a copy of a data set may be sorted by class."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count].to(device)


def fd_evaluation(side, yardstick, draw, count: int):
    """Return `evaluate(model)`: the FD-c of `count` samples from `draw(model, count)`.

    It also notes the seconds for 1,000 samples, as the last call took them.
    """

    def evaluate(model):
        began = time.perf_counter()
        drawn = draw(model, count)
        if side.device.type == "cuda":
            torch.cuda.synchronize(side.device)
        side.extra["sampling_seconds"] = round((time.perf_counter() - began) * 1000 / count, 2)
        return yardstick.score(drawn)["fd"]

    return evaluate


class _Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut.extend([nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)])

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


def resnet18() -> nn.Sequential:
    """Return ResNet-18 for 32x32 images up to its 512 features: a 3x3 stem, no pooling before the stages."""
    layers, inputs = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for stage, outputs in enumerate((64, 128, 256, 512)):
        layers += [_Block(inputs, outputs, 2 if stage else 1), _Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
