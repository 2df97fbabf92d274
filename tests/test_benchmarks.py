"""Every baseline is the authors' network, trains and is measured; the page shows what is stored."""

import importlib
import json
import math

import pytest
import torch
from torch import nn

from benchmarks import __main__ as benchmarks
from benchmarks import char_rnn, flow_matching, gpt, page
from common import setup
from common.data import Text

SMALLER = {"DRAWS": 2, "SAMPLES": 200, "SAMPLER_STEPS": 1, "BATCH": 2, "STREAMS": 2}


@pytest.fixture
def text(monkeypatch):
    """Short texts with the 65 characters of tinyshakespeare."""
    tokens = torch.arange(2000) % 65
    data = Text("numbers", tokens, tokens[:300], [str(number) for number in range(65)])
    for module in (char_rnn, gpt):
        monkeypatch.setattr(module, "shakespeare", lambda device: data)


@pytest.mark.parametrize("name", page.BASELINES)
def test_a_baseline_is_that_of_its_authors_trains_and_is_measured(name, monkeypatch, text):
    module = importlib.import_module(f"benchmarks.{name}")
    for setting in SMALLER.keys() & vars(module).keys():
        monkeypatch.setattr(module, setting, SMALLER[setting])
    device = setup(0)
    clock = benchmarks.Clock(2, 1, device.type == "cuda")
    module.run(clock, device)
    assert clock.parameters == module.PARAMETERS
    assert all(row["parameters"] == module.PARAMETERS for row in page.rows(name, "own_length"))
    assert all(row["steps"] == module.STEPS for row in page.rows(name, "own_length"))
    ((seconds, flops, value, own),) = clock.curve
    assert clock.done == 2 and seconds >= 0 and flops > 0
    assert math.isfinite(value) and math.isfinite(own)


def test_the_u_net_begins_at_zero_and_uses_time_and_class():
    torch.manual_seed(0)
    model, x, t = flow_matching.UNet(), torch.randn(2, 1, 8, 8), torch.tensor([0.1, 0.9])
    assert (model(x, t, torch.tensor([1, 2])) == 0).all()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    drawn = model(x, t, torch.tensor([1, 2]))
    other_class = model(x, t, torch.tensor([1, 3]))
    other_time = model(x, t + torch.tensor([0, 0.1]), torch.tensor([1, 2]))
    for other in (other_class, other_time):  # for the second image only
        assert torch.allclose(drawn[0], other[0]) and not torch.allclose(drawn[1], other[1])


def test_each_character_is_scored_once():
    seen = []
    value = char_rnn.nats_per_character(
        torch.arange(23) % 5, 4, lambda ids: seen.append(ids.numel()) or torch.zeros(*ids.shape, 5)
    )
    assert value == pytest.approx(math.log(5)) and sum(seen) == 22


def test_a_row_is_stored_and_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "ours", lambda name: {"train_seconds": 0.3})
    monkeypatch.setenv("DL_MODE", "quick")
    for _ in range(2):
        benchmarks.main(["char_rnn", "--equal-time"])
        (path,) = tmp_path.iterdir()
        row = json.loads(path.read_text())
        assert 0.3 <= row["curve"][-1][0] < 2 and 0 < row["steps"] < char_rnn.STEPS
        monkeypatch.delattr(char_rnn, "run", raising=False)  # the second time it is not called


def test_the_page_shows_what_is_stored():
    written = (page.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page.text(), "run python -m benchmarks --page"
