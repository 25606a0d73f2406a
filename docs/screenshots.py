"""Takes the picture of the page of `fivefold play` that README and documentation show.

    python docs/screenshots.py

Needs Debian's chromium and `pip install -e '.[browser]'`. With a font such as Debian's fonts-inter
it looks as on most readers' screens.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from fivefold.node import VERSION
from fivefold.play import Chapter, page, record, tell

PICTURES = Path(__file__).parent / "pictures"
STEP = 96
"""Of the paper's example: the barrier stands, and X is about to copy."""


def main() -> None:
    """Take it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "play.html"
        file.write_text(page([Chapter("", tell(record("paper")))], version=VERSION), encoding="utf-8")
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1180, "height": 740}, color_scheme="light")
        tab.goto(f"{file.as_uri()}#step={STEP}")
        tab.wait_for_selector("html[data-ready]")
        tab.screenshot(path=PICTURES / "play.png")
        browser.close()


if __name__ == "__main__":
    main()
