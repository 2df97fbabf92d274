"""Tests of the passages and the judge that the notebook on preferences imports."""

import torch

from text_generation.movie_reviews import train_tokenizer
from text_generation.preferences.review_endings import END, Judge, passages

TEXTS = ["one two three. four five! six seven?", "one " * 30 + "two.", "no."]


def cut(most):
    tokenizer = train_tokenizer(TEXTS, 300, ["[END]"])
    return tokenizer, *passages(tokenizer, TEXTS, limit=12, least=3, most=most)


def test_passages_are_runs_of_whole_sentences_from_the_end():
    tokenizer, rows, owners = cut(most=5)
    assert rows.shape[1] == 12 and (rows[:, 0] == END).all()
    texts = [tokenizer.decode(row.tolist()).strip() for row in rows]
    assert owners.tolist() == sorted(owners.tolist()) and set(owners.tolist()) == {0, 1}
    first = [text for text, owner in zip(texts, owners, strict=True) if owner == 0]
    assert " ".join(reversed(first)) == TEXTS[0], "nothing is lost or doubled"
    assert (rows[owners == 0][:, -1] == END).all()
    assert END not in rows[owners == 1][0, 1:], "what is cut has no end"
    assert len(cut(most=1)[1]) == 2


def test_the_judge_gives_log_odds_of_label_1():
    texts = ["a good film.", "a bad film."] * 10
    tokenizer = train_tokenizer(texts, 300, ["[END]"])
    rows, owners = passages(tokenizer, texts, limit=12, least=1, most=1)
    judge = Judge(tokenizer, rows, (owners + 1) % 2)
    good, bad = judge(rows[:2])
    assert good > 0 > bad and judge(rows).dtype == torch.float32
