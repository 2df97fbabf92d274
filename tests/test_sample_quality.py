"""The measure of generated digits: its formulas, what it sees, and what it refuses."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from common import mnist
from image_generation.sample_quality import (
    SampleQuality,
    density_coverage,
    frechet_distance,
    neighbour_distance,
)

CPU = torch.device("cpu")


def gaussian(count, mean, root, seed):
    """Return samples (count, D) whose mean and covariance are exactly `mean` and root @ root.T."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T @ root.T + mean


@pytest.fixture(scope="module")
def data():
    return mnist(CPU, quick_size=16)


@pytest.fixture(scope="module")
def quality(data):
    return SampleQuality(data)


def test_frechet_distance_of_correlated_gaussians_against_scipy():
    roots = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(2)).double()
    x, y = (gaussian(50, torch.ones(6).double() * k, roots[k], k) for k in (0, 1))
    cov_x, cov_y = torch.cov(x.T).numpy(), torch.cov(y.T).numpy()
    cross = scipy.linalg.sqrtm(cov_x @ cov_y).real.trace()
    expected = 6 + cov_x.trace() + cov_y.trace() - 2 * cross
    assert math.isclose(frechet_distance(x, y), expected, rel_tol=1e-6)
    few = x[:4]  # a covariance of rank 3
    assert math.isfinite(frechet_distance(few, y)) and frechet_distance(few, few) < 1e-6


def test_density_and_coverage_on_points_to_check_by_hand():
    real = torch.cat([torch.arange(10.0), torch.arange(100.0, 110.0)])[:, None]  # two groups
    radius = neighbour_distance(real)
    assert radius[:5].tolist() == [5, 4, 3, 3, 3]  # to the fifth neighbour in 0, 1, ... 9
    one_group = torch.cat([torch.arange(10.0), torch.arange(10.0)])[:, None]
    near_nothing = torch.full((20, 1), 500.0)
    assert density_coverage(real, radius, near_nothing) == (0, 0)
    density, coverage = density_coverage(real, radius, one_group)
    inside = (torch.cdist(real, one_group) <= radius[:, None]).sum().item()
    assert coverage == 0.5 and math.isclose(density, inside / (5 * 20), rel_tol=1e-6)
    # In portions of 20, so that more samples do not cover more; what is left over is dropped.
    more = torch.cat([one_group, near_nothing, torch.zeros(7, 1)])
    assert density_coverage(real, radius, more) == pytest.approx((density / 2, 0.25))


@pytest.mark.parametrize("kind", ["blur", "noise", "missing classes", "copies"])
def test_worse_images_score_worse(quality, data, kind):
    x, generator = data.x_train.float() / 255, torch.Generator().manual_seed(4)
    noise, digits = torch.randn(x.shape, generator=generator), (10, 9, 7, 4, 1)
    steps = {
        "blur": [x, *(F.avg_pool2d(x, side, 1, side // 2) for side in (3, 5, 7))],
        "noise": [x + scale * noise for scale in (0, 0.05, 0.1, 0.2, 0.5)],
        "missing classes": [x[data.y_train < digit] for digit in digits],
        "copies": [x[:count].repeat(1500 // count, 1, 1, 1) for count in (1500, 250, 50, 10, 1)],
    }[kind]
    scores = [quality.score(images) for images in steps]
    distances, coverages = ([s.distance for s in scores], [s.coverage for s in scores])
    assert distances == sorted(distances) and distances[1] > 1.2 * distances[0], distances
    assert coverages[-1] < 0.4 * coverages[0], coverages
    lost = digits if kind == "missing classes" else [10]
    assert [s.missing for s in scores[: len(lost)]] == [list(range(digit, 10)) for digit in lost]
    assert kind != "blur" or scores[1].density < 0.6 * quality.real.density


def test_the_spread_predicts_that_of_new_samples(quality, data):
    drawn, generator = [], torch.Generator().manual_seed(6)
    for _ in range(12):
        rows = torch.randint(len(data.x_train), (400,), generator=generator)
        drawn.append(quality.score(data.x_train[rows]))
    expected = np.std([score.distance for score in drawn], ddof=1)
    assert 0.5 < np.mean([score.spread for score in drawn]) / expected < 2


def test_real_images(quality, data):
    real = quality.real
    assert quality.accuracy > 0.97 and quality.count == 1500
    assert 0 < real.spread < real.distance < 2 and real.density > 0.9 and real.coverage > 0.9
    assert math.isclose(sum(real.shares), 1, rel_tol=1e-5) and real.missing == []
    assert quality.score(data.x_test).distance < 1e-6


def test_distance_is_that_of_score_for_bytes_and_floats(quality, data):
    images = data.x_train[:500]
    distance = quality.distance(images)
    assert distance == quality.score(images).distance
    assert math.isclose(quality.distance(images.float() / 255), distance, rel_tol=1e-5)
    beyond = images / 255 + (images == 255).float() - (images == 0).float()
    assert math.isclose(quality.distance(beyond), distance, rel_tol=1e-5)  # clamped to [0, 1]


def test_other_images_are_refused(quality, data):
    for shape in ((200, 1, 28, 28), (200, 16, 16), (99, 1, 16, 16)):
        with pytest.raises(ValueError, match=r"must be \(N, 1, 16, 16\) with N of at least 100"):
            quality.score(torch.zeros(shape))
    with pytest.raises(ValueError, match="No classifier for scikit-learn digits .*quick_size=16"):
        SampleQuality(mnist(CPU, quick_size=12))
    other = dataclasses.replace(data, x_test=data.x_test.transpose(2, 3), name="other images")
    with pytest.raises(ValueError, match="other images are not the data it is for"):
        SampleQuality(other)


def test_a_table_leaves_the_random_state_alone(data, capsys):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    quality = SampleQuality(data)
    quality.table({"test images": data.x_test})
    assert [line[:4] for line in capsys.readouterr().out.splitlines()[1:3]] == ["real", "test"]
    assert torch.equal(torch.rand(3), expected) and not quality.model.training


def test_on_a_mac_autocast_is_not_asked_for(data, monkeypatch):
    quality = SampleQuality(data)
    quality.device = torch.device("mps")
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: pytest.fail("torch 2.4 refuses it"))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: self)
    probabilities = quality.classify(data.x_test)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(297))
    assert (probabilities.argmax(dim=1) == data.y_test).float().mean() == quality.accuracy
