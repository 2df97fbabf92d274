"""Data sets: embedded ones, files on disk whole and broken, batches."""

import gzip
import hashlib
import time

import numpy as np
import pytest
import torch

from common import data, embedded

CPU = torch.device("cpu")
NOWHERE = ("http://127.0.0.1:9/",)


@pytest.fixture
def full(monkeypatch, tmp_path):
    """Full mode with an empty data folder and no network; returns the folder."""
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    for name in ("MNIST_URLS", "SHAKESPEARE_URLS", "CIFAR10_URLS"):
        monkeypatch.setattr(data, name, NOWHERE)
    return tmp_path


@pytest.fixture
def mnist_files(full, monkeypatch):
    """Five training and three test images as MNIST's own files; returns their folder."""
    generator, folder, table = np.random.default_rng(0), full / "MNIST" / "raw", {}
    folder.mkdir(parents=True)
    for name in data.MNIST_FILES:
        count = 5 if name.startswith("train") else 3
        body = generator.integers(0, 256, count * 784) if "images" in name else np.arange(count)
        blob = bytes(16 if "images" in name else 8) + body.astype(np.uint8).tobytes()
        (folder / name).write_bytes(blob)
        table[name] = ("packed", hashlib.md5(blob).hexdigest())
    monkeypatch.setattr(data, "MNIST_FILES", table)
    return folder


def test_mnist_is_read_from_plain_and_packed_files(mnist_files):
    plain = data.mnist(CPU)
    assert plain.name == "MNIST" and plain.x_train.shape == (5, 1, 28, 28) and plain.x_train.dtype == torch.uint8
    assert plain.y_test.tolist() == [0, 1, 2] and plain.y_test.dtype == torch.int64
    assert plain.x_train.numpy().tobytes() == (mnist_files / "train-images-idx3-ubyte").read_bytes()[16:]
    for path in list(mnist_files.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(data.mnist(CPU).x_train, plain.x_train)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "damage", [lambda blob: blob[:-20], lambda blob: blob[:30] + b"x" + blob[31:], lambda blob: b""]
)
def test_a_damaged_mnist_file_is_named(mnist_files, damage, packed):
    path = mnist_files / "t10k-images-idx3-ubyte"
    blob = path.read_bytes()
    if packed:
        path.unlink()
        path, blob = path.with_name(path.name + ".gz"), gzip.compress(blob)
    path.write_bytes(damage(blob))
    with pytest.raises(data.DataError, match=f"{path.name} is corrupt or truncated. Delete it .*DL_MODE=quick"):
        data.mnist(CPU)


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (data.mnist, "train-images-idx3-ubyte.gz"),
        (data.cifar10, "cifar-10-python.tar.gz"),
        (data.shakespeare, "tinyshakespeare.txt"),
    ],
)
def test_without_files_and_network_the_message_says_what_to_do(full, load, file):
    with pytest.raises(data.DataError) as caught:
        load(CPU)
    for words in (file, str(full), "by hand", "DL_MODE=quick"):
        assert words in str(caught.value)


def test_cifar10_is_read_from_keras_layout(full, capsys):
    x_train, x_test = np.zeros((50000, 32, 32, 3), np.uint8), np.zeros((10000, 32, 32, 3), np.uint8)
    x_train[0, 1, 2] = (10, 20, 30)
    y_test = np.resize(data.CIFAR10_FIRST_TEST_LABELS, (10000, 1))
    sets = {"x_train": x_train, "y_train": np.zeros((50000, 1)), "x_test": x_test}
    np.savez(full / "cifar10.npz", **sets, y_test=y_test)
    images = data.cifar10(CPU)
    assert images.name == "CIFAR-10" and images.x_train.shape == (50000, 3, 32, 32)
    assert images.x_train[0, :, 1, 2].tolist() == [10, 20, 30] and images.y_test.shape == (10000,)
    np.savez(full / "cifar10.npz", **sets, y_test=y_test[::-1])
    assert data.cifar10(CPU).name == "CIFAR-10 (re-encoded copy)"


@pytest.mark.parametrize("damage", ["truncated", "wrong shape", "key missing", "empty"])
def test_a_damaged_cifar10_file_is_named(full, damage):
    path = full / "cifar10.npz"
    sets = {key: np.zeros((4, 32, 32, 3), np.uint8) for key in ("x_train", "y_train", "x_test", "y_test")}
    if damage == "key missing":
        sets.pop("x_test")
    np.savez(path, **sets)
    if damage in ("truncated", "empty"):
        path.write_bytes(path.read_bytes()[:2000] if damage == "truncated" else b"")
    with pytest.raises(data.DataError, match="cifar10.npz is corrupt or truncated"):
        data.cifar10(CPU)


def test_shakespeare_round_trip_and_damage(full, monkeypatch):
    text = "To be, or not to be: that is the question.\n" * 20
    (full / "tinyshakespeare.txt").write_bytes(text.encode())
    monkeypatch.setattr(data, "SHAKESPEARE_MD5", hashlib.md5(text.encode()).hexdigest())
    tokens = data.shakespeare(CPU)
    assert tokens.decode(torch.cat([tokens.train, tokens.test])) == text
    assert tokens.decode(tokens.encode("not to be")) == "not to be"
    assert tokens.vocabulary == sorted(set(text)) and len(tokens.test) == len(text) // 10
    with pytest.raises(KeyError):
        tokens.encode("#")
    (full / "tinyshakespeare.txt").write_bytes(text.encode()[:-1])
    with pytest.raises(data.DataError, match="tinyshakespeare.txt is corrupt"):
        data.shakespeare(CPU)


def outline(images):
    """Fourier magnitudes of the distance from the background: where a shape lies and its colours do not count."""
    grey = images.mean(dim=1)
    return torch.fft.fft2((grey - grey.flatten(1).median(dim=1).values[:, None, None]).abs()).abs()


@pytest.mark.parametrize(
    ("make", "shapes", "features", "accuracy"),
    [
        (embedded.digits, [(1500, 1, 28, 28), (297, 1, 28, 28)], torch.Tensor.float, 0.9),
        (lambda: embedded.digits(14), [(1500, 1, 14, 14), (297, 1, 14, 14)], torch.Tensor.float, 0.9),
        (embedded.shapes, [(5000, 3, 32, 32), (1000, 3, 32, 32)], outline, 0.45),
    ],
)
def test_embedded_images(make, shapes, features, accuracy):
    def seeded(seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        return make()

    begin = time.process_time()
    arrays = seeded(4)
    assert time.process_time() - begin < 20
    assert all(np.array_equal(one, two) for one, two in zip(arrays, seeded(5), strict=True)), "not deterministic"
    x_train, y_train, x_test, y_test = arrays
    assert [x_train.shape, x_test.shape] == shapes and x_train.dtype == x_test.dtype == np.uint8
    assert x_train.min() < 20 and x_train.max() > 235
    share = np.bincount(y_train, minlength=10) / len(y_train)
    assert len(share) == 10 and share.min() > 0.08 and share.max() < 0.12
    train, test = (features(torch.tensor(x).float()).flatten(1) for x in (x_train, x_test[:300]))
    nearest = torch.cdist(test, train).argmin(dim=1).numpy()
    assert (y_train[nearest] == y_test[:300]).mean() > accuracy, "the nearest neighbours should be of the same class"


def test_quick_mode_loads_the_stand_ins(capsys):
    assert data.mnist(CPU, quick_size=16).x_test.shape == (297, 1, 16, 16)
    assert data.cifar10(CPU).classes == embedded.SHAPES
    tokens = data.shakespeare(CPU)
    assert len(tokens.train) > 200_000 and tokens.decode(tokens.train[:9]).isascii()
    assert capsys.readouterr().out.count("Data: ") == 3


def test_batches_draw_each_row_once_in_a_new_order():
    x, y = torch.arange(10), torch.arange(10) * 2
    drawn = list(data.batches(x, y, size=4))
    assert [len(a) for a, _ in drawn] == [4, 4, 2]
    assert all(torch.equal(a * 2, b) for a, b in drawn)
    order = torch.cat([a for a, _ in drawn])
    assert sorted(order.tolist()) == list(range(10))
    orders = {tuple(torch.cat([a for (a,) in data.batches(x, size=4)]).tolist()) for _ in range(5)}
    assert len(orders) > 1, "the order does not change from pass to pass"


def test_batches_in_order_and_without_the_last():
    x = torch.arange(10)
    assert [a.tolist() for (a,) in data.batches(x, size=4, shuffle=False, drop_last=True)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


@pytest.mark.parametrize(("lengths", "size"), [((3, 4), 2), ((3, 3), 0)])
def test_batches_refuse_unequal_lengths_and_no_size(lengths, size):
    with pytest.raises(ValueError, match="tensors of equal length"):
        next(data.batches(*map(torch.zeros, lengths), size=size))
