"""How fast the page of `fivefold play` is: first paint, loading and scrolling of long runs, in headless Chromium.

Needs Debian's chromium and `pip install -e '.[browser]'`. Every number is the median of the rounds; each round opens
the page in a new window, from disk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from figure import carry_out, finish, parser
from msgspec.structs import replace
from playwright.sync_api import Browser, sync_playwright

from fivefold.play import EVENTS_MAX, Chapter, Recording, cut, of_report, page, record, tell
from fivefold.simulation import draw, run_plan

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FRAMES = 120
"""Frames of scrolling that are timed."""

SCROLL = """async (frames) => {
    const canvas = document.getElementById("canvas"), times = [];
    for (let frame = 0; frame < frames; frame++) {
        const began = performance.now();
        canvas.dispatchEvent(new WheelEvent("wheel", { deltaX: 90, shiftKey: true, bubbles: true, cancelable: true }));
        times.push(performance.now() - began);
        await new Promise(requestAnimationFrame);
    }
    times.sort((one, other) => one - other);
    return times[Math.floor(0.95 * frames)];
}"""
"""Scrolls, and times the painting of a frame: 95 % are faster."""


def huge_run() -> Recording:
    """A calm run, repeated until it has 200,000 events."""
    plan = draw(1, "calm")
    calls = [replace(each, at_ns=each.at_ns + turn * plan.safety_ns) for turn in range(38) for each in plan.calls]
    calls = [replace(each, number=number) for number, each in enumerate(calls)]
    report = run_plan(replace(plan, calls=tuple(calls), safety_ns=38 * plan.safety_ns), is_traced=True)
    return of_report(report, name="huge", title="A huge run", summary="", command="")


def measure(browser: Browser, file: Path) -> dict[str, float]:
    """One round: a new window, from the request to the first paint and to the first useful step, then scrolling."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    began = time.perf_counter()
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-ready]")
    ready_ms = 1000 * (time.perf_counter() - began)
    paint = tab.evaluate("performance.getEntriesByType('paint').map((entry) => entry.startTime)")
    scrolled = tab.evaluate(SCROLL, FRAMES)
    context.close()
    return {
        "ms to the first paint": max(paint, default=0.0),
        "ms until it can be used": ready_ms,
        "ms to paint a frame while scrolling, p95": scrolled,
    }


def cases() -> dict[str, str]:
    """Pages by name."""
    paper, huge = record("paper"), huge_run()
    part, longest = cut(huge, events_max=10_000), cut(huge)
    assert len(longest.events) == EVENTS_MAX
    return {
        f"the paper's example, {len(paper.events)} events": page([Chapter("", tell(paper))], version="bench"),
        "10,000 events": page([Chapter("", tell(part))], version="bench"),
        f"{EVENTS_MAX:,} of {len(huge.events):,} events": page([Chapter("", tell(longest))], version="bench"),
    }


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "play-page")
    options.set_defaults(rounds=5)
    chosen = options.parse_args()
    numbers = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name, text in cases().items():
            file = Path(folder) / "page.html"
            file.write_text(text, encoding="utf-8")
            rounds = [measure(browser, file) for _ in range(chosen.rounds)]
            numbers[f"{name}: kB"] = round(len(text.encode()) / 1000)
            for key in rounds[0]:
                numbers[f"{name}: {key}"] = round(statistics.median(each[key] for each in rounds), 1)
        browser.close()
    title = "The page that plays the protocol, in headless Chromium without a graphics card"
    finish(chosen, [], figure="numbers", title=title, x_label="", numbers=numbers)


if __name__ == "__main__":
    carry_out(main)
