"""Tests of the reader of sentence pairs that the translation notebook imports."""

import gzip
import hashlib

import pytest
import torch

from common.data import DataError
from text_generation.translation import sentence_pairs

CPU = torch.device("cpu")


def test_buckets_yield_every_pair_once_and_keep_to_the_number_of_tokens():
    torch.manual_seed(0)
    lengths = torch.randint(1, 30, (200, 2)).tolist()
    pairs = [([row + 1] * a, [row + 1] * b) for row, (a, b) in enumerate(lengths)]
    seen = []
    for source, target in sentence_pairs.buckets(pairs, 100, CPU):
        assert len(source) == len(target) and target.numel() <= 100
        assert torch.equal(source[:, 0], target[:, 0])  # a pair stays a pair
        for row in range(len(source)):
            seen.append((source[row, 0] - 1).item())
            expected = lengths[seen[-1]]
            assert [(ids[row] > 0).sum().item() for ids in (source, target)] == expected
    assert sorted(seen) == list(range(200))


def test_numbers_differ_and_change_the_order(monkeypatch):
    monkeypatch.setenv("DL_MODE", "quick")
    _, train, validation, test = sentence_pairs.sentence_pairs()
    sources = [source for part in (train, validation, test) for source, _ in part]
    assert len(set(sources)) == len(sources) == 5000
    source, target = train[0]
    ones = dict(zip(sentence_pairs.GERMAN[0], sentence_pairs.ENGLISH[0], strict=True))
    tens = dict(zip(sentence_pairs.GERMAN[1], sentence_pairs.ENGLISH[1], strict=True))
    words = [number.split(" und ") for number in source.split(", ")]
    assert target == ", ".join(f"{tens[ten]} {ones[one]}" for one, ten in words)


def test_multi30k_is_read_lower_cased_line_by_line(full, monkeypatch):
    (full / "multi30k").mkdir()
    for name in sentence_pairs.SHA256:
        text = "Zwei  Hunde.\nÄpfel!\n" if ".de." in name else "Two dogs.\nApples!\n"
        blob = gzip.compress(text.encode())
        (full / "multi30k" / name).write_bytes(blob)
        monkeypatch.setitem(sentence_pairs.SHA256, name, hashlib.sha256(blob).hexdigest())
    _, train, _, test = sentence_pairs.sentence_pairs()
    assert train == test == [("zwei hunde.", "two dogs."), ("äpfel!", "apples!")]
    (full / "multi30k" / "val.de.gz").write_bytes(blob[:-9])
    with pytest.raises(DataError, match="val.de.gz is corrupt or truncated. Delete it"):
        sentence_pairs.sentence_pairs()
