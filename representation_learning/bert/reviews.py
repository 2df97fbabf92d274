"""The reviews of this notebook: IMDB in full mode, and in quick mode reviews that are made up.

    data = reviews()
    data.train[0], data.classes[data.train_labels[0]]  # a string and "negative" or "positive"

The made-up reviews have what matters here: many words of praise and of blame, of which a few
labelled reviews hold only some, and unlabelled reviews in which they stand side by side.
"""

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from common.device import mode
from text_generation.movie_reviews import Reviews, encode, movie_reviews

PRAISE = """good great lovely fine superb brilliant clever moving funny witty warm tender honest
fresh gripping elegant charming touching rich bold bright excellent exciting flawless glorious
hilarious intense magical masterful perfect playful poetic powerful sharp smart splendid strong
stylish subtle wonderful""".split()
BLAME = """bad awful dull poor weak silly stupid boring bland clumsy cheap tired stale flat hollow
absurd annoying banal bleak chaotic cold confused crude dismal dreadful empty forced horrible lame
lazy lifeless messy painful pathetic rushed shallow sloppy terrible ugly wooden""".split()
ASPECTS = """plot story acting cast ending script music dialogue photography pace humour opening
scenery direction hero villain editing premise chase romance""".split()
SENTENCES = (
    "the {a} is {x} and {y}.",
    "{x} {a}, {y} {b}.",
    "i found the {a} {x}.",
    "a {x} and {y} {a}.",
    "i saw it in a {place}.",
)
PLACES = "city village desert castle school hospital train forest prison".split()
PAD = 0  # the token of padding
AGREE = 0.9  # of the words of a review agree with its label
SIZES = {"train": 800, "test": 1000, "unlabelled": 3000}


def reviews() -> Reviews:
    """Return `movie_reviews()` in full mode and made-up reviews of the same form in quick mode."""
    if mode() == "full":
        return movie_reviews()
    rng = random.Random(0)
    texts: dict[str, int] = {}
    while len(texts) < sum(SIZES.values()):
        label = rng.randrange(2)
        texts[_made_up(label, rng)] = label
    rows, parts = list(texts.items()), {}
    for part, size in SIZES.items():
        parts[part], rows = rows[:size], rows[size:]
    sizes = ", ".join(f"{size:,} {part}" for part, size in SIZES.items())
    print(f"Data: made-up reviews, {sizes}")
    (x, y), (x_test, y_test), (more, _) = (zip(*part, strict=True) for part in parts.values())
    labels, test_labels = torch.tensor(y), torch.tensor(y_test)
    classes = ["negative", "positive"]
    return Reviews("made-up reviews", classes, [*x], labels, [*x_test], test_labels, [*more])


def _made_up(label: int, rng: random.Random) -> str:
    def word() -> str:
        agrees = rng.random() < AGREE
        return rng.choice(PRAISE if agrees == bool(label) else BLAME)

    sentences = []
    for _ in range(rng.randint(5, 8)):
        a, b = rng.sample(ASPECTS, 2)
        words = {"a": a, "b": b, "x": word(), "y": word(), "place": rng.choice(PLACES)}
        sentences.append(rng.choice(SENTENCES).format(**words))
    return " ".join(sentences)


def balanced(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return a random order of `count` rows of labels (N,), half of each class; all if N."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order.to(labels.device)
    if count == len(labels):
        return order
    halves = [order[labels[order] == label][: count // 2] for label in range(2)]
    return torch.cat(halves)


def encoded(
    tokenizer: Tokenizer, texts: Sequence[str], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of all texts one after the other (N,), and where each begins."""
    tokens, starts = encode(tokenizer, texts)
    return tokens.to(device), starts.to(device)


def windows(
    source: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor, length: int, where: torch.Tensor
) -> torch.Tensor:
    """Return one window of at most `length` tokens of each text in rows (B,), filled with PAD.

    `source` holds the tokens of all texts and where each begins, as `encode` returns them. `where`
    (B,) says how far along its text each window lies: 0 at the beginning, 1 at the end.
    """
    tokens, starts = source
    sizes = starts[rows + 1] - starts[rows]
    room = (sizes - length).clamp(min=0)
    begin = starts[rows] + (where * (room + 1)).long().clamp(max=room)
    places = torch.arange(min(length, int(sizes.max())), device=tokens.device)
    ids = tokens[(begin[:, None] + places).clamp(max=len(tokens) - 1)]
    return ids.masked_fill(places >= sizes[:, None], PAD)
