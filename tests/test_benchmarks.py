"""Every baseline of the benchmarks trains and is measured, here for two steps of small sizes."""

import importlib
import math

import pytest
import torch
from torch import nn

from benchmarks.__main__ import BASELINES
from benchmarks.clock import Clock, nats_per_character
from common import setup


def small_network():
    """Stand in for the ResNet-18: (B, 3, H, W) -> (B, 10), with 512 features before the last."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(nn.Conv2d(3, 512, 4, 4), *pool)


SMALLER = {
    "vae": {"DRAWS": 2},
    "ddpm": {"TIMES": 2, "WIDTH": 16, "SAMPLES": 1000},
    "flow_matching": {"SAMPLER_STEPS": 1},
    "resnet": {"resnet18": small_network},
    "simclr": {"BATCH": 16, "resnet18": small_network},
    "gpt": {"LAYERS": 1, "BATCH": 2},
    "translation": {"LAYERS": 1, "WIDTH": 64, "HIDDEN": 64, "LONGEST": 8},
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_trains_and_is_measured(name, monkeypatch):
    module = importlib.import_module(f"benchmarks.{name}")
    for setting, value in SMALLER.get(name, {}).items():
        monkeypatch.setattr(module, setting, value)
    device = setup(0)
    clock = Clock(None, 2, device)
    module.run(clock, device)
    assert clock.done == 2 and clock.flops > 0
    _, flops, value = clock.curve[-1]
    assert clock.seconds > 0 and flops == 2 * clock.flops and math.isfinite(value)


def test_a_budget_ends_the_training():
    clock = Clock(1e-9, 1000, torch.device("cpu"))
    weight = torch.ones(4, 4)
    clock.run(lambda: weight @ weight, lambda: 1.0)
    assert clock.done == 1 and clock.progress == 1


def test_each_character_is_scored_once():
    text, seen = torch.arange(23) % 5, []

    def logits_of(ids):
        seen.append(ids.shape)
        return torch.zeros(*ids.shape, 5)

    assert nats_per_character(text, 4, logits_of) == pytest.approx(math.log(5))
    assert sum(rows * columns for rows, columns in seen) == 22
