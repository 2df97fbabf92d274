"""How good are generated digits? One measure for all image generators of this repository.

    from image_generation.sample_quality import SampleQuality

    quality = SampleQuality(data)                # data = mnist(device, quick_size=16)
    quality.distance(images)                     # FD alone, in a fraction of a second
    score = quality.score(images, asked=labels)  # FD, its spread, density, coverage, classes
    quality.floor(1000)                          # what real images score if there are 1,000
    quality.copying(images, train, held_out)     # does a generator recite its training images?
    quality.table({"my samples": score, "other samples": images})

The features come from a small classifier of digits. Its weights lie beside this module, so that
every machine measures with the same classifier: `python -m image_generation.sample_quality` trains
them anew. What each number sees is the subject of the notebook `generator_evaluation`.
"""

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.data import Images, batches, mnist

WEIGHTS = Path(__file__).with_suffix(".npz")  # of both classifiers, float16
SIZES = {"full": 28, "quick": 16}  # MNIST; scikit-learn's digits
NEIGHBOURS = 5  # k of density and coverage
SHRINKAGE = 0.01  # of the mean variance, added to every variance before whitening
SUBSETS = 6  # random subsets of real images behind a floor


@dataclass
class Score:
    """What `SampleQuality.score` says of a set of images."""

    distance: float  # FD, the Fréchet distance in whitened features, lower is better
    spread: float  # standard deviation of FD if the same number of images were drawn again
    density: float  # about 1 for real images, lower where samples lie off the real images
    coverage: float  # the share of real images with a sample close by, higher is better
    as_asked: float | None  # percent that the classifier takes for the class asked for
    shares: list[float]  # how many of the images the classifier takes for 0, 1, ... 9
    missing: list[int]  # digits with less than a third of their expected share


class Classifier(nn.Module):
    """Grey images (B, 1, H, W) in [0, 1] to scores of the ten digits, through two feature sets."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.conv4 = nn.Conv2d(48, 48, 3, padding=1)
        self.hidden = nn.Linear(48 * 4, 64)
        self.last = nn.Linear(64, 10)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what tells digits apart (B, 64), before its ReLU, and the mean texture (B, 32)."""
        texture = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.relu(self.conv4(F.relu(self.conv3(texture))))
        return self.hidden(F.adaptive_avg_pool2d(x, 2).flatten(1)), texture.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.features(x)[0]))


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (N, D) and (M, D), in float64.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2), with roots by eigenvalues.
    """
    x, y = x.cpu().double(), y.cpu().double()  # in this order: MPS has no float64
    cov_x, cov_y = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return max(0.0, float(means + cov_x.trace() + cov_y.trace() - 2 * cross))


def neighbour_distance(real: Tensor) -> Tensor:
    """Return the distance of each feature vector (N, D) to its k-th nearest neighbour: (N,)."""
    distances = (torch.cdist(rows, real) for rows in real.split(1000))  # the nearest is itself
    return torch.cat([d.topk(NEIGHBOURS + 1, largest=False).values[:, -1] for d in distances])


def density_coverage(real: Tensor, radius: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return density and coverage (Naeem et al. 2020) of features `fake` (M, D).

    Around each of the vectors `real` (N, D) lies a ball up to its k-th neighbour, of radius
    `radius` (N,). Density: in how many balls a fake lies on average, divided by k. Coverage: the
    share of balls with a fake in them. More fakes hit more balls, so where there are more of them
    than reals, they are taken in portions of N, and the results averaged.
    """
    results = []
    for portion in fake[: max(1, len(fake) // len(real)) * len(real)].split(len(real)):
        hits = torch.zeros_like(radius)  # how many fakes lie in each ball
        for rows in portion.split(1000):
            hits += (torch.cdist(real, rows) <= radius[:, None]).sum(dim=1)
        density = hits.sum() / (NEIGHBOURS * len(portion))
        results.append(torch.stack([density, (hits > 0).float().mean()]))
    density, coverage = torch.stack(results).mean(dim=0).tolist()
    return density, coverage


def whitening(x: Tensor, sets: tuple[int, ...]) -> Tensor:
    """Return the matrix (D, D) that gives centred features (N, D) a variance of about 1 each way.

    First the `sets` of columns get equal total variance. Then the mean variance times `SHRINKAGE`
    is added in all directions, so that those that hardly vary are not blown up.
    """
    covariance = torch.cov(x.cpu().double().T)
    totals = [part.sum() for part in covariance.diag().split(sets)]
    scale = torch.stack(totals).rsqrt().repeat_interleave(torch.tensor(sets))
    values, vectors = torch.linalg.eigh(scale[:, None] * covariance * scale)
    whiten = scale[:, None] * vectors * (values + SHRINKAGE * values.mean()).rsqrt()
    return whiten.float().to(x.device)


def copying(fake: Tensor, train: Tensor, held_out: Tensor) -> tuple[float, float]:
    """Return the percent of `fake` (M, D) nearer to `train` than to `held_out`, its standard error.

    After Meehan et al. (2020): without copying, the nearest of 2 N real vectors, N of them training
    images, is one of these in half of all cases. The standard error is that of dealing the names
    "training" and "held-out" at random, so it grows where many fakes share one neighbour.
    """
    real, count = torch.cat([train, held_out]), len(train)
    if len(held_out) != count:
        raise ValueError(f"As many held-out as training images, not {len(held_out)} and {count}.")
    nearest = torch.cat([torch.cdist(rows, real).argmin(dim=1) for rows in fake.split(1000)])
    chosen = torch.bincount(nearest, minlength=2 * count).cpu().double()  # how often each of real
    variance = ((chosen - chosen.mean()) ** 2).sum() * 2 * count / (2 * count - 1) / 4
    percent = 100 * chosen[:count].sum() / len(fake)
    return percent.item(), 100 * variance.sqrt().item() / len(fake)


class SampleQuality:
    """Measures images of digits (N, 1, H, W), float in [0, 1] or uint8, against `data.x_test`.

    Two feature sets are put side by side: 64 numbers that tell digits apart, and the means of 32
    feature maps near the input, which see blur and noise. They are whitened by the test images, or
    the amount of ink, which holds most of their variance, would drown the rest. **FD** is the
    Fréchet distance (Heusel et al. 2017) in these 96. It is no FID, which takes another network,
    and compares only on the same data. It grows as images get fewer, and coverage falls: draw
    `count` of them, and read both beside the floor, the score of as many real images.
    Images of another shape, or fewer than 100, raise ValueError.
    """

    def __init__(self, data: Images):
        self.data, self.device = data, data.x_test.device
        self.count = min(10_000, len(data.x_train))  # how many images to draw for steady figures
        size = data.x_test.shape[-1]
        if data.x_test.shape[1:] != (1, size, size) or size not in SIZES.values():
            raise ValueError(
                f"No classifier for {data.name} of {tuple(data.x_test.shape)}: there are those for "
                "MNIST and, at 16x16, for scikit-learn's digits, mnist(device, quick_size=16)."
            )
        with np.load(WEIGHTS, allow_pickle=False) as file:
            stored = {name.partition("/")[2]: file[name] for name in file if f"{size}/" in name}
        with torch.device("meta"):  # no first weights, which would use up random numbers
            self.model = Classifier()
        state = {name: torch.from_numpy(stored[name]).float() for name in self.model.state_dict()}
        self.model.load_state_dict(state, assign=True)
        self.model = self.model.to(self.device).eval().requires_grad_(False)
        self.centre, self.whitening = 0.0, torch.eye(96, device=self.device)
        features, logits = self._features(data.x_test)
        self.centre, self.whitening = features.mean(dim=0), whitening(features, (64, 32))
        self.reference = (features - self.centre) @ self.whitening
        self.accuracy = (logits.argmax(dim=1) == data.y_test).float().mean().item()
        if self.accuracy < stored["accuracy"] - 0.01:
            raise ValueError(
                f"The classifier recognises {self.accuracy:.1%} of the test images, not "
                f"{stored['accuracy']:.1%} as it should: {data.name} are not the data it is for."
            )

    def features(self, images: Tensor) -> Tensor:
        """Return the whitened features (N, 96) of images (N, 1, H, W), N of at least 100."""
        return self._features(images)[0]

    def distance(self, images: Tensor) -> float:
        """Return FD alone, in squared standard deviations of the test images' features."""
        return frechet_distance(self.reference, self.features(images))

    def score(self, images: Tensor, asked: Tensor | None = None) -> Score:
        """Return all measures of images (N, 1, H, W); `asked` are the classes (N,) wanted of them.

        The spread is that of 20 bootstrap samples: of drawing images, not of training networks.
        """
        features, logits = self._features(images)
        if asked is not None and asked.shape != (len(images),):
            raise ValueError(f"asked must be ({len(images)},), got {tuple(asked.shape)}.")
        return self._score(features, logits, asked, resamples=20)

    def classify(self, images: Tensor) -> Tensor:
        """Return the classifier's probabilities (N, 10)."""
        return self._features(images)[1].softmax(dim=1)

    def copying(self, images: Tensor, train: Tensor, held_out: Tensor) -> tuple[float, float]:
        """Return the percent of images whose nearest neighbour is in `train`, its standard error.

        Neighbours are sought in the features, among as many training as held-out images, that is,
        images the generator has not seen; of the larger set, a random part is taken. 50 means no
        copying. Copies of a few training images out of many need those in `train` to be seen.
        """
        generator, count = torch.Generator().manual_seed(0), min(len(train), len(held_out))
        sets = []
        for real in (train, held_out):
            rows = torch.randperm(len(real), generator=generator)[:count]
            sets.append(self.features(real[rows.to(real.device)]))
        return copying(self.features(images), *sets)

    def floor(self, count: int | None = None) -> Score:
        """Return what real images score: the mean over six random subsets of the training images.

        A subset has `count` images (`self.count` without), or half of the training images if
        there are fewer. The spread is the standard deviation over the subsets.
        """
        features, logits = self._training
        labelled = len(self.data.y_train) == len(logits)  # not where only x_train was replaced
        generator, scores = torch.Generator().manual_seed(0), []
        for _ in range(SUBSETS):
            rows = torch.randperm(len(logits), generator=generator).to(self.device)
            rows = rows[: min(count or self.count, len(rows) // 2)]
            asked = self.data.y_train[rows] if labelled else None
            scores.append(self._score(features[rows], logits[rows], asked, resamples=0))
        averaged = ("distance", "density", "coverage", "shares")
        mean = {k: np.mean([getattr(s, k) for s in scores], axis=0).tolist() for k in averaged}
        as_asked = np.mean([s.as_asked for s in scores]).item() if labelled else None
        spread = np.std([s.distance for s in scores], ddof=1).item()
        return Score(**mean, spread=spread, as_asked=as_asked, missing=[])

    @cached_property
    def real(self) -> Score:
        """The floor of `count` images."""
        return self.floor()

    def table(self, rows: dict[str, Score | Tensor]) -> None:
        """Print scores, given as such or as images, between real images and three bad examples."""
        x, generator = self.data.x_test.cpu() / 255, torch.Generator().manual_seed(1)
        noise = torch.randn(x.shape, generator=generator)
        examples = {
            "test images, 3x3 blur": F.avg_pool2d(x, 3, stride=1, padding=1),
            "test images, noise 0.1": x + 0.1 * noise,
            "the mean image, always": x.mean(dim=0) + 0.01 * noise,
        }
        rows = {"real training images": self.real, **rows, **examples}
        width = max(map(len, rows))
        print(f"{'':{width}}              FD  density  coverage  as asked  missing")
        for name, row in rows.items():
            score = row if isinstance(row, Score) else self.score(row)
            figures = f"{score.distance:7.2f} ± {score.spread:4.2f}  {score.density:7.2f}"
            asked = "" if score.as_asked is None else f"{score.as_asked:.1f} %"
            missing = " ".join(map(str, score.missing)) or "none"
            print(f"{name:{width}}  {figures}  {score.coverage:8.2f}  {asked:>8}  {missing}")

    @cached_property
    def _radius(self) -> Tensor:
        return neighbour_distance(self.reference)

    @cached_property
    def _training(self) -> tuple[Tensor, Tensor]:
        return self._features(self.data.x_train)

    def _score(self, features: Tensor, logits: Tensor, asked: Tensor | None, resamples: int):
        count, generator, distances = len(features), torch.Generator().manual_seed(0), []
        for _ in range(resamples):
            rows = torch.randint(count, (count,), generator=generator).to(self.device)
            distances.append(frechet_distance(self.reference, features[rows]))
        density, coverage = density_coverage(self.reference, self._radius, features)
        drawn = logits.argmax(dim=1).cpu()
        shares = torch.bincount(drawn, minlength=10) / count
        expected = torch.bincount(self.data.y_test, minlength=10).cpu() / len(self.data.y_test)
        right = None if asked is None else 100 * (drawn == asked.cpu()).float().mean().item()
        return Score(
            distance=frechet_distance(self.reference, features),
            spread=torch.tensor(distances).std().item() if distances else 0.0,
            density=density,
            coverage=coverage,
            as_asked=right,
            shares=shares.tolist(),
            missing=(shares < expected / 3).nonzero().flatten().tolist(),
        )

    @torch.no_grad()
    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = tuple(self.data.x_test.shape[1:])
        if tuple(images.shape[1:]) != size or len(images) < 100:
            wanted = f"(N, {', '.join(map(str, size))}) with N of at least 100"
            raise ValueError(f"images must be {wanted}, got {tuple(images.shape)}.")
        sets = []
        mps = self.device.type == "mps"  # which has no autocast before torch 2.5
        with contextlib.nullcontext() if mps else torch.autocast(self.device.type, enabled=False):
            for chunk in images.detach().split(1000):
                chunk = chunk.to(self.device)
                chunk = chunk.float() / 255 if chunk.dtype == torch.uint8 else chunk.float()
                sets.append(torch.cat(self.model.features(chunk.clamp(0, 1)), dim=1))
            features = torch.cat(sets)
            logits = self.model.last(F.relu(features[:, :64]))
            return (features - self.centre) @ self.whitening, logits


def train(data: Images) -> dict[str, np.ndarray]:
    """Train a classifier from a fixed seed; return its weights and test accuracy."""
    torch.manual_seed(0)
    model, x, y = Classifier(), data.x_train / 255, data.y_train
    batch, epochs = (100, 6) if len(x) > 10_000 else (50, 40)
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for images, labels in batches(x, y, size=batch, drop_last=True):
            shift = torch.randint(-1, 2, (2,)).tolist()
            loss = F.cross_entropy(model(images.roll(shift, dims=(2, 3))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        right = model(data.x_test / 255).argmax(dim=1) == data.y_test
    weights = {name: tensor.half().numpy() for name, tensor in model.state_dict().items()}
    return weights | {"accuracy": right.float().mean().numpy()}


def main() -> None:
    """Train and store both classifiers, and show what they measure on real images."""
    arrays = {}
    for mode, size in SIZES.items():
        os.environ["DL_MODE"] = mode
        data = mnist(torch.device("cpu"), quick_size=size)
        arrays.update({f"{size}/{name}": array for name, array in train(data).items()})
        np.savez_compressed(WEIGHTS, **arrays)
        SampleQuality(data).table({"test images": data.x_test})


if __name__ == "__main__":
    main()
