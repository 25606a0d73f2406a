"""The thread that loads objects, so that a cold disk never holds the event loop up."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from fivefold.protocol.actions import Damaged, ObjectRecord
from fivefold.storage.contract import Loaded
from fivefold.storage.ledger import Ledger
from fivefold.storage.overlay import Layers
from fivefold.storage.schema import READER_CACHE_KIB, DamagedRecord, connect, is_damage

RETRY_SECONDS: Final = 0.5
"""Pause before an object that could not be read is tried again; other objects do not wait for it."""

ATTEMPTS_MAX: Final = 4
"""What cannot be read so often is damaged: a sector that the disk has given up, for example."""

ANSWERS_MAX: Final = 32
"""Records handed to the event loop at once: waking it costs more than a cached read."""

_JOIN_SECONDS: Final = 30.0


class Request(NamedTuple):
    """One load, and how often it has failed."""

    object_id: str
    done: Loaded
    failures: int = 0


Answer: TypeAlias = tuple[ObjectRecord | Damaged | None, Loaded]


class Reader:
    """Owns the reading connection. ``load`` and ``close`` are called by one thread.

    Args:
        path: the database.
        ledger: what it must hold.
        layers: what is durable and not yet in it.
        answer: called in the reader's thread with records and whom to give them to.
    """

    def __init__(self, path: Path, ledger: Ledger, layers: Layers, answer: Callable[[Sequence[Answer]], None]) -> None:
        self._ledger = ledger
        self._layers = layers
        self._answer = answer
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._failed: list[Request] = []
        self._connection = connect(path, cache_kib=READER_CACHE_KIB, access="mode=ro")
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-reader", daemon=True)
        self._thread.start()

    def load(self, object_id: str, done: Loaded) -> None:
        """Queue one read."""
        self._requests.put(Request(object_id, done))

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
        answers: list[Answer] = []
        for request in requests:
            # Any exception: a thread that ended here would leave every later load waiting without a word.
            try:
                answers.append((self._layers.load(request.object_id, self._read_below), request.done))
            except Exception as error:
                if isinstance(error, DamagedRecord) or is_damage(error) or request.failures + 1 == ATTEMPTS_MAX:
                    answers.append((Damaged(_sentence(request.object_id, error)), request.done))
                else:
                    self._failed.append(request._replace(failures=request.failures + 1))
        return answers

    def _read_below(self, object_id: str) -> ObjectRecord | None:
        return self._ledger.read(self._connection, object_id)


def _sentence(object_id: str, error: Exception) -> str:
    if isinstance(error, DamagedRecord):
        return str(error)
    text = " ".join(str(error).split()) if isinstance(error, sqlite3.Error) else repr(error)
    return f"{object_id} cannot be read: {text}"
