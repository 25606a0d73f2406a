"""The lists of several servers read side by side, a page of each at a time, in the order of the ids (R5, R10; ours).

Bounded in memory: of each server one page is kept. Bounded against liars: a list that is much longer than all others,
or whose pages are not full, is dropped; a server that is silent for a while is left out for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from fivefold.protocol.actions import Ask
from fivefold.protocol.limits import (
    HISTORY_BYTES_MAX,
    LIST_AGAIN_NS,
    LIST_BYTES_MAX,
    LIST_ENTRIES_MAX,
    LIST_LONGER_FACTOR,
    LIST_LONGER_MAX,
    LIST_PATIENCE_NS,
    OBJECT_ID_BYTES_MAX,
)
from fivefold.protocol.messages import list_frame, listed_size
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Listed, ListReply, ListRequest

_FULL_BYTES: Final = LIST_BYTES_MAX - HISTORY_BYTES_MAX - OBJECT_ID_BYTES_MAX - 64


class _Source:
    """One server's list.

    Attributes:
        entries: read and not yet taken.
        covered: everything up to here is read.
        is_last: whether nothing comes after ``entries``.
        number: of the page that is asked for; 0 if none is.
        deadline_ns: when it is given up.
        count: entries so far.
    """

    __slots__ = ("count", "covered", "deadline_ns", "entries", "is_last", "number")

    def __init__(self, after: ObjectId) -> None:
        self.entries: deque[Listed] = deque()
        self.covered = after
        self.is_last = False
        self.number = self.deadline_ns = self.count = 0


class Merge:
    """A pass over the lists of others.

    Attributes:
        after: everything up to here was taken.
        listed: ids taken so far.
        bytes: received so far.
        dropped: servers whose lists are not believed in this pass.
    """

    def __init__(self, own_index: int, needed: int, next_number: Callable[[], int], *, is_whole: bool) -> None:
        """Nothing is read. ``needed`` lists have to cover an id before it is taken."""
        self._own_index, self._needed, self._next_number = own_index, needed, next_number
        self._is_whole = is_whole
        self.after = ObjectId("")
        self._sources: dict[int, _Source] = {}
        self._again_ns: dict[int, int] = {}
        self.listed = self.bytes = 0
        self.dropped: set[int] = set()

    def forget(self, server: int) -> None:
        """What a server has said counts no more: it was replaced."""
        self._sources.pop(server, None)
        self.dropped.discard(server)

    def ask(self, now_ns: int, servers: Collection[int]) -> list[Ask]:
        """Ask these servers for what is missing of their lists; those that have been silent for long are left out."""
        for server, source in list(self._sources.items()):
            if server not in servers:
                del self._sources[server]
            elif source.number and source.deadline_ns <= now_ns:
                self._leave_out(now_ns, server)
        asks = []
        # Times that have passed, or of servers that are not to be asked, would wake us without end.
        self._again_ns = {s: at for s, at in self._again_ns.items() if at > now_ns and s in servers}
        for server in servers:
            if server == self._own_index or server in self.dropped or server in self._again_ns:
                continue
            source = self._sources.setdefault(server, _Source(self.after))
            if source.entries or source.is_last or source.number:
                continue
            source.number, source.deadline_ns = self._next_number(), now_ns + LIST_PATIENCE_NS
            request = ListRequest(source.number, source.covered, LIST_ENTRIES_MAX, LIST_BYTES_MAX, self._is_whole)
            asks.append(Ask(server, list_frame(request)))
        return asks

    def _leave_out(self, now_ns: int, server: int) -> None:
        self._sources.pop(server, None)
        self._again_ns[server] = now_ns + LIST_AGAIN_NS

    @property
    def wake_at_ns(self) -> int | None:
        """When somebody may have been silent for too long, or may be asked again."""
        times = [source.deadline_ns for source in self._sources.values() if source.number]
        times += [at for server, at in self._again_ns.items() if server not in self._sources]
        return min(times, default=None)

    def receive(self, now_ns: int, server: int, reply: ListReply, size: int) -> str | None:
        """A page has come; returns why the server is not believed any more, if that is so."""
        source = self._sources.get(server)
        if source is None or not source.number or reply.number != source.number:
            return None
        self.bytes += size
        if reply.refusal:
            self._leave_out(now_ns, server)
            return None
        reason = self._why_not(source, server, reply)
        if reason is not None:
            self.dropped.add(server)
            del self._sources[server]
            return reason
        source.number = 0
        source.count += len(reply.entries)
        source.entries.extend(reply.entries)
        source.is_last = reply.is_last
        if reply.entries:
            source.covered = reply.entries[-1].object_id
        return None

    def _why_not(self, source: _Source, server: int, reply: ListReply) -> str | None:
        entries = reply.entries
        if entries and entries[0].object_id <= source.covered:
            return "a list that is not in order"
        if not reply.is_last and len(entries) < LIST_ENTRIES_MAX and sum(map(listed_size, entries)) < _FULL_BYTES:
            return "a list with pages that are not full"
        longest = max([each.count for other, each in self._sources.items() if other != server], default=0)
        if source.count + len(entries) > LIST_LONGER_MAX + LIST_LONGER_FACTOR * longest:
            return "a list that is much longer than all others"
        return None

    @property
    def is_done(self) -> bool:
        """Whether enough lists are through to their ends."""
        ended = [source for source in self._sources.values() if source.is_last and not source.entries]
        return len(ended) >= self._needed and len(ended) == len(self._sources)

    def take(self) -> tuple[ObjectId, dict[int, Listed | None]] | None:
        """The next id in any list, and what each server's list says of it, None if it is not there.

        None if there is no such id, or not yet: a page has to come first.
        """
        sources = self._sources
        if len(sources) < self._needed or any(self._is_waiting(source) for source in sources.values()):
            return None
        heads = [source.entries[0].object_id for source in sources.values() if source.entries]
        if not heads:
            return None
        name = min(heads)
        shown: dict[int, Listed | None] = {}
        for server, source in sources.items():
            has = bool(source.entries) and source.entries[0].object_id == name
            shown[server] = source.entries.popleft() if has else None
        self.after = name
        self.listed += 1
        return name, shown

    def _is_waiting(self, source: _Source) -> bool:
        """Whether what comes next in this list is not known."""
        return not source.entries and not source.is_last
