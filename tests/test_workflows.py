"""The workflows: least permissions, pinned actions, the plan of shards; the issue forms."""

import importlib.util
import re

import pytest
import yaml

from tools.tasks import ROOT, all_tasks

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_least_permissions_and_pinned_actions(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job or "uses" in job, name
        assert "write-all" not in str(job.get("permissions")), name
    uses = re.findall(r"uses: (.+)", text)
    pinned = r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yml"
    assert all(re.fullmatch(pinned, line) for line in uses), uses
    assert "${{ github.event." not in text, "a stranger's text would reach a shell"
    assert "pull_request_target" not in text


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", ROOT / ".github" / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_task_is_in_one_newest_and_one_oldest_shard(plan):
    every = plan.tasks(ROOT)
    assert every == [task.path for task in all_tasks()]
    for oldest in (True, False):
        shards = [shard for shard in plan.shards(every) if shard["oldest"] == oldest]
        assert " ".join(shard["tasks"] for shard in shards).split() == every


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        (["image_generation/vae/vae.ipynb", "README.md"], ["image_generation/vae"]),
        (["docs/glossary.md"], []),
        (["common/data.py"], ["image_generation/gan", "image_generation/vae"]),
        (["image_generation/sample_quality.py"], ["image_generation/gan", "image_generation/vae"]),
    ],
)
def test_a_pull_request_runs_what_it_changes(plan, changed, chosen):
    assert plan.chosen(["image_generation/gan", "image_generation/vae"], changed) == chosen


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = [part for part in form["body"] if part["type"] != "markdown"]
    ids = [part["id"] for part in parts]
    assert {"name", "description", "body"} <= form.keys() and len(ids) == len(set(ids)) > 0
    assert all("label" in part["attributes"] for part in parts)
