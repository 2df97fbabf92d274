"""Tests of the GPT that the notebooks on fine-tuning and preferences import."""

import pytest
import torch

from text_generation.language_model import GPT, generate


@pytest.fixture
def model():
    """A small GPT whose blocks, which start as the identity, do something."""
    torch.manual_seed(0)
    model = GPT(vocabulary=50, width=32, layers=2, heads=2)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.requires_grad_(False)


def test_the_past_decides_and_the_future_does_not(model):
    ids = torch.randint(50, (3, 12))
    changed = ids.clone()
    changed[:, 6] = (ids[:, 6] + 1) % 50
    moved = (model(changed) - model(ids)).abs().amax(dim=(0, 2))
    assert moved[:6].max() == 0 and moved[6:].min() > 1e-3


def test_the_cache_gives_the_same_logits(model):
    ids = torch.randint(50, (3, 12))
    cache = []
    rows = [model(ids[:, :5], cache)] + [model(ids[:, i : i + 1], cache) for i in range(5, 12)]
    torch.testing.assert_close(torch.cat(rows, dim=1), model(ids))


def test_a_new_block_is_the_identity_and_positions_count():
    model = GPT(vocabulary=50, width=32, layers=2, heads=2)
    bare = GPT(vocabulary=50, width=32, layers=0, heads=2)
    bare.tokens = model.tokens
    ids = torch.randint(50, (2, 9))
    torch.testing.assert_close(model(ids), bare(ids))


def test_generation_follows_the_models_probabilities_and_stops(model):
    prompts = torch.randint(50, (1, 4)).expand(4000, 4)
    drawn = generate(model, prompts, 1, torch.Generator().manual_seed(0))[:, -1]
    expected = model(prompts[:1])[0, -1].softmax(dim=0)
    assert (drawn.bincount(minlength=50) / 4000 - expected).abs().max() < 0.03
    best = generate(model, prompts[:2], 1, temperature=0)[:, -1]
    assert (best == expected.argmax()).all()
    stop = best[0].item()
    rows = generate(model, prompts[:2], 5, temperature=0, stop=stop)
    assert rows.shape == (2, 9) and (rows[:, 4:] == stop).all()
