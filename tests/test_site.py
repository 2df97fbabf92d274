"""The site: what it refuses, its links, and its pages in a headless browser with the network cut.

The browser tests need Chromium and chromedriver; without them they are skipped, or fail where CI is
set.
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
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tools import site
from tools.tasks import ROOT, TaskError, all_tasks, learning_path

TASKS = {task.name: f"{task.path}/{task.name}.html" for task in all_tasks()}
PAGES = [
    "README.html",
    "CONTRIBUTING.html",
    *(f"docs/{page.stem}.html" for page in sorted((ROOT / "docs").glob("*.md"))),
    *TASKS.values(),
]


def build(root, folder):
    command = [sys.executable, "-m", "tools", "site", "--to", str(folder)]
    environment = os.environ | {"PYTHONWARNINGS": ""}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built site, in which an earlier one stood."""
    folder = tmp_path_factory.mktemp("site")
    for name in (site.MARK, "old.html"):
        (folder / name).touch()
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_earlier_site_is_replaced_and_little_is_copied(built):
    assert not (built / "old.html").exists() and (built / "index.html").exists()
    scripts = [path.name for path in built.rglob("*.js") if path.stat().st_size > 1_000_000]
    assert scripts == ["tex-svg.js"]


def test_a_folder_with_other_files_is_never_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, ROOT / "docs"):
        with pytest.raises(TaskError, match="holds files that are not this tool's"):
            site.build(folder, ROOT)
    assert (tmp_path / "mine.txt").read_text() == "mine" and (ROOT / "docs" / "conf.py").exists()


def test_what_fails_leaves_the_earlier_site(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / site.MARK).touch()
    with pytest.raises(TaskError, match="There is no docs/conf.py"):
        site.build(folder, repository.root)
    (repository.root / "docs").mkdir()
    (repository.root / "docs" / "conf.py").write_text("x = = 1")
    with pytest.raises(TaskError, match="Sphinx did not build the site"):
        site.build(folder, repository.root)
    repository.edit(4, "## Training", "```{include} ../../../outside.txt\n```")
    with pytest.raises(TaskError, match="tiny.ipynb, cell 5: the directive {include}"):
        site.build(folder, repository.root)
    assert (folder / site.MARK).exists()


def test_sphinx_reads_no_file_and_runs_no_notebook(tmp_path):
    """The settings hold by themselves, for a text that slipped through the checker."""
    (tmp_path / "outside.txt").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    shutil.copy(ROOT / "docs" / "docutils.conf", folder)
    (folder / "conf.py").write_text("extensions = ['myst_nb']\nroot_doc = 'README'\n")
    text = "# A\n\n```{literalinclude} ../outside.txt\n```\n\n```{raw} html\n<b>x</b>\n```\n"
    (folder / "README.md").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "-c", "docs", "docs", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    page = (tmp_path / "out" / "README.html").read_text()
    assert "secret" not in page and "<b>x</b>" not in page and "disabled" in done.stderr


class Page(HTMLParser):
    """What a page links to, its anchors, headings, pictures and title."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.headings, self.pictures = [], {""}, [], []
        self.next = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.anchors |= {attributes.get("id")}
        if tag == "link" and attributes.get("rel") == "next":
            self.next = attributes["href"]
        if tag == "img":
            self.pictures.append(attributes.get("alt"))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def pages(built):
    found = {path.relative_to(built).as_posix(): Page(path) for path in built.rglob("*.html")}
    return {name: page for name, page in found.items() if name != "index.html"}


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
        if name in TASKS.values():
            assert page.pictures and all(page.pictures), f"{name}: a picture has no description"
        steps = zip(page.headings, page.headings[1:], strict=False)
        assert name == "search.html" or page.headings.count(1) == 1, name
        assert all(after <= before + 1 for before, after in steps), name


def test_next_follows_the_learning_path(pages):
    wanted = [TASKS[task.name] for tasks in learning_path().values() for task in tasks]
    name, way = "README.html", []
    while (link := pages[name].next) and len(way) < 200:
        name = urlsplit(urljoin(f"http://site/{name}", link)).path.lstrip("/")
        way.append(name)
    assert [name for name in way if name in wanted] == wanted


def test_the_notebook_is_offered_as_it_is(built, pages):
    for task in all_tasks():
        page = TASKS[task.name]
        colab = f"/Hope7Happiness/Deep-Learning/blob/main/{task.path}/{task.name}.ipynb"
        assert f"{task.name}.ipynb" in pages[page].links
        assert any("colab" in link and link.endswith(colab) for link in pages[page].links)
        copy = (built / page).with_suffix(".ipynb")
        assert copy.read_bytes() == task.notebook.read_bytes()
        practised = "practice" in task.facts()
        offered = {f"{task.name}.practice.ipynb"} & set(pages[page].links)
        offered |= {link for link in pages[page].links if "/blob/practice/" in link}
        assert len(offered) == 2 * practised
        assert all(link.endswith(f"{task.name}.ipynb") for link in offered if "colab" in link)


# In the browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


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
        """Assert an empty console, and that every request was to the site and was answered."""
        log = self.driver.get_log("browser")
        problems = [entry["message"] for entry in log if entry["level"] != "INFO"]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            values = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                url = values["request"]["url"]
                if url.startswith(("http", "ws")) and self.address not in url:
                    problems.append(f"request to {url}")
            elif message["method"] == "Network.responseReceived":
                if values["response"]["status"] >= 400:
                    problems.append(f"{values['response']['status']} {values['response']['url']}")
            elif message["method"] == "Network.loadingFailed" and not values.get("canceled"):
                problems.append(values["errorText"])
        assert not problems, f"{page}: {problems}"

    def run(self, script):
        return self.driver.execute_script(script)


@pytest.fixture(scope="module")
def browser(request, tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        said = "Chromium and chromedriver are not installed (Debian: chromium chromium-driver)"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    built = request.getfixturevalue("built")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
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
    drawn = "return document.querySelectorAll('article .math mjx-container > svg').length"
    assert browser.run(drawn) >= wanted
    wrong = "mjx-container [data-mml-node=merror], mjx-container [fill=red]"  # MathJax's errors
    assert not browser.run(f"return document.querySelectorAll('{wrong}').length")
    loaded = "return [...document.images].every(image => image.complete && image.naturalWidth)"
    assert browser.run(loaded)
    browser.open(page, width=390, theme="dark")
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert browser.run(wide) == [390, 390], "it scrolls sideways"


def test_plotting_code_is_folded_and_opens(browser):
    browser.open(TASKS["vae"])
    folded = "return document.querySelectorAll('.cell details.hide').length"
    assert browser.run(folded) >= 1
    cells = "return document.querySelectorAll('.cell_input').length"
    assert browser.run(cells) > 5


def test_search_finds_notebooks_and_shows_prose(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.open("search.html?q=autoencoder")
    found = "return [...document.querySelectorAll('#search-results li')].map(i => i.innerHTML)"
    wait = WebDriverWait(browser.driver, 20)
    wait.until(lambda driver: any(TASKS["vae"] in item for item in driver.execute_script(found)))
    texts = (
        "return [...document.querySelectorAll('#search-results p.context')].map(i => i.innerText)"
    )
    wait.until(lambda driver: driver.execute_script(texts))
    excerpts = " ".join(browser.run(texts))
    assert excerpts and "import " not in excerpts and "\\mathbb" not in excerpts, excerpts
    browser.assert_quiet("search.html")


def test_dark_mode_switches_and_figures_keep_white_paper(browser):
    browser.open(TASKS["vae"])
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = {browser.run(colour)}
    for _ in range(2):  # from "as the system" to light to dark, or the other way round
        toggle = ".content-icon-container .theme-toggle"
        browser.driver.find_element("css selector", toggle).click()
        seen.add(browser.run(colour))
    image = "document.querySelector('.cell_output img')"
    paper = browser.run(f"return getComputedStyle({image}).backgroundColor")
    browser.run("localStorage.clear()")
    assert len(seen) == 2 and paper == "rgb(255, 255, 255)"


def test_the_tab_key_reaches_the_text(browser):
    from selenium.webdriver import ActionChains, Keys

    browser.open(TASKS["vae"])
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    assert "Skip to content" in browser.run("return document.activeElement.textContent")
    ActionChains(browser.driver).send_keys(Keys.ENTER, Keys.TAB).perform()
    assert browser.run("return Boolean(document.activeElement.closest('article, .content'))")


def test_a_script_on_a_page_never_runs(browser, built, tmp_path):
    """A script that slipped through every check is still stopped by the policy."""
    folder = shutil.copytree(built, tmp_path / "site")
    text = (folder / TASKS["vae"]).read_text(encoding="utf-8")
    injected = text.replace("</article>", "<script>document.title = 'owned'</script></article>", 1)
    assert injected != text
    (folder / TASKS["vae"]).write_text(injected, encoding="utf-8")
    browser.driver.get((folder / TASKS["vae"]).as_uri())
    log = str(browser.driver.get_log("browser"))
    assert browser.driver.title != "owned" and "Content Security Policy" in log, log
