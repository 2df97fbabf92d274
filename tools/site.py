"""Build the site, which shows every notebook with its stored outputs, from docs/, README.md and the tasks' folders.

    python -m tools.site                build it in build/site/html
    python -m tools.site --to FOLDER    build it in FOLDER/html

What the pages say of tasks comes from their notebooks and results.json, and their order from README.md, so a new task
appears by itself. Sphinx reads the pages from FOLDER/source, where this tool writes them complete. A warning is an
error. Nothing is fetched from the network, neither here nor by the pages.
"""

import argparse
import hashlib
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nbformat

from tools.readme import HEADER, generators, judged, known_hours, order, row, total
from tools.stamp import state
from tools.tasks import ROOT, Task, all_tasks, pictures

MARKER = re.compile(r"^(# )?<!-- (\w+) -->$", re.MULTILINE)
STRAND = re.compile(r"^- \*\*(.+?):\*\*((?:.|\n(?!\n|- |#))*)", re.MULTILINE)
NOTEBOOK = re.compile(r"\]\((\w+/(\w+))/\2\.ipynb\)")
LINK = re.compile(r"```.*?```|`[^`\n]*`|!\[[^\]]*\]\([^)]*\)|(?P<text>\[[^\[\]]*\])\((?P<target>[^()\s]+)\)", re.DOTALL)
SAMPLES = "none selected"  # how generators' notebooks describe their samples
MATHJAX = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"  # SHA-256 of es5/tex-svg.js
COLUMNS = ("Task", "Result (reference)", "Measured", "4090 hours", "Quick mode")
RUNS = {"full": "Full run", "quick": "Quick run", "stale": "Stale outputs: the code has changed since"}


class SiteError(RuntimeError):
    """The site cannot be built; the message says why and what to do."""


def mathjax() -> Path:
    """Return the file of MathJax 3.2.2 that draws formulas as SVG and needs no other file.

    It comes with the package sphinx-mathjax-offline and is, by its checksum, the one that MathJax publishes. Raises
    SiteError if it is missing or another.
    """
    try:
        package = distribution("sphinx-mathjax-offline")
    except PackageNotFoundError as error:
        raise SiteError("MathJax is not installed: run pip install -r docs/requirements.txt.") from error
    path = Path(package.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js"))
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != MATHJAX:
        raise SiteError(f"{path} is not MathJax 3.2.2: run pip install --force-reinstall -r docs/requirements.txt.")
    return path


def shown_tasks(root: Path = ROOT) -> list[Task]:
    """Return the tasks that have been run, in the order of the README's table."""
    return sorted((task for task in all_tasks(root) if task.results.exists()), key=order)


def strands(root: Path = ROOT) -> dict[str, list[Task]]:
    """Return the learning path: the strands of the README's list, then what it does not name."""
    left = {task.path: task for task in shown_tasks(root)}
    found = {}
    for name, text in STRAND.findall((root / "README.md").read_text(encoding="utf-8")):
        tasks = [left.pop(path) for path, _ in NOTEBOOK.findall(text) if path in left]
        if tasks:
            found[name] = tasks
    return found | ({"More": list(left.values())} if left else {})


def samples(task: Task) -> tuple[bytes, str] | None:
    """Return the picture of a generator's samples as (PNG, description); None if there is none."""
    return next(((image, alt) for image, alt, _ in pictures(task) if SAMPLES in alt), None)


def cover(task: Task) -> tuple[bytes, str] | None:
    """Return the picture that stands for a task: samples, else the first look inside, else the last picture."""
    found = list(pictures(task))
    drawn = [picture for picture in found if SAMPLES in picture[1]]
    inside = [picture for picture in found if picture[2].startswith("Look inside")]
    return next((picture[:2] for picture in (*drawn, *inside, *found[-1:])), None)


def picture_name(task: Task) -> str:
    """Return the name, without ending, of the files that hold a task's pictures."""
    return task.path.replace("/", ".")


def promise(task: Task) -> str:
    """Return what a notebook's title promises after the colon: "learn a code for digits, then draw new ones"."""
    return task.read_notebook().cells[0].source.partition("\n")[0].partition(": ")[2]


def repository() -> str | None:
    """Return the address of the repository's files on GitHub, None where it is not known."""
    name = os.environ.get("GITHUB_REPOSITORY")
    if not name and shutil.which("git"):
        asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True)
        match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?/?$", asked.stdout.strip())
        name = match and match[1]
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{name}/blob/main" if name else None


# The pages' parts, each the text that takes the place of <!-- NAME --> ----------------------------------------------


def parts(root: Path = ROOT) -> dict[str, str]:
    """Return what takes the place of the marker lines <!-- NAME --> in the pages of docs/, by name."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    found = re.match(r"# (?P<title>.+)\n\n(?P<introduction>(?:.|\n)+?)\n\n## Start\n", readme)
    commands = re.findall(r"^```sh\n.+?^```$", readme, re.MULTILINE | re.DOTALL)
    if not found or len(commands) < 2:
        raise SiteError("README.md must begin with title, introduction and ## Start with two commands (```sh).")
    tasks = shown_tasks(root)
    return found.groupdict() | {
        "run": commands[0],
        "test": commands[1],
        "path": path_diagram(strands(root)),
        "tasks": task_table(tasks) + f"\n\n{total(known_hours(tasks), len(tasks))}",
        "generators": generators(tasks),
        "samples": side_by_side([task for task in tasks if judged(task.read_stored())]),
        "contents": contents(strands(root), sorted(page.stem for page in (root / "docs").glob("*.md"))),
    }


def task_table(tasks: list[Task]) -> str:
    """Return those columns of the README's table that tell of results and cost."""
    lines = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in [*HEADER.splitlines(), *map(row, tasks)]]
    kept = [lines[0].index(name) for name in COLUMNS]
    return "\n".join("| " + " | ".join(cells[index] for index in kept) + " |" for cells in lines)


def path_diagram(learning_path: dict[str, list[Task]]) -> str:
    """Return the learning path as HTML: one list for each strand, whose boxes link to the notebooks."""
    lines = ['<nav class="path" aria-label="Learning path">']
    for number, (name, tasks) in enumerate(learning_path.items(), 1):
        lines += ["<section>", f'<p id="strand-{number}">{html.escape(name)}</p>']
        lines.append(f'<ol aria-labelledby="strand-{number}">')
        for task in tasks:
            image = cover(task)
            lines.append(f'<li><a href="{task.path}/{task.name}.html">')
            name = html.escape(task.read_stored()["task"])
            lines.append(f"<strong>{name}</strong> <span>{html.escape(promise(task))}</span>")
            if image:
                lines.append(f'<img src="_static/{picture_name(task)}.png" alt="{html.escape(image[1])}">')
            lines.append("</a></li>")
        lines.append("</ol></section>")
    return "\n".join([*lines, "</nav>"])


def side_by_side(tasks: list[Task]) -> str:
    """Return the samples of several generators in one figure, as HTML, each with its figures."""
    lines = ['<figure class="side-by-side">']
    for task in tasks:
        image, entry = samples(task), task.read_stored()
        figures = judged(entry)
        numbers = ", ".join(f"{name} {figures[name]:.3g}" for name in ("FD-c", "precision", "recall"))
        name = f'<a href="{task.path}/{task.name}.html">{html.escape(entry["task"])}</a>'
        lines.append(f"<div><p><strong>{name}</strong><br>{numbers}<br>{entry['mode']} run, {entry['data']}</p>")
        if image:
            lines.append(f'<img src="_static/{picture_name(task)}.samples.png" alt="{html.escape(image[1])}">')
        lines.append("</div>")
    lines.append(
        "<figcaption>From the stored outputs of the notebooks; no sample was selected for its looks.</figcaption>"
    )
    return "\n".join([*lines, "</figure>"])


def contents(learning_path: dict[str, list[Task]], pages: list[str]) -> str:
    """Return the tables of contents, which make the sidebar and the way from page to page."""
    first, last = ["reading"], ["generators", "glossary", "contributing"]
    rest = [page for page in pages if page not in ("index", *first, *last)]
    blocks = {"": first}
    for name, tasks in learning_path.items():
        blocks[name] = [f"{task.read_stored()['task']} <{task.path}/{task.name}>" for task in tasks]
    blocks["Beside the notebooks"] = [*last[:1], *rest, *last[1:]]
    return "\n\n".join(
        "```{toctree}\n:hidden:\n" + (f":caption: {name}\n" if name else "") + "\n" + "\n".join(lines) + "\n```"
        for name, lines in blocks.items()
    )


def facts(task: Task, learning_path: dict[str, list[Task]], address: str | None) -> str:
    """Return the line below a notebook's title, as HTML: which run, on what and when; place on the path; files."""
    entry, notebook = task.read_stored(), f"{task.name}.ipynb"
    run = state(task.read_notebook())
    name, tasks = next((name, tasks) for name, tasks in learning_path.items() if task in tasks)
    said = [
        f'<strong class="run {run.split()[0]}">{RUNS.get(run, "No stored outputs")}</strong>',
        f"{html.escape(entry['device'])}, {entry['date']}",
        f"{html.escape(name)}, {tasks.index(task) + 1} of {len(tasks)}",
        f'<a href="{notebook}" download>Download {notebook}</a>',
    ]
    if address:
        said.append(f'<a href="{address}/{task.path}/{notebook}">Source</a>')
    return f'<p class="facts">{" <span>·</span> ".join(said)}</p>'


# Pages ---------------------------------------------------------------------------------------------------------------


def placed(page: str) -> str:
    """Return where a page stands in the site: those of docs/ and CONTRIBUTING.md at the top."""
    return posixpath.basename(page).lower() if page.endswith(".md") else page


def mend_links(text: str, page: str, pages: set[str], address: str | None, root: Path = ROOT) -> str:
    """Return the Markdown of a page with the links that it needs in the site.

    Links to other `pages` (paths in the repository) lead to their places; links to other files of the repository lead
    to GitHub, or become plain text where its `address` is not known. Raises SiteError for links that lead nowhere.
    """

    def mended(match):
        target = match["target"]
        if target is None or re.match(r"#|[a-z]+:", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        if path in pages:
            there = posixpath.relpath(placed(path), posixpath.dirname(placed(page)) or ".")
            return f"{match['text']}({there}{mark}{anchor})"
        if not (root / path).exists():
            raise SiteError(f"{page}: the link {target} leads nowhere.")
        return f"{match['text']}({address}/{path}{mark}{anchor})" if address else match["text"][1:-1]

    return LINK.sub(mended, text)


def stage(folder: Path, root: Path = ROOT) -> tuple[str, dict[str, str]]:
    """Write the pages as Sphinx reads them to `folder`/source and the pictures between them to `folder`/static.

    Returns the site's title and the description of each picture in the notebooks by the SHA-256 of its bytes.
    """
    tasks, learning_path, address, filled = shown_tasks(root), strands(root), repository(), parts(root)
    pages = {f"{task.path}/{task.name}.ipynb" for task in tasks} | {"CONTRIBUTING.md"}
    pages |= {f"docs/{page.name}" for page in (root / "docs").glob("*.md")}
    filled["introduction"] = mend_links(filled["introduction"], "README.md", pages, address, root)
    files, alts = {f"source/{page.name}": page.read_bytes() for page in (root / "docs").glob("*.[ps][nv]g")}, {}
    for name in sorted(page for page in pages if page.endswith(".md")):
        text = mend_links((root / name).read_text(encoding="utf-8"), name, pages, address, root)
        text = MARKER.sub(lambda match: (match[1] or "") + filled.get(match[2], match[0]), text)
        files[f"source/{placed(name)}"] = text.encode()
    for task in tasks:
        notebook, name = task.read_notebook(), f"{task.path}/{task.name}.ipynb"
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = mend_links(cell.source, name, pages, address, root)
        head, _, rest = notebook.cells[0].source.partition("\n")
        notebook.cells[0].source = f"{head}\n\n{facts(task, learning_path, address)}\n{rest}"
        files[f"source/{name}"] = nbformat.writes(notebook).encode()
        alts |= {hashlib.sha256(image).hexdigest(): alt for image, alt, _ in pictures(task)}
        for kind, picture in (("", cover(task)), (".samples", samples(task))):
            if picture:
                files[f"static/{picture_name(task)}{kind}.png"] = picture[0]
    for name in ("source", "static"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return filled["title"], alts


def build(folder: Path, root: Path = ROOT) -> Path:
    """Build the site in `folder`/html and return its start page; raises SiteError if anything is wrong."""
    try:
        from sphinx.application import Sphinx
        from sphinx.errors import SphinxError
    except ModuleNotFoundError as error:
        raise SiteError("Sphinx is not installed: run pip install -r docs/requirements.txt.") from error
    if not (root / "docs" / "conf.py").exists():
        raise SiteError("There is no docs/conf.py: the site is built on the branch main.")
    folder = folder.resolve()
    title, alts = stage(folder, root)
    shutil.rmtree(folder / "html", ignore_errors=True)
    settings = {"html_static_path": [str(root / "docs" / "static"), str(folder / "static"), str(mathjax())]}
    settings["project"] = settings["html_title"] = title
    places = (folder / "source", root / "docs", folder / "html", folder / "doctrees")
    try:
        app = Sphinx(*map(str, places), "html", settings, status=None, freshenv=True, warningiserror=True)
        app.connect("doctree-read", lambda app, doctree: describe(doctree, alts))
        app.connect("html-page-context", complete, priority=900)  # after the theme
        app.build()
    except SphinxError as error:
        raise SiteError(f"Sphinx: {error}") from error
    if app.statuscode:
        raise SiteError("Sphinx warned of what is printed above; a warning is an error here.")
    for task in shown_tasks(root):
        shutil.copy(task.notebook, folder / "html" / task.path)
    return folder / "html" / "index.html"


def describe(doctree, alts: dict[str, str]) -> None:
    """Give each picture of a notebook its description, and take the empty heads off tables of facts.

    myst-nb, which knows nothing of the descriptions, names a picture's file by the SHA-256 of its bytes.
    """
    from docutils import nodes

    for image in doctree.findall(nodes.image):
        image.setdefault("alt", alts.get(Path(image["uri"]).stem, ""))
    for head in list(doctree.findall(nodes.thead)):
        if not head.astext().strip():
            head.parent.remove(head)


def complete(app, page: str, template: str, context: dict, doctree) -> None:
    """Say of which level the headings in the sidebar are, which the theme leaves out."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=root / "build" / "site", metavar="FOLDER", help="where to build it")
    options = parser.parse_args(arguments)
    try:
        page = build(options.to, root)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The site is built. Open {page.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
