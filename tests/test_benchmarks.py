"""Every baseline of the benchmarks trains and is measured, here for two steps of small sizes."""

import importlib
import json
import math

import pytest
import torch
from torch import nn

from benchmarks import __main__ as benchmarks
from benchmarks import page
from benchmarks.__main__ import BASELINES
from benchmarks.clock import Clock, nats_per_character
from common import setup
from tools.run import with_settings
from tools.tasks import ROOT, find_tasks


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


def test_a_row_is_stored_and_not_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "FOLDER", tmp_path)
    monkeypatch.setenv("DL_MODE", "quick")
    assert benchmarks.main(["char_rnn", "--budget", "1"]) == 0
    (path,) = (tmp_path / "results").iterdir()
    row = json.loads(path.read_text())
    assert row["kind"] == "1 s" and row["value"] == row["curve"][-1][2]
    assert 1 <= row["seconds"] < 10 and 0 < row["steps"] < row["own_steps"]
    before = path.stat().st_mtime_ns
    assert benchmarks.main(["char_rnn", "--budget", "1"]) == 0
    assert "stored already" in capsys.readouterr().out and path.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", BASELINES)
def test_our_shorter_run_changes_a_setting_of_the_notebook(name):
    (task,) = find_tasks([name])
    with_settings(task.read_notebook(), importlib.import_module(f"benchmarks.{name}").SHORTER)


def test_our_shorter_run_is_read_from_its_record(monkeypatch):
    run = {"value": 60.0, "extra": {"kNN accuracy": 50.0}, "train_seconds": 9.0, "device": "a CPU"}
    run |= {"flops": {"training": 1e9}, "precision": "bf16"}
    asked = []
    monkeypatch.setattr(benchmarks, "run", lambda *a, **b: asked.append(b) or (run, ""))
    monkeypatch.setenv("DL_MODE", "full")
    row = benchmarks.our_row(find_tasks(["simclr"])[0], 3, {"epochs": 5})
    assert row["value"] == 50.0 and row["curve"] == [[9.0, 1e9, 50.0]]
    assert asked[0]["settings"] == {"epochs": 5, "seed": 3}


def test_ours_is_run_first_where_it_was_stored_on_another_device(tmp_path, monkeypatch):
    asked = []

    def measure(task, seed, argument):
        asked.append(argument)
        return {"value": 1.0, "seconds": 7.0}

    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setattr(benchmarks, "FOLDER", tmp_path)
    monkeypatch.setattr(benchmarks, "our_row", measure)
    monkeypatch.setattr(benchmarks, "baseline_row", measure)
    monkeypatch.setattr(benchmarks, "device_name", lambda device: "another")
    assert benchmarks.main(["gan", "--seeds", "2"]) == 0 and asked == [{}, 7.0, 7.0]
    names = ["gan.equal_time.0.json", "gan.equal_time.1.json", "gan.ours_in_full.0.json"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == names


def test_the_page_shows_the_stored_rows():
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page.text()
    for task, *_ in page.measured():
        assert (page.PICTURES / f"{task.name}.png").exists()
