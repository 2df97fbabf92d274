"""Karpathy's char-rnn: two LSTM layers of 128, RMSprop, 50 characters at a time, batch 50."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import nats_per_character
from common import shakespeare

SOURCE = "https://github.com/karpathy/char-rnn"
PUBLISHED = "none on this text"
STEPS = 50 * 400
SHORTER = {"steps": 500}  # our notebook at a quarter of its training
POINTS = 20  # its eval_val_every is a twentieth of its length
REMARK = (
    "Like its authors, it keeps the state with the lowest validation loss. That is reached after a "
    "third of the time; from then on the network overfits."
)
CONTEXT = 256  # of the test windows, as in the notebook


def run(clock, device):
    """Train within the clock's budget; the metric is nats per test character, each scored once.

    The test loss is that of the state with the lowest validation loss so far.
    Settings: rnn_size 128, num_layers 2, seq_length 50, batch_size 50, learning_rate 2e-3, decayed
    by 0.97 each epoch after the tenth, decay_rate 0.95, gradients clipped at 5, 50 epochs,
    val_frac 0.05.
    """
    data, streams, span = shakespeare(device), 50, 50
    size = len(data.vocabulary)
    model = nn.ModuleDict({"lstm": nn.LSTM(size, 128, 2), "readout": nn.Linear(128, size)})
    model.to(device)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95)
    length = (len(data.train) - 1) // streams
    inputs = data.train[: length * streams].view(streams, length).T
    targets = data.train[1 : length * streams + 1].view(streams, length).T
    last = length * 95 // 100  # the rest of each stream is the validation text
    memory = {"state": None, "place": 0}
    best = {"validation": float("inf")}

    def logits(ids, state):
        hidden, state = model["lstm"](F.one_hot(ids, size).float(), state)
        return model["readout"](hidden), state

    def step():
        epoch = 50 * clock.progress
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.97 ** max(0.0, epoch - 10)
        start = memory["place"]
        scores, state = logits(inputs[start : start + span], memory["state"])
        loss = F.cross_entropy(scores.flatten(0, 1), targets[start : start + span].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 5.0)
        optimizer.step()
        memory["state"] = tuple(part.detach() for part in state)
        memory["place"] = start + span
        if memory["place"] + span > last:
            memory.update(state=None, place=0)

    def logits_of(ids):
        return logits(ids.T, None)[0].transpose(0, 1)

    @torch.no_grad()
    def evaluate():
        scores, _ = logits(inputs[last:], None)
        loss = F.cross_entropy(scores.flatten(0, 1), targets[last:].flatten()).item()
        if loss < best["validation"]:
            best["validation"] = loss
            best["test"] = nats_per_character(data.test, CONTEXT, logits_of)
        return best["test"]

    # Four gates of 128 in each layer; the backward pass costs twice the forward one.
    weights = 4 * 128 * (size + 128) + 4 * 128 * (128 + 128)
    clock.run(step, evaluate, uncounted=3 * 2 * weights * streams * span)
