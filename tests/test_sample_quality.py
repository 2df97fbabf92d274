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
    copying,
    density_coverage,
    frechet_distance,
    neighbour_distance,
    whitening,
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


def test_density_of_samples_from_a_narrow_part_of_the_real_density():
    """On a line with one point per unit, a fake lies in 2 r balls of radius r = 3, k = 5."""
    real = torch.arange(400.0)[:, None]
    radius = neighbour_distance(real)
    assert radius[5:-5].unique().tolist() == [3]
    fake = 100 + 200 * torch.rand(300, 1, generator=torch.Generator().manual_seed(0))
    density, coverage = density_coverage(real, radius, fake)
    assert math.isclose(density, 6 / 5, rel_tol=1e-5) and 0.5 < coverage < 207 / 400
    # Equal distributions: density 1, and coverage 1 - (N - 1)...(N - k) / ((2N - 1)...(2N - k)).
    generator, results = torch.Generator().manual_seed(1), []
    for _ in range(10):
        real, fake = torch.randn(2, 500, 2, generator=generator)
        results.append(density_coverage(real, neighbour_distance(real), fake))
    expected = 1 - math.prod((500 - i) / (1000 - i) for i in range(1, 6))
    assert torch.tensor(results).mean(dim=0).tolist() == pytest.approx([1, expected], abs=0.02)


def test_whitened_features_have_equal_variances_up_to_the_shrinkage():
    x = gaussian(2000, torch.zeros(3).double(), torch.diag(torch.tensor([3.0, 4, 0.1])).double(), 1)
    matrix = whitening(x, (2, 1)).double()  # the first set has variances of 9 / 25 and 16 / 25
    shrunk = [v / (v + 0.01 * 2 / 3) for v in (9 / 25, 16 / 25, 1)]
    values = torch.linalg.eigvalsh(torch.cov((x @ matrix).T))
    assert values.tolist() == pytest.approx(sorted(shrunk), rel=1e-4)


def test_copies_and_only_copies_are_found():
    train, held_out, fresh = torch.randn(3, 400, 4, generator=torch.Generator().manual_seed(3))
    percent, error = copying(train + 0.001, train, held_out)
    half_taken = 50 * math.sqrt((800 - 400) / 799 / 400)  # 400 of 800 names, without replacement
    assert percent == 100 and math.isclose(error, half_taken, rel_tol=1e-6)
    assert copying(held_out, train, held_out)[0] == 0
    assert copying(train[:1].expand(300, 4), train, held_out)[1] == pytest.approx(50, rel=0.01)
    percent, error = copying(fresh, train, held_out)
    assert abs(percent - 50) < 3 * error and 1.8 < error < 6
    results = []  # the error is the standard deviation over random names
    for seed in range(200):
        order = torch.randperm(800, generator=torch.Generator().manual_seed(seed))
        mixed = torch.cat([train, held_out])[order]
        results.append(copying(fresh, mixed[:400], mixed[400:])[0])
    assert np.mean(results) == pytest.approx(50, abs=4 * error / 200**0.5)
    assert np.std(results) == pytest.approx(error, rel=0.2)
    with pytest.raises(ValueError, match="not 399 and 400"):
        copying(fresh, train, held_out[:399])


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
    assert distances == sorted(distances) and distances[1] > 1.15 * distances[0], distances
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
    assert 0 < real.spread < real.distance < 5 and real.density > 0.85 and real.coverage > 0.9
    assert math.isclose(sum(real.shares), 1, rel_tol=1e-5) and real.missing == []
    assert quality.score(data.x_test).distance < 1e-6
    assert real.as_asked > 97 and quality.floor().distance == real.distance
    few = quality.floor(200)
    assert few.distance > real.distance and few.coverage < real.coverage
    part = dataclasses.replace(data, x_train=data.x_train[:1000], x_test=data.x_train[1000:])
    part = dataclasses.replace(part, y_test=data.y_train[1000:])  # a held-out reference
    assert SampleQuality(part).floor(200).as_asked is None


def test_classes_asked_for_and_copies(quality, data):
    asked = data.y_train.clone()
    assert quality.score(data.x_train).as_asked is None
    right = quality.score(data.x_train, asked).as_asked
    asked[:150] = (asked[:150] + 1) % 10
    assert right - quality.score(data.x_train, asked).as_asked == pytest.approx(10, abs=0.5)
    with pytest.raises(ValueError, match=r"asked must be \(1500,\), got \(100,\)"):
        quality.score(data.x_train, asked[:100])
    halves = data.x_train[:600], data.x_train[600:1400]
    assert quality.copying(halves[0], *halves)[0] == 100
    percent, error = quality.copying(data.x_test, *halves)
    assert abs(percent - 50) < 4 * error and error < 4


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
