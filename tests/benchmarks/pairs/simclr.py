"""SimCLR on CIFAR-10 against Lightly's CIFAR-10 benchmark."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from tests.benchmarks.shared import endless, loader, resnet18, some

NOTEBOOK, DATA = "simclr", "cifar10"
NAMES = ["train", "contrast", "new_network", "projection_head", "features", "nearest_vote", "data", "batch_size"]
METRIC, UNIT, HIGHER_IS_BETTER = "nearest neighbours' accuracy", "%", True
UPDATES = 200 * 390  # of the baseline as published
CPU_MODE = "quick"
BASELINE = (
    "Lightly's CIFAR-10 benchmark: ResNet-18, head 512-512-128, temperature 0.5, SGD 0.06, weight decay 5e-4, batch "
    "128, two PIL views through 8 workers, fp32, cosine to zero within the budget (published: within 200 epochs)"
)
OURS = (
    "both views made on the device, one-cycle AdamW; on a CPU quick mode's network (5 convolution layers, 16 to 64 "
    "channels) with full mode's views and temperature, since quick mode's are made for procedural shapes"
)

# Quick mode's views suit shapes that have no up and down and whose colour says nothing: not photographs.
SETTINGS_CPU = {
    "smallest_area": 0.2,
    "largest_turn": 0.0,
    "largest_hue": 36.0,
    "temperature": 0.2,
    "grey_share": 0.2,
    "own_scale": 0.0,
}
# docs/source/getting_started/benchmarks/cifar10_benchmark.py (results of 2022-02; views as of 2024-06)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEW = [
    transforms.RandomResizedCrop(32, scale=(0.08, 1.0)),
    transforms.RandomHorizontalFlip(),
    transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
    transforms.RandomGrayscale(p=0.2),
    transforms.ToTensor(),
    transforms.Normalize(MEAN, STD),
]


class Twice:
    """Two random views of an image; a class, since workers have to pickle it."""

    def __init__(self):
        self.view = transforms.Compose(VIEW)

    def __call__(self, image):
        return torch.stack([self.view(image), self.view(image)])


def neighbours(side, n, features):
    """Return accuracy by neighbours among 1,000 training images for 500 test images; of all on a GPU."""
    counts = (50_000, 10_000) if side.device.type == "cuda" else (1000, 500)
    train, test = (some(total, count, side.device) for total, count in zip((50_000, 10_000), counts, strict=True))
    return n.nearest_vote(
        *(features(n.data.x_train[train]), n.data.y_train[train]),
        *(features(n.data.x_test[test]), n.data.y_test[test]),
    )


def baseline(side):
    n = side.notebook()  # for the metric
    torch.set_float32_matmul_precision("highest")
    batches = loader(n.data.x_train, n.data.y_train, Twice(), 128, workers=8, drop_last=True)
    mean, std = (torch.tensor(values, device=side.device).view(3, 1, 1) for values in (MEAN, STD))

    def train(steps):
        hidden = [nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU()]
        model = nn.Sequential(resnet18(), *hidden, nn.Linear(512, 128, bias=False)).to(side.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        for views, _ in side.watch(endless(batches, steps)):
            z = torch.cat([model(view.to(side.device)) for view in views.unbind(dim=1)])
            z = F.normalize(z, dim=1)
            scores = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
            partner = torch.arange(len(z), device=side.device).roll(len(z) // 2)
            loss = F.cross_entropy(scores, partner)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return model

    def evaluate(model):
        return neighbours(
            side, n, lambda images: torch.cat([model[0]((part / 255 - mean) / std) for part in images.split(250)])
        )

    side.run(train, evaluate, batch=128, points=10 if side.device.type == "cuda" else 1)


def ours(side):
    n = side.notebook(watch="batches", **side.settings)
    per_epoch = len(n.data.x_train) // n.batch_size

    def train(steps):
        network = n.new_network(n.projection_head)
        n.train(network, n.contrast, max(1, steps // per_epoch))
        return network

    evaluate = lambda network: neighbours(side, n, lambda images: n.features(network[0], images))  # noqa: E731
    side.run(
        train,
        evaluate,
        batch=n.batch_size,
        points=10 if side.device.type == "cuda" else 2,
        subject="network",
        compiled=n.compile_model,
    )
