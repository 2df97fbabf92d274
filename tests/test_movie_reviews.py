"""Tests of the reader of film reviews that the notebooks on language import."""

import io
import tarfile

import pytest
import torch

from common.data import DataError
from text_generation import movie_reviews

TEXTS = {
    "train/neg/0_1.txt": "Bad.<br /><br />Very  bad.",
    "train/neg/1_2.txt": "The same words in test.",
    "train/pos/2_9.txt": "Good film.",
    "test/neg/0_3.txt": "The same words in test.",
    "test/pos/1_8.txt": "A good one.",
    "train/unsup/0_0.txt": "Good film.",
    "train/unsup/1_0.txt": "No label.",
}


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """A small archive in the layout of the official one, in the data folder; returns its path."""
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    monkeypatch.setattr(movie_reviews, "TEXTS_SHA256", movie_reviews._texts_digest(TEXTS))
    path = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, text in {"README": "not a review", **TEXTS}.items():
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    return path


def test_reviews_have_their_labels_and_stand_in_one_part(archive, capsys):
    data = movie_reviews.movie_reviews()
    assert data.name == "IMDB" and data.classes == ["negative", "positive"]
    train = dict(zip(data.train, data.train_labels.tolist(), strict=True))
    assert train == {"Bad. Very bad.": 0, "Good film.": 1}
    test = dict(zip(data.test, data.test_labels.tolist(), strict=True))
    assert test == {"The same words in test.": 0, "A good one.": 1}
    assert data.unlabelled == ["No label."]
    assert "left out as duplicates: 2" in capsys.readouterr().out


def test_a_truncated_changed_or_missing_archive_is_named(archive, monkeypatch):
    whole = archive.read_bytes()
    for content in (whole[:-50], b"no archive"):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="aclImdb_v1.tar.gz is corrupt or truncated. Delete it"):
            movie_reviews.movie_reviews()
    archive.write_bytes(whole)
    monkeypatch.setattr(movie_reviews, "TEXTS_SHA256", "0" * 64)
    with pytest.raises(DataError, match="aclImdb_v1.tar.gz is corrupt or truncated. Delete it"):
        movie_reviews.movie_reviews()
    archive.unlink()
    monkeypatch.setattr(movie_reviews, "URL", "http://127.0.0.1:9/aclImdb_v1.tar.gz")
    with pytest.raises(DataError, match="could not be downloaded. Set DL_MODE=quick"):
        movie_reviews.movie_reviews()


def test_quick_mode_takes_chapters_of_the_language_reference(monkeypatch):
    monkeypatch.setenv("DL_MODE", "quick")
    data = movie_reviews.movie_reviews()
    parts = (data.train, data.test, data.unlabelled)
    assert min(map(len, parts)) > 50 and all(data.train_labels.bincount() > 50)
    assert len(set().union(*parts)) == sum(map(len, parts)), "no text in two parts"
    assert movie_reviews.movie_reviews().train == data.train, "the same each time"


def test_encoding_keeps_the_texts_and_says_where_each_begins(monkeypatch):
    texts = ["Wörter, words, and more words!", "", "two words"] * 400
    tokenizer = movie_reviews.train_tokenizer(texts, 300, ["[PAD]", "[END]"])
    tokens, starts = movie_reviews.encode(tokenizer, texts)
    assert tokens.dtype == torch.long and len(starts) == 1201 and starts[-1] == len(tokens)
    assert tokenizer.token_to_id("[END]") == 1 and tokens.max() < 300
    for number in (0, 1, 2, 1199):
        ids = tokens[starts[number] : starts[number + 1]].tolist()
        assert tokenizer.decode(ids).strip() == texts[number].lower()
