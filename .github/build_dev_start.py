"""Build the branch dev_start, from which new tasks begin: one commit without the other tasks.

    python .github/build_dev_start.py           from main
    python .github/build_dev_start.py BRANCH    from another branch or commit

It holds common, tools, the tests that apply there, CONTRIBUTING.md and a README.md with the names
that are taken. The checkout is not touched. If nothing changed, the branch stays as it is.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = re.compile(
    r"(common|tools|tests)/.*|\w+/README\.md|\.git\w+|CONTRIBUTING\.md|LICENSE|conftest\.py"
    r"|pyproject\.toml|requirements(-dev)?\.txt"
)
LEFT_OUT = re.compile(  # what needs the notebooks and their helpers, the workflows or the site
    r"tests/test_(benchmarks|dev_start|distributed|feature_quality|notebooks|readme)\.py"
    r"|tests/test_(sample_quality|sentence_pairs|site|workflows)\.py"
    r"|tools/site\.py"
)
MOST_BYTES = 1_000_000
README = """# Deep Learning in N 4090 Hours: begin a task here

This branch holds what a new task needs and nothing else: [CONTRIBUTING.md](CONTRIBUTING.md) leads
from here to a submitted task. The notebooks are on the branch `main`, so far these:

{tasks}

This file is written anew with each change of `main`.
"""


def git(*arguments: str, text: str | None = None, **environment: str) -> str:
    """Return what a git command prints; `text` is its input. Raises CalledProcessError."""
    done = subprocess.run(
        ["git", *arguments],
        input=text,
        env=os.environ | environment,
        encoding="utf-8",
        check=True,
        stdout=subprocess.PIPE,
    )
    return done.stdout.strip()


def build(source: str = "main") -> str:
    """Point the branch dev_start to the commit built from `source`; return a sentence about it.

    Raises ValueError if the branch would be too large, CalledProcessError if git fails.
    """
    files = {}  # path: mode and blob
    for entry in git("ls-tree", "-r", "-z", "--full-tree", source).split("\0"):
        if entry:
            about, _, path = entry.partition("\t")
            mode, _, blob = about.split()
            files[path] = f"{mode} {blob}"
    notebooks = [path for path in files if re.fullmatch(r"\w+/(\w+)/\1\.ipynb", path)]
    kept = {
        path: entry
        for path, entry in files.items()
        if KEPT.fullmatch(path) and not LEFT_OUT.fullmatch(path)
    }
    requirements = git("show", f"{source}:requirements.txt") + "\n"
    requirements = re.sub(r"^-r (?!common/).*\n", "", requirements, flags=re.MULTILINE)
    readme = README.format(tasks="\n".join(f"- `{path}`" for path in notebooks) or "- none")
    for path, text in (("README.md", readme), ("requirements.txt", requirements)):
        kept[path] = f"100644 {git('hash-object', '-w', '--stdin', text=text)}"

    blobs = "\n".join(entry.split()[1] for entry in kept.values())
    size = sum(map(int, git("cat-file", "--batch-check=%(objectsize)", text=blobs).split()))
    if size > MOST_BYTES:
        raise ValueError(f"dev_start would have {size:,} bytes, more than {MOST_BYTES:,}.")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        listed = "".join(f"{entry}\t{path}\n" for path, entry in kept.items())
        git("update-index", "--index-info", text=listed, **index)
        tree = git("write-tree", **index)
    for name in ("dev_start", "origin/dev_start"):
        command = ["git", "rev-parse", "--quiet", "--verify", f"{name}^{{tree}}"]
        if subprocess.run(command, capture_output=True, text=True).stdout.strip() == tree:
            commit, said = git("rev-parse", name), "is up to date"
            break
    else:
        name, email, date = git("log", "-1", "--format=%an%n%ae%n%aI", source).split("\n")
        identity = {}
        for who in ("AUTHOR", "COMMITTER"):
            values = {"NAME": name, "EMAIL": email, "DATE": date}
            identity |= {f"GIT_{who}_{key}": value for key, value in values.items()}
        commit, said = git("commit-tree", tree, "-m", "Begin a task here", **identity), "was built"
    git("branch", "--force", "dev_start", commit)
    return f"dev_start {said}: {len(kept)} files, {size / 1000:.0f} kB, commit {commit[:10]}."


if __name__ == "__main__":
    try:
        print(build(*sys.argv[1:2]))
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
