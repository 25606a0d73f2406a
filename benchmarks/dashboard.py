"""What watching costs: the dashboard, and Prometheus each second, beside a load; and how soon the page is there.

n = 6, t = b = 1, durable, TLS, one machine. A client with 16 updates in flight works all the time; by turns nobody
watches, a dashboard with a page that is open, and one scrape a second of each server. Costs are processor time of all
servers for an update, which a busy machine distorts less than rates; then that of single looks and scrapes at servers
that have nothing else to do. Needs `pip install -e '.[dashboard]'`, and chromium with `.[browser]` for the page.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from fivefold import Cluster, Counter, connect
from fivefold.cluster import LocalCluster, create_cluster, free_addresses, serve_command, server_directory

IN_FLIGHT = 16
SINGLE = 200
"""Looks and scrapes of idle servers."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TICKS = os.sysconf("SC_CLK_TCK")


class Turn(NamedTuple):
    """One stretch of time: updates a second, and processor time in µs of all servers for each."""

    rate: float
    cost_us: float


class Site:
    """Six servers, their metrics' addresses, and a load."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "cluster.toml"
        create_cluster(directory, free_addresses(6), t=1, b=1)
        self.metrics = free_addresses(6)

        def serve(index: int) -> list[str]:
            plain = serve_command(self.file, identity=server_directory(directory, index), data=directory / f"d-{index}")
            return [*plain, "--metrics", self.metrics[index]]

        self.servers = LocalCluster(6, serve, directory / "logs")
        self.count = 0

    @property
    def processor_s(self) -> float:
        """Of all servers so far."""
        return sum(processor_s(server.pid) for server in self.servers.servers if server.pid)

    async def work(self, cluster: Cluster, number: int) -> None:
        """Update an object again and again, for ever."""
        while True:
            await cluster.object(Counter, f"load-{number}").increment()
            self.count += 1

    async def turn(self, seconds: float) -> Turn:
        """What the load does in this time, and what that costs."""
        before, count, began = self.processor_s, self.count, time.monotonic()
        await asyncio.sleep(seconds)
        updates = self.count - count
        return Turn(updates / (time.monotonic() - began), 1e6 * (self.processor_s - before) / updates)

    def scrape(self) -> None:
        """Read the metrics of all servers once."""
        for address in self.metrics:
            with urllib.request.urlopen(f"http://{address}/metrics") as page:
                page.read()


def processor_s(pid: int) -> float:
    """Of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


class Dashboard:
    """The command, as a process, with one page that hears of changes."""

    def __init__(self, site: Site) -> None:
        self._site, self.used_s = site, 0.0
        self.address = f"http://{free_addresses(1)[0]}/"

    async def __aenter__(self) -> Dashboard:
        command = ["dashboard", "--cluster", str(self._site.file), "--listen", self.address[7:-1]]
        whole = [sys.executable, "-m", "fivefold", *command]
        self._process = await asyncio.to_thread(subprocess.Popen, whole, stdout=subprocess.PIPE)
        await asyncio.to_thread(self._process.stdout.readline)
        host, _, port = self.address[7:-1].rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        self._reading = asyncio.create_task(self._read())
        self._began_s = processor_s(self._process.pid)
        return self

    async def _read(self) -> None:
        while await self._reader.read(65536):
            pass

    async def __aexit__(self, *_: object) -> None:
        self.used_s = processor_s(self._process.pid) - self._began_s
        self._reading.cancel()
        self._writer.close()
        self._process.terminate()
        await asyncio.to_thread(self._process.communicate)


async def scrapes(site: Site) -> None:
    """Read the metrics of all servers each second, for ever."""
    while True:
        began = time.monotonic()
        await asyncio.to_thread(site.scrape)
        await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))


async def by_turns(site: Site, seconds: float, rounds: int) -> tuple[dict[str, list[Turn]], list[float]]:
    """The load without and with somebody who watches; and the share of a processor that the dashboard uses."""
    turns: dict[str, list[Turn]] = defaultdict(list)
    shares = []
    async with connect(site.file, deadline=60) as cluster:
        working = [asyncio.create_task(site.work(cluster, number)) for number in range(IN_FLIGHT)]
        await asyncio.sleep(2)
        for _ in range(rounds):
            turns["nobody"].append(await site.turn(seconds))
            async with AsyncExitStack() as stack:
                dashboard = await stack.enter_async_context(Dashboard(site))
                await asyncio.sleep(1)
                turns["a dashboard, a look each 2 s"].append(await site.turn(seconds))
            shares.append(dashboard.used_s / (seconds + 1))
            scraping = asyncio.create_task(scrapes(site))
            turns["Prometheus, a scrape each second"].append(await site.turn(seconds))
            scraping.cancel()
            await asyncio.gather(scraping, return_exceptions=True)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    return turns, shares


async def singly(site: Site) -> dict[str, float]:
    """Processor time in ms of all six servers for one look, and for one scrape, when they have nothing else to do."""
    found = {}
    async with connect(site.file) as cluster:
        before = site.processor_s
        await asyncio.sleep(4)
        idle_s = (site.processor_s - before) / 4
        for name in ("look", "scrape"):
            before, began = site.processor_s, time.monotonic()
            for _ in range(SINGLE):
                if name == "look":
                    await cluster.status()
                else:
                    await asyncio.to_thread(site.scrape)
            used = site.processor_s - before - idle_s * (time.monotonic() - began)
            found[name] = 1000 * used / SINGLE
    return found


def first_paint(address: str, rounds: int) -> float:
    """Milliseconds from the request to the first contentful paint; the median of windows opened anew."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        paints = []
        for _ in range(rounds + 1):
            tab = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
            tab.goto(address)
            tab.wait_for_selector("html[data-looks]")
            tab.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
            paints.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            tab.context.close()
        browser.close()
    return statistics.median(paints[1:])


async def measure(site: Site, options: argparse.Namespace) -> None:
    """All of it, printed."""
    turns, shares = await by_turns(site, options.seconds, options.rounds)
    print("| who watches | updates/s | µs of the servers' processors for an update | against nobody, by rounds |")
    print("|---|---:|---:|---:|")
    alone = turns["nobody"]
    for name, found in turns.items():
        ratios = [one.cost_us / other.cost_us for one, other in zip(found, alone, strict=True)]
        rate, cost = (statistics.median(each[at] for each in found) for at in (0, 1))
        spread = "" if found is alone else f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
        print(f"| {name} | {rate:,.0f} | {cost:,.0f} | {spread} |", flush=True)
    print(f"\nThe dashboard's own process: {100 * statistics.median(shares):.1f} % of a processor.")
    found = await singly(site)
    print(f"One look costs the six servers {found['look']:.2f} ms of processor, one scrape {found['scrape']:.2f} ms.")
    print(
        f"Each 2 s: {100 * found['look'] / 2000 / 6:.3f} % of a processor at a server; a scrape each second: ", end=""
    )
    print(f"{100 * found['scrape'] / 1000 / 6:.3f} %.", flush=True)
    with suppress(ImportError):
        async with Dashboard(site) as dashboard:
            paint = await asyncio.to_thread(first_paint, dashboard.address, options.rounds)
        print(f"First contentful paint of the page on loopback: {paint:.0f} ms.")


def main() -> None:
    """Print Markdown."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--rounds", type=int, default=7)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fivefold-dashboard-") as name:
        site = Site(Path(name))
        with site.servers:
            asyncio.run(measure(site, chosen))


if __name__ == "__main__":
    main()
