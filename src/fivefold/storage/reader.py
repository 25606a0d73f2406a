"""The thread that loads objects, so that a cold disk never holds the event loop up."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from fivefold.protocol.actions import ObjectRecord
from fivefold.storage.contract import Loaded
from fivefold.storage.overlay import Layers
from fivefold.storage.schema import READER_CACHE_KIB, DamagedRecord, connect, read_record

RETRY_SECONDS: Final = 0.5
"""Pause before an object that could not be read is tried again; other objects do not wait for it."""

ANSWERS_MAX: Final = 32
"""Records handed to the event loop at once: waking it costs more than a cached read."""

_JOIN_SECONDS: Final = 30.0

Request: TypeAlias = tuple[str, Loaded]
Answer: TypeAlias = tuple[ObjectRecord | None, Loaded]


class Reader:
    """Owns the reading connection. ``load`` and ``close`` are called by one thread.

    Args:
        path: the database.
        layers: what is durable and not yet in it.
        answer: called in the reader's thread with records and whom to give them to.
    """

    def __init__(self, path: Path, layers: Layers, answer: Callable[[Sequence[Answer]], None]) -> None:
        self._layers = layers
        self._answer = answer
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._failed: list[Request] = []
        self.failure: str | None = None
        self._connection = connect(path, cache_kib=READER_CACHE_KIB, access="mode=ro")
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-reader", daemon=True)
        self._thread.start()

    def load(self, object_id: str, done: Loaded) -> None:
        """Queue one read."""
        self._requests.put((object_id, done))

    def close(self) -> None:
        """End the thread; reads not begun are dropped."""
        self._requests.put(None)
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            while (requests := self._next_requests()) is not None:
                if answers := self._read(requests):
                    self._answer(answers)
        finally:
            self._connection.close()

    def _next_requests(self) -> list[Request] | None:
        """What waits, at most :data:`ANSWERS_MAX`; after a silence the reads that failed; None to end."""
        requests = []
        try:
            request = self._requests.get(timeout=RETRY_SECONDS if self._failed else None)
            while request is not None:
                requests.append(request)
                if len(requests) == ANSWERS_MAX:
                    return requests
                request = self._requests.get_nowait()
        except queue.Empty:
            if not requests:
                requests, self._failed = self._failed, []
            return requests
        return None

    def _read(self, requests: list[Request]) -> list[Answer]:
        answers = []
        for object_id, done in requests:
            try:
                answers.append((self._layers.load(object_id, self._read_below), done))
            except (sqlite3.Error, DamagedRecord) as error:
                self.failure = f"an object cannot be read, check the disk and restore the server's data: {error}"
                self._failed.append((object_id, done))
        if not self._failed:
            self.failure = None
        return answers

    def _read_below(self, object_id: str) -> ObjectRecord | None:
        return read_record(self._connection, object_id)
