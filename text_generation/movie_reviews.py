"""Film reviews with their sentiment: IMDB, or in quick mode pieces of Python's language reference.

    data = movie_reviews()
    data.train[0], data.classes[data.train_labels[0]]  # a string and "negative" or "positive"
    tokenizer = train_tokenizer(data.train, 8_000, ["[PAD]"])
    tokens, starts = encode(tokenizer, data.train)  # text i is tokens[starts[i]:starts[i + 1]]

Nothing here knows a model: those are the lessons.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from common import data_folder, fetch
from common.data import reading, require_hash
from common.device import mode
from common.offline_data import ASCII

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fe7008942e91923d1658bfe"
# of names and texts, for an archive that was packed anew
TEXTS_SHA256 = "071f32f973fcc629447dde0969a30f3a99d86e0acb72c00d6a511a5ac98e8c9b"
FOLDERS = ("train/neg", "train/pos", "test/neg", "test/pos", "train/unsup")
CHAPTERS = {  # of the language reference, in quick mode
    "statement": "compound assignment import try with async function raise class if while for",
    "data type": "types typesseq string-methods formatstrings typesmapping numeric-types objects",
}
PIECE = 300  # characters in a piece of a chapter, at least


@dataclass
class Reviews:
    """Texts with labels (N,), indices of `classes`, and texts without; no text is in two parts."""

    name: str
    classes: list[str]
    train: list[str]
    train_labels: torch.Tensor
    test: list[str]
    test_labels: torch.Tensor
    unlabelled: list[str]


def movie_reviews() -> Reviews:
    """Return labelled training and test texts and unlabelled ones, each part in a random order.

    In full mode IMDB (Maas et al. 2011), 25,000 + 25,000 + 50,000 reviews; what stands word for
    word among the test reviews is taken out of the other parts, and of equal texts one is kept.
    In quick mode pieces of Python's language reference, labelled by the kind of chapter. Raises
    DataError if the archive is missing and cannot be downloaded, is corrupt, or holds other texts.
    """
    if mode() == "quick":
        name, classes, texts = "Python language reference", list(CHAPTERS), _chapters()
    else:
        name, classes, texts = "IMDB", ["negative", "positive"], _imdb()
    test = texts["test/neg"] | texts["test/pos"]
    train, unlabelled = texts["train/neg"] | texts["train/pos"], texts["train/unsup"]
    found = len(train) + len(unlabelled)
    train = {text: label for text, label in train.items() if text not in test}
    unlabelled = {text: -1 for text in unlabelled if text not in test and text not in train}
    parts = []
    for part in (train, test, unlabelled):
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0)).tolist()
        rows = list(part.items())
        parts.append([rows[index] for index in order])
    sizes = f"{len(train):,} training and {len(test):,} test texts, {len(unlabelled):,} unlabelled"
    print(f"Data: {name}, {sizes}")
    print(f"left out as duplicates: {found - len(train) - len(unlabelled)}")
    (x, y), (x_test, y_test), (more, _) = (zip(*part, strict=True) for part in parts)
    labels, test_labels = torch.tensor(y), torch.tensor(y_test)
    return Reviews(name, classes, list(x), labels, list(x_test), test_labels, list(more))


def train_tokenizer(texts: Sequence[str], size: int, special: Sequence[str] = ()) -> Tokenizer:
    """Return a byte-pair encoding of lower-cased text with `size` tokens, the special ones first.

    Sennrich et al. 2016, on bytes, so that every text can be encoded; *Translation* explains it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all ids of the texts one after the other (T,), and where each begins (N + 1,)."""
    tokens, starts = [], [0]
    for begin in range(0, len(texts), 1000):  # an Encoding takes much memory
        for row in tokenizer.encode_batch(list(texts[begin : begin + 1000])):
            tokens.append(torch.tensor(row.ids, dtype=torch.int32))
            starts.append(starts[-1] + len(row.ids))
    return torch.cat(tokens).long(), torch.tensor(starts)


def _imdb() -> dict[str, dict[str, int]]:
    path = fetch([URL], data_folder() / "aclImdb_v1.tar.gz", f"sha256:{SHA256}")
    files: dict[str, str] = {}
    with reading(path):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    folder, _, name = member.name.removeprefix("aclImdb/").rpartition("/")
                    if folder in FOLDERS and name.endswith(".txt"):
                        files[f"{folder}/{name}"] = archive.extractfile(member).read().decode()
        except tarfile.TarError as error:
            raise ValueError("not an archive") from error
        if _texts_digest(files) != TEXTS_SHA256:
            require_hash("sha256", path.read_bytes(), SHA256)
    texts: dict[str, dict[str, int]] = {folder: {} for folder in FOLDERS}
    for name, text in sorted(files.items()):
        folder = name.rpartition("/")[0]
        text = " ".join(text.replace("<br />", " ").split())
        texts[folder][text] = {"neg": 0, "pos": 1}.get(folder[-3:], -1)
    return texts


def _texts_digest(files: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _chapters() -> dict[str, dict[str, int]]:
    """Pieces of chapters of the language reference; a fifth of the labelled ones is for testing."""
    from pydoc_data.topics import topics

    texts: dict[str, dict[str, int]] = {folder: {} for folder in FOLDERS}
    labels = {
        topic: index for index, names in enumerate(CHAPTERS.values()) for topic in names.split()
    }
    seen: set[str] = set()
    for topic in sorted(topics, key=lambda topic: (topic not in labels, topic)):
        pieces, piece = [], ""
        for paragraph in topics[topic].translate(ASCII).split("\n\n"):
            if paragraph not in seen:
                seen.add(paragraph)
                piece = f"{piece} {' '.join(paragraph.split())}".strip()
            if len(piece) >= PIECE:
                pieces.append(piece)
                piece = ""
        for number, text in enumerate(pieces):
            if topic not in labels:
                texts["train/unsup"][text] = -1
            else:
                part = "test" if number % 5 == 0 else "train"
                texts[f"{part}/{('neg', 'pos')[labels[topic]]}"][text] = labels[topic]
    return texts
