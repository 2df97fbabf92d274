"""common: device and precision, modes, data on disk whole and broken, downloads, plots, record."""

import concurrent.futures
import functools
import gzip
import hashlib
import io
import json
import math
import random
import re
import sys
import time
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import common
from common import batches, count_flops, data, device, offline_data, plots, setup
from common.device import start_clock
from common.muon import orthogonalise
from common.record import record
from tests.conftest import Quiet, served

CPU = torch.device("cpu")
MNIST = data.MNIST_FILES.items()


# Device, precision, modes


@pytest.fixture(autouse=True)
def fresh():
    """Forget the device that an earlier test chose, and put the number of threads back."""
    threads = torch.get_num_threads()
    real = device.pick_device
    real.cache_clear()
    yield
    real.cache_clear()
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("ones", "reason"),
    [
        (Mock(side_effect=RuntimeError("no kernel image\nmore")), "no kernel image"),
        (lambda *shape, device: torch.zeros(shape), "a matrix product came out wrong"),
    ],
)
def test_a_broken_gpu_means_quick_mode_on_the_cpu(monkeypatch, capsys, ones, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.delenv("DL_MODE")
    assert common.mode() == "quick" and setup() == CPU
    assert f"cuda is present but does not work ({reason})" in capsys.readouterr().out


def test_dl_mode_and_the_device_decide_and_a_wrong_mode_is_refused(monkeypatch):
    sizes = {"full": 30, "quick": 3, "cpu": 10}
    cases = [("", "cuda", 30), ("", "cpu", 3), (" Full ", "cuda", 30), (" Full ", "cpu", 10)]
    for name, kind, chosen in cases:
        monkeypatch.setenv("DL_MODE", name)
        monkeypatch.setattr(device, "pick_device", lambda kind=kind: torch.device(kind))
        assert common.pick(**sizes) == chosen and (common.mode() == "quick") == (chosen == 3)
    assert common.pick(full=30, quick=3) == 30
    monkeypatch.setenv("DL_MODE", "fast")
    with pytest.raises(ValueError, match="DL_MODE is 'fast'; set it to quick or full"):
        common.mode()


def test_bf16_where_the_device_has_it(monkeypatch, tmp_path):
    for capability, expected in (((7, 5), "fp32"), ((8, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, has=capability: has)
        assert device.precision(torch.device("cuda")) == expected
    monkeypatch.setattr(device, "Path", lambda path: tmp_path / "cpuinfo")
    cases = [("fpu amx_bf16", "full", torch.bfloat16), ("fpu", "full", torch.float32)]
    for flags, mode, expected in [*cases, ("fpu avx512_bf16", "quick", torch.float32)]:
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setenv("DL_MODE", mode)
        with common.autocast(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
    monkeypatch.setattr(torch, "autocast", None)  # torch below 2.5 refuses it on MPS
    with common.autocast(torch.device("mps")):
        pass


def test_the_seed_reaches_every_generator(capsys):
    def draw(seed):
        setup(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(3) == draw(3)
    assert all(one != two for one, two in zip(draw(3), draw(4), strict=True))
    assert "quick mode | seed 3" in capsys.readouterr().out
    assert torch.get_num_threads() == 1


def test_to_device_orders_weights_and_compiles_if_it_can(monkeypatch, capsys):
    layer = common.to_device(torch.nn.Conv2d(3, 8, 3), CPU)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert common.to_device(layer, CPU, compile_model=True) is layer
    assert "torch.compile is off because Triton is not installed" in capsys.readouterr().out


# Data


@pytest.fixture
def full(full, monkeypatch):
    """Full mode with an empty data folder and no mirror; returns the folder."""
    for name in ("MNIST_URLS", "SHAKESPEARE_URLS", "CIFAR10_URLS"):
        monkeypatch.setattr(data, name, ("http://127.0.0.1:9/",))
    return full


@pytest.fixture
def mnist_files(full, monkeypatch):
    """Five training and three test images as MNIST's own files; returns their folder."""
    folder, table = full / "MNIST" / "raw", {}
    folder.mkdir(parents=True)
    for name, (md5, shape) in data.MNIST_FILES.items():
        shape = (5 if name.startswith("train") else 3, *shape[1:])
        body = np.arange(math.prod(shape)).astype(np.uint8)
        (folder / name).write_bytes(bytes(16 if "images" in name else 8) + body.tobytes())
        table[name] = (md5, shape)
    monkeypatch.setattr(data, "MNIST_FILES", table)
    return folder


def test_mnist_is_read_from_plain_and_packed_files(mnist_files):
    plain = data.mnist(CPU)
    assert plain.name == "MNIST" and plain.x_train.shape == (5, 1, 28, 28)
    assert plain.x_train.dtype == torch.uint8 and plain.y_train.dtype == torch.int64
    assert plain.y_test.tolist() == [0, 1, 2] and plain.x_train[0, 0, 0, :3].tolist() == [0, 1, 2]
    for path in list(mnist_files.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(data.mnist(CPU).x_train, plain.x_train)


def test_a_damaged_mnist_file_is_named(mnist_files):
    path = mnist_files / "t10k-images-idx3-ubyte"
    blob = path.read_bytes()
    for name, damaged in ((path.name, blob[:-20]), (f"{path.name}.gz", gzip.compress(blob)[:-20])):
        path.unlink(missing_ok=True)
        path.with_name(name).write_bytes(damaged)
        with pytest.raises(data.DataError, match=f"{name} is corrupt or truncated. Delete it"):
            data.mnist(CPU)


def test_other_data_of_the_right_size_are_not_mnist(full):
    for name, (_, shape) in data.MNIST_FILES.items():
        path = full / "MNIST" / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes((16 if "images" in name else 8) + math.prod(shape)))
    with pytest.raises(AssertionError, match="raw holds other data than MNIST. Delete it"):
        data.mnist(CPU)
    (full / "tinyshakespeare.txt").mkdir()
    with pytest.raises(AssertionError, match="is a folder where a file belongs"):
        data.shakespeare(CPU)


def test_cifar10_is_read_from_an_npz_and_named_as_a_copy(full, monkeypatch):
    x_train, x_test = np.zeros((50000, 32, 32, 3), np.uint8), np.ones((10000, 32, 32, 3), np.uint8)
    x_train[45000:, 1, 2] = (10, 20, 30)  # the last class
    labels = np.repeat(np.arange(10), 5000)
    arrays = {"x_train": x_train, "y_train": labels[:, None], "x_test": x_test}
    np.savez(full / "cifar10.npz", **arrays, y_test=labels[::5])
    images = data.cifar10(CPU)
    assert images.name == "CIFAR-10 (unverified copy)"
    last = images.y_train == 9
    assert last[:1000].any() and not last[:1000].all(), "a copy sorted by class is mixed"
    assert images.x_train[last][:, :, 1, 2].unique(dim=0).tolist() == [[10, 20, 30]]
    assert not images.x_train[~last].any()
    assert torch.equal(images.y_test.bincount(), torch.full((10,), 1000))
    digest = hashlib.sha256(x_test.tobytes()).hexdigest()
    monkeypatch.setitem(data.CIFAR10_COPIES, digest, "CIFAR-10 (known copy)")
    assert data.cifar10(CPU).name == "CIFAR-10 (known copy)"
    path = full / "cifar10.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(data.DataError, match="cifar10.npz is corrupt or truncated"):
        data.cifar10(CPU)


def test_an_archive_with_another_checksum_is_never_unpickled(full, monkeypatch):
    (full / "cifar-10-python.tar.gz").write_bytes(b"anything")
    monkeypatch.setattr(data.pickle, "load", None)
    with pytest.raises(data.DataError, match="cifar-10-python.tar.gz is corrupt"):
        data.cifar10(CPU)


def test_shakespeare_round_trip_and_damage(full, monkeypatch):
    text = "To be, or not to be: that is the question.\n" * 20
    (full / "tinyshakespeare.txt").write_bytes(text.encode())
    monkeypatch.setattr(data, "SHAKESPEARE_MD5", hashlib.md5(text.encode()).hexdigest())
    tokens = data.shakespeare(CPU)
    assert tokens.decode(torch.cat([tokens.train, tokens.test])) == text
    assert tokens.decode(tokens.encode("not to be")) == "not to be"
    assert len(tokens.test) == len(text) // 10
    with pytest.raises(ValueError):
        tokens.encode("#")
    (full / "tinyshakespeare.txt").write_bytes(text.encode()[:-1])
    with pytest.raises(data.DataError, match="tinyshakespeare.txt is corrupt"):
        data.shakespeare(CPU)


def test_without_files_and_network_the_message_says_what_to_do(full):
    files = "train-images-idx3-ubyte.gz", "cifar-10-python.tar.gz", "tinyshakespeare.txt"
    for load, file in zip((data.mnist, data.cifar10, data.shakespeare), files, strict=True):
        with pytest.raises(data.DataError) as caught:
            load(CPU)
        for words in (file, str(full), "by hand", "DL_MODE=quick", "http://127.0.0.1:9/"):
            assert words in str(caught.value)
    assert not [path for path in full.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_written_is_named(full, monkeypatch):
    (full / "file").write_text("")
    monkeypatch.setenv("DL_DATA", str(full / "file"))
    with pytest.raises(data.DataError, match="Cannot write to .* Set DL_DATA to another folder"):
        data.mnist(CPU)


class Slow(Quiet):
    """Serves slowly, so that two downloads overlap."""

    def copyfile(self, source, outputfile):
        for block in iter(functools.partial(source.read, 50_000), b""):
            outputfile.write(block)
            time.sleep(0.1)


def test_downloads_use_the_next_mirror_and_may_overlap(tmp_path):
    blob = bytes(range(256)) * 1500
    for name, content in (("good", blob), ("bad", blob[:-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
    target, known = tmp_path / "new" / "file", f"md5:{hashlib.md5(blob).hexdigest()}"
    with served(tmp_path, Slow) as address, concurrent.futures.ThreadPoolExecutor(3) as pool:
        urls = [f"{address}/{name}/file" for name in ("none", "bad", "good")]
        runs = []
        for _ in range(3):
            runs.append(pool.submit(data.fetch, urls, target, known))
            time.sleep(0.2)
        assert [run.result() for run in runs] == [target] * 3 and target.read_bytes() == blob
        assert [path.name for path in target.parent.iterdir()] == ["file"], "a half file was left"
        with pytest.raises(data.DataError, match="(?s)404.*does not match"):
            data.fetch(urls[:2], tmp_path / "other" / "file", known)


@pytest.mark.network
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("url", "known"),
    [(url + f"{name}.gz", f"md5:{md5}") for url in data.MNIST_URLS for name, (md5, _) in MNIST]
    + [(url, f"sha256:{data.CIFAR10_SHA256}") for url in data.CIFAR10_URLS]
    + [(url, f"md5:{data.SHAKESPEARE_MD5}") for url in data.SHAKESPEARE_URLS],
)
def test_every_mirror_delivers(url, known, tmp_path):
    data.fetch([url], tmp_path / "file", known)


@pytest.mark.parametrize("size", [16, 32])  # the last: shapes in colour
def test_offline_images_are_the_same_every_time(size):
    make = offline_data.shapes if size == 32 else functools.partial(offline_data.digits, size)
    torch.manual_seed(4)
    arrays = make()
    torch.manual_seed(5)
    assert all(np.array_equal(one, two) for one, two in zip(arrays, make(), strict=True))
    assert arrays[0].dtype == np.uint8 and arrays[0].min() < 20 and arrays[0].max() > 235
    assert arrays[0].shape[1:] == arrays[2].shape[1:] == (3 if size == 32 else 1, size, size)
    assert [len(array) for array in arrays[::2]] == ([5000, 1000] if size == 32 else [1500, 297])
    assert np.bincount(arrays[1], minlength=10).min() > 0.08 * len(arrays[1])


def test_batches_draw_each_row_once_in_a_new_order():
    x, y = torch.arange(10), torch.arange(10) * 2
    drawn = list(batches(x, y, size=4))
    assert [len(a) for a, _ in drawn] == [4, 4, 2]
    assert all(torch.equal(a * 2, b) for a, b in drawn)
    assert sorted(torch.cat([a for a, _ in drawn]).tolist()) == list(range(10))
    orders = {str(list(batches(x, size=4))) for _ in range(5)}
    assert len(orders) > 1
    ordered = [a.tolist() for (a,) in batches(x, size=4, shuffle=False, drop_last=True)]
    assert ordered == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_batches_refuse_what_would_train_on_nothing():
    wrong = ((3, 4), 2, "equal length"), ((3, 3), 0, "got 0"), ((3, 3), 4, "rows, 3; got 4")
    for lengths, size, message in wrong:
        with pytest.raises(ValueError, match=message):
            next(batches(*map(torch.zeros, lengths), size=size))


# Plots


def test_image_grid_places_each_image():
    images = torch.stack([torch.full((1, 2, 3), value) for value in (0.0, 0.5, 1.0)])
    grid = plots.image_grid(images, columns=2, gap=1)
    assert grid.shape == (5, 7, 3) and grid.dtype == np.uint8
    assert (grid[:2, :3] == 0).all() and (grid[:2, 4:] == 128).all() and (grid[3:, :3] == 255).all()
    assert (grid[2] == 255).all() and (grid[3:, 4:] == 255).all(), "gaps are white"
    colour = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    colour[0, 1] = 200
    assert plots.image_grid(colour, columns=4)[0, 0].tolist() == [0, 200, 0]
    for shape in ((2, 2, 4, 4), (3, 4, 4), (0, 1, 4, 4)):
        with pytest.raises(ValueError, match=r"images must be \(N, 1, H, W\) or \(N, 3, H, W\)"):
            plots.image_grid(torch.zeros(shape), columns=2)


def test_figures_are_shown_once_with_a_description(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(plots, "display", lambda *args, **more: shown.append((*args, more)))
    images = torch.rand(4, 1, 8, 8)
    common.show_images(images, 2, rows=["one", "two"], labels=[3, "b\nc"], alt="squares of noise")
    common.plot_curves({"a": [3, 2], "b": ([1, 3], [3.0, 2.5])}, "epoch", "loss", lines={"c": 1.0})
    common.show_images(images[:0], title="Mistakes")
    assert "Mistakes: none." in capsys.readouterr().out
    for (bundle, more), alt in zip(shown, ("squares of noise", "loss against epoch"), strict=True):
        metadata = more["metadata"]["image/png"]
        assert bundle["text/plain"] == metadata["alt"] == alt and 50 < metadata["width"] < 800
        assert bundle["image/png"].startswith("iVBOR")
    assert not plots.plt.get_fignums(), "a figure was left open"


def test_labels_stand_in_the_middle_of_their_images(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    common.show_images(torch.rand(4, 1, 8, 10), 2, rows=["a", "b"], labels=["c", "d"])
    axes = figures[0].axes[0]
    assert axes.get_xticks().tolist() == [4.5, 16.5] and axes.get_yticks().tolist() == [3.5, 13.5]


def test_a_bar_leaves_no_trace(monkeypatch, capsys):
    # tqdm reads TQDM_DISABLE when it is imported
    monkeypatch.setattr(plots, "Bar", functools.partial(plots.Bar, disable=False))
    bar = common.progress(range(3), "training")
    bar.mininterval = 0
    for step in bar:
        bar.set_postfix_str("x" * step)
        if step == 1:
            bar.write("half way")
    print("done")
    text = capsys.readouterr().out
    assert "training" in text and max(map(len, re.split("[\b\n]", text))) <= 80
    while "\b" in text:  # JupyterLab takes the character before away, a terminal goes back
        text = re.sub("[^\b\n]\b", "", text)
    assert text.replace("\r", "") == "half way\ndone\n", repr(text)


def test_a_palette_is_used_where_no_eye_sees_it():
    noise = plots.Image.effect_noise((64, 64), 80)
    photo = plots.Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)])
    faint = [plots.Image.effect_noise((400, 400), 12).rotate(90 * turn) for turn in range(3)]
    large = plots.Image.merge("RGB", faint)
    for picture, mode in ((noise.convert("RGB"), "P"), (photo, "RGB"), (large, "P")):
        read = plots.Image.open(io.BytesIO(plots.png(picture)))
        assert read.mode == mode and read.size == picture.size


# Record

RESULT = dict(data="noise", parameters=10, metric="test error", value=5.0, unit="%")
RESULT |= dict(baseline=("chance", 90.0), reference="5 in the paper", train_seconds=1.23)
RESULT |= dict(flops={"training": 2e9, "evaluation": 1e9})


@pytest.fixture
def written(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_RECORD", str(tmp_path / "record.json"))
    monkeypatch.chdir(tmp_path)
    start_clock(CPU)
    return tmp_path / "record.json"


def test_record_prints_and_writes(written, capsys):
    record(**RESULT | {"value": torch.tensor(5.123456), "extra": {"loss": 0.000123456789}})
    result = json.loads(written.read_text(encoding="utf-8"))
    assert result["value"] == 5.12346 and result["train_seconds"] == 1.2
    assert result["extra"] == {"loss": 0.000123457}
    assert result["mode"] == "quick" and result["flops"] == {"training": 2e9, "evaluation": 1e9}
    assert result["baseline"] == {"name": "chance", "value": 90.0}
    printed = capsys.readouterr().out
    assert "This quick run on noise: test error 5.123 % (chance: 90)" in printed
    assert "3e+09 FLOPs" in printed
    record(**RESULT | {"metric": "test error of a network that has a very long name indeed"})
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_a_bad_result_raises_under_tools_and_is_printed_to_a_learner(written, monkeypatch, capsys):
    wrong = [({"value": math.nan}, "test error is nan: training diverged")]
    wrong += [({"value": 90.1}, "does not beat chance, 90")]
    wrong += [({"value": 80.0, "higher_is_better": True}, "does not beat chance")]
    for changes, message in wrong:
        with pytest.raises(AssertionError, match=message):
            record(**RESULT | changes)
        with monkeypatch.context() as alone:
            alone.delenv("DL_RECORD")
            capsys.readouterr()
            record(**RESULT | changes)
        assert message in capsys.readouterr().out
    record(**RESULT | {"value": 90.0})  # quick mode's small data may be solved equally well
    with monkeypatch.context() as full, pytest.raises(AssertionError, match="does not beat chance"):
        full.setenv("DL_MODE", "full")
        record(**RESULT | {"value": 90.0})
    module = sys.modules["common.record"]
    monkeypatch.setattr(module, "used", lambda: (torch.device("cuda"), 1.0, 23.0))
    monkeypatch.setattr(module, "device_name", lambda device: "GPU")
    monkeypatch.setattr(module, "precision", lambda device: "bf16")
    with pytest.raises(AssertionError, match="does not fit a card of 24 GB"):
        record(**RESULT)


def test_a_learner_sees_the_stored_result_beside_the_own(written, monkeypatch, capsys):
    monkeypatch.delenv("DL_RECORD")
    run = {"mode": "full", "data": "MNIST", "metric": "test error", "value": 2.0, "unit": "%"}
    (written.parent / "results.json").write_text(json.dumps({"stored": "full", "full": run}))
    record(**RESULT)
    assert "The stored full run on MNIST: test error 2 %" in capsys.readouterr().out
    for odd in ("{}", '{"seeds": {}}', '{"stored": "full"}', "<<<<<<<", "[]"):
        (written.parent / "results.json").write_text(odd)
        record(**RESULT)  # says nothing of a stored run, and does not stop
    assert "The stored" not in capsys.readouterr().out


def test_flops_are_counted_forward_and_backward():
    layer, x = torch.nn.Linear(20, 30, bias=False), torch.rand(8, 20)
    assert count_flops(lambda: layer(x)) == 2 * 8 * 20 * 30
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * 2 * 8 * 20 * 30
    q = torch.rand(1, 2, 8, 4, requires_grad=True)  # two heads, eight places
    attend = torch.nn.functional.scaled_dot_product_attention
    forward = 2 * (2 * 8 * 8 * 4 * 2)  # scores and averages
    assert count_flops(lambda: attend(q, q, q).sum().backward()) == 3 * forward


# Muon


def test_muon_takes_matrices_convolutions_and_parts_of_matrices():
    torch.manual_seed(0)
    assert not orthogonalise(torch.zeros(4, 4)).any(), "zeros stay zeros"
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, 20, 30)))
    assert values.min() > 0.6 and values.max() < 1.3, "singular values are levelled"
    matrix, filters, parts, unused = (
        torch.nn.Parameter(torch.zeros(shape))
        for shape in ((48, 16), (8, 4, 3, 3), (48, 16), (2, 2))
    )
    matrix.grad, filters.grad = torch.randn(48, 16), torch.randn(8, 4, 3, 3)
    common.Muon([matrix, filters, unused], lr=0.1, weight_decay=0.5).step()
    for weight in (matrix, filters):  # a step is as large as one of Adam
        assert 0.8 < weight.detach().square().mean().sqrt() / 0.02 < 1.2
    parts.grad = matrix.grad
    common.Muon([parts], lr=1.0, rows=16).step()  # each part by itself
    expected = orthogonalise(matrix.grad.view(3, 16, 16)).reshape(48, 16)
    torch.testing.assert_close(parts.detach(), -0.8 * expected)
    with pytest.raises(ValueError, match="Muon needs matrices"):
        common.Muon([torch.nn.Parameter(torch.zeros(3))])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is newer")
def test_muon_agrees_with_that_of_torch():
    torch.manual_seed(0)
    pair = [torch.nn.Parameter(torch.randn(24, 16))]
    pair.append(torch.nn.Parameter(pair[0].detach().clone()))
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    ours = common.Muon(pair[:1], **settings)
    theirs = torch.optim.Muon(pair[1:], adjust_lr_fn="match_rms_adamw", **settings)
    for _ in range(3):
        pair[0].grad = torch.randn(24, 16)
        pair[1].grad = pair[0].grad.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(*pair, rtol=0, atol=2e-3)  # theirs computes in bfloat16
