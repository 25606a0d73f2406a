"""Fills docs/evaluation.md from benchmarks/results/*.json, and draws its pictures; ``--check`` only compares.

Other pages may show results in the same way: name them on the command line.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fivefold.bench.figures import draw
from fivefold.bench.markdown import fill, names_in

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"


def pictures_of(name: str, page: Path) -> list[str]:
    """Links from a page to the pictures of a result."""
    longer = [each.stem for each in RESULTS.glob(f"{name}-*.json")]  # floor-ratio-compiled is a figure of its own
    files = [
        file
        for file in sorted(PICTURES.glob(f"{name}-*.svg"))
        if not any(file.name.startswith(f"{other}-") for other in longer)
    ]
    return [os.path.relpath(file, page.parent) for file in files]


def main() -> None:
    """Fill, or compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("pages", nargs="*", type=Path, default=[ROOT / "docs" / "evaluation.md"])
    options.add_argument("--check", action="store_true", help="fail if a page would change")
    chosen = options.parse_args()
    differing = 0
    for page in map(Path.resolve, chosen.pages):
        text = page.read_text(encoding="utf-8")
        if not chosen.check:
            for name in names_in(text):
                if (RESULTS / f"{name}.json").exists():
                    draw(RESULTS / f"{name}.json", PICTURES)
        filled = fill(text, RESULTS, lambda name, page=page: pictures_of(name, page))
        if filled != text:
            differing += 1
            print(f"{page.relative_to(ROOT)} {'differs from the results' if chosen.check else 'filled'}")
            if not chosen.check:
                page.write_text(filled, encoding="utf-8")
    sys.exit(1 if chosen.check and differing else 0)


if __name__ == "__main__":
    main()
