"""Sphinx's settings for the site, whose source folder is the repository's root.

Build it with `python -m tools site`. Pages appear as they stand in the repository; the hooks below
add what a site has and a repository lacks: navigation, pictures of the learning path, links to
Colab, folded plotting code.
"""

import ast
import hashlib
import html
import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.check import reading_minutes  # noqa: E402
from tools.stamp import state  # noqa: E402
from tools.tables import cover  # noqa: E402
from tools.tasks import REPOSITORY, Task, learning_path  # noqa: E402

MATHJAX = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"  # of tex-svg.js, 3.2.2
README = (ROOT / "README.md").read_text(encoding="utf-8")
STRANDS = learning_path(ROOT)
TASKS = [task for tasks in STRANDS.values() for task in tasks]
TOCTREE = "\n\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```"

project = html_title = re.match(r"# (.+)", README)[1]
language = "en"
root_doc = "README"
pages = ["CONTRIBUTING", *(f"docs/{page.stem}" for page in sorted((ROOT / "docs").glob("*.md")))]
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/*.md"]
include_patterns += [f"{task.path}/{task.name}.ipynb" for task in TASKS]
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton"]

nb_execution_mode = "off"  # the stored outputs are shown
nb_merge_streams = True
nb_code_prompt_show = "Show the plotting code"
nb_code_prompt_hide = "Hide the plotting code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.mathjax", "myst.header"]
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"scale": 0.95}}

html_theme = "furo"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00619a",
        "color-brand-content": "#00619a",
        "color-code-background": "#f3f4f6",
    },
    "dark_css_variables": {"color-brand-primary": "#7cc4f4", "color-brand-content": "#7cc4f4"},
}
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_use_index = False
html_copy_source = False
html_show_copyright = False
copybutton_selector = "div.cell_input div.highlight pre, div.highlight-sh pre"


# the one file of MathJax 3.2.2 that draws formulas as SVG and needs no other
package = distribution("sphinx-mathjax-offline")
tex_svg = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js")))
if not tex_svg.exists() or hashlib.sha256(tex_svg.read_bytes()).hexdigest() != MATHJAX:
    raise RuntimeError(f"{tex_svg} is not MathJax 3.2.2; install requirements-dev.txt anew.")
html_static_path = ["static", str(tex_svg)]


def read_source(app, page: str, source: list[str]) -> None:
    """Change a page's source on its way into Sphinx."""
    if page == "README":
        before, _, rest = source[0].partition("<!-- path -->")
        source[0] = before + path_cards() + rest.partition("<!-- /path -->")[2]
        source[0] += navigation()
    for task in TASKS:
        if page == f"{task.path}/{task.name}":
            source[0] = nbformat.writes(site_notebook(task))


def path_cards() -> str:
    """Return the learning path as HTML: a list of boxes with pictures for each strand."""
    lines = ['<nav class="path" aria-label="Learning path">']
    for number, (strand, tasks) in enumerate(STRANDS.items(), 1):
        lines += ["<section>", f'<p id="strand-{number}">{html.escape(strand)}</p>']
        lines.append(f'<ol aria-labelledby="strand-{number}">')
        for task in tasks:
            facts = task.facts()
            title = html.escape(facts.get("title", task.name))
            promise = html.escape(facts.get("summary", ""))
            image = f'<img src="_static/{task.name}.png" alt="">' if cover(task) else ""
            link = f"{task.path}/{task.name}.html"
            text = f"<strong>{title}</strong> <span>{promise}</span>"
            lines.append(f'<li><a href="{link}">{image}{text}</a></li>')
        lines += ["</ol>", "</section>"]
    return "\n".join([*lines, "</nav>"])


def navigation() -> str:
    """Return the tables of contents that make the sidebar."""
    text = ""
    for caption, tasks in STRANDS.items():
        entries = [f"{task.facts()['title']} <{task.path}/{task.name}>" for task in tasks]
        text += TOCTREE.format(caption, "\n".join(entries))
    return text + TOCTREE.format("About", "\n".join(pages))


def site_notebook(task: Task) -> nbformat.NotebookNode:
    """Return a notebook with links below its title, folded plotting code and picture texts.

    Of its metadata only kernel and language stay, of its outputs only text and PNG pictures.
    """
    notebook = task.read_notebook()
    for key in notebook.metadata.keys() - {"kernelspec", "language_info"}:
        del notebook.metadata[key]
    for cell in notebook.cells:
        cell.metadata = {}
        cell.pop("attachments", None)
        alts = [alt for output in cell.get("outputs", []) for alt in safe_output(output)]
        if alts:
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(alts)}}
        if alts and only_plots(cell.source):
            cell.metadata["tags"] = ["hide-input"]
    if exercises := task.facts().get("exercises"):  # our solutions of those that ask for code
        parts = [f"# Exercise {entry['exercise']}\n{entry['solution']}" for entry in exercises]
        show, hide = "Show our solutions", "Hide our solutions"
        prompts = {"code_prompt_show": show, "code_prompt_hide": hide}
        metadata = {"tags": ["hide-input"], "mystnb": prompts}
        solutions = nbformat.v4.new_code_cell("\n\n".join(parts), metadata=metadata)
        notebook.cells.insert(-1, solutions)
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{links(task)}\n{rest}"
    return notebook


def safe_output(output: dict) -> list[str]:
    """Take everything but text and PNG pictures out of an output; return the pictures' texts."""
    picture = output.get("metadata", {}).get("image/png", {})
    if "data" in output:
        kept = ("image/png", "text/plain")
        output["data"] = {kind: output["data"][kind] for kind in kept if kind in output["data"]}
        output["metadata"] = {}
    return [str(picture.get("alt", ""))] if "image/png" in output.get("data", {}) else []


def links(task: Task) -> str:
    """Return the line below a notebook's title: which run, how long to read, where to open it."""
    path = f"{task.path}/{task.name}.ipynb"
    colab = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
    notebook = task.read_notebook()
    run = state(notebook, task.folder, ROOT)
    run = {"full": "Full run", "quick": "Quick run"}.get(run.partition(",")[0], "No stored run")
    parts = [
        f"**{run}**",
        f"{reading_minutes(notebook)} minutes to read",
        f"[Open in Colab]({colab}/blob/main/{path})",
        f"[Source]({REPOSITORY}/blob/main/{path})",
        f'<a href="{task.name}.ipynb" download>Download</a>',
    ]
    if task.facts().get("practice"):
        practice = f"{task.name}.practice.ipynb"
        parts.append(f"[Practice in Colab]({colab}/blob/practice/{task.name}.ipynb)")
        parts.append(f'<a href="{practice}" download>Download the practice version</a>')
    return " · ".join(parts)


def only_plots(source: str) -> bool:
    """Return whether a cell only draws: a figure, but no definition, training or test."""
    taught = (ast.FunctionDef, ast.ClassDef, ast.Assert)
    if any(isinstance(node, taught) for node in ast.walk(ast.parse(source))):
        return False
    draws = "plt." in source and ("show" in source or "plot_curves" in source)
    return draws and "backward()" not in source


def complete(app, page: str, template: str, context: dict, doctree) -> None:
    """Give the headings of the sidebar their level, which the theme leaves out."""
    tree = context.get("furo_navigation_tree", "")
    heading = 'role="heading"'
    context["furo_navigation_tree"] = tree.replace(heading, f'{heading} aria-level="2"')


def setup(app) -> None:
    """Connect the hooks."""
    app.connect("source-read", read_source, priority=100)
    app.connect("html-page-context", complete, priority=900)  # after the theme
