"""The modules beside the notebook on BERT: reviews, their windows, and what needs no network."""

import math

import torch

from representation_learning.bert import reviews as module
from representation_learning.bert.baselines import counting, tfidf
from representation_learning.bert.reviews import PAD, balanced, encoded, reviews, windows
from text_generation.movie_reviews import Reviews, train_tokenizer


def test_made_up_reviews_follow_from_nothing_but_the_code(monkeypatch):
    monkeypatch.setenv("DL_MODE", "quick")
    data, again = reviews(), reviews()
    assert data.train == again.train and torch.equal(data.test_labels, again.test_labels)
    sizes = len(data.train), len(data.test), len(data.unlabelled)
    assert sizes == tuple(module.SIZES.values())
    texts = [*data.train, *data.test, *data.unlabelled]
    assert len(set(texts)) == len(texts), "no review stands in two parts"
    praise = torch.tensor([sum(word in text for word in module.PRAISE) for text in data.train])
    blame = torch.tensor([sum(word in text for word in module.BLAME) for text in data.train])
    agrees = (praise > blame) == (data.train_labels == 1)
    assert agrees.float().mean() > 0.8


def test_windows_lie_in_one_text():
    source = torch.arange(10, 20), torch.tensor([0, 3, 10])  # texts of 3 and of 7 tokens
    ids = windows(source, torch.tensor([0, 1, 1]), 5, torch.tensor([0.9, 0.0, 1.0]))
    assert ids.tolist() == [[10, 11, 12, PAD, PAD], [13, 14, 15, 16, 17], [15, 16, 17, 18, 19]]
    assert windows(source, torch.tensor([0]), 5, torch.zeros(1)).tolist() == [[10, 11, 12]]
    generator = torch.Generator().manual_seed(0)
    where = torch.rand(3000, generator=generator)
    counts = windows(source, torch.ones(3000, dtype=torch.long), 5, where)[:, 0].bincount()[13:]
    assert len(counts) == 3 and (counts - 1000).abs().max() < 120, "three places, equally often"


def test_encoded_texts_begin_where_it_says():
    texts = ["one film", "a bad film, a very bad film"]
    tokenizer = train_tokenizer(texts, 300, ["[PAD]"])
    tokens, starts = encoded(tokenizer, texts, torch.device("cpu"))
    assert starts.tolist()[0] == 0 and starts.tolist()[-1] == len(tokens)
    assert tokenizer.decode(tokens[starts[1] :].tolist()).strip() == texts[1]


def test_balanced_rows_have_each_class_equally_often():
    labels = torch.arange(40) % 4 // 3  # a quarter are of class 1
    rows = balanced(labels, 12, seed=0)
    assert len(rows.unique()) == 12 and labels[rows].sum() == 6
    assert not torch.equal(rows, balanced(labels, 12, seed=1))
    assert balanced(labels, 40, seed=0).sort().values.tolist() == list(range(40))


def test_counting_agrees_with_a_text_that_is_known():
    # "2 3 4" twice, then "2 5 4": between 2 and 4 stands 3 in two cases of three, 5 in one
    text = torch.tensor([2, 3, 4, 2, 3, 4, 2, 5, 4]).repeat(1000)
    ids = text[:9000].view(-1, 9)
    middle = ids.unfold(1, 3, 3).reshape(-1, 3)  # 2 ? 4
    losses = counting(text, middle, 8, most=10**6, kappas=[1e-3])
    expected = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert abs(losses["bigram"] - expected) < 2e-3
    assert abs(losses["both neighbours"] - expected) < 2e-3
    assert abs(losses["unigram"] - (expected + math.log(3))) < 2e-3
    forgetful = counting(text, middle, 8, most=10**6, kappas=[1e9])
    assert abs(forgetful["bigram"] - losses["unigram"]) < 1e-3
    # 3 stands before 4 or not, and so the neighbour to the right decides
    text = torch.tensor([2, 3, 4, 2, 5, 6]).repeat(1000)
    losses = counting(text, text[:6000].view(-1, 3), 8, most=10**6, kappas=[1e-3])
    assert abs(losses["bigram"] - math.log(2)) < 2e-3 and losses["both neighbours"] < 2e-3


def test_counting_leaves_out_what_lies_beside_padding():
    ids = torch.tensor([[2, 3, 0, 0], [2, 3, 4, 0]])
    losses = counting(torch.tensor([2, 3, 4] * 100), ids, 8, special=1, kappas=[1e-3])
    assert abs(losses["unigram"] - math.log(3)) < 0.01 and losses["both neighbours"] < 0.01


def test_tfidf_learns_from_the_rows_it_is_given():
    texts = ["good fine film", "bad poor film"] * 20
    labels = torch.tensor([1, 0] * 20)
    data = Reviews("toy", ["negative", "positive"], texts, labels, [], labels[:0], [])
    found, choice = tfidf(data, range(20), range(20, 30), ["a good film", "a poor film"])
    assert found.tolist() == [1, 0] and choice == "words, C = 0.1"
    data.train_labels = 1 - labels
    assert tfidf(data, range(20), range(20, 30), ["a good film"])[0].tolist() == [0]
