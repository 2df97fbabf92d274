"""One way to judge samples of digits for all generators: FD-c, precision, recall and the classes drawn.

The features come from a small classifier that is trained here on the same data, since no weights are downloaded.
It measures and is no lesson, which is why it is the only network in `common`. Import it from this module.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from common.data import Images
from common.settings import data_folder

VERSION = 1  # raise it with every change to network, training or features: stored classifiers then go out of use
NEIGHBOURS, MANIFOLD = 3, 3000  # k, and the most samples on each side, for precision and recall
MISSING = 0.01  # a class with a smaller share than this is missing; its due share is about 0.1


def frechet_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (N, D) and (M, D), in float64.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2), with roots by eigenvalues.
    """
    x, y = x.cpu().double(), y.cpu().double()  # in this order: MPS has no float64
    cov_x, cov_y = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(((x.mean(0) - y.mean(0)) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross))


def precision_recall(real: torch.Tensor, fake: torch.Tensor) -> tuple[float, float]:
    """Return the share of `fake` (N, D) inside the manifold of `real` (N, D), and of `real` inside that of `fake`.

    A manifold is the union of balls around its points, each reaching to the k-th neighbour (Kynkäänniemi 2019).
    """
    real, fake = real.cpu().double(), fake.cpu().double()
    between = torch.cdist(real, fake)  # (N real, N fake)
    real_radius, fake_radius = (  # the nearest is the point itself
        torch.cdist(points, points).topk(NEIGHBOURS + 1, largest=False).values[:, -1] for points in (real, fake)
    )
    precision = (between <= real_radius[:, None]).any(dim=0).double().mean()
    recall = (between <= fake_radius).any(dim=1).double().mean()
    return precision.item(), recall.item()


def classifier() -> nn.Sequential:
    """Return the network: grey images (B, 1, H, W) in [0, 1] to class scores (B, 10), from fixed first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPUs too
        return nn.Sequential(
            *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()),
            *(nn.Linear(576, 128), nn.ReLU(), nn.Linear(128, 10)),
        )


class Yardstick:
    """Measures images of digits (N, 1, H, W), float in [0, 1] or uint8, against the test images of `data`.

    FD-c is the Fréchet distance between the 128 features in front of the classifier's last layer (after the
    ReLU), divided by one number so that those of the test images have a total variance of 32. It depends on the
    classifier, so it compares with no FID and only between images of the same data set and size. It also grows
    as samples get fewer: score as many as there are test images, and read it beside `floor`, the scores of as many
    training images. The global random state stays untouched.
    """

    def __init__(self, data: Images):
        self.data, self.device = data, data.x_test.device
        self.generator = torch.Generator().manual_seed(0)
        self.model = classifier().to(self.device)
        if not self._load():
            self.model = classifier().to(self.device)  # anew: a corrupt file may have set some of the weights
            self._train()
            self._store()
        self.model.eval().requires_grad_(False)
        self.scale = 1.0
        self.real, scores = self._features(data.x_test)
        self.scale = (32 / self.real.var(dim=0).sum().item()) ** 0.5
        self.real = self.real * self.scale
        self.accuracy = (scores.argmax(dim=1) == data.y_test).float().mean().item()
        count = min(len(data.x_test), len(data.x_train))
        self.floor = self.score(data.x_train[self._permutation(len(data.x_train))[:count]])
        print(
            f"Yardstick: classifier with {self.accuracy:.2%} test accuracy; {count:,} training images against "
            f"{len(data.x_test):,} test images give the floor, FD-c {self.floor['fd']:.3f}"
        )

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """Return the classifier's probabilities (N, 10)."""
        return self._features(images)[1].softmax(dim=1)

    def score(self, images: torch.Tensor) -> dict:
        """Return "fd" (FD-c), "precision", "recall" and "histogram", the shares of the ten classes (10,)."""
        features, scores = self._features(images)
        count = min(len(features), len(self.real), MANIFOLD)
        real = self.real[self._permutation(len(self.real))[:count]]  # the two halves of MNIST's test set differ
        precision, recall = precision_recall(real, features[self._permutation(len(features))[:count]])
        histogram = torch.bincount(scores.argmax(dim=1), minlength=10).cpu() / len(scores)
        fd = frechet_distance(self.real, features)
        return {"fd": fd, "precision": precision, "recall": recall, "histogram": histogram}

    def table(self, rows: dict) -> None:
        """Print scores, given as such or as images, between the floor and two bad references."""
        x = self.data.x_test.float() / 255
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
        blurred = F.avg_pool2d(x, 3, stride=1, padding=1)
        rows = {"training images (floor)": self.floor, **rows, "test images, 3x3 blur": blurred, "uniform noise": noise}
        width = max(map(len, rows))
        print(f"{'':{width}s}     FD-c  precision  recall  missing classes")
        for name, row in rows.items():
            row = row if isinstance(row, dict) else self.score(row)
            missing = " ".join(str(digit) for digit in range(10) if row["histogram"][digit] < MISSING) or "none"
            print(f"{name:{width}s} {row['fd']:8.3f} {row['precision']:10.3f} {row['recall']:7.3f}  {missing}")

    def _permutation(self, count: int) -> torch.Tensor:
        return torch.randperm(count, generator=self.generator.manual_seed(0)).to(self.device)

    @torch.no_grad()
    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.data.x_test.shape[1:]
        if images.shape[1:] != size or len(images) <= NEIGHBOURS:
            raise ValueError(f"images must be (N, {', '.join(map(str, size))}), N > 3, got {tuple(images.shape)}.")
        features = []
        with torch.autocast(self.device.type, enabled=False):
            for chunk in images.detach().split(1000):
                chunk = chunk.to(self.device)
                chunk = chunk.float() / 255 if chunk.dtype == torch.uint8 else chunk.float().clamp(0, 1)
                features.append(self.model[:-1](chunk))
            features = torch.cat(features)
            return features * self.scale, self.model[-1](features)

    def _train(self) -> None:
        x, y, batch = self.data.x_train, self.data.y_train, min(64, len(self.data.x_train))
        epochs = max(3, 24_000 // len(x))
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * (len(x) // batch))
        with torch.autocast(self.device.type, enabled=False), torch.enable_grad():
            for _ in range(epochs):
                order = torch.randperm(len(x), generator=self.generator).to(self.device)
                for rows in order[: len(x) // batch * batch].split(batch):
                    down, right = torch.randint(-1, 2, (2,), generator=self.generator).tolist()
                    images = x[rows].roll((down, right), dims=(2, 3)).float() / 255
                    loss = F.cross_entropy(self.model(images), y[rows])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    schedule.step()

    def _path(self) -> Path:
        digest = hashlib.sha256(f"{VERSION} {tuple(self.data.x_train.shape)}".encode())
        for tensor in (self.data.x_train, self.data.y_train):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return data_folder() / f"yardstick-{digest.hexdigest()[:12]}.pt"

    def _load(self) -> bool:
        try:
            self.model.load_state_dict(torch.load(self._path(), map_location=self.device, weights_only=True))
            return True
        except Exception:  # no file, or a corrupt one, for which torch.load raises many kinds
            return False

    def _store(self) -> None:
        path = self._path()
        part = path.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError, RuntimeError):  # a folder that cannot be written: no cache
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(self.model.state_dict(), part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
