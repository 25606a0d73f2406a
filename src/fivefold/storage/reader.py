"""The thread that loads objects, so that a cold disk never holds the event loop up."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from fivefold.protocol.actions import Damaged, ObjectRecord, Page
from fivefold.protocol.history import NO_FLOOR, floor_of
from fivefold.storage.contract import HeardPage, Loaded, page_of
from fivefold.storage.ledger import Ledger
from fivefold.storage.overlay import Layers
from fivefold.storage.schema import HISTORY, READER_CACHE_KIB, DamagedRecord, connect, is_damage

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


class PageRequest(NamedTuple):
    """A page of the list of objects, and how often it has failed."""

    after: str
    objects_max: int
    bytes_max: int
    done: HeardPage
    failures: int = 0


Answer: TypeAlias = Callable[[], None]
"""Gives what was read to who asked for it."""

_IDS: Final = "SELECT object_id FROM records WHERE object_id > ? AND row_key = ? ORDER BY object_id LIMIT ?"


class Reader:
    """Owns the reading connection. ``load`` and ``close`` are called by one thread.

    Args:
        path: the database.
        ledger: what it must hold.
        layers: what is durable and not yet in it.
        answer: called in the reader's thread, with the function that tells the callers.
    """

    def __init__(self, path: Path, ledger: Ledger, layers: Layers, answer: Callable[[Sequence[Answer]], None]) -> None:
        self._ledger = ledger
        self._layers = layers
        self._answer = answer
        self._requests: queue.SimpleQueue[Request | PageRequest | None] = queue.SimpleQueue()
        self._failed: list[Request | PageRequest] = []
        self._connection = connect(path, cache_kib=READER_CACHE_KIB, access="mode=ro")
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-reader", daemon=True)
        self._thread.start()

    def load(self, object_id: str, done: Loaded) -> None:
        """Queue one read."""
        self._requests.put(Request(object_id, done))

    def list_objects(self, request: PageRequest) -> None:
        """Queue one page."""
        self._requests.put(request)

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

    def _next_requests(self) -> list[Request | PageRequest] | None:
        """What waits, at most :data:`ANSWERS_MAX`; after a silence the reads that failed; None to end."""
        requests: list[Request | PageRequest] = []
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

    def _read(self, requests: list[Request | PageRequest]) -> list[Answer]:
        answers: list[Answer] = []
        for request in requests:
            # Any exception: a thread that ended here would leave every later load waiting without a word.
            try:
                answers.append(self._answer_to(request))
            except Exception as error:
                if isinstance(error, DamagedRecord) or is_damage(error) or request.failures + 1 == ATTEMPTS_MAX:
                    is_object = isinstance(request, Request)
                    what = request.object_id if isinstance(request, Request) else "the list of objects"
                    floor = self._floor(what) if is_object else b""
                    answers.append(partial(request.done, Damaged(_sentence(what, error), floor)))
                else:
                    self._failed.append(request._replace(failures=request.failures + 1))
        return answers

    def _floor(self, object_id: str) -> bytes:
        """How far a damaged object had got; empty if that is damaged, too."""
        history = self._layers.history_of(object_id)
        if history is not None:
            floor = floor_of(history)
            return b"" if floor == NO_FLOOR else floor
        try:
            return self._ledger.floor(self._connection, object_id)
        except sqlite3.Error:
            return b""

    def _answer_to(self, request: Request | PageRequest) -> Answer:
        if isinstance(request, Request):
            return partial(request.done, self._layers.load(request.object_id, self._read_below))
        return partial(request.done, self._read_page(request))

    def _read_page(self, request: PageRequest) -> Page:
        def read(name: str) -> ObjectRecord | Damaged | None:
            try:
                return self._layers.load(name, self._read_below)
            except DamagedRecord as error:
                if self._ledger.is_stray(self._connection, name):
                    raise  # the list lacks the object that this was: without a list nobody takes it for absent
                return Damaged(str(error))

        names = self._layers.object_ids_after(request.after, request.objects_max + 1, self._ids_below)
        return page_of(names, request.objects_max, request.bytes_max, read)

    def _ids_below(self, after: str, limit: int) -> list[str]:
        """Ids in the database; a bit that flips in a key of its index shows here, or the object's entry is missed."""
        names: list[str] = []
        for (name,) in self._connection.execute(_IDS, (after, HISTORY, limit)):
            if not isinstance(name, str) or name <= (names[-1] if names else after):
                raise DamagedRecord(f"the list of objects is out of order after {names[-1] if names else after!r}")
            names.append(name)
        return names

    def _read_below(self, object_id: str) -> ObjectRecord | None:
        return self._ledger.read(self._connection, object_id)


def _sentence(object_id: str, error: Exception) -> str:
    if isinstance(error, DamagedRecord):
        return str(error)
    text = " ".join(str(error).split()) if isinstance(error, sqlite3.Error) else repr(error)
    return f"{object_id} cannot be read: {text}"
