"""GPT of nanoGPT with its recipe for computers without a GPU: 4 layers of 128, 64 characters."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.char_rnn import nats_per_character
from common import shakespeare

STEPS, POINTS, PARAMETERS = 2000, 8, 804_096  # a point every 250 steps, its eval_interval
LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V); no biases, no dropout; embedding = readout."""

    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        settings = {"activation": "gelu", "norm_first": True, "batch_first": True, "bias": False}
        sizes = (WIDTH, HEADS, 4 * WIDTH, 0.0)
        blocks = [nn.TransformerEncoderLayer(*sizes, **settings) for _ in range(LAYERS)]
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                last = "out_proj" in name or "linear2" in name
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, ids):
        T = ids.shape[1]
        x = self.tokens(ids) + self.places.weight[:T]
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        for block in self.blocks:
            x = block(x, later, is_causal=True)
        return F.linear(self.norm(x), self.tokens.weight)


def run(clock, device):
    """Train in float32, as its authors do on a CPU: AdamW, rate 1e-3 to 1e-4, clipped at 1.

    The measure: nats per test character in windows of 64. The authors' own is the same loss on 20
    random batches of 12 windows; here it takes the whole text.
    """
    data = shakespeare(device)
    model = GPT(len(data.vocabulary)).to(device)
    decay = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1}
    norms = {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decay, norms], lr=1e-3, betas=(0.9, 0.99))
    window = torch.arange(CONTEXT + 1, device=device)

    def loss():
        warm = min(1.0, (clock.done + 1) / 101)
        cosine = max(0.0, (clock.progress - 0.05) / 0.95)  # begins after 100 of 2,000 steps
        for group in optimizer.param_groups:
            group["lr"] = warm * (1e-4 + 0.45e-3 * (1 + math.cos(math.pi * cosine)))
        start = torch.randint(len(data.train) - CONTEXT, (BATCH, 1), device=device)
        ids = data.train[start + window]
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    def evaluate():
        return 2 * (nats_per_character(data.test, CONTEXT, model),)

    clock.train(model, optimizer, loss, evaluate, lambda p: nn.utils.clip_grad_norm_(p, 1.0))
