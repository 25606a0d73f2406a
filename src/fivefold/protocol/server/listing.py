"""Lists of objects, a page at a time: what another server compares with its own, and what a client may read (ours).

A page is read from the store, so all that it says is durable; each of its objects is as of one moment. It is put
together from several reads, since one object can have megabytes and its entry some hundred bytes. Nothing of it enters
the cache of objects.

Who may see what: another server sees everything, as it does by object sync. A client sees the objects on which it has
any right, since it is shown the histories of these for every request. The digest of a version covers the whole state
and everybody's recent calls: only a client that may ask for whole states (SHOW) gets it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fivefold.protocol.actions import Channel, Damaged, Listing, ObjectRecord, Page, Reply
from fivefold.protocol.history import history_digest, is_barrier
from fivefold.protocol.limits import (
    LIST_BYTES_MAX,
    LIST_ENTRIES_MAX,
    LIST_READ_BYTES_MAX,
    LIST_READ_OBJECTS_MAX,
    LIST_READS_MAX,
    LISTS_MAX,
    LISTS_PER_PEER_MAX,
)
from fivefold.protocol.messages import list_reply_frame, listed_size
from fivefold.protocol.operations import SHOW, AccessPolicy, ClientId, ObjectId, digest
from fivefold.protocol.records import INITIAL_HISTORY, Listed, ListReply, ListRequest
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.membership import OWN_RECORD, Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import own_history
from fivefold.protocol.server.versions import encode_version, read_rows


class ListWork:
    """A page being put together.

    Attributes:
        peer: who asks: a client, or a server's index.
        channel: where the answer goes.
        request: what is asked for.
        after: the last id that was looked at.
        entries: the page so far.
        size: what its entries count.
        reads: how often the store was read for it.
    """

    __slots__ = ("after", "channel", "entries", "peer", "reads", "request", "size")

    def __init__(self, peer: ClientId | int, channel: Channel, request: ListRequest, after: ObjectId) -> None:
        """An empty page that begins after ``after``."""
        self.peer, self.channel, self.request, self.after = peer, channel, request, after
        self.entries: list[Listed] = []
        self.size = self.reads = 0


class Lists:
    """The pages under way at one server."""

    def __init__(
        self,
        replicas: Cache,
        membership: Membership,
        outbox: Outbox,
        access: AccessPolicy,
        counters: Counter[str],
    ) -> None:
        """None under way."""
        self._replicas, self._membership, self._outbox = replicas, membership, outbox
        self._access, self._counters = access, counters
        self._works: dict[int, ListWork] = {}
        self._held: list[ListWork] = []
        self._count = 0
        self._stopped: dict[Channel, tuple[ObjectId, ObjectId]] = {}

    def begin(self, peer: ClientId | int, channel: Channel, request: ListRequest) -> None:
        """Put a page together and answer with it, or say why not."""
        if not self._membership.is_standing:
            self._answer(channel, ListReply(request.number, (), False, "catching up: ask another server"))
            return
        works = [*self._works.values(), *self._held]
        if sum([work.peer == peer for work in works]) >= LISTS_PER_PEER_MAX or len(works) >= LISTS_MAX:
            self._counters["turned-away.lists"] += 1
            self._answer(channel, ListReply(request.number, (), False, "too many lists at once: ask again later"))
            return
        asked, stopped = self._stopped.get(channel, ("", ""))
        after = stopped if asked == request.after and stopped > asked else request.after
        self._held.append(ListWork(peer, channel, request, ObjectId(after)))
        self.go_on()

    def go_on(self) -> None:
        """Begin to read, once all is durable that was accepted before a seal (M1): the mover must not miss it."""
        if self._held and self._membership.sealed_at <= self._outbox.durable:
            held, self._held = self._held, []
            for work in held:
                self._go_on(work)

    def closed(self, channel: Channel) -> None:
        """The connection is gone."""
        self._stopped.pop(channel, None)

    def listed(self, number: int, page: Page | Damaged) -> ListWork | None:
        """The store's answer; the work that it was for."""
        work = self._works.pop(number, None)
        if work is not None:
            self._take(work, page)
        return work

    def _go_on(self, work: ListWork) -> None:
        """Read what comes next."""
        if not self._outbox.has_store:
            self._take(work, self._replicas.page(work.after, LIST_READ_OBJECTS_MAX, LIST_READ_BYTES_MAX))
            return
        self._count += 1
        self._works[self._count] = work
        wanted = min(LIST_READ_OBJECTS_MAX, work.request.entries_max)
        self._outbox.lists.append(Listing(self._count, work.after, wanted, LIST_READ_BYTES_MAX))

    def _take(self, work: ListWork, page: Page | Damaged) -> None:
        work.reads += 1
        if isinstance(page, Damaged):
            self._counters["turned-away.list-damaged"] += 1
            self._answer(work.channel, ListReply(work.request.number, (), False, "damaged on this server"))
            return
        is_full = self._fill(work, page)
        if not is_full and not page.is_last and work.reads < LIST_READS_MAX:
            self._go_on(work)
            return
        self._stopped.pop(work.channel, None)
        if not is_full and not page.is_last:
            self._stopped[work.channel] = (work.request.after, work.after)
        is_last = page.is_last and not is_full
        self._answer(work.channel, ListReply(work.request.number, tuple(work.entries), is_last, ""))

    def _fill(self, work: ListWork, page: Page) -> bool:
        """Add what the peer may see; whether the page has become full before its last object."""
        entries_max = min(work.request.entries_max, LIST_ENTRIES_MAX)
        bytes_max = min(work.request.bytes_max, LIST_BYTES_MAX)
        for entry in self._entries(work, page):
            size = listed_size(entry)
            if work.entries and (len(work.entries) == entries_max or work.size + size > bytes_max):
                return True
            work.entries.append(entry)
            work.size += size
            work.after = entry.object_id
        if page.objects:
            work.after = ObjectId(page.objects[-1][0])
        return False

    def _entries(self, work: ListWork, page: Page) -> Iterator[Listed]:
        for name, record in page.objects:
            object_id, sees_versions = ObjectId(name), True
            if object_id == OWN_RECORD:
                continue
            if isinstance(work.peer, bytes):
                if not self._access.knows(work.peer, object_id):
                    continue
                sees_versions = self._access.allows(work.peer, object_id, SHOW)
            yield _entry(object_id, record, is_whole=work.request.is_whole, sees_versions=sees_versions)

    def _answer(self, channel: Channel, reply: ListReply) -> None:
        self._outbox.promise(Reply(channel, list_reply_frame(reply)), self._membership.sequence)


def _entry(object_id: ObjectId, record: ObjectRecord | Damaged, *, is_whole: bool, sees_versions: bool) -> Listed:
    if isinstance(record, Damaged):
        return Listed(object_id, b"", b"", is_held=False)
    history = record.history if is_whole else history_digest(object_id, record.history)
    found = b""
    if sees_versions and record.history != INITIAL_HISTORY:
        versions = read_rows(record.rows)
        for entry in reversed(own_history(object_id, record.history)):
            if not is_barrier(entry.candidate.timestamp):
                version = versions.get(entry.candidate.timestamp)
                found = b"" if version is None else digest(encode_version(version))
                break
    return Listed(object_id, history, found, is_held=True)
