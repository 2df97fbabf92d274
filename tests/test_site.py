"""The site: what is derived from README and notebooks, and every page in a headless browser with the network cut.

The browser tests need Chromium and chromedriver; without them they are skipped, or fail if REQUIRE_BROWSER is set.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tools import site
from tools.tasks import ROOT

TASKS = {task.name: f"{task.path}/{task.name}.html" for task in site.shown_tasks()}
DOCS = [f"{page.stem}.html" for page in sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCS, "contributing.html", *TASKS.values()]
README = """# Deep Learning in N 4090 Hours

Introduction.

## Start

```sh
run
```

```sh
pytest
```

## Where to begin

- **Strand:** [Tiny](image_generation/tiny/tiny.ipynb) →
  [Gone](image_generation/gone/gone.ipynb)
"""


@pytest.fixture
def small(repository):
    """A repository with one task, which has been run, a README and one page."""
    repository.store(
        task="Tiny & small", data="noise", extra={"FD-c": 1.0, "precision": 0.5, "recall": 0.25, "evaluations": 1}
    )
    notebook = repository.task.read_notebook()
    notebook.cells[5].outputs[-1].data["image/png"] = "iVBORw0KGgo="
    repository.write(notebook)
    (repository.root / "README.md").write_text(README)
    (repository.root / "CONTRIBUTING.md").write_text("# Contributing\n\n[Read this](README.md).\n")
    (repository.root / "docs").mkdir()
    (repository.root / "docs" / "index.md").write_text("# <!-- title -->\n\n<!-- path -->\n\n<!-- contents -->\n")
    return repository


def test_a_new_task_appears_by_itself(small, tmp_path):
    for name in ("new", "unfinished"):
        shutil.copytree(small.task.folder, small.root / "image_generation" / name)
        (small.root / "image_generation" / name / "tiny.ipynb").rename(
            small.root / "image_generation" / name / f"{name}.ipynb"
        )
    (small.root / "image_generation" / "unfinished" / "results.json").unlink()
    assert {name: [task.name for task in tasks] for name, tasks in site.strands(small.root).items()} == {
        "Strand": ["tiny"],
        "More": ["new"],
    }
    site.stage(tmp_path / "site", small.root)
    page = (tmp_path / "site" / "source" / "index.md").read_text(encoding="utf-8")
    assert page.startswith("# Deep Learning in N 4090 Hours\n")
    assert '<a href="image_generation/new/new.html">' in page and "<strong>Tiny &amp; small</strong>" in page
    assert ":caption: Strand\n\nTiny & small <image_generation/tiny/tiny>\n" in page and "unfinished" not in page


def test_the_line_below_the_title(small):
    learning_path = site.strands(small.root)
    line = site.facts(small.task, learning_path, "https://github.com/a/b/blob/main")
    assert '<strong class="run quick">Quick run</strong>' in line and "CPU, 2 cores" in line and "1 of 1" in line
    assert '<a href="tiny.ipynb" download>' in line
    assert 'href="https://github.com/a/b/blob/main/image_generation/tiny/tiny.ipynb">Source</a>' in line
    assert "Source" not in site.facts(small.task, learning_path, None)
    notebook = small.task.read_notebook()
    notebook.cells[3].source = "steps = 7"
    small.write(notebook)
    assert "Stale outputs" in site.facts(small.task, learning_path, None)


@pytest.mark.parametrize(
    "page, link, address, wanted",
    [
        ("docs/a.md", "[b](b.md#c)", None, "[b](b.md#c)"),
        ("docs/a.md", "[x](../g/x/x.ipynb#y)", None, "[x](g/x/x.ipynb#y)"),
        ("docs/a.md", "[c](../CONTRIBUTING.md)", None, "[c](contributing.md)"),
        ("g/x/x.ipynb", "[b](../../docs/b.md)", None, "[b](../../b.md)"),
        ("g/x/x.ipynb", "[r](../../README.md)", "https://h/b/main", "[r](https://h/b/main/README.md)"),
        ("g/x/x.ipynb", "[r](../../README.md)", None, "r"),
        ("g/x/x.ipynb", "[s](#setup), [w](https://h), `a[0](b)`", None, "[s](#setup), [w](https://h), `a[0](b)`"),
        ("docs/a.md", "![picture](a.png)", None, "![picture](a.png)"),
    ],
)
def test_links(page, link, address, wanted):
    pages = {"docs/a.md", "docs/b.md", "g/x/x.ipynb", "CONTRIBUTING.md"}
    assert site.mend_links(link, page, pages, address) == wanted


def test_what_is_wrong_is_said_in_one_sentence(small, tmp_path, capsys, monkeypatch):
    with pytest.raises(site.SiteError, match=r"docs/a.md: the link b.md leads nowhere."):
        site.mend_links("[b](b.md)", "docs/a.md", set(), None)
    assert site.main(["--to", str(tmp_path / "site")], small.root) == 1
    assert "There is no docs/conf.py" in capsys.readouterr().err
    (small.root / "README.md").write_text("# Title\n")
    with pytest.raises(site.SiteError, match="README.md must begin with title, introduction and ## Start"):
        site.parts(small.root)
    monkeypatch.setattr(site, "MATHJAX", "0")
    with pytest.raises(site.SiteError, match="is not MathJax 3.2.2: run pip install"):
        site.mathjax()


def test_every_task_has_a_picture_and_every_generator_its_samples():
    tasks = site.shown_tasks()
    assert all(site.cover(task) for task in tasks)
    judged = [task for task in tasks if "FD-c" in (*task.read_stored()["extra"], task.read_stored()["metric"])]
    assert judged and all(site.samples(task) for task in judged), "a generator's notebook shows samples, none selected"


# The site itself -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "tools.site", "--to", str(folder)]
    environment = os.environ | {"GITHUB_REPOSITORY": "ada/deep-learning", "PYTHONWARNINGS": ""}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page links to, its anchors, headings and pictures."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.headings, self.pictures, self.rel = [], {""}, [], [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.anchors |= {attributes.get("id")}
        if tag == "link":
            self.rel[attributes.get("rel")] = attributes.get("href")
        if tag == "img":
            self.pictures.append(attributes.get("alt"))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def pages(built):
    return {path.relative_to(built).as_posix(): Page(path) for path in built.rglob("*.html")}


def test_links_resolve(built, pages):
    assert pages.keys() == {*PAGES, "search.html"}
    for name, page in pages.items():
        for link in page.links:
            if link.startswith("data:") or urlsplit(link).scheme in ("http", "https", "mailto"):
                continue
            parts = urlsplit(urljoin(f"http://site/{name}", link))
            target = unquote(parts.path).lstrip("/") or "index.html"
            assert (built / target).is_file(), f"{name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{name}: {link}"


def test_pictures_are_described_and_headings_in_order(pages):
    for name, page in pages.items():
        assert all(page.pictures), f"{name}: a picture has no description"
        assert name == "search.html" or page.headings[0] == page.headings.count(1) == 1, name
        assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False)), name


def test_previous_and_next_follow_the_learning_path(pages):
    wanted = [TASKS[task.name] for tasks in site.strands().values() for task in tasks]
    name, way = "index.html", []
    while (link := pages[name].rel.get("next")) and len(way) < 100:
        name = urlsplit(urljoin(f"http://site/{name}", link)).path.lstrip("/")
        way.append(name)
    assert [name for name in way if name in wanted] == wanted and {*way} == {*pages} - {"index.html", "search.html"}


def test_the_notebook_is_offered_as_it_is(built, pages):
    for task in site.shown_tasks():
        page = TASKS[task.name]
        assert f"{task.name}.ipynb" in pages[page].links
        assert (built / page).with_suffix(".ipynb").read_bytes() == task.notebook.read_bytes()
        assert f"https://github.com/ada/deep-learning/blob/main/{task.path}/{task.name}.ipynb" in pages[page].links


# In the browser ------------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


AXE = """
const [options, done] = arguments, seen = new Set();
for (const part of document.querySelectorAll(".highlight span, mjx-container > *")) {
    const kind = part.className.baseVal ?? `${part.tagName} ${part.className}`;
    if (seen.has(kind)) part.tagName === "SPAN" ? part.replaceWith(...part.childNodes) : part.replaceChildren();
    seen.add(kind);  // one of each kind of code and formula: axe takes minutes for thousands
}
axe.run(document, {...options, resultTypes: ["violations"]}).then(result => done(result.violations));
"""


class Browser:
    """Headless Chromium that reaches nothing but the site."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, page, width=1280, theme="light"):
        """Open a page, wait until its formulas are drawn, and fail if anything went wrong."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        self.driver.get(self.address + page)
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "Promise.resolve(window.MathJax?.startup?.promise).then(() => setTimeout(done, 50))"
        )
        self.assert_quiet(page)

    def assert_quiet(self, page):
        """Assert that the console is empty and that every request since the last call was to the site and answered."""
        problems = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            values = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                url = values["request"]["url"]
                problems += [f"request to {url}"] if url.startswith(("http", "ws")) and self.address not in url else []
            elif message["method"] == "Network.responseReceived" and values["response"]["status"] >= 400:
                problems.append(f"{values['response']['status']} for {values['response']['url']}")
            elif message["method"] == "Network.loadingFailed" and not values.get("canceled"):
                problems.append(f"{values['errorText']}")
        assert not problems, f"{page}: {problems}"

    def run(self, script):
        return self.driver.execute_script(script)

    def violations(self, *rules):
        """Return axe-core's serious and critical findings, by all its rules or by `rules` only."""
        options = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
        if not self.run("return Boolean(window.axe)"):
            self.run(axe())
        found = self.driver.execute_async_script(AXE, options)
        return [
            f"{finding['id']}: {node['target']}"
            for finding in found
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]


@functools.cache
def axe():
    import selenium_axe_python

    return (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(request, tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium, driver = next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")
    if not (chromium and driver):
        said = "Chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)"
        pytest.fail(said) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(said)
    built = request.getfixturevalue("built")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "no-proxy-server"),
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    session.set_script_timeout(60)
    session.get("about:blank")
    session.get_log("performance")  # of the page that Chromium opens first
    yield Browser(session, f"http://127.0.0.1:{server.server_port}/")
    session.quit()
    server.shutdown()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable(browser, page):
    browser.open(page)
    wanted = browser.run("return document.querySelectorAll('article .math').length")
    assert browser.run("return document.querySelectorAll('article .math mjx-container > svg').length") >= wanted
    wrong = "mjx-container [data-mml-node=merror], mjx-container [fill=red]"  # MathJax paints what it does not know red
    assert not browser.run(f"return document.querySelectorAll('{wrong}').length")
    assert browser.run("return [...document.images].every(image => image.complete && image.naturalWidth)")
    assert not browser.violations()
    browser.open(page, width=390, theme="dark")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 22)"
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert browser.run(wide) == [390, 390], "it scrolls sideways"
    assert not browser.violations("scrollable-region-focusable", "color-contrast", "link-name", "button-name")


def test_formulas_code_and_contents(browser):
    browser.open(TASKS["ddpm"])
    assert browser.run("return document.querySelectorAll('article .math mjx-container > svg').length") > 50
    assert browser.run("return document.querySelectorAll('div.cell_input button.copybtn').length") > 10
    assert "Samplers" in browser.run("return document.querySelector('.toc-tree').textContent")


def test_the_start_page_leads_to_every_notebook(browser):
    browser.open("index.html")
    links = browser.run("return [...document.querySelectorAll('nav.path a')].map(link => link.getAttribute('href'))")
    assert sorted(links) == sorted(TASKS.values())
    assert browser.run("return [...document.querySelectorAll('nav.path img')].every(image => image.naturalWidth > 100)")
    for width in (1024, 800):
        browser.open("index.html", width)
        assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_search_finds_a_word_from_within_a_notebook(browser):
    browser.open("index.html")
    box = browser.driver.find_element("css selector", "input[name=q]")
    box.send_keys("reparameterisation\n")
    from selenium.webdriver.support.ui import WebDriverWait

    found = "return [...document.querySelectorAll('#search-results li a')].map(link => link.getAttribute('href'))"
    links = WebDriverWait(browser.driver, 20).until(lambda driver: driver.execute_script(found))
    assert any(TASKS["vae"] in link for link in links)
    browser.assert_quiet("search.html")


def test_dark_mode_switches(browser):
    browser.open(TASKS["vae"])
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = {browser.run(colour)}
    for _ in range(2):  # from "as the system" to light to dark, or the other way round
        browser.driver.find_element("css selector", ".content-icon-container .theme-toggle").click()
        seen.add(browser.run(colour))
    paper = browser.run("return getComputedStyle(document.querySelector('.cell_output img')).backgroundColor")
    browser.run("localStorage.clear()")
    assert len(seen) == 2 and paper == "rgb(255, 255, 255)"


def test_the_tab_key_reaches_the_text(browser):
    from selenium.webdriver import ActionChains, Keys

    browser.open(TASKS["vae"])
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    assert "Skip to content" in browser.run("return document.activeElement.textContent")
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    assert browser.run("return Boolean(document.activeElement.closest('article, .content'))")
