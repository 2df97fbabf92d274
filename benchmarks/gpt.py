"""nanoGPT's character model (config/train_shakespeare_char.py): 6 layers of 384, dropout 0.2."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from common import autocast, shakespeare

SOURCE = "https://github.com/karpathy/nanoGPT"
PUBLISHED = "1.4697 nats, best of 20 sampled validation losses in 5,000 steps (its README)"
STEPS = 5000
LAYERS, HEADS, WIDTH, CONTEXT, DROPOUT, BATCH = 6, 6, 384, 256, 0.2, 64


class Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm: (B, T, D) -> (B, T, D)."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        B, T, D = x.shape
        heads = self.qkv(self.norm1(x)).view(B, T, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        dropout = DROPOUT if self.training else 0.0
        mixed = F.scaled_dot_product_attention(*heads, dropout_p=dropout, is_causal=True)
        mixed = self.out(mixed.transpose(1, 2).reshape(B, T, D))
        x = x + F.dropout(mixed, DROPOUT, self.training)
        hidden = self.down(F.gelu(self.up(self.norm2(x))))
        return x + F.dropout(hidden, DROPOUT, self.training)


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V); embedding and readout share their weights."""

    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                scale = (
                    0.02 / math.sqrt(2 * LAYERS) if name.split(".")[-2] in ("out", "down") else 0.02
                )
                nn.init.normal_(parameter, std=scale)

    def forward(self, ids):
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        x = self.blocks(F.dropout(x, DROPOUT, self.training))
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

    @torch.no_grad()
    def evaluate():
        """Windows of 256 from an empty context; every test character but the first is scored."""
        model.eval()
        total, test = 0.0, data.test
        starts = range(0, len(test) - 1, CONTEXT)
        whole = [test[s : s + CONTEXT + 1] for s in starts]
        for size in {len(part) for part in whole}:
            same = torch.stack([part for part in whole if len(part) == size])
            for ids in same.split(64):
                logits = model(ids[:, :-1])
                losses = F.cross_entropy(
                    logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"
                )
                total += losses.item()
        return total / (len(test) - 1)

    clock.run(step, evaluate)
