"""The Annotated Transformer: 6 + 6 layers of 512, words that occur twice, Adam with warm-up."""

import re
from collections import Counter

import torch
import torch.nn.functional as F
from sacrebleu import corpus_bleu
from torch import nn

from common import autocast
from text_generation.sentence_pairs import pad, sentence_pairs

SOURCE = "https://github.com/harvardnlp/annotated-transformer"
PUBLISHED = "none; Trevett's Transformer with greedy decoding: 36.1"
STEPS = 8 * 907
SHORTER = {"long_budget": 2.9e13}  # our notebook at a quarter of its training
WIDTH, HEADS, LAYERS, HIDDEN, DROPOUT = 512, 8, 6, 2048, 0.1
BATCH, ACCUMULATED, WARM = 32, 10, 3000
POINTS = 2  # each evaluation takes minutes
PAD, START, END, UNKNOWN, LONGEST = 0, 1, 2, 3, 72


def words(sentence):
    """Words with their apostrophes and hyphens, and single marks: what BLEU's tokeniser keeps."""
    return re.findall(r"[\w'-]+|[^\w\s]", sentence)


class Side:
    """The vocabulary of one language: all words that occur at least twice."""

    def __init__(self, sentences):
        counts = Counter(word for sentence in sentences for word in words(sentence))
        frequent = [word for word, count in counts.items() if count > 1]
        self.words = ["", "", "", "<unk>", *frequent]
        self.ids = {word: number for number, word in enumerate(self.words) if word}

    def encode(self, sentence):
        ids = [self.ids.get(word, UNKNOWN) for word in words(sentence)]
        return [START, *ids[: LONGEST - 2], END]


class Model(nn.Module):
    """Source ids (B, S) and target ids (B, T) to logits (B, T, V) of the next words."""

    def __init__(self, source_size, target_size):
        super().__init__()
        self.source = nn.Embedding(source_size, WIDTH)
        self.target = nn.Embedding(target_size, WIDTH)
        sizes = (WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, DROPOUT)
        self.layers = nn.Transformer(*sizes, norm_first=True, batch_first=True)
        self.readout = nn.Linear(WIDTH, target_size)
        angle = torch.arange(LONGEST)[:, None] * 1e4 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
        places = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
        self.register_buffer("places", places)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def embed(self, table, ids):
        x = table(ids) * WIDTH**0.5 + self.places[: ids.shape[1]]
        return F.dropout(x, DROPOUT, self.training)

    def encode(self, source):
        x, empty = self.embed(self.source, source), source == PAD
        return self.layers.encoder(x, src_key_padding_mask=empty), empty

    def decode(self, memory, empty, target):
        y, length = self.embed(self.target, target), target.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=y.device).triu(1)
        return self.layers.decoder(y, memory, tgt_mask=later, memory_key_padding_mask=empty)

    def forward(self, source, target):
        return self.readout(self.decode(*self.encode(source), target))


def run(clock, device):
    """Train within the clock's budget; the metric is the BLEU of greedy translations of test."""
    _, train, _, test = sentence_pairs()
    german, english = (Side(sentences) for sentences in zip(*train, strict=True))
    pairs = [(german.encode(source), english.encode(target)) for source, target in train]
    model = Model(len(german.words), len(english.words)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    order = []

    def step():
        """One batch; the weights move after every tenth, as in the source."""
        if not order:
            order.extend(torch.randperm(len(pairs)).split(BATCH))
        rows = order.pop(0).tolist()
        source = pad([pairs[row][0] for row in rows], device)
        target = pad([pairs[row][1] for row in rows], device)
        model.train()
        with autocast(device):
            logits = model(source, target[:, :-1])
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            target[:, 1:].flatten(),
            ignore_index=PAD,
            label_smoothing=0.1,
        )
        loss.backward()
        if clock.done % ACCUMULATED == 0:
            at = max(1.0, clock.progress * STEPS)  # the schedule ends with the budget
            for group in optimizer.param_groups:
                group["lr"] = WIDTH**-0.5 * min(at**-0.5, at * WARM**-1.5)
            optimizer.step()
            optimizer.zero_grad()

    @torch.no_grad()
    def evaluate():
        model.eval()
        answers = []
        for start in range(0, len(test), 100):
            part = test[start : start + 100]
            source = pad([german.encode(sentence) for sentence, _ in part], device)
            target = torch.full((len(part), 1), START, device=device)
            longest = min(LONGEST, source.shape[1] + 10)
            with autocast(device):
                encoded = model.encode(source)
            while target.shape[1] < longest and not (target == END).any(dim=1).all():
                with autocast(device):
                    best = model.readout(model.decode(*encoded, target)[:, -1:]).argmax(dim=2)
                target = torch.cat([target, best], dim=1)
            for row in target[:, 1:].tolist():
                row = row[: row.index(END)] if END in row else row
                answers.append(" ".join(english.words[number] for number in row))
        return corpus_bleu(answers, [[target for _, target in test]]).score

    clock.run(step, evaluate)
