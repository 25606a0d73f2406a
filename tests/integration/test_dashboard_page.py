"""The dashboard in a real browser, before a real cluster: a server is killed, one lies, and the page says so."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fivefold import Counter, connect_blocking
from fivefold.cluster import free_addresses
from fivefold.protocol.steps import Kind
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, LoadProcess, Site, running

for module, extra in {"starlette": "dashboard", "uvicorn": "dashboard", "axe_playwright_python": "browser"}.items():
    pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[{extra}]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.long,
    pytest.mark.ci,
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
EVIL = '<img src=x onerror="document.title=1">\u202e'
PATIENCE_MS = 60_000
KILLED, LIAR = 2, 4


def carry_out(what: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own: playwright has an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, what).result(timeout=120)


class Dashboard:
    """The command, and the address of its page."""

    def __init__(self, site: Site, address: str) -> None:
        self.address = f"http://{address}/"
        self._command = [
            *(sys.executable, "-m", "fivefold", "dashboard", "--cluster", str(site.file)),
            *("--identity", "monitor", "--listen", address, "--every", "0.3"),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT})
        assert self.address.encode() in self.process.stdout.readline()

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)


class Rig:
    """A durable cluster with a load, and its dashboard."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory / "site")
        self.site.add_client("monitor", "*")
        self.site.add_client("load", "*")

    def restart(self, index: int, *arguments: str) -> None:
        """Kill a server and start it again with further arguments."""
        carry_out(self.site.kill(index))
        server = self.site.processes.servers[index]
        server.start(arguments)
        server.wait_ready(time.monotonic() + PATIENCE_S)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("dashboard")
    made = Rig(directory)
    with running(made.site):
        with connect_blocking(made.site.file) as cluster:
            cluster.object(Counter, EVIL.strip("\u202e")).increment()
        load = LoadProcess(made.site, "load", directory / "load", ["a", "b"], deadline=5.0)
        made.dashboard = Dashboard(made.site, free_addresses(1)[0])
        try:
            yield made
        finally:
            made.dashboard.stop()
            load.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def tab(browser: playwright.Browser, rig: Rig) -> Iterator[playwright.Page]:
    """A window with the page open, in which nothing goes wrong, and which asks nobody but the dashboard."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith((rig.dashboard.address, "data:")) else wrong.append(asked.url),
    )
    opened.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    opened.goto(rig.dashboard.address)
    opened.wait_for_selector("html[data-looks]")
    yield opened
    context.close()
    assert wrong == []


def until(tab: playwright.Page, expression: str) -> None:
    tab.wait_for_function(expression, timeout=PATIENCE_MS)


def state_is(server: int, word: str) -> str:
    return f"() => document.querySelectorAll('#servers tbody tr')[{server}].cells[1].textContent === {word!r}"


def says(text: str) -> str:
    return f"() => document.getElementById('remarks').textContent.includes({text!r})"


def is_at(name: str, text: str) -> str:
    return f"() => document.getElementById({name!r}).textContent === {text!r}"


def test_a_killed_server_and_a_liar_are_on_the_page_soon(tab: playwright.Page, rig: Rig) -> None:
    """Each with its state, since when, the evidence and who says so; and when a server is back, that it is up."""
    until(tab, is_at("headline", "Up"))
    until(tab, is_at("spare", "1"))
    until(tab, "() => points.length > 3 && points.at(-1).updates > 0 && points.at(-1).p99_s > 0")
    carry_out(rig.site.kill(KILLED))
    until(tab, state_is(KILLED, "down"))
    until(tab, is_at("spare", "0"))
    until(tab, is_at("up", "5 of 6"))
    until(tab, says(f"server {KILLED} cannot be reached"))
    assert "more of 6 servers may fail" in tab.inner_text("#headline-text")
    carry_out(rig.site.start(KILLED))
    until(tab, state_is(KILLED, "up"))
    until(tab, is_at("spare", "1"))
    rig.restart(LIAR, "--lie", "macs")
    until(tab, state_is(LIAR, "accused of lying"))
    until(tab, says(f"said by client load of server {LIAR}: servers"))
    until(tab, is_at("lying", "0"))
    sources = tab.locator(f"#remarks li[data-server='{LIAR}'] .source").all_inner_texts()  # a busy machine has others
    assert any(source.startswith("client load, for ") for source in sources)


def test_a_server_that_lies_in_answers_is_on_the_page(tab: playwright.Page, rig: Rig) -> None:
    """What clients say of it, and beside each object that its version is another one than that of the others."""
    rig.restart(LIAR, "--lie", "answers")
    until(tab, says(f"said by client load of server {LIAR}: answered differently"))
    until(tab, state_is(LIAR, "accused of lying"))
    keys = [f"rests-{number}" for number in range(6)]  # with six servers the liar is in the quorum of some
    with connect_blocking(rig.site.file) as cluster:
        for key in keys:
            cluster.object(Counter, key).increment()
    marked = []
    for key in keys:
        tab.fill("#id", f"Counter/{key}")
        tab.click("#ask button")
        until(tab, f"() => document.getElementById('object-text').textContent.includes('Counter/{key}: ')")
        if f"Server {LIAR}: another version" in tab.inner_text("#object-text"):
            marked.append(tab.inner_text(f"#object tbody tr:nth-child({LIAR + 1})"))
    assert marked
    assert all("differs from the others" in text for text in marked)


def test_old_numbers_say_how_old_they_are_until_the_dashboard_is_back(tab: playwright.Page, rig: Rig) -> None:
    """The page keeps what it has, dims it, and goes on by itself when the dashboard was started again."""
    rig.dashboard.stop()
    until(tab, "() => document.body.classList.contains('is-stale') && !document.getElementById('stale').hidden")
    until(tab, "() => document.getElementById('stale').textContent.includes('the dashboard does not answer')")
    assert tab.locator("#servers tbody tr").count() == 6
    rig.dashboard.start()
    until(tab, "() => !document.body.classList.contains('is-stale')")
    until(tab, "() => document.getElementById('stale').hidden")


def test_a_cluster_of_which_nobody_answers_is_down_and_not_old(tab: playwright.Page, rig: Rig) -> None:
    """The dashboard outlives all servers: it says that they are down, and since when, and sees them come back."""
    carry_out(rig.site.kill_all())
    until(tab, is_at("headline", "Down"))
    until(tab, "() => document.querySelectorAll('#servers .state.bad').length === 6")
    assert not tab.evaluate("document.body.classList.contains('is-stale')")
    carry_out(rig.site.start_all())
    until(tab, is_at("headline", "Up"))
    until(tab, is_at("up", "6 of 6"))


def test_an_object_s_histories_stand_side_by_side(tab: playwright.Page) -> None:
    """By keyboard alone: the id, Enter, a row for each server with its history and the digest of its version."""
    tab.focus("#id")
    tab.keyboard.type("Counter/a")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#object tbody tr:nth-child(6)")
    assert tab.locator("#object .chip").count() >= 6
    assert tab.get_attribute("#object-text", "data-kind") in {kind.value for kind in Kind}
    assert tab.locator("#object code").count() >= 5


def test_ids_are_text_wherever_they_are_shown(tab: playwright.Page) -> None:
    """An object whose key is markup makes no element, and opens as any other."""
    tab.fill("#id", f"Counter/{EVIL.strip(chr(0x202E))}")
    tab.click("#ask button")
    tab.wait_for_selector("#object tbody tr:nth-child(6)")
    assert EVIL.strip("\u202e") in tab.inner_text("#object-text")
    assert tab.locator("img").count() == 0
    assert tab.title() != "1"


def test_charts_tell_their_numbers_to_keys_and_to_screen_readers(tab: playwright.Page) -> None:
    """A chart has a sentence for a label; arrow keys go from moment to moment, which is read out."""
    until(tab, "() => points.length > 4")
    chart = tab.locator(".plot").first
    assert "updates" in chart.get_attribute("aria-label")
    chart.focus()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".tip:visible").count() == 1
    assert "updates" in tab.inner_text("body > p[aria-live]")
    tab.keyboard.press("Escape")
    assert tab.locator(".tip:visible").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1360])
def test_axe_has_no_serious_finding(tab: playwright.Page, theme: str, width: int) -> None:
    """Contrast, names, roles, order: with an object on show, light and dark, wide and narrow."""
    from axe_playwright_python.sync_playwright import Axe

    tab.set_viewport_size({"width": width, "height": 800})
    if tab.evaluate("document.documentElement.dataset.theme") != theme:
        tab.click("#theme")
    tab.fill("#id", "Counter/a")
    tab.click("#ask button")
    tab.wait_for_selector("#object tbody tr:nth-child(6)")
    found = Axe().run(tab).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [360, 760, 1360, 2560])
def test_nothing_is_wider_than_the_window(tab: playwright.Page, width: int) -> None:
    """A page that scrolls sideways hides what it has to say."""
    tab.set_viewport_size({"width": width, "height": 800})
    until(tab, "() => points.length > 2")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_refused_is_counted_on_the_page(tab: playwright.Page, rig: Rig) -> None:
    """By reason; a page of another site gets nothing."""
    asked = urllib.request.Request(f"{rig.dashboard.address}events", headers={"Origin": "http://evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused, closing(urllib.request.urlopen(asked)):
        pass
    refused.value.close()
    until(tab, "() => document.getElementById('refused').textContent.includes('cross-site 1')")
