"""The benchmarks' clock, cutting of notebooks, ratios, page and refusals; nothing is trained or timed here."""

import copy
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from common import device
from tests.benchmarks import __main__ as command
from tests.benchmarks import measure, notebooks, report
from tests.benchmarks.measure import Clock, Side

TRAINED = [task for task in command.PAIRS if task != "data_path"]


def row(**changes):
    """A made-up row: the baseline reaches 100 after 60 s, ours is first seen below that after 15 s."""
    side = {"load_average": [1.0, 1.0], "setup_seconds": 5.0, "compile_seconds": 0.0, "process_seconds": 60.0}
    side |= {"peak_memory_gib": 1.0, "parameters": 1000, "steps": 100, "samples_per_second": 1000.0}
    baseline = {
        **side,
        "metric": 98.0,
        "seconds": 70.0,
        "reference": [60.0, 100.0],
        "curve": [[60.0, 100.0], [70.0, 98.0]],
    }
    ours = {**side, "metric": 94.0, "seconds": 70.0, "curve": [[5.0, 130.0], [15.0, 99.0], [70.0, 94.0]]}
    ours["samples_per_second"] = 4000.0
    about = {"task": "vae", "device": "CPU, 2 cores", "seed": 0, "budget": 70.0, "date": "2026-01-01", "data": "MNIST"}
    about |= {"data_hash": "0", "versions": {"python": "3", "torch": "2", "torchvision": "0"}}
    return {**about, "baseline": baseline | changes.get("baseline", {}), "ours": ours | changes.get("ours", {})}


@pytest.fixture(autouse=True)
def mode(monkeypatch):
    """Put back after each test what a benchmark changes in its own process: the mode and the choice of device."""
    monkeypatch.setenv("DL_MODE", "quick")
    monkeypatch.setattr(device, "pick_device", device.pick_device)


@pytest.fixture
def hands(monkeypatch):
    """The hands of a clock that only `hands.move` moves, in place of the computer's."""
    hands = SimpleNamespace(now=100.0)
    hands.move = lambda seconds: setattr(hands, "now", hands.now + seconds)
    clock = SimpleNamespace(perf_counter=lambda: hands.now, time=lambda: hands.now)
    monkeypatch.setattr(measure, "time", clock)
    return hands


def side(budget):
    pair = SimpleNamespace(NOTEBOOK="vae", DATA="mnist", NAMES=[])
    return Side(pair, torch.device("cpu"), seed=0, budget=budget, born=90.0)


def test_clock_counts_only_while_it_runs(hands):
    clock = Clock()
    for seconds in (2, 3):
        clock.start()
        hands.move(seconds)
        assert clock.read() in (2, 5)
        clock.stop()
        hands.move(50)
    assert clock.read() == clock.seconds == 5


def test_run_fits_the_budget_and_leaves_evaluation_out(hands):
    it, seen, states = side(budget=100.0), [], []

    def train(steps):
        model = nn.Linear(1, 1)
        for step in it.watch(range(steps)):
            assert model.training
            states.append(torch.get_rng_state())
            hands.move(2.0 if step else 20.0)  # the first step is slower
        return model

    def evaluate(model):
        assert not model.training and not torch.is_grad_enabled()
        seen.append(torch.rand(()).item())
        hands.move(1000.0)
        return len(seen)

    it.run(train, evaluate, batch=7, points=4, reference_step=5)
    figures = it.row()
    assert figures["steps"] == 48 and figures["seconds"] == 20 + 47 * 2  # 97 % of 100 s, at 2 s a step
    assert figures["samples_per_second"] == round(48 * 7 / 114, 1)
    assert figures["curve"] == [[26, 1], [28, 2], [50, 3], [76, 4], [114, 5]], "the clock stands still meanwhile"
    assert figures["reference"] == [28, 2] and figures["metric"] == 5 and len(set(seen)) == 1
    assert figures["calibration_seconds"] == 24 and figures["setup_seconds"] == 10
    states = states[-48:]
    assert all(torch.equal(state, states[0]) for state in states), "evaluation must not change training's random state"


def test_compilation_is_counted_apart(hands):
    it = side(budget=20.0)

    def train(steps):
        for step in it.watch(range(steps)):
            hands.move(2.0 if step else 20.0)
        return nn.Linear(1, 1)

    it.run(train, lambda model: 1.0, batch=1, points=1, compiled=True)
    assert (it.compile_seconds, it.clock.seconds, it.steps) == (20, 16, 9)


def test_a_metric_that_is_no_number_is_an_error():
    it = side(1.0)
    it.curve = [[1.0, 2.0], [2.0, float("nan")]]
    with pytest.raises(ValueError, match="not a number"):
        it.row()


@pytest.mark.parametrize("task", command.PAIRS)
def test_notebooks_have_what_the_benchmarks_need(task):
    pair = report.pair(task)
    given = {"setup", "progress", "batches", pair.DATA, *getattr(pair, "SETTINGS_CPU", {})}
    statements = notebooks.cut(pair.NOTEBOOK, pair.NAMES, given)
    assert set(pair.NAMES) - given <= set().union(*(statement.bound for statement in statements))


def test_cut_leaves_out_what_is_not_needed():
    statements = notebooks.cut("vae", ["kl_divergence"])
    assert [statement.bound for statement in statements] == [{"kl_divergence"}]
    with pytest.raises(LookupError, match="image_generation/vae no longer binds no_such_name"):
        notebooks.cut("vae", ["kl_divergence", "no_such_name"])


def test_given_names_and_the_seed_take_the_place_of_the_notebook_s(monkeypatch):
    source = (
        "import torch\nsize = 3\nother = size + 1\ndef draw():\n    torch.manual_seed(0)\n    return torch.rand(size)"
    )
    cell = SimpleNamespace(cell_type="code", source=source)
    task = SimpleNamespace(path="a/b", read_notebook=lambda: SimpleNamespace(cells=[cell]))
    monkeypatch.setattr(notebooks, "find_tasks", lambda names: [task])
    space = notebooks.execute("b", ["draw"], {"size": 2}, seed=5)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(5))
    assert torch.equal(space["draw"](), expected) and "other" not in space


def test_a_side_that_took_longer_is_judged_at_equal_time():
    longer = {"seconds": 90.0, "metric": 80.0, "curve": [[15.0, 99.0], [65.0, 96.0], [90.0, 80.0]]}
    assert report.at_equal_time(row(ours=longer)) == {"baseline": 98.0, "ours": 96.0}
    slow = {"seconds": 90.0, "metric": 97.0, "curve": [[90.0, 97.0]]}  # evaluated once only, to its favour
    assert report.at_equal_time(row(baseline=slow)) == {"baseline": 97.0, "ours": 94.0}


def test_ratios():
    rows = [
        row(),
        row(ours={"curve": [[20.0, 100.0], [70.0, 96.0]]}),
        row(ours={"curve": [[30.0, 99.0], [70.0, 94.0]]}),
    ]
    it = report.summary(rows)
    assert it["ratio"] == 3.0 and it["slowest"] == 2.0 and it["speed"] == 4.0
    assert it["lead"] == pytest.approx(10 / 3) and it["worst"] == 2.0 and report.losses(rows) == []
    never = report.summary([*rows, row(ours={"curve": [[70.0, 101.0]]})])
    assert never["ratio"] is None and never["worst"] == -3.0
    assert "does not reach the baseline's figure" in " ".join(report.losses([row(ours={"curve": [[70.0, 101.0]]})]))
    up = row(baseline={"reference": [60.0, 50.0]}, ours={"curve": [[5.0, 40.0], [10.0, 55.0]]})
    assert report.reached({**up, "task": "resnet"}) == 10.0 and report.reached(up) == 5.0


def test_a_slower_side_ours_is_named_as_a_loss():
    (setup,) = report.losses([row(ours={"setup_seconds": 9.0})])
    assert setup == "takes longer to set up (9 against 5 s)"
    behind = report.losses([row(ours={"curve": [[15.0, 99.0]]})])
    assert behind == ["ends behind by 1"]
    assert ["ours never behind at equal budget", "behind: VAE", "**missed**"] in report.verdicts(
        [[row(ours={"curve": [[15.0, 99.0]]})]]
    )


def test_data_path_is_compared_with_the_faster_loader():
    rates = {"plain": {"0": 100.0, "2": 150.0}}
    rows = [row(baseline={"rates": rates}, ours={"rates": {"plain": rate}}) for rate in (900.0, 1500.0, 3000.0)]
    assert report.data_path(rows)["plain"]["ratio"] == 10.0


def test_the_page_fits_the_rows():
    runs = report.stored()
    assert runs, "no rows are stored"
    assert report.PAGE.read_text("utf-8") == report.page(runs), "run python -m tests.benchmarks --page"
    changed = copy.deepcopy(runs)
    for rows in changed:
        rows[0]["data_hash"] = "changed"
    assert report.page(changed) != report.page(runs)


def test_stored_rows_are_complete():
    for rows in report.stored():
        assert [row["seed"] for row in rows] == [0, 1, 2], "three seeds each"
        assert len({row["data_hash"] for row in rows}) == 1
        assert all(row.get("seconds_to_baseline") == report.reached(row) for row in rows if "curve" in row["ours"])
        text = json.dumps(rows)
        assert "/home" not in text and "/tmp" not in text


def test_readme_links_the_page():
    assert "(docs/benchmarks.md)" in (command.ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pixelcnn", "--budget", "1"], "There is no benchmark pixelcnn; there are "),
        (["vae"], "Give the training time of each side: --budget SECONDS."),
        (["vae", "--budget", "-1"], "Give the training time of each side: --budget SECONDS."),
    ],
)
def test_a_wrong_call_gets_one_sentence(arguments, sentence, capsys):
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence) and error.count("\n") == 1


def test_missing_data_get_one_sentence(capsys, tmp_path):
    arguments = ["vae", "--budget", "1", "--device", "cpu", "--side", "ours", "--seed", "0", "--born", "0"]
    assert command.main([*arguments, "--into", str(tmp_path / "figures.json")]) == 1
    error = capsys.readouterr().err
    assert "train-images" in error and "Traceback" not in error


def test_a_side_that_dies_makes_the_command_fail(monkeypatch, capsys):
    calls = []

    def dies(arguments, **options):  # in place of the process of a side
        calls.append(arguments)
        return subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=False)

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=dies))
    monkeypatch.setattr(report, "store", lambda rows: pytest.fail("nothing may be stored"))
    assert command.main(["vae", "--budget", "1", "--device", "cpu"]) == 1
    assert capsys.readouterr().err == "vae: baseline with seed 0 did not finish (exit status 3).\n"
    assert len(calls) == 1


def test_both_sides_must_have_the_same_bytes(monkeypatch, capsys):
    def result(task, side, *_):
        return {"data": "MNIST", "data_hash": side, "figures": row()[side]}

    monkeypatch.setattr(command, "in_own_process", result)
    assert command.main(["vae", "--budget", "1", "--device", "cpu", "--no-store"]) == 1
    assert "same bytes" in capsys.readouterr().err
