"""LSTM of karpathy/char-rnn with its defaults: two layers of 128, RMSprop, fifty epochs."""

import torch
import torch.nn.functional as F
from torch import nn

from common import shakespeare

STEPS, POINTS, PARAMETERS = 50 * 380, 19, 240_321  # a point every 1,000 steps, eval_val_every
SIZE, STREAMS, SPAN, CONTEXT = 128, 50, 50, 256  # the last of test windows, as in the notebook


@torch.no_grad()
def nats_per_character(test, context, logits_of):
    """Return the mean cross-entropy of all characters (N,) but the first, from empty states."""
    total = 0.0
    windows = [test[start : start + context + 1] for start in range(0, len(test) - 1, context)]
    for ids in [*torch.stack(windows[:-1]).split(64), windows[-1][None]]:
        logits, target = logits_of(ids[:, :-1]), ids[:, 1:].flatten()
        total += F.cross_entropy(logits.flatten(0, 1), target, reduction="sum").item()
    return total / (len(test) - 1)


def run(clock, device):
    """Train in float32; of the states seen every 1,000 steps, that of the best validation counts.

    The measure: nats per test character in windows of 256. The authors' own: the validation loss.
    """
    data = shakespeare(device)
    size = len(data.vocabulary)
    model = nn.ModuleDict({"lstm": nn.LSTM(size, SIZE, 2), "readout": nn.Linear(SIZE, size)})
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.08, 0.08)
    for layer in range(2):  # PyTorch's gates: input, forget, cell, output
        nn.init.ones_(getattr(model["lstm"], f"bias_ih_l{layer}")[SIZE : 2 * SIZE])
    model.to(device)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95)
    chunks = len(data.train) // (STREAMS * SPAN)
    epoch = chunks * 95 // 100  # the rest of each stream is the validation text
    text = data.train[: chunks * STREAMS * SPAN]
    inputs, targets = (ids.view(STREAMS, -1).T.split(SPAN) for ids in (text, text.roll(-1)))
    memory, seen = {"state": None}, []  # the state outlives an epoch

    def logits_of(ids, state=None):
        hidden, state = model["lstm"](F.one_hot(ids, size).float(), state)
        return model["readout"](hidden), state

    def loss():
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.97 ** max(0, clock.done // epoch - 9)
        chunk = clock.done % epoch
        logits, state = logits_of(inputs[chunk], memory["state"])
        memory["state"] = tuple(part.detach() for part in state)
        # The source adds the gradients of its 50 characters up.
        return SPAN * F.cross_entropy(logits.flatten(0, 1), targets[chunk].flatten())

    @torch.no_grad()
    def evaluate():
        logits, _ = logits_of(torch.cat(inputs[epoch:]))
        target = torch.cat(targets[epoch:]).flatten()
        validation = F.cross_entropy(logits.flatten(0, 1), target).item()
        windows = (data.test, CONTEXT, lambda ids: logits_of(ids.T)[0].transpose(0, 1))
        seen.append((validation, nats_per_character(*windows)))
        return min(seen)[::-1]

    products = 4 * SIZE * (size + 3 * SIZE) + SIZE * size  # PyTorch's counter sees no LSTM
    flops, clip = 6 * products * STREAMS * SPAN, nn.utils.clip_grad_value_
    clock.train(model, optimizer, loss, evaluate, lambda p: clip(p, 5.0), flops)
