"""Train a small GPT on several GPUs, or on several CPU cores, with DistributedDataParallel.

    torchrun --nproc-per-node=2 train_distributed.py
    python train_distributed.py --steps 200          # one process

The processes share each batch and the test text; the notebook beside this script explains how.
"""

import argparse
import os
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from model import gpt
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common import Muon, autocast, shakespeare


@torch.no_grad()
def cost(model, text, length, rank, world):
    """Mean nats per character of a text's complete windows, which the processes share."""
    windows = text.unfold(0, length + 1, length)
    total = torch.zeros((), device=text.device)
    for part in windows[rank::world].split(32):
        total += F.cross_entropy(model(part[:, :-1]).mT, part[:, 1:], reduction="sum")
    if world > 1:
        dist.all_reduce(total)
    return total.item() / (len(windows) * length)


def arguments(world):
    """Return the settings from the command line; a process of wrong settings ends here."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    settings = {"steps": 2000, "batch_size": 16, "context": 256, "width": 256, "layers": 6}
    for name, value in (settings | {"heads": 2, "seed": 0, "test_characters": 10**9}).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    args = parser.parse_args()
    for name, value in vars(args).items():
        if value < (name != "seed"):
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {value}.")
    if args.width % args.heads or args.batch_size % world:
        shared = f"{world} processes must share --batch-size ({args.batch_size}) equally"
        parser.error(f"--heads must divide --width ({args.width}), and {shared}.")
    return args


def main():
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    local, here = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    args = arguments(world)
    enough = torch.cuda.device_count() >= here
    device = torch.device("cuda", local) if enough else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    data = shakespeare(device)
    characters = min(len(data.test), args.test_characters)
    if args.context >= characters:
        sys.exit(f"--context {args.context} is too long for a test text of {characters}.")

    torch.manual_seed(args.seed)  # the same parameters everywhere
    plain = gpt(len(data.vocabulary), args.width, args.layers, args.heads).to(device)
    model = DistributedDataParallel(plain) if world > 1 else plain
    matrices = [weight for block in plain[1:-2] for weight in block.parameters()]
    others = [plain[0].weight, plain[-1].weight]
    optimizers = [
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.0),
        Muon(matrices, lr=5e-3),  # every process computes the same update
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    draw = torch.Generator().manual_seed(args.seed)  # common: all see the whole batch's places
    span = torch.arange(args.context + 1, device=device)
    began = time.perf_counter()
    for step in range(1, args.steps + 1):
        starts = torch.randint(len(data.train) - args.context, (args.batch_size, 1), generator=draw)
        ids = data.train[starts[rank::world].to(device) + span]  # this process's part of the batch
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
    test = cost(plain, data.test[:characters], args.context, rank, world)
    if rank == 0:
        print(f"{world} processes, test loss {test:.4f} nats per character")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
