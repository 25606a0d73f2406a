"""No store at all: a server in memory keeps its objects in its cache, and forgets them with its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fivefold.protocol.actions import Page, Write
from fivefold.storage.contract import HeardPage, Loaded


class MemoryStorage:
    """What a server without a store is given in its place: it is never asked to load or to stage anything."""

    failure: Final[str | None] = None
    """Memory does not fail half-way."""
    staged_bytes: Final = 0
    """Nothing waits."""

    def load(self, object_id: str, done: Loaded) -> None:
        """Nothing was ever written."""
        done(None)

    def list_objects(self, after: str, objects_max: int, bytes_max: int, done: HeardPage) -> None:
        """Nothing was ever written: such a server lists its cache."""
        done(Page((), is_last=True))

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Never called: see ``has_store`` of :class:`fivefold.protocol.server.Server`."""
        raise AssertionError("a server without a store writes nothing")

    def give_way(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """There is nothing to release."""
