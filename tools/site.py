"""Build the site, which shows every notebook with its stored outputs; docs/conf.py says how.

    python -m tools.site                build it in build/site
    python -m tools.site --to FOLDER    build it in FOLDER, a new or empty one or an earlier site

Nothing is fetched from the network, neither here nor by the pages. A warning is an error.
"""

import base64
import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tools.readme import cover
from tools.tasks import ROOT, Parser, TaskError, all_tasks

MARK = ".built-by-tools-site"  # a file in every folder that this tool may replace
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class SiteError(RuntimeError):
    """The site cannot be built; the message says why and what to do."""


def build(folder: Path, root: Path = ROOT) -> Path:
    """Build the site in `folder` and return its start page; raises SiteError if that fails."""
    try:
        from sphinx.application import Sphinx
        from sphinx.errors import SphinxError
    except ModuleNotFoundError as error:
        message = "Sphinx is not installed: run pip install -r requirements-dev.txt."
        raise SiteError(message) from error
    if not (root / "docs" / "conf.py").exists():
        raise SiteError("There is no docs/conf.py: the site is built on the branch main.")
    folder = folder.resolve()
    if folder.is_file() or (
        folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists()
    ):
        raise SiteError(f"{folder} holds files that are not this tool's; name a new folder.")
    with tempfile.TemporaryDirectory() as temporary:
        covers = Path(temporary) / "covers"
        covers.mkdir()
        for task in all_tasks(root):
            if image := cover(task):
                (covers / f"{task.name}.png").write_bytes(image)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / MARK).touch()
        try:
            app = Sphinx(
                str(root),
                str(root / "docs"),
                str(folder),
                temporary,
                "html",
                status=None,
                freshenv=True,
                warningiserror=True,
            )
            app.config.html_static_path.append(str(covers))
            app.build()
        except (SphinxError, RuntimeError) as error:
            raise SiteError(f"Sphinx: {error}") from error
    if app.statuscode:
        raise SiteError("Sphinx warned of what is printed above; a warning is an error here.")
    for task in all_tasks(root):
        shutil.copy(task.notebook, folder / task.path)
    add_policy(folder)
    shutil.copy(folder / "README.html", folder / "index.html")
    (folder / ".nojekyll").touch()
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
    parser = Parser("tools.site", __doc__)
    default = root / "build" / "site"
    parser.add_argument("--to", type=Path, default=default, metavar="FOLDER", help="where to build")
    try:
        page = build(parser.parse_args(arguments).to, root)
    except (SiteError, TaskError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The site is built. Open {page.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
