"""Time all-reduces and steps of data-parallel training with 1, 2 and 4 processes."""

import time
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F

from foundations.distributed_training.model import gpt


def seconds(work, repeats, group):
    """Return the median time of `work()`, which the processes of a group begin together."""
    times = []
    for _ in range(repeats + 1):  # the first is for warming up
        dist.barrier(group)
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def training_step(model, optimizer, batch, group):
    """One step of data-parallel training by hand on this rank's examples (B, T + 1)."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    if dist.get_world_size(group) > 1:
        for weight in model.parameters():
            dist.all_reduce(weight.grad, group=group)
            weight.grad /= dist.get_world_size(group)
    optimizer.step()


def measure(device, file, shape, learning_rate, seed, size, messages, repeats):
    """Return {processes: {"step": {examples a process: seconds}, "all-reduce": [seconds]}}.

    `messages` lists the numbers of float32 in the all-reduces. With one process, steps with a half
    and a quarter of the batch of `size` examples are timed as well.
    """
    torch.manual_seed(seed)
    windows = torch.load(file, map_location=device, weights_only=True)[:size]
    found = {}
    for p in (1, 2, 4):
        group = dist.new_group(range(p))
        if dist.get_rank() < p:
            found[p] = {"step": {}, "all-reduce": []}
            for examples in [size, size // 2, size // 4] if p == 1 else [size // p]:
                model = gpt(**shape).to(device)
                optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
                step = partial(training_step, model, optimizer, windows[:examples], group)
                found[p]["step"][examples] = seconds(step, repeats, group)
            for length in messages:
                talk = partial(dist.all_reduce, torch.zeros(length, device=device), group=group)
                found[p]["all-reduce"].append(seconds(talk, 2 * repeats, group))
        dist.barrier()  # those who have nothing to do wait here
    return found
