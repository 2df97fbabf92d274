"""The data path alone: batches made on the device against torchvision's transforms in a DataLoader."""

import time

import torch
from torchvision import transforms

import common
from tests.benchmarks import notebooks
from tests.benchmarks.pairs import simclr
from tests.benchmarks.shared import endless, loader

DATA, BATCH = "cifar10", 128
CPU_MODE = "full"  # nothing but the code of the transforms is taken from the notebooks
BASELINE = (
    "the same transforms from torchvision, image by image on PIL images, in a DataLoader with 0 and with 2 workers"
)
OURS = "batches drawn by index from uint8 tensors on the device, transformed as a batch by the notebooks' functions"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PLAIN = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
CASES = {
    "plain": PLAIN,
    "crop and flip": [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *PLAIN],
}
NOTEBOOK, NAMES = "resnet", ["data", "normalise", "augment"]
VIEWS = "two SimCLR views"


def rate(side, batches) -> float:
    """Return images per second of an endless stream of batches over the budget, without the first batches."""
    for index, (images, *_) in enumerate(batches):
        images = images.to(side.device)
        assert images.shape[-3:] == (3, 32, 32) and images.dtype == torch.float32
        if side.device.type == "cuda":
            torch.cuda.synchronize(side.device)
        now = time.perf_counter()
        if index == 5:  # until then workers start
            began, count = now, 0
        elif index > 5:
            count += len(images)
            if now - began > side.budget:
                return round(count / (now - began), 1)
    raise AssertionError("the stream of batches ended.")


def baseline(side):
    data = side.data(DATA)
    side.rates = {}
    for case, steps in (CASES | {VIEWS: [simclr.Twice()]}).items():
        steps = transforms.Compose(steps)
        streams = {workers: loader(data.x_train, data.y_train, steps, BATCH, workers) for workers in (0, 2)}
        side.rates[case] = {str(workers): rate(side, endless(s, 10**9)) for workers, s in streams.items()}


def ours(side):
    n = side.notebook(cutout=lambda images, size: images)  # which the baseline has not
    given = {"setup": lambda seed=0: side.device, DATA: lambda device: n.data}
    augment = notebooks.execute("simclr", ["augment"], given, side.seed)["augment"]
    makers = {"plain": n.normalise, "crop and flip": n.augment}
    makers[VIEWS] = lambda x: augment(x.repeat(2, 1, 1, 1)).unflatten(0, (2, -1)).transpose(0, 1)  # (B, 2, C, H, W)

    def stream(make):
        while True:
            for (images,) in common.batches(n.data.x_train, size=BATCH, drop_last=True):
                yield (make(images),)

    side.rates = {case: rate(side, stream(make)) for case, make in makers.items()}
