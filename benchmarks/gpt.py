"""nanoGPT's character model (config/train_shakespeare_char.py): 6 layers of 384, dropout 0.2."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import nats_per_character
from common import autocast, shakespeare

SOURCE = "https://github.com/karpathy/nanoGPT"
PUBLISHED = "1.4697 nats, best of 20 sampled validation losses in 5,000 steps (its README)"
STEPS = 5000
SHORTER = {"steps": 500}  # our notebook at a quarter of its training
LAYERS, HEADS, WIDTH, CONTEXT, DROPOUT, BATCH = 6, 6, 384, 256, 0.2, 64


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V); embedding and readout share their weights."""

    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        sizes = (WIDTH, HEADS, 4 * WIDTH, DROPOUT)
        settings = {"activation": "gelu", "norm_first": True, "batch_first": True, "bias": False}
        blocks = [nn.TransformerEncoderLayer(*sizes, **settings) for _ in range(LAYERS)]
        for block in blocks:
            block.dropout = nn.Identity()  # between the perceptron's layers nanoGPT has none
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                last = "out_proj" in name or "linear2" in name
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, ids):
        T = ids.shape[1]
        x = F.dropout(self.tokens(ids) + self.places.weight[:T], DROPOUT, self.training)
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        for block in self.blocks:
            x = block(x, src_mask=later, is_causal=True)
        return F.linear(self.norm(x), self.tokens.weight)


def run(clock, device):
    """Train within the clock's budget; the metric is nats per test character, each scored once."""
    data = shakespeare(device)
    model = GPT(len(data.vocabulary)).to(device)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    window = torch.arange(CONTEXT + 1, device=device)

    def step():
        warm = min(1.0, clock.progress / 0.02)  # 100 of 5,000 steps
        rate = warm * (1e-4 + 0.45e-3 * (1 + math.cos(math.pi * clock.progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        start = torch.randint(len(data.train) - CONTEXT, (BATCH, 1), device=device)
        ids = data.train[start + window]
        model.train()
        with autocast(device):
            logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def evaluate():
        model.eval()
        return nats_per_character(data.test, CONTEXT, model)

    clock.run(step, evaluate)
