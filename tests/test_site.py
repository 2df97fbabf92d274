"""The site: what it refuses, its links, and its pages in a headless browser with the network cut.

The browser tests need Chromium and chromedriver; without them they are skipped, or fail where CI is
set.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.conftest import served
from tools import site
from tools.tasks import ROOT, TaskError, all_tasks

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
    with pytest.raises(TaskError, match="x cannot be made"):
        site.build(tmp_path / "mine.txt" / "x", ROOT)
    assert (tmp_path / "mine.txt").read_text() == "mine" and (ROOT / "docs" / "conf.py").exists()


def test_what_fails_leaves_the_earlier_site(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / site.MARK).touch()
    with pytest.raises(TaskError, match="Sphinx did not build the site"):  # there is no docs/
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


@pytest.fixture(scope="module")
def pages(built):
    """The text of every page by its name."""
    texts = {path.relative_to(built).as_posix(): path.read_text() for path in built.rglob("*.html")}
    return {name: text for name, text in texts.items() if name != "index.html"}


def links(text):
    return [unescape(link) for link in re.findall(r'<[^>]+ (?:href|src)="([^"]+)"', text)]


def test_links_resolve(built, pages):
    assert pages.keys() == {*PAGES, "search.html"}
    for name, page in pages.items():
        for link in links(page):
            if link.startswith("data:") or urlsplit(link).scheme in ("http", "https", "mailto"):
                continue
            parts = urlsplit(urljoin(f"http://site/{name}", link))
            target = unquote(parts.path).lstrip("/") or "index.html"
            assert (built / target).is_file(), f"{name}: {link}"
            if parts.fragment and target in pages:
                assert f'id="{unquote(parts.fragment)}"' in pages[target], f"{name}: {link}"


def test_the_notebook_is_offered_as_it_is(built, pages):
    assert "Show the plotting code" in pages[TASKS["vae"]]
    for task in all_tasks():
        page, found = TASKS[task.name], links(pages[TASKS[task.name]])
        colab = f"/Hope7Happiness/Deep-Learning/blob/main/{task.path}/{task.name}.ipynb"
        assert f"{task.name}.ipynb" in found
        assert any("colab" in link and link.endswith(colab) for link in found)
        copy = (built / page).with_suffix(".ipynb")
        assert copy.read_bytes() == task.notebook.read_bytes()
        offered = {f"{task.name}.practice.ipynb"} & set(found)
        offered |= {link for link in found if link.endswith(f"/blob/practice/{task.name}.ipynb")}
        assert len(offered) == 2 * ("practice" in task.facts())


# In the browser


class Browser:
    """Headless Chromium that reaches nothing but the site."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, page):
        """Open a page, wait until its formulas are drawn, and fail if anything went wrong."""
        self.driver.get(self.address + page)
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "Promise.resolve(window.MathJax?.startup?.promise).then(() => setTimeout(done, 50))"
        )
        self.assert_quiet(page)

    def assert_quiet(self, page):
        """Assert an empty console, which shows failed requests too, and no request to others."""
        log = self.driver.get_log("browser")
        problems = [entry["message"] for entry in log if entry["level"] != "INFO"]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            url = message["params"].get("request", {}).get("url", "")
            if url.startswith(("http", "ws")) and self.address not in url:
                problems.append(f"request to {url}")
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
    switches = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-sync "
    switches += "disable-dev-shm-usage disable-background-networking disable-component-update"
    for switch in switches.split():
        options.add_argument(f"--{switch}")
    options.add_argument("--no-proxy-server")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    session.set_script_timeout(60)
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    session.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    session.get("about:blank")
    session.get_log("performance")  # of the page that Chromium opens first
    with served(built) as address:
        yield Browser(session, f"{address}/")
        session.quit()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable_on_a_phone(browser, page):
    browser.open(page)
    wanted = browser.run("return document.querySelectorAll('article .math').length")
    drawn = "return document.querySelectorAll('article .math mjx-container > svg').length"
    assert browser.run(drawn) >= wanted
    wrong = "mjx-container [data-mml-node=merror], mjx-container [fill=red]"  # MathJax's errors
    assert not browser.run(f"return document.querySelectorAll('{wrong}').length")
    loaded = "return [...document.images].every(image => image.complete && image.naturalWidth)"
    assert browser.run(loaded)
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert browser.run(wide) == [390, 390], "it scrolls sideways"


def test_search_finds_notebooks_and_shows_prose(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.open("search.html?q=autoencoder")
    found = "return [...document.querySelectorAll('#search-results li')].map(i => i.innerHTML)"
    wait = WebDriverWait(browser.driver, 20)
    wait.until(lambda driver: any(TASKS["vae"] in item for item in driver.execute_script(found)))
    texts = "return [...document.querySelectorAll('p.context')].map(i => i.innerText)"
    wait.until(lambda driver: driver.execute_script(texts))
    excerpts = " ".join(browser.run(texts))
    assert excerpts and "import " not in excerpts and "\\mathbb" not in excerpts, excerpts
    browser.assert_quiet("search.html")


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
