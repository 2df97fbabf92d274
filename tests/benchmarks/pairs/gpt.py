"""GPT on tinyshakespeare against nanoGPT's train_shakespeare_char, on a CPU against the CPU variant in its README."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from common.device import native_bf16

NOTEBOOK, DATA = "gpt", "shakespeare"
NAMES = ["train", "evaluate", "data", "test", "GPT", "stack", "modern", "modern_rate", "linear"]
NAMES += ["batch_size", "context", "compile_model"]
METRIC, UNIT, HIGHER_IS_BETTER = "loss on the last tenth of the text", "nats per character", False
UPDATES, UPDATES_CPU = 5000, 2000  # of the baseline as published
CPU_MODE = "full"  # for all threads; the sizes are SETTINGS_CPU
BASELINE = (
    "nanoGPT, train_shakespeare_char: on a GPU 6 layers of 384, context 256, batch 64, dropout 0.2; on a CPU 4 "
    "layers of 128, context 64, batch 12; AdamW 1e-3, cosine to 1e-4"
)
OURS = (
    "RMSNorm, rotary positions, QK-norm, squared ReLU, zero-init projections, AdamW with linear decay; on a CPU 3 "
    "layers of 96, context 128, batch 8"
)

# config/train_shakespeare_char.py and the "macbook" command of nanoGPT's README (settings as of 2025-11)
GPU = {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 64, "dropout": 0.2}
CPU = {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12, "dropout": 0.0}
RATE, LOWEST_RATE, WARM_UP = 1e-3, 1e-4, 100

# Sizes of ours on a CPU: the notebook's quick mode is made for another, smaller text and for half a minute.
SETTINGS_CPU = {"context": 128, "width": 96, "layers": 3, "heads": 3, "batch_size": 8, "dropout": 0.0}
SETTINGS_CPU |= {"init_std": 0.1, "modern_rate": 5e-3}


class NanoGPT(nn.Module):
    """ids (B, T) -> logits (B, T, V): pre-norm blocks without biases, learned positions, tied embeddings."""

    def __init__(self, vocabulary, layers, heads, width, context, dropout, **_):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, F.gelu, batch_first=True, norm_first=True, bias=False
        )
        norm = nn.LayerNorm(width, bias=False)
        self.blocks = nn.TransformerEncoder(block, layers, norm, enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                into_stream = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if into_stream else 0.02)

    def forward(self, ids):
        T = ids.shape[1]
        x = self.dropout(self.tokens(ids) + self.positions.weight[:T])
        return F.linear(self.blocks(x, self.mask[:T, :T], is_causal=True), self.tokens.weight)


def baseline(side):
    sizes = GPU if side.device.type == "cuda" else CPU
    context, size = sizes["context"], sizes["batch"]
    n = side.notebook(context=context, stage=lambda *_: None)  # for the metric and the text
    text, bf16 = n.data.train, native_bf16(side.device)  # all of the first nine tenths, as published

    def draw():
        starts = torch.randint(len(text) - context, (size,)).tolist()
        ids = torch.stack([text[start : start + context + 1] for start in starts])
        return ids[:, :-1], ids[:, 1:]

    def train(steps):
        model = NanoGPT(len(n.data.vocabulary), **sizes).to(side.device)
        forward = torch.compile(model) if bf16 else model  # on a CPU compilation is off, as published
        matrices, vectors = (
            [weight for weight in model.parameters() if (weight.ndim == 2) == m] for m in (True, False)
        )
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=side.device.type == "cuda")
        for step in side.watch(range(steps)):
            share = min(1.0, max(0.0, (step - WARM_UP) / max(1, steps - WARM_UP)))  # the decay ends with the budget
            rate = LOWEST_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (RATE - LOWEST_RATE)
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / (WARM_UP + 1))
            ids, targets = draw()
            with torch.autocast(side.device.type, torch.bfloat16, enabled=bf16):
                logits = forward(ids)
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return model

    side.run(train, lambda model: n.evaluate(model, n.test), batch=size * context, points=2, compiled=bf16)


def ours(side):
    n = side.notebook(watch="progress", stage=lambda *_: None, **side.settings)

    def train(steps):
        model = n.GPT(n.stack(parts=n.modern), n.modern).to(side.device)
        *_, side.compile_seconds = n.train("GPT", model, steps, n.modern_rate, n.linear, 1, n.compile_model)
        return model

    side.run(train, lambda model: n.evaluate(model, n.test), batch=n.batch_size * n.context, points=9)
    side.compile_seconds *= n.compile_model
