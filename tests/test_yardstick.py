"""The yardstick for samples of digits: its formulas, that it ranks, its cache."""

import math

import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from common import mnist, yardstick
from common.yardstick import Yardstick, frechet_distance, precision_recall


def gaussian(count, mean, root, seed):
    """Return samples (count, D) whose mean and covariance are exactly those asked for: mean, root @ root.T."""
    x = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T @ root.T + mean


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def data(folder, monkeypatch):
    monkeypatch.setenv("DL_DATA", str(folder))
    return mnist(torch.device("cpu"), quick_size=12)


@pytest.fixture
def judge(data):
    return Yardstick(data)  # trained by the first test that asks, then read from the folder


def test_the_frechet_distance_of_gaussians_in_closed_form():
    one, two = torch.zeros(3).double(), torch.tensor([1.0, -2.0, 0.5]).double()
    x = gaussian(500, one, torch.diag(torch.tensor([1.0, 2.0, 3.0])).double(), 0)
    y = gaussian(400, two, torch.diag(torch.tensor([2.0, 2.0, 1.0])).double(), 1)
    assert math.isclose(frechet_distance(x, y), 5.25 + 1 + 0 + 4, rel_tol=1e-9)  # |mean|^2 + sum of (s - t)^2
    assert frechet_distance(x, x) < 1e-9


def test_the_frechet_distance_against_scipy():
    generator = torch.Generator().manual_seed(2)
    roots = torch.randn(2, 6, 6, generator=generator).double()
    x, y = (gaussian(50, torch.ones(6).double() * k, roots[k], k) for k in (0, 1))
    cov_x, cov_y = torch.cov(x.T).numpy(), torch.cov(y.T).numpy()
    cross = scipy.linalg.sqrtm(cov_x @ cov_y).real.trace()
    assert math.isclose(frechet_distance(x, y), 6 + cov_x.trace() + cov_y.trace() - 2 * cross, rel_tol=1e-6)
    few = x[:4]  # covariances of rank 3
    assert math.isfinite(frechet_distance(few, y)) and frechet_distance(few, few) < 1e-6


def test_precision_and_recall_on_points_to_check_by_hand():
    real = torch.cat([torch.arange(10.0), torch.arange(100.0, 110.0)])[:, None]  # two modes
    fake = torch.cat([torch.arange(10.0), torch.arange(500.0, 510.0)])[:, None]  # one of them, and rubbish
    assert precision_recall(real, fake) == (0.5, 0.5)
    assert precision_recall(real, real) == (1, 1)
    one_mode = torch.linspace(0, 9, 20)[:, None]
    assert precision_recall(real, one_mode) == (1, 0.5)


def test_it_ranks_clean_noised_blurred_noise(judge, data):
    x, generator = data.x_test.float() / 255, torch.Generator().manual_seed(3)
    noised = x + 0.1 * torch.randn(x.shape, generator=generator)
    images = [data.x_test, noised, F.avg_pool2d(x, 3, 1, 1), torch.rand(x.shape, generator=generator)]
    distances = [judge.score(image)["fd"] for image in images]
    assert distances == sorted(distances) and distances[-1] > 10 * judge.floor["fd"], distances
    assert distances[0] < 1e-6 and distances[2] > 2 * judge.floor["fd"], distances


def test_dropping_a_class_raises_it_and_shows(judge, data):
    full = judge.score(data.x_train)
    without = [judge.score(data.x_train[data.y_train != digit]) for digit in range(10)]
    rises = [score["fd"] - full["fd"] for score in without]
    assert min(rises) > 0 and sum(rises) / 10 > 0.3, rises
    for digit, score in enumerate(without):
        assert score["histogram"][digit] < yardstick.MISSING < full["histogram"][digit]


def test_scores_of_real_images(judge, data):
    assert judge.accuracy > 0.95
    assert judge.floor["fd"] < 1.5 and judge.floor["precision"] > 0.8 and judge.floor["recall"] > 0.8
    assert math.isclose(judge.floor["histogram"].sum(), 1, rel_tol=1e-5)
    probabilities = judge.classify(data.x_test)
    assert probabilities.shape == (len(data.x_test), 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(data.x_test)))
    torch.testing.assert_close(judge.classify(data.x_test.float() / 255), probabilities)  # uint8 and float alike


@pytest.mark.parametrize("shape", [(10, 1, 28, 28), (10, 12, 12), (2, 1, 12, 12)])
def test_images_of_another_shape_are_refused(judge, shape):
    with pytest.raises(ValueError, match=r"images must be \(N, 1, 12, 12\)"):
        judge.score(torch.zeros(shape))


def test_the_table(judge, data, capsys):
    judge.table({"no eights": data.x_train[data.y_train != 8], "test images": judge.score(data.x_test)})
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines[1:]] == ["training ", "no eights", "test imag", "test imag", "uniform n"]
    assert lines[2].endswith(" 8") and lines[3].endswith(" none") and len({line.find("  ") for line in lines[1:]}) > 1
    assert "FD-c" in lines[0] and "FID" not in lines[0]


def test_the_random_state_is_left_alone_and_training_repeats(data, monkeypatch, tmp_path):
    monkeypatch.setenv("DL_DATA", str(tmp_path / "new"))
    data.x_train, data.y_train = data.x_train[:300], data.y_train[:300]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = Yardstick(data)
    assert torch.equal(torch.rand(3), expected)
    monkeypatch.setenv("DL_DATA", str(tmp_path / "other"))
    second = Yardstick(data)
    torch.testing.assert_close(second.real, first.real)
    assert not first.model.training


def test_the_cache_is_read_and_a_corrupt_one_replaced(data, monkeypatch, tmp_path):
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    trained = []
    monkeypatch.setattr(Yardstick, "_train", lambda self: trained.append(1))  # the first weights do here
    first = Yardstick(data)
    (path,) = tmp_path.iterdir()  # no temporary file is left
    assert path.name.startswith("yardstick-") and len(trained) == 1
    assert torch.equal(Yardstick(data).real, first.real) and len(trained) == 1
    whole = path.read_bytes()
    weights = torch.load(path, weights_only=True)
    torch.save({key: value * 0 for key, value in list(weights.items())[:2]}, path)
    half_a_network = path.read_bytes()
    for blob in (b"", b"nonsense", whole[: len(whole) // 2], half_a_network):
        path.write_bytes(blob)
        torch.testing.assert_close(Yardstick(data).real, first.real)
    assert len(trained) == 5 and len(list(tmp_path.iterdir())) == 1
    data.x_train = data.x_train.flip(3)
    Yardstick(data)
    assert len(trained) == 6 and len(list(tmp_path.iterdir())) == 2  # other data, another file


def test_no_folder_no_cache(data, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DL_DATA", str(tmp_path / "file" / "data"))
    monkeypatch.setattr(Yardstick, "_train", lambda self: None)
    Yardstick(data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
