"""results.json: what is refused, and how figures read."""

import json
import math

import pytest

from tests.conftest import RECORD
from tools.results import Results, duration, result_block
from tools.tasks import TaskError

RUN = RECORD | {"digest": "d", "shared": "s"}


@pytest.mark.parametrize(
    "content",
    [
        "<<<<<<< HEAD",
        [],
        {"stored": ["full"]},
        {"full": {}},
        {"full": RUN | {"colour": 1}},
        {"full": RUN | {"value": "3"}},
        {"full": RUN | {"baseline": {"name": "x"}}},
        {"full": RUN | {"flops": {"training": "many"}}},
        {"full": RUN | {"reference": "one\ntwo"}},
        {"full": RUN | {"data": "noise [free](https://x.org)"}},
        {"full": RUN | {"value": math.nan}},
        {"mutations": {"of": 1}},
        {"seeds": 3},
        {"seeds": {"digest": "d", "quick": [1, 2]}},
        {"unknown": {}},
        {"quick": RUN, "stored": "both"},
        {"extra": "x" * 30_000},
    ],
)
def test_odd_results_are_refused_in_a_sentence(repository, content):
    text = content if isinstance(content, str) else json.dumps(content)
    repository.task.results.write_text(text)
    with pytest.raises(TaskError, match="image_generation/tiny/results.json is not a record of"):
        Results.read(repository.task)


def test_what_is_written_is_read_again(repository):
    results = Results(full=RUN | {"mode": "full"}, stored="full")
    results.seeds = {"digest": "d", "quick": {"device": "CPU", "values": [1.0, 2.0]}}
    results.write(repository.task)
    assert Results.read(repository.task) == results
    assert results.of_code("d") == results and results.of_code("e") == Results()


def test_the_block_says_which_run_it_is_about(repository):
    repository.store(mode="full", device="NVIDIA GeForce RTX 4090", seconds=400.0, value=4.123456)
    text = result_block(Results.read(repository.task).shown)
    assert "**test error 4.123 %** on noise (full mode; baseline chance 90; reference: 5 in" in text
    assert "those of this **full run**, made on 2026-01-02 on NVIDIA GeForce RTX 4090 in" in text
    assert "7 min, 3 PFLOP, peak memory 0.5 GiB" in text and "last cell prints your figures" in text
    assert text in repository.task.read_notebook().cells[0].source


def test_durations_are_easy_to_read():
    assert [duration(x) for x in (24.4, 119, 400, 9000)] == ["24 s", "119 s", "7 min", "2.5 h"]
