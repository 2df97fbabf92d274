"""Plumbing of the notebook beside it: topics and wordings, passages, the judge, writing.

task = TASKS[data.name]  # topics, wordings and openings for this data set
task.topic_of("A funny film.")  # "comedy"
passages(text, letters=300, count=1)  # runs of whole sentences, from the end of a text
padded(tokenizer, texts, size=97)  # (N, 97) ids, filled with 0
judge = Judge(task, texts, labels)
judge({(1, "comedy"): texts})  # percent judged as label 1, and percent on the topic comedy
write(model, tokenizer, prompts, count, ...)  # continue a dictionary of prompts
"""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer

from text_generation.language_model import GPT, generate
from text_generation.movie_reviews import encode

SPECIAL = ["[PAD]", "[USER]", "[ASSISTANT]", "[END]"]  # ids 0 to 3
PAD, USER, ASSISTANT, END = range(4)


@dataclass
class Task:
    """Words for one data set; the last wording is not for training."""

    kinds: list[str]  # a word for each class; a common one, that the pre-trained model knows
    topics: dict[str, str]  # a topic and its keywords
    wordings: list[str]  # with the fields {kind} and {topic}
    openings: list[str]  # for each class a beginning with the field {topic}

    def topic_of(self, text: str) -> str | None:
        """Return the topic whose keyword comes first in a text, None without a keyword."""
        found = {key: topic for topic, words in self.topics.items() for key in words.split()}
        words = re.findall("[a-z]+", text.lower())
        return next((found[word] for word in words if word in found), None)


TASKS = {
    "IMDB": Task(
        kinds=["bad", "good"],
        topics={
            "horror": "horror zombie zombies vampire slasher scary gore",
            "comedy": "comedy comedies funny hilarious laugh laughs humor jokes",
            "action": "action fight fights fighting explosions",
            "family": "family families children child kids",
        },
        wordings=[
            "Write a review of a {kind} {topic} film:",
            "Please review a {kind} {topic} movie.",
            "I want to read about a {kind} {topic} film.",
            "What would a critic say about a {kind} {topic} movie?",
        ],
        openings=[
            "I hated this {topic} film. It is one of the worst I have ever seen.",
            "I loved this {topic} film. It is one of the best I have ever seen.",
        ],
    ),
    "Python language reference": Task(
        kinds=["statement", "data type"],
        topics={
            "class": "class classes instance instances attribute attributes",
            "error": "exception exceptions error errors raise raised",
            "sequence": "list lists sequence sequences item items tuple",
            "value": "value values name names object",
        },
        wordings=[
            "The {topic} and the {kind}:",
            "The {topic} in this {kind}:",
            "Is the {topic} a {kind}",
            "See {topic} and {kind}",
        ],
        openings=["A statement and a {topic}.", "A data type and a {topic}."],
    ),
}


def passages(text: str, letters: int, count: int) -> list[str]:
    """Return at most `count` runs of whole sentences of a text, the last run first.

    A run has at most `letters` letters; a longer sentence is a run by itself, cut.
    """
    found = [""]
    for sentence in reversed(re.split(r"(?<=[.!?]) ", text)):
        if found[-1] and len(found[-1]) + len(sentence) >= letters:
            found.append("")
        found[-1] = f"{sentence[:letters]} {found[-1]}".strip()
    return found[:count]


def labelled_passages(
    texts: Iterable[str], labels: torch.Tensor, letters: int, count: int
) -> list[tuple[str, int]]:
    """Return pairs of a passage and the label of its text."""
    pairs = zip(texts, labels.tolist(), strict=True)
    return [(part, label) for text, label in pairs for part in passages(text, letters, count)]


def padded(tokenizer: Tokenizer, texts: Sequence[str], size: int) -> torch.Tensor:
    """Return the ids of texts, cut or filled to `size`: (N, size)."""
    flat, starts = encode(tokenizer, texts)
    rows = torch.full((len(texts), size), PAD)
    for row, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        rows[row, : min(b - a, size)] = flat[a:b][:size]
    return rows


class Judge:
    """TF-IDF of words and pairs of words, and logistic regression."""

    def __init__(self, task: Task, texts: Sequence[str], labels: Sequence[int]):
        self.task = task
        self.classifier = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            LogisticRegression(C=3.0, max_iter=300, class_weight="balanced"),
        )
        self.classifier.fit(texts, labels)

    def __call__(self, groups: Mapping[tuple[int, str], Sequence[str]]) -> tuple[float, float]:
        """Return percent judged as the label of their group, and percent on its topic."""
        right: list[bool] = []
        about: list[bool] = []
        for (label, topic), texts in groups.items():
            right += (self.classifier.predict(texts) == label).tolist()
            about += [self.task.topic_of(text) == topic for text in texts]
        return 100 * sum(right) / len(right), 100 * sum(about) / len(about)


def write(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: Mapping[Hashable, str],
    count: int,
    length: int,
    temperature: float,
    seed: int,
) -> dict:
    """Continue each of the prompts `count` times by at most `length` ids: {key: texts}."""
    device = model.tokens.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = {key: tokenizer.encode(prompt).ids for key, prompt in prompts.items()}
    texts = {}
    for size in sorted({len(row) for row in ids.values()}):  # prompts of one length together
        keys = [key for key in ids if len(ids[key]) == size]
        rows = torch.tensor([ids[key] for key in keys], device=device)
        rows = rows.repeat_interleave(count, dim=0)
        rows = generate(model, rows, length, generator, temperature, END)
        new = [text.strip() for text in tokenizer.decode_batch(rows[:, size:].tolist())]
        texts |= {key: new[i * count : (i + 1) * count] for i, key in enumerate(keys)}
    return {key: texts[key] for key in prompts}
