"""Build the branch dev_start, from which new tasks are begun: a single commit without the notebooks of other tasks.

    python .github/build_dev_start.py           from main
    python .github/build_dev_start.py BRANCH    from another branch or commit

It holds common, tools, the tests that apply there, CONTRIBUTING.md and a README.md that lists the names taken. The
checkout and its index are not touched. If nothing has changed, dev_start (or else origin/dev_start) stays as it is.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = re.compile(
    r"(common|tools|tests(?!/benchmarks))/.*|\.git\w+"
    r"|CONTRIBUTING\.md|LICENSE|conftest\.py|pyproject\.toml|requirements\.txt"
)
LEFT_OUT = {  # tests of what only main has: the VAE, the table of tasks, .github, the site, the benchmarks
    *("tests/test_sabotage.py", "tests/test_readme.py", "tests/test_dev_start.py", "tests/test_workflows.py"),
    *("tests/test_site.py", "tools/site.py", "tests/test_benchmarks.py"),
}
MOST_BYTES = 1_000_000
README = """# Deep Learning in N 4090 Hours: begin a task here

This branch holds what a new task needs and nothing else: [CONTRIBUTING.md](CONTRIBUTING.md) leads from here to a
submitted task. The notebooks are on the branch `main`, so far these:

{tasks}

The file is written anew with each change of `main`.
"""


def git(*arguments: str, text: str | None = None, **environment: str) -> str:
    """Return what a git command prints; `text` is its standard input. Raises CalledProcessError if it fails."""
    options = {"input": text, "env": os.environ | environment, "encoding": "utf-8", "check": True}
    return subprocess.run(["git", *arguments], stdout=subprocess.PIPE, **options).stdout.strip()


def build(source: str = "main") -> str:
    """Point the branch dev_start to the commit built from `source`; return a sentence that says what was done.

    Raises ValueError if the branch would be too large, CalledProcessError if git fails.
    """
    files = {}  # path: mode and blob
    for entry in git("ls-tree", "-r", "-z", "--full-tree", source).split("\0"):
        if entry:
            (mode, _, blob), path = entry.partition("\t")[0].split(), entry.partition("\t")[2]
            files[path] = f"{mode} {blob}"
    notebooks = [path for path in files if re.fullmatch(r"\w+/(\w+)/\1\.ipynb", path)]
    kept = {path: entry for path, entry in files.items() if KEPT.fullmatch(path) and path not in LEFT_OUT}
    requirements = re.sub(r"^-r .*\n", "", git("show", f"{source}:requirements.txt") + "\n", flags=re.MULTILINE)
    readme = README.format(tasks="\n".join(f"- `{path}`" for path in notebooks) or "- none")
    for path, text in (("README.md", readme), ("requirements.txt", requirements)):
        kept[path] = f"100644 {git('hash-object', '-w', '--stdin', text=text)}"

    sizes = git("cat-file", "--batch-check=%(objectsize)", text="\n".join(kept[path].split()[1] for path in kept))
    size = sum(map(int, sizes.split()))
    if size > MOST_BYTES:
        raise ValueError(f"dev_start would have {size:,} bytes; at most {MOST_BYTES:,} are allowed.")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git("update-index", "--index-info", text="".join(f"{kept[path]}\t{path}\n" for path in kept), **index)
        tree = git("write-tree", **index)
    for name in ("dev_start", "origin/dev_start"):
        old = subprocess.run(["git", "rev-parse", "--quiet", "--verify", f"{name}^{{tree}}"], capture_output=True)
        if old.stdout.decode().strip() == tree:
            commit, said = git("rev-parse", name), "is up to date"
            break
    else:
        name, email, date = git("log", "-1", "--format=%an%n%ae%n%aI", source).split("\n")
        author = {"NAME": name, "EMAIL": email, "DATE": date}
        identity = {f"GIT_{who}_{key}": author[key] for who in ("AUTHOR", "COMMITTER") for key in author}
        commit, said = git("commit-tree", tree, "-m", "Begin a task here", **identity), "was built"
    git("branch", "--force", "dev_start", commit)
    return f"dev_start {said}: {len(kept)} files, {size / 1000:.0f} kB, commit {commit[:10]}."


if __name__ == "__main__":
    try:
        print(build(*sys.argv[1:2]))
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
