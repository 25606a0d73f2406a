"""Fills docs/evaluation.md and the README's table from benchmarks/results/*.json, and draws the pictures.

``--check`` only compares. Other pages may show results in the same way: name them on the command line.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from fivefold.bench.figures import draw
from fivefold.bench.markdown import fill, names_in
from fivefold.bench.results import Results, load, over_rounds
from fivefold.bench.svg import number_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"


def pictures_of(name: str, page: Path) -> list[str]:
    """Links from a page to the pictures of a result."""
    longer = [each.stem for each in RESULTS.glob(f"{name}-*.json")]  # floor-ratio-debian is a figure of its own
    files = [
        file
        for file in sorted(PICTURES.glob(f"{name}-*.svg"))
        if not any(file.name.startswith(f"{other}-") for other in longer)
    ]
    return [os.path.relpath(file, page.parent) for file in files]


NUMBERS = re.compile(r"(<!-- numbers -->\n).*?(<!-- /numbers -->)", re.DOTALL)


def numbers() -> str:
    """The README's table: a row for each variant and store, beside etcd where both were measured by turns."""
    variants = [
        ("in memory, default", "Fivefold", "floor-ratio", "peers-memory"),
        ("in memory, native", "Fivefold", "floor-ratio-native", None),
        ("durable, default", "on disk", "floor-ratio", "peers-disk"),
        ("durable, native", "on disk", "floor-ratio-native", None),
    ]
    lines = ["| | one at a time, median | 64 in flight | rate / etcd's |", "|---|---:|---:|---:|"]
    for label, name, figure, peers in variants:
        if not (RESULTS / f"{figure}.json").exists():
            continue
        results = load(RESULTS / f"{figure}.json")
        cells = [f"{number_text(median_ms(results, name))} ms", f"{rate(results, name):,.0f}/s", beside_etcd(peers)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += [
        "",
        "Fivefold beside etcd, three servers, both with TLS and 64 in flight, was measured by turns in one run.",
    ]
    lines += [f"Without TLS at both the durable ratio is {beside_etcd('peers-disk', ' in clear', '')}."]
    return "\n".join(lines) + "\n"


def median_ms(results: Results, name: str) -> float:
    """Median over the rounds of the median latency of one call at a time."""
    (point,) = (each for each in results.points if (each.name, each.x) == (name, 1))
    return over_rounds(point, lambda each: each.p50_ms).median


def rate(results: Results, name: str) -> float:
    """Median over the rounds of the operations a second with 64 in flight."""
    (point,) = (each for each in results.points if (each.name, each.x) == (name, 64))
    return over_rounds(point, lambda each: each.rate).median


def beside_etcd(peers: str | None, ours: str = "", theirs: str = " with TLS") -> str:
    """The ratio of the rates that one run found, to two places."""
    if peers is None:
        return "–"
    found = load(RESULTS / f"{peers}.json").numbers
    return f"{found[f'64 in flight: rate of Fivefold{ours} / etcd{theirs}']:.2f}"


def main() -> None:
    """Fill, or compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("pages", nargs="*", type=Path, default=[ROOT / "docs" / "evaluation.md", ROOT / "README.md"])
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
        filled = NUMBERS.sub(lambda found: f"{found[1]}{numbers()}{found[2]}", filled)
        if filled != text:
            differing += 1
            print(f"{page.relative_to(ROOT)} {'differs from the results' if chosen.check else 'filled'}")
            if not chosen.check:
                page.write_text(filled, encoding="utf-8")
    sys.exit(1 if chosen.check and differing else 0)


if __name__ == "__main__":
    main()
