"""A small table from text keys to JSON-like values."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from fivefold.objects.model import Object, query, update
from fivefold.objects.values import Value, is_same_value

KEYS_LIMIT: Final = 1000
"""Keys that one call of ``keys`` returns unless told otherwise."""


class Map(Object):
    """A table. Each update rewrites all of it: split a table that grows beyond some hundred kilobytes."""

    entries: dict[str, Value] = {}  # noqa: RUF012 - a field: every object has its own

    @query
    def get(self, key: str, default: Value = None) -> Value:
        """The value of ``key``, or ``default`` if there is none."""
        return self.entries.get(key, default)

    @query
    def contains(self, key: str) -> bool:
        """Whether ``key`` has a value (which may be None)."""
        return key in self.entries

    @query
    def size(self) -> int:
        """Number of keys."""
        return len(self.entries)

    @query
    def keys(self, prefix: str = "", after: str = "", limit: Annotated[int, Meta(ge=1)] = KEYS_LIMIT) -> list[str]:
        """Keys that start with ``prefix`` and come after ``after``, in code-point order, at most ``limit``.

        For the next page pass the last key as ``after``.
        """
        found = sorted(key for key in self.entries if key.startswith(prefix) and (not after or key > after))
        return found[:limit]

    @update
    def put(self, key: str, value: Value) -> None:
        """Give ``key`` a value, whether it had one or not."""
        self.entries[key] = value

    @update
    def put_if_absent(self, key: str, value: Value) -> bool:
        """Give ``key`` a value unless it has one; returns whether it had none."""
        if key in self.entries:
            return False
        self.entries[key] = value
        return True

    @update
    def compare_and_set(self, key: str, expected: Value, value: Value) -> bool:
        """Replace the value of ``key`` if it is ``expected``; returns whether it was.

        A key without a value is not equal to anything, not even None: see :meth:`put_if_absent`. Types count: 1, 1.0
        and True are three different values.
        """
        if key not in self.entries or not is_same_value(self.entries[key], expected):
            return False
        self.entries[key] = value
        return True

    @update
    def delete(self, key: str) -> bool:
        """Remove ``key``; returns whether it was there."""
        if key not in self.entries:
            return False
        del self.entries[key]
        return True
