"""Build the site, which shows every notebook with its stored outputs; docs/conf.py says how.

    python -m tools site                build it in build/site
    python -m tools site --to FOLDER    build it in FOLDER, a new or empty one or an earlier site

Nothing is fetched from the network, neither here nor by the pages. A warning is an error, and so is
a notebook whose text is more than Markdown.
"""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import practice
from tools.check import markdown
from tools.command import Parser, explained
from tools.tables import cover
from tools.tasks import ROOT, Task, TaskError, all_tasks, write_notebook

MARK = ".built-by-tools-site"  # a file in every folder that this tool may replace
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def require_markdown(task: Task) -> None:
    """Raise TaskError if a notebook's text holds what would run or load on the site."""
    for number, cell in enumerate(task.read_notebook().cells, 1):
        text = cell.source if cell.cell_type == "markdown" else ""
        for finding in markdown(text, task.folder, number == 1):
            raise TaskError(f"{task.path}/{task.name}.ipynb, cell {number}: {finding}")


def build(folder: Path, root: Path = ROOT) -> Path:
    """Build the site in `folder` and return its start page; raises TaskError if that fails.

    An earlier site is removed when the new one is complete.
    """
    folder = folder.resolve()
    others = folder.is_file() or folder.exists() and any(folder.iterdir())
    if others and not (folder / MARK).exists():
        raise TaskError(f"{folder} holds files that are not this tool's; name a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"{folder} cannot be made: {error.strerror}.") from error
    for task in all_tasks(root):
        require_markdown(task)
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary) / "site"
        # by its own command, since only that reads docs/docutils.conf
        command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fresh-env", "--quiet"]
        command += ["--fail-on-warning", "--conf-dir=docs", f"--doctree-dir={temporary}"]
        command += [".", str(new)]
        done = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, encoding="utf-8")
        if done.returncode:
            raise TaskError(f"Sphinx did not build the site:\n{done.stderr[-3000:].strip()}")
        for task in all_tasks(root):
            shutil.copy(task.notebook, new / task.path)
            if task.facts().get("practice"):
                version, _ = practice.build(task)
                write_notebook(new / task.path / f"{task.name}.practice.ipynb", version)
            if image := cover(task):
                (new / "_static" / f"{task.name}.png").write_bytes(image)
        add_policy(new)
        shutil.copy(new / "README.html", new / "index.html")
        for name in (".nojekyll", MARK):
            (new / name).touch()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(new, folder)
    return folder / "index.html"


def add_policy(folder: Path) -> None:
    """Forbid every page to load from other servers, and every script but the theme's own.

    Inline scripts of theme and formulas are allowed by their hashes, taken from the pages that are
    no notebooks.
    """
    ours = [folder / "CONTRIBUTING.html", *(folder / "docs").glob("*.html")]
    scripts = [text for page in ours for text in SCRIPT.findall(page.read_text(encoding="utf-8"))]
    digests = (hashlib.sha256(script.encode()).digest() for script in dict.fromkeys(scripts))
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    rules = (
        f"default-src 'none'; script-src 'self' file: {hashes}; style-src 'self' file: "
        "'unsafe-inline'; img-src 'self' file: data:; font-src 'self' file: data:; "
        "connect-src 'self' file:; form-action 'self' file:; base-uri 'none'"
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("<head>", f"<head>{policy}", 1), encoding="utf-8")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = Parser("site", __doc__)
    default = root / "build" / "site"
    parser.add_argument("--to", type=Path, default=default, metavar="FOLDER", help="where to build")
    page = build(parser.parse_args(arguments).to, root)
    print(f"The site is built. Open {page.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(explained(main))
