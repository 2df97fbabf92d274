"""A plain GPT: the shapes of text_generation/gpt, without its modern parts and positions."""

import torch.nn.functional as F
from torch import nn


def unchanged(x):
    return x


class Block(nn.Module):
    """Causal attention, then a perceptron; each adds its update: (B, T, D) -> (B, T, D)."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(4 * width, width, bias=False)
        self.enter = self.leave = unchanged

    def forward(self, x):
        qkv = self.qkv(self.enter(self.norm(x))).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.leave(self.mix(found.transpose(1, 2).flatten(2)))
        hidden = F.relu(self.hidden(self.enter(self.norm(x)))).square()
        return x + self.leave(self.output(hidden))


def gpt(vocabulary, width, layers, heads):
    """ids (B, T) -> logits (B, T, V)."""
    blocks = [Block(width, heads) for _ in range(layers)]
    norm = nn.LayerNorm(width, elementwise_affine=False)
    readout = nn.Linear(width, vocabulary, bias=False)
    return nn.Sequential(nn.Embedding(vocabulary, width), *blocks, norm, readout)


def flops_per_token(vocabulary, width, layers, context):
    """Of training; the formula of the GPT notebook."""
    return 3 * (2 * (12 * layers * width**2 + vocabulary * width) + 4 * layers * context * width)
