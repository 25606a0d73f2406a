"""The registry that every server and client starts from: the ready-made types."""

from __future__ import annotations

from fivefold.objects.counter import Counter
from fivefold.objects.registry import Registry
from fivefold.objects.watchdog import TimeLimit


def standard_registry(limit: TimeLimit | None = None) -> Registry:
    """A registry of the ready-made types and functions."""
    return Registry(Counter, limit=limit)
