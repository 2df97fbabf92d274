"""Settings, device, precision, seeds, progress and pictures."""

import random

import numpy as np
import pytest
import torch

from common import autocast, data_folder, device, mode, pick, pictures, plot_curves, progress, setup, show_images

CPU = torch.device("cpu")


def test_the_default_mode_follows_the_device(monkeypatch):
    monkeypatch.delenv("DL_MODE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert mode() == "quick" and pick(full=30, quick=3) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert mode() == "full" and pick(full=30, quick=3) == 30


def test_dl_mode_decides_and_a_wrong_one_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("DL_MODE", " Quick ")
    assert mode() == "quick"
    monkeypatch.setenv("DL_MODE", "fast")
    with pytest.raises(ValueError, match="DL_MODE is 'fast'; set it to quick or full"):
        mode()


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("DL_DATA")
    assert data_folder().name == "data" and (data_folder().parent / "common").is_dir()


def test_autocast_leaves_float32_alone_on_the_cpu():
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("capability", "enabled"), [((7, 5), False), ((8, 0), True), ((8, 9), True), ((9, 0), True)])
def test_autocast_is_bf16_where_the_gpu_has_it(monkeypatch, capability, enabled):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype, enabled: (kind, dtype, enabled))
    assert autocast(torch.device("cuda")) == ("cuda", torch.bfloat16, enabled)


@pytest.mark.parametrize("broken", [RuntimeError("no kernel image is available\nmore"), None])
def test_a_gpu_that_does_not_compute_is_passed_over(monkeypatch, capsys, broken):
    def ones(*shape, device):
        if broken:
            raise broken
        return torch.zeros(*shape)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "ones", ones)
    assert device.pick_device() == CPU
    reason = "no kernel image is available" if broken else "a matrix product came out wrong"
    assert f"cuda is present but does not compute ({reason})" in capsys.readouterr().out


def test_setup_twice_gives_the_same_numbers(capsys):
    def draw(seed):
        where = setup(seed)
        return random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, device=where).item()

    assert draw(3) == draw(3)
    assert all(one != two for one, two in zip(draw(3), draw(4), strict=True))
    assert "mode quick | seed 3" in capsys.readouterr().out
    assert device.pick_device() != CPU or torch.get_num_threads() == 1  # faster for what quick mode computes


def test_prepare_moves_and_orders_weights():
    layer = device.prepare(torch.nn.Conv2d(3, 8, 3), CPU)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_progress_leaves_nothing_behind(capsys):
    assert list(progress(range(3), "training")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_image_grid_places_each_image():
    images = torch.stack([torch.full((1, 2, 3), value) for value in (0.0, 0.5, 1.0)])
    grid = pictures.image_grid(images, columns=2, gap=1)
    assert grid.shape == (5, 7, 3) and grid.dtype == np.uint8
    assert (grid[:2, :3] == 0).all() and (grid[:2, 4:] == 128).all() and (grid[3:, :3] == 255).all()
    assert (grid[2] == 255).all() and (grid[3:, 4:] == 255).all(), "gaps and empty places are white"
    colour = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    colour[0, 1] = 200
    assert pictures.image_grid(colour, columns=4)[0, 0].tolist() == [0, 200, 0]


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (3, 4, 4), (0,)])
def test_image_grid_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"images must be \(B, 1, H, W\) or \(B, 3, H, W\)"):
        pictures.image_grid(torch.zeros(shape), columns=2)


def test_pictures_are_shown_once_with_a_description(monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "display", lambda bundle, **options: shown.append((bundle, options["metadata"])))
    show_images(torch.rand(4, 1, 8, 8), columns=2, rows=["one", "two"], title="Noise", alt="four squares of noise")
    plot_curves({"train": [3, 2, 1], "test": ([1, 3], [3.0, 2.5])}, "epoch", "loss", log=True)
    assert len(shown) == 2
    for (bundle, metadata), alt in zip(shown, ("four squares of noise", "loss against epoch"), strict=True):
        assert bundle["text/plain"] == metadata["image/png"]["alt"] == alt
        assert bundle["image/png"].startswith("iVBOR")
    assert not pictures.plt.get_fignums(), "a figure was left open"
