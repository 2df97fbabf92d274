"""The last cell's record: its asserts, its line and the file for tools.run."""

import json
import math
import sys

import pytest
import torch

from common.record import record, start

module = sys.modules["common.record"]  # `common.record` itself is the function

RESULT = {
    "task": "Tiny",
    "paper": "Nobody 2013",
    "url": "https://arxiv.org/abs/1312.6114",
    "data": "noise",
    "parameters": 10,
    "metric": "test error",
    "value": 5.0,
    "unit": "%",
    "baseline": ("chance", 90.0),
    "band": (4, 6),
    "reference": "5 in the paper",
    "train_seconds": 1.23,
}


@pytest.fixture
def written(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_RECORD", str(tmp_path / "record.json"))
    start(torch.device("cpu"))
    return tmp_path / "record.json"


def test_it_prints_one_line_and_writes_json(written, capsys):
    record(**RESULT | {"value": torch.tensor(5.123456), "extra": {"loss": 0.000123456789}})
    result = json.loads(written.read_text(encoding="utf-8"))
    assert result["value"] == 5.12346 and result["extra"] == {"loss": 0.000123457} and result["mode"] == "quick"
    assert result["baseline"] == {"name": "chance", "value": 90.0} and result["device"].startswith("CPU")
    assert result["train_seconds"] == 1.2 and result["versions"]["torch"][0].isdigit()
    assert "Tiny, quick mode on noise: test error 5.123 % (chance: 90)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "mode", "message"),
    [
        ({"value": math.nan}, "quick", "test error is nan: the run diverged"),
        ({"value": math.inf}, "full", "test error is inf"),
        ({"value": 90.0}, "quick", "does not beat the baseline chance"),
        ({"value": 95.0, "band": (0, 100)}, "full", "does not beat the baseline chance"),
        ({"value": 80.0, "higher_is_better": True}, "quick", "does not beat the baseline"),
        ({"value": 6.1}, "full", "6.1 lies outside its band, 4 to 6"),
        ({"value": 3.9}, "full", "3.9 lies outside its band, 4 to 6"),
    ],
)
def test_a_bad_result_is_refused_and_not_written(written, monkeypatch, changes, mode, message):
    monkeypatch.setenv("DL_MODE", mode)
    with pytest.raises(AssertionError, match=message):
        record(**RESULT | changes)
    assert not written.exists()


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"value": 30.0}, "quick"),  # the band is for the full run
        ({"value": 5.5}, "full"),
        ({"value": 95.0, "band": (94, 96), "higher_is_better": True}, "full"),
    ],
)
def test_a_good_result_passes(written, monkeypatch, changes, mode):
    monkeypatch.setenv("DL_MODE", mode)
    record(**RESULT | changes)
    assert json.loads(written.read_text(encoding="utf-8"))["mode"] == mode


def test_too_much_gpu_memory_is_refused_in_full_mode(written, monkeypatch):
    monkeypatch.setenv("DL_MODE", "full")
    monkeypatch.setattr(module, "peak_memory", lambda: (23.0, "on the GPU"))
    record(**RESULT)  # on a CPU any amount will do
    written.unlink()
    monkeypatch.setitem(module._start, "device", torch.device("cuda"))
    monkeypatch.setattr(module, "device_name", lambda device: "NVIDIA GeForce RTX 4090")
    with pytest.raises(AssertionError, match="does not fit a 24 GB card"):
        record(**RESULT)
    assert not written.exists()
