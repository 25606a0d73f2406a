"""What commands print: JSON for scripts, and text for people."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rich.console import Console

out: Final = Console(soft_wrap=True, highlight=False)
"""Standard output."""

err: Final = Console(stderr=True, soft_wrap=True, highlight=False)
"""Standard error: what happens meanwhile, and what went wrong."""


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever a method answers
    """``value`` as JSON: bytes in base64, sets and tuples as lists, keys as text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def print_json(value: Any, *, pretty: bool = False) -> None:  # noqa: ANN401 - whatever a method answers
    """Print ``value`` as one line of JSON; or indented and coloured, for people."""
    if pretty:
        out.print_json(to_json(value), ensure_ascii=False)
    else:
        print(to_json(value))


def bytes_text(size: int) -> str:
    """A size for people: ``62 MB``."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, _ = amount / 1000, units.pop(0)
    return f"{amount:.0f} {units[0]}" if amount >= 10 or units[0] == "B" else f"{amount:.1f} {units[0]}"


def seconds_text(seconds: float) -> str:
    """A time for people: ``850 µs``, ``12 ms``, ``3.1 s``, ``4 min``, ``2 h``."""
    if seconds < 1:
        return f"{seconds * 1e6:.0f} µs" if seconds < 0.001 else f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
