"""The workflows: least permissions, pinned actions, the plan of shards; the issue forms."""

import importlib.util
import os
import re
import subprocess

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
    ours = text.replace("${{ github.event.workflow_run.head_sha }}", "")
    assert "${{ github.event." not in ours, "a stranger's text would reach a shell"
    assert "pull_request_target" not in text and "${{ secrets" not in text
    if path.name == "publish.yml":
        checkouts = [
            s for j in workflow["jobs"].values() for s in j["steps"] if "checkout" in str(s)
        ]
        for step in checkouts:
            assert step["with"]["ref"] == "${{ github.event.workflow_run.head_sha }}"


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", ROOT / ".github" / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_task_is_in_one_shard_and_weekly_in_an_oldest_one(plan):
    every = plan.tasks(ROOT)
    assert every == [task.path for task in all_tasks()]
    assert not any(shard["oldest"] for shard in plan.shards(every))
    for oldest in (True, False):
        shards = [shard for shard in plan.shards(every, True) if shard["oldest"] == oldest]
        assert " ".join(shard["tasks"] for shard in shards).split() == every


VAE, GAN, GPT = "image_generation/vae", "image_generation/gan", "text_generation/gpt"


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        (f"{VAE}/vae.ipynb", [VAE]),
        ("README.md requirements.txt docs/glossary.md tests/test_run.py tools/new.py", []),
        (".github/ISSUE_TEMPLATE/bug.yml benchmarks/vae.py", []),
        ("common/data.py", [GAN, VAE, GPT]),
        ("tools/stamp.py", [GAN, VAE, GPT]),
        ("image_generation/sample_quality.py", [GAN, VAE]),
        (f"{GPT}/train_distributed.py", [GPT]),
    ],
)
def test_a_pull_request_runs_what_it_changes(plan, changed, chosen):
    assert plan.chosen([GAN, VAE, GPT], changed.split()) == chosen


def test_publishing_writes_the_practice_versions_to_a_branch_of_their_own(tmp_path):
    """The steps of the workflow, in a clone, with a folder in the place of GitHub."""
    for command in (["clone", "-q", str(ROOT), "clone"], ["init", "-q", "--bare", "published"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    *_, write, push = workflow["jobs"]["practice"]["steps"]
    address = '"https://x-access-token:$TOKEN@github.com/$GITHUB_REPOSITORY"'
    assert address in push["run"] and list(push["env"]) and "TOKEN" not in str(write)
    local = push["run"].replace(address, "../published")
    script = f"set -e\n{write['run'].replace('pip install nbformat && ', '')}\n{local}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | push["env"]
    for _ in range(2):  # it replaces the branch of the last time
        subprocess.run(["bash", "-c", script], cwd=tmp_path / "clone", env=environment, check=True)
        subprocess.run(["rm", "-r", "practice"], cwd=tmp_path / "clone", check=True)
    listed = ["git", "-C", "published", "ls-tree", "--name-only", "practice"]
    files = subprocess.run(listed, cwd=tmp_path, capture_output=True, text=True).stdout.split()
    names = [
        task.notebook.name for task in all_tasks(tmp_path / "clone") if "practice" in task.facts()
    ]
    assert files == sorted(names)


def test_ci_fails_where_the_sandbox_is_missing():
    script = (ROOT / ".ci" / "run").read_text()
    assert "export REQUIRE_SANDBOX=1" in script and "bubblewrap" in script
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert "bash .ci/run tests" in text
