"""Takes the pictures of `fivefold play` and `fivefold dashboard` that README and documentation show.

    python docs/screenshots.py [--only dashboard] [--to DIRECTORY]

Needs Debian's chromium and `pip install -e '.[browser,dashboard]'`. With a font such as Debian's fonts-inter
it looks as on most readers' screens. The dashboard's cluster runs for a minute, with a load: one of its servers lies,
and another one is killed and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from fivefold import Counter, FivefoldError, connect
from fivefold.cluster import LocalCluster, add_client, create_cluster, free_addresses, serve_command, server_directory
from fivefold.dashboard import Watcher, serve
from fivefold.node import VERSION
from fivefold.play import Chapter, page, record, tell

PICTURES = Path(__file__).parent / "pictures"
STEP = 96
"""Of the paper's example: the barrier stands, and X is about to copy."""

LIAR, KILLED = 4, 1
SERVERS, FAULTY, LYING = 6, 1, 1
RUNS_S = 50.0
"""How long the dashboard watches before its picture is taken."""

PATIENCE_MS = 90_000
"""How long a busy machine may take for a step."""

SHOTS = {
    "dashboard": (1360, 1080, "light"),
    "dashboard-dark": (1360, 0, "dark"),
    "dashboard-narrow": (360, 1500, "light"),
    "dashboard-wall": (2560, 1440, "dark"),
}
"""Width, height (0 for all of the page) and theme."""


def main() -> None:
    """Take them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=("play", "dashboard"))
    options.add_argument("--to", type=Path, default=PICTURES)
    chosen = options.parse_args()
    with chromium() as browser:
        if chosen.only != "dashboard":
            take_play(browser, chosen.to)
    if chosen.only != "play":
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(take_dashboard(Path(folder), chosen.to))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def take_play(browser: Browser, folder: Path) -> None:
    """The page that plays the paper's example."""
    with tempfile.TemporaryDirectory() as pages:
        file = Path(pages) / "play.html"
        file.write_text(page([Chapter("", tell(record("paper")))], version=VERSION), encoding="utf-8")
        tab = browser.new_page(viewport={"width": 1340, "height": 860}, color_scheme="light")
        tab.goto(f"{file.as_uri()}#step={STEP}")
        tab.wait_for_selector("html[data-ready]")
        tab.screenshot(path=folder / "play.png")


async def take_dashboard(site: Path, folder: Path) -> None:
    """A cluster with a load; one server lies, and one is killed and started again."""
    os.environ["FIVEFOLD_ALLOW_LIES"] = "1"
    file = site / "cluster.toml"
    create_cluster(site, free_addresses(SERVERS), t=FAULTY, b=LYING)
    for name, rate in (("shop", None), ("warehouse", None), ("report", 40), ("monitor", None)):
        add_client(file, name, ("*",), **({} if rate is None else {"rate": rate}))

    def command(index: int) -> list[str]:
        plain = serve_command(file, identity=server_directory(site, index), data=site / f"data-{index}")
        return [*plain, "--lie", "macs"] if index == LIAR else plain

    with LocalCluster(SERVERS, command, site / "logs") as servers:
        work = [asyncio.create_task(load(file, name)) for name in ("shop", "warehouse", "report")]
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        watcher = Watcher(file, identity="monitor", every_s=1.0)
        serving = asyncio.create_task(serve(watcher, "127.0.0.1", 8056, None, ready.set_result))
        address = await ready
        await asyncio.sleep(RUNS_S / 2)
        await asyncio.to_thread(servers.kill, KILLED)
        await asyncio.sleep(RUNS_S / 10)
        servers.servers[KILLED].start()
        await asyncio.sleep(RUNS_S / 2)
        await asyncio.to_thread(photograph, address, folder)
        for task in (*work, serving):
            task.cancel()
        await asyncio.gather(*work, serving, return_exceptions=True)


async def load(file: Path, name: str) -> None:
    """A client that works: many counters, two of which are everybody's."""
    chance = random.Random(name)
    async with connect(file, identity=name) as cluster:

        async def work() -> None:
            while True:
                key = chance.choice(("tickets", "visits", *(f"shelf-{number}" for number in range(12))))
                counter: Any = cluster.object(Counter, key)
                with suppress(FivefoldError):
                    await (counter.increment() if chance.random() < 0.6 else counter.get())
                await asyncio.sleep(chance.random() * 0.06)

        await asyncio.gather(*(work() for _ in range(6 if name != "report" else 3)))


def photograph(address: str, folder: Path) -> None:
    """Wide and narrow, light and dark, and for a wall."""
    with chromium() as browser:
        for name, (width, height, theme) in SHOTS.items():
            tab = browser.new_page(viewport={"width": width, "height": height or 1000}, color_scheme=theme)
            tab.set_default_timeout(PATIENCE_MS)
            tab.goto(address)
            tab.wait_for_function("() => document.documentElement.dataset.looks >= 2")
            tab.fill("#id", "Counter/tickets")
            tab.click("#ask button")
            tab.wait_for_selector("#object tbody tr")
            tab.evaluate("window.scrollTo(0, 0)")
            tab.screenshot(path=folder / f"{name}.png", full_page=not height)
            tab.close()


if __name__ == "__main__":
    main()
