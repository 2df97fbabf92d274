"""Train the notebook's GPT on several GPUs, or on several CPU cores, with DistributedDataParallel.

    torchrun --nproc-per-node=2 train_distributed.py
    python train_distributed.py --steps 200          # one process

The model is that of gpt.ipynb, with all modern parts; Muon and AdamW train it. The processes share
each batch and the test text. foundations/distributed_training explains how.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import autocast, shakespeare  # noqa: E402
from text_generation.muon import orthogonalised  # noqa: E402


def norm(x):
    return F.layer_norm(x, x.shape[-1:])


class Attention(nn.Module):
    """Causal attention with rotary positions and QK-norm: (B, T, D) -> (B, T, D)."""

    def __init__(self, width, heads, context):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        half = width // heads // 2
        angle = torch.arange(context).view(-1, 1) * 1000.0 ** -(torch.arange(half) / half)
        self.register_buffer("cos", angle.cos(), persistent=False)  # (T, d / 2)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x):
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        (a, b), v = norm(parts[:2]).chunk(2, dim=-1), parts[2]
        cos, sin = self.cos[: x.shape[1]].to(a.dtype), self.sin[: x.shape[1]].to(a.dtype)
        q, k = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(v.dtype)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, T, d)
        return self.output(found.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        return self.output(F.relu(self.hidden(x)).square())


class GPT(nn.Module):
    """ids (B, T) -> logits (B, T, V)."""

    def __init__(self, vocabulary, width, layers, heads, context, dropout):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.neighbours = nn.Parameter(torch.zeros(2, width))
        stack = []
        for _ in range(layers):
            stack += [Attention(width, heads, context), Perceptron(width)]
        self.layers = nn.ModuleList(stack)
        self.readout = nn.Linear(width, vocabulary, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.zeros_(self.readout.weight)
        for name, module in self.layers.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.5 * module.in_features**-0.5)
                module.weight.data *= 0.0 if name.endswith("output") else 1.0

    def forward(self, ids):
        x = self.dropout(self.tokens(ids))  # (B, T, D)
        row = F.pad(norm(x), (0, 0, 2, 0))
        x = x + self.dropout(self.neighbours[0] * row[:, 1:-1] + self.neighbours[1] * row[:, :-2])
        for layer in self.layers:
            x = x + self.dropout(layer(norm(x)))
        return self.readout(norm(x))


class Muon(torch.optim.Optimizer):
    """Momentum, made nearly orthogonal; every process computes the same update."""

    def __init__(self, matrices, lr):
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for weight in group["params"]:
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            update = weight.grad.lerp(state["momentum"].lerp_(weight.grad, 0.05), 0.95)
            with autocast(weight.device):
                x = orthogonalised(update.view(-1, min(weight.shape), weight.shape[1]))
            weight.sub_(x.reshape(weight.shape), alpha=group["lr"])


@torch.no_grad()
def cost(model, text, length, rank, world):
    """Mean nats per character of a text's complete windows, which the processes share."""
    model.eval()
    windows = text.unfold(0, length + 1, length)
    total = torch.zeros((), device=text.device)
    for part in windows[rank::world].split(32):
        total += F.cross_entropy(model(part[:, :-1]).mT, part[:, 1:], reduction="sum")
    if world > 1:
        dist.all_reduce(total)
    model.train()
    return total.item() / (len(windows) * length)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    settings = {"steps": 2000, "batch_size": 16, "context": 256, "width": 256, "layers": 6}
    for name, value in (settings | {"heads": 2, "seed": 0, "test_characters": 10**9}).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    parser.add_argument("--dropout", type=float, default=0.15)
    args = parser.parse_args()

    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    local, here = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    device = (
        torch.device("cuda", local) if torch.cuda.device_count() >= here else torch.device("cpu")
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if args.batch_size % world:
        sys.exit(f"--batch-size {args.batch_size} cannot be shared equally by {world} processes.")

    data = shakespeare(device)
    torch.manual_seed(args.seed)  # the same parameters everywhere ...
    shape = (len(data.vocabulary), args.width, args.layers, args.heads, args.context, args.dropout)
    gpt = GPT(*shape).to(device)
    torch.manual_seed(args.seed + 1 + rank)  # ... but each process drops other numbers
    model = DistributedDataParallel(gpt) if world > 1 else gpt

    matrices = [module.weight for module in gpt.layers.modules() if isinstance(module, nn.Linear)]
    others = [gpt.tokens.weight, gpt.neighbours, gpt.readout.weight]
    optimizers = [
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.0),
        Muon(matrices, lr=0.02),
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    draw = torch.Generator().manual_seed(args.seed)  # common: all see the whole batch's places
    span = torch.arange(args.context + 1, device=device)
    began = time.perf_counter()
    for step in range(1, args.steps + 1):
        starts = torch.randint(len(data.train) - args.context, (args.batch_size, 1), generator=draw)
        ids = data.train[starts[rank::world].to(device) + span]  # this process's share
        with autocast(device):
            logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        model.zero_grad()
        loss.backward()  # DDP averages the gradients
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        t = step / (args.steps + 1)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * min(t / 0.02, 1.0, (1 - t) / 0.6)
            optimizer.step()
        if rank == 0 and (step % 100 == 0 or step == args.steps):
            print(f"step {step}: loss {loss.item():.4f}, {time.perf_counter() - began:.0f} s")
    test = cost(gpt, data.test[: args.test_characters], args.context, rank, world)
    if rank == 0:
        print(f"{world} processes, test loss {test:.4f} nats per character")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
