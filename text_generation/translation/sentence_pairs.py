"""Sentences with their translations: Multi30k, or in quick mode numbers in words.

    name, train, validation, test = sentence_pairs()   # lists of (German, English) strings
    for source, target in buckets(pairs_of_ids, tokens, device): ...

Nothing here knows a vocabulary or a model: those are the lessons.
"""

import gzip
from collections.abc import Iterator, Sequence

import torch

from common import data_folder, fetch
from common.data import reading, require_hash
from common.device import mode

MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
SHA256 = {
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}
GERMAN = (
    "ein zwei drei vier fünf sechs sieben acht neun".split(),
    "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(),
)
ENGLISH = (
    "one two three four five six seven eight nine".split(),
    "twenty thirty forty fifty sixty seventy eighty ninety".split(),
)

Pairs = list[tuple[str, str]]


def sentence_pairs() -> tuple[str, Pairs, Pairs, Pairs]:
    """Return a name and the training, validation and test pairs (German, English), lower-cased.

    In full mode Multi30k, task 1: 29,000, 1,014 and 1,000 ("test 2016") captions. In quick mode
    rows of numbers in words. Raises DataError if a file cannot be downloaded.
    """
    if mode() == "quick":
        pairs = _numbers(5000)
        name, parts = "numbers in words", (pairs[:4400], pairs[4400:4700], pairs[4700:])
    else:
        name = "Multi30k German-English"
        parts = tuple(_multi30k(part) for part in ("train", "val", "test_2016_flickr"))
    sizes = " + ".join(f"{len(part):,}" for part in parts)
    print(f"Data: {name}, {sizes} pairs (training, validation, test)")
    return name, *parts


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Return lists of ids as one tensor (B, T) on the device, the short ones filled with 0."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(device)


def buckets(
    pairs: Sequence[tuple[list[int], list[int]]], tokens: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield all pairs of lists of ids once, in batches (B, S), (B, T) in random order.

    A batch holds pairs of like lengths and at most `tokens` target ids, padding included.
    """
    mixed = [pairs[row] for row in torch.randperm(len(pairs)).tolist()]
    groups: list[list[tuple[list[int], list[int]]]] = [[]]
    for pair in sorted(mixed, key=lambda pair: (len(pair[1]), len(pair[0]))):
        if groups[-1] and (len(groups[-1]) + 1) * len(pair[1]) > tokens:
            groups.append([])
        groups[-1].append(pair)
    for group in torch.randperm(len(groups)).tolist():
        sources, targets = zip(*groups[group], strict=True)
        yield pad(sources, device), pad(targets, device)


def _multi30k(part: str) -> Pairs:
    sides = []
    for name in (f"{part}.de.gz", f"{part}.en.gz"):
        path = data_folder() / "multi30k" / name
        fetch([MULTI30K + name], path, f"sha256:{SHA256[name]}")
        with reading(path):
            blob = path.read_bytes()
            require_hash("sha256", blob, SHA256[name])
            lines = gzip.decompress(blob).decode().strip().split("\n")
        sides.append([" ".join(line.lower().split()) for line in lines])
    return list(zip(*sides, strict=True))


def _numbers(count: int) -> Pairs:
    """Different rows of two to four numbers; German says the ones before the tens."""
    generator = torch.Generator().manual_seed(0)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        length = int(torch.randint(2, 5, (1,), generator=generator))
        row = torch.randint(72, (length,), generator=generator).tolist()
        numbers = [divmod(number, 9) for number in row]
        german = ", ".join(f"{GERMAN[0][one]} und {GERMAN[1][ten]}" for ten, one in numbers)
        pairs[german] = ", ".join(f"{ENGLISH[1][ten]} {ENGLISH[0][one]}" for ten, one in numbers)
    return list(pairs.items())
