"""What needs no network: guessing a hidden token by counting, and sentiment by TF-IDF.

counting(tokens, ids, vocabulary)  # {"unigram": nats, "bigram": ..., "both neighbours": ...}
classes, choice = tfidf(data, rows, val_rows, texts)
"""

from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from text_generation.movie_reviews import Reviews

KAPPAS = (30, 100, 300, 1000)
STRENGTHS = (0.1, 1, 10, 100, 1000)  # C of the logistic regression


def counting(
    tokens: torch.Tensor,
    ids: torch.Tensor,
    vocabulary: int,
    special: int = 0,
    most: int = 3000,
    kappas: Sequence[float] = KAPPAS,
) -> dict[str, float]:
    """Return the mean nats of hidden tokens of `ids` (B, T), guessed from counts in `tokens` (M,).

    By their frequency p(w); by p(w | l) with the token before; and by p(w | l) p(w | r) / p(w),
    normalised, with the token after as well. Conditional frequencies are mixed with `kappa` times
    p(w); of all kappas the one with the lowest loss counts. At most `most` random places are
    judged, none of them beside a token below `special`.
    """
    inner = (ids >= special).unfold(1, 3, 1).all(dim=2).nonzero()
    row, place = inner[torch.randperm(len(inner))[:most].to(ids.device)].T
    left, truth, right = (ids[row, place + shift] for shift in range(3))
    unigram = (tokens.bincount(minlength=vocabulary) + 0.1).float()
    unigram = unigram / unigram.sum()
    pairs = (tokens[:-1] * vocabulary + tokens[1:]).bincount(minlength=vocabulary**2)
    pairs = pairs.view(vocabulary, vocabulary)  # N(l, w)
    counts = pairs[left].float(), pairs.T[right].float()
    losses = {"unigram": F.nll_loss(unigram.log().expand(len(truth), -1), truth).item()}
    losses |= {"bigram": float("inf"), "both neighbours": float("inf")}
    for kappa in kappas:
        before, after = (
            (rows + kappa * unigram) / (rows.sum(dim=1, keepdim=True) + kappa) for rows in counts
        )
        both = before * after / unigram
        both = both / both.sum(dim=1, keepdim=True)
        for name, guess in (("bigram", before), ("both neighbours", both)):
            losses[name] = min(losses[name], F.nll_loss(guess.log(), truth).item())
    return losses


def tfidf(
    data: Reviews, rows: Sequence[int], val_rows: Sequence[int], texts: Sequence[str]
) -> tuple[torch.Tensor, str]:
    """Return the classes (N,) of texts by logistic regression on TF-IDF, and how it was chosen.

    Fitted to the training texts in rows. Words alone or pairs as well, and the regularisation C:
    what is best on the training texts in val_rows.
    """
    fit, val = ([data.train[row] for row in part] for part in (rows, val_rows))
    labels, val_labels = (data.train_labels[list(part)].numpy() for part in (rows, val_rows))
    best, found, choice = -1.0, torch.empty(0), ""
    for highest in (1, 2):
        vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, highest), min_df=highest)
        inputs = vectors.fit_transform(fit)
        val_inputs, others = vectors.transform(val), vectors.transform(texts)
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, solver="liblinear").fit(inputs, labels)
            score = model.score(val_inputs, val_labels)
            if score > best:
                best, found = score, torch.from_numpy(model.predict(others))
                choice = f"{'words' if highest == 1 else 'words and pairs'}, C = {strength}"
    return found, choice
