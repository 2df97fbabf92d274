"""The GPT of the notebook of that name, with rotary positions and a cache for generation.

model = GPT(vocabulary=4096, width=256, layers=6, heads=4)
logits = model(ids)                                    # (B, T) -> (B, T, V)
ids = generate(model, prompts, 60, generator, stop=2)  # (B, P) -> (B, P + 60)
"""

import torch
import torch.nn.functional as F
from torch import nn

from common.device import autocast

Cache = list[tuple[torch.Tensor, torch.Tensor]]


def norm(x: torch.Tensor) -> torch.Tensor:
    """Give each vector (..., D) a root mean square of 1 (RMS norm without a gain)."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps)


class Block(nn.Module):
    """Causal attention with several heads, then a perceptron: (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(4 * width, width, bias=False)
        for layer in (self.qkv, self.hidden):
            nn.init.normal_(layer.weight, std=0.5 * width**-0.5)
        for layer in (self.mix, self.output):  # each block starts as the identity
            nn.init.zeros_(layer.weight)

    def forward(self, x, turn, past=None):
        """Return the new x and the keys and values of all positions (B, heads, T, d)."""
        B, T, D = x.shape
        parts = self.qkv(norm(x)).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        q, k = (turn(norm(part)).to(v.dtype) for part in (q, k))
        if past is not None:
            k, v = (torch.cat(pair, dim=2) for pair in zip(past, (k, v), strict=True))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.mix(mixed.transpose(1, 2).reshape(B, T, D))
        return x + self.output(F.relu(self.hidden(norm(x))).square()), (k, v)


class GPT(nn.Module):
    """ids (B, T) -> logits (B, T, V); embedding and readout share their matrix."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int = 1024):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        nn.init.normal_(self.tokens.weight, std=0.02)
        half = width // heads // 2
        speed = 1000.0 ** -(torch.arange(half) / half)
        angle = torch.arange(context).view(-1, 1) * speed  # (T, d / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """With a cache, filled in place, `ids` are the positions that follow those in it.

        An empty cache takes any number of positions, a filled one takes one at a time.
        """
        begin = cache[0][0].shape[2] if cache else 0
        rows = slice(begin, begin + ids.shape[1])

        def turn(x):  # rotary positions (Su et al. 2021)
            cos, sin = self.cos[rows].to(x.dtype), self.sin[rows].to(x.dtype)
            a, b = x.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

        x = norm(self.tokens(ids))
        kept = []
        for number, block in enumerate(self.blocks):
            x, pair = block(x, turn, cache[number] if cache else None)
            kept.append(pair)
        if cache is not None:
            cache[:] = kept
        return F.linear(norm(x), self.tokens.weight)


@torch.no_grad()
def generate(
    model: GPT,
    prompts: torch.Tensor,
    length: int,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    stop: int | None = None,
) -> torch.Tensor:
    """Continue prompts (B, P), all of one length, by `length` sampled ids: (B, P + length).

    The generator lives on the CPU, so that every device draws the same numbers. After the id
    `stop` a row holds only that id. Temperature 0 takes the most probable id.
    """
    cache: Cache = []
    ids, new = prompts, prompts
    for _ in range(length):
        with autocast(prompts.device):
            logits = model(new, cache)[:, -1].float()
        if temperature == 0:
            new = logits.argmax(dim=-1, keepdim=True)
        else:
            noise = torch.rand(logits.shape, generator=generator).to(logits.device)
            gumbel = -(-noise.clamp(min=1e-20).log()).log()
            new = (logits / temperature + gumbel).argmax(dim=-1, keepdim=True)
        if stop is not None:
            new = torch.where(ids[:, -1:] == stop, stop, new)
        ids = torch.cat([ids, new], dim=1)
    return ids
