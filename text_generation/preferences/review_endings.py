"""Plumbing of the notebook beside it: cut texts into passages, and judge passages.

rows, owners = passages(tokenizer, texts, limit=48, least=9, most=1)
judge = Judge(tokenizer, rows, labels)
judge(rows)  # log-odds (N,) of label 1
in_chunks(function, rows)  # function(rows), 256 rows at a time
print_texts(tokenizer, rows, prompt_length=9)
"""

import re
import textwrap
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from text_generation.movie_reviews import encode

END = 0  # stands before and after a passage


def passages(
    tokenizer: Tokenizer, texts: Sequence[str], limit: int, least: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return passages (N, limit), and the number of the text from which each comes (N,).

    A passage is a run of whole sentences. A row is END, its ids, and END up to the limit; a
    sentence that does not fit into a row is cut, without END. At most `most` passages are taken of
    a text, from its end; each has more than `least` ids.
    """
    rows, owners = [], []
    split = [re.split(r"(?<=[.!?])\s+", text)[-8:] for text in texts]
    tokens, starts = encode(tokenizer, [part for parts in split for part in parts])
    codes = iter(tokens.split(starts.diff().tolist()))
    for owner, parts in enumerate(split):
        packed = _packed([next(codes).tolist() for _ in parts], limit - 1)
        for passage in [ids for ids in packed if len(ids) > least][:most]:
            row = torch.tensor([END, *passage][:limit])
            rows.append(F.pad(row, (0, limit - len(row)), value=END))
            owners.append(owner)
    return torch.stack(rows), torch.tensor(owners)


def _packed(sentences: list[list[int]], limit: int) -> list[list[int]]:
    """Sentences joined into passages of fewer ids than the limit, the last passage first."""
    found = [sentences.pop()]
    while sentences:
        if len(sentences[-1]) + len(found[-1]) < limit:
            found[-1] = sentences.pop() + found[-1]
        else:
            found.append(sentences.pop())
    return found


class Judge:
    """TF-IDF of words and pairs of words, and logistic regression."""

    def __init__(self, tokenizer: Tokenizer, rows: torch.Tensor, labels: torch.Tensor):
        self.tokenizer = tokenizer
        self.vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        features = self.vectorizer.fit_transform(self._texts(rows))
        self.classifier = LogisticRegression(C=10.0, max_iter=1000)
        self.classifier.fit(features, labels.cpu().numpy())

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the log-odds (N,) that passages (N, T) have label 1."""
        found = self.classifier.decision_function(self.vectorizer.transform(self._texts(rows)))
        return torch.tensor(found, dtype=torch.float32, device=rows.device)

    def _texts(self, rows: torch.Tensor) -> list[str]:
        return self.tokenizer.decode_batch(rows.tolist())


@torch.no_grad()
def in_chunks(function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Return function(rows) without gradients, computed 256 rows at a time to save memory."""
    return torch.cat([function(chunk) for chunk in rows.split(256)])


def distinct(ids: torch.Tensor, used: torch.Tensor) -> float:
    """Return how many pairs of neighbours in (N, T) are different ones, in percent of all pairs.

    A pair counts where `used` (N, T) is true for its second id.
    """
    pairs = torch.stack([ids[:, :-1], ids[:, 1:]], dim=2)[used[:, 1:]]
    return 100 * len(pairs.unique(dim=0)) / len(pairs)


def print_texts(tokenizer: Tokenizer, rows: torch.Tensor, prompt_length: int) -> None:
    """Print passages, with a bar after the prompt."""
    for row in rows.tolist():
        parts = row[:prompt_length], row[prompt_length:]
        text = " | ".join(tokenizer.decode(part).strip() for part in parts)
        print(textwrap.fill(text, 98, initial_indent="- ", subsequent_indent="  "))


def print_table(name: str, steps: Sequence[int], table: torch.Tensor, good: str) -> None:
    """Print figures (seeds, steps, 6): means, and the standard error of the last row.

    The six are KL, reward, judge, judged `good` in %, distinct in %, base log-probability a token.
    """
    print(f"{name:15s}  step     KL   reward   judge  {good}  distinct  base ln p of a token")
    for step, row in zip(steps, table.mean(dim=0).tolist(), strict=True):
        print("{:21d} {:6.1f} {:8.2f} {:7.2f} {:7.1f}% {:8.1f}% {:10.2f}".format(step, *row))
    error = table[:, -1, :3].std(dim=0) / len(table) ** 0.5
    print("standard error, last row: KL {:.1f}, reward {:.2f}, judge {:.2f}".format(*error))
