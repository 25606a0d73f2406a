"""The registry that every server and client starts from: the ready-made types and functions."""

from __future__ import annotations

from fivefold.objects import account, counter, lock, map, queue, register, transfers  # noqa: A004 - a module, named by its type
from fivefold.objects.registry import Registry
from fivefold.objects.watchdog import TimeLimit


def standard_registry(limit: TimeLimit | None = None) -> Registry:
    """A registry of the ready-made types and functions; they give way to others of the same name."""
    return Registry(account, counter, lock, map, queue, register, transfers, limit=limit)
