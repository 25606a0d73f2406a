"""A newcomer: how it takes over what the others hold, object by object, until it is in standing (R4-R6, R8; ours).

It reads the lists of the others side by side, and with each id their histories. What these prove complete, or what an
empty server could accept, it takes over: the versions by object sync, history and versions in one transaction. What
they do not prove it reads and repairs with requests of its own (:mod:`inquiry`). When the lists are through and nothing
is left to do it is in standing.

A server in standing takes over in the same way, but for the lists, an object that its disk has damaged
(:func:`adoption.may_mend`).

An object is taken over once. Story: (1) an object is adopted, and answers requests. (2) A list that was read before
names it, and it is adopted again, from older histories. (3) What it has accepted in between is forgotten. So its own
store is asked first, and nothing else is done with the object until the transaction is durable.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask, Damaged, ObjectRecord, Write
from fivefold.protocol.classify import View
from fivefold.protocol.history import encode_history, make_histories
from fivefold.protocol.limits import (
    ADOPTIONS_AT_ONCE_MAX,
    ADOPTIONS_BYTES_MAX,
    ADOPTIONS_MAX,
    INQUIRIES_MAX,
    INQUIRIES_WAITING_MAX,
    INQUIRY_AGAIN_NS,
    INQUIRY_ROUNDS_MAX,
    MENDED_AGAIN_NS,
    MENDED_AT_ONCE_MAX,
    WANTED_MAX,
)
from fivefold.protocol.messages import LIST_REPLY, REPLY, decode_list_reply, split
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Listed, ObjectHistories, SyncReply, Version
from fivefold.protocol.server.adoption import Adoption, is_readable, may_mend, plan_adoption, view_of
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.inquiry import Inquiry
from fivefold.protocol.server.loading import AdoptionWork, Loads
from fivefold.protocol.server.membership import OWN_RECORD, Membership
from fivefold.protocol.server.merging import Merge
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.synchronise import SyncTable
from fivefold.protocol.server.versions import decode_version, rows_of
from fivefold.protocol.steps import Kind, Missing

FIRST_SYNC: Final = 1 << 62
"""Object syncs of catching up are numbered from here on: replies to them are told apart from those to requests'."""


def others_needed(quorums: QuorumSystem) -> int:
    """How many others have to show an object (R5).

    Not one fewer, although the newcomer makes up a quorum with these: an old client may count one answer of the
    replaced identity and b of servers that have followed, and what it saw complete must be shown often enough (D4).
    """
    return quorums.q


def may_begin(quorums: QuorumSystem, followers: int) -> bool:
    """Whether this number of followers is enough: else the cut would leave others without MACs that are needed (R5)."""
    return followers >= others_needed(quorums)


class Progress(Struct, frozen=True):
    """How far a newcomer is.

    Attributes:
        born: the edition in which its identity began.
        is_standing: whether it is a server like any other.
        followed: the others that use this edition or a newer one.
        needed: how many of these it needs.
        listed: objects of the others' lists that it has looked at.
        adopted: objects taken over since it was started.
        under_repair: objects that it reads or repairs by requests, or waits to.
        bytes: of lists received.
        mended: damaged objects that were taken over again.
    """

    born: int
    is_standing: bool
    followed: tuple[int, ...]
    needed: int
    listed: int = 0
    adopted: int = 0
    under_repair: int = 0
    bytes: int = 0
    mended: int = 0


class CatchUp:
    """Takes over objects. Its owner hands it frames, loads and the time, and calls :meth:`advance` after each input."""

    def __init__(
        self,
        quorums: QuorumSystem,
        membership: Membership,
        outbox: Outbox,
        replicas: Cache,
        loads: Loads,
        counters: Counter[str],
    ) -> None:
        """Nothing is asked yet."""
        self._quorums, self._membership = quorums, membership
        self._own_index = own_index = membership.own_index
        self._outbox, self._replicas, self._loads, self._counters = outbox, replicas, loads, counters
        self._numbers = 0
        self._merge = Merge(own_index, others_needed(quorums), self._next_number, is_whole=True)
        self._syncs: SyncTable[AdoptionWork] = SyncTable(own_index, quorums, FIRST_SYNC, counters)
        self._works: dict[ObjectId, AdoptionWork] = {}
        self._inquiries: dict[ObjectId, Inquiry] = {}
        self._todo: OrderedDict[ObjectId, int] = OrderedDict()  # not before this time
        self._floors: dict[ObjectId, bytes] = {}  # of damaged objects
        self._adopted: set[ObjectId] = set()  # found so where a joint adoption was refused for it
        self.adopted_count = self.mended_count = 0
        self.wake_at_ns: int | None = None
        self.is_touched = True
        self._durable = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether :meth:`advance` has something to do."""
        if self.is_touched or (self._works and self._outbox.durable != self._durable):
            return True
        return self.wake_at_ns is not None and self.wake_at_ns <= now_ns

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _send(self, asks: list[Ask]) -> None:
        self._outbox.send += asks
        self._counters["upkeep-asks"] += len(asks)

    @property
    def _others(self) -> list[int]:
        return [server for server in range(self._quorums.n) if server != self._own_index]

    @property
    def _followers(self) -> list[int]:
        return [server for server in self._others if self._membership.has_followed(server)]

    @property
    def progress(self) -> Progress:
        """How far it is."""
        membership, merge = self._membership, self._merge
        waiting = len(self._todo) + len(self._inquiries)
        followed = tuple(self._followers)
        needed = others_needed(self._quorums)
        return Progress(
            membership.born,
            membership.is_standing,
            followed,
            needed,
            merge.listed,
            self.adopted_count,
            waiting,
            merge.bytes,
            self.mended_count,
        )

    # --- inputs -----------------------------------------------------------------------------------------------

    def mend(self, name: ObjectId, floor: bytes) -> None:
        """An object is damaged: take it over again, at or above its floor."""
        if floor and name not in self._floors and len(self._floors) < MENDED_AT_ONCE_MAX and name != OWN_RECORD:
            self._floors[name] = floor
            self._todo[name] = 0
            self.is_touched = True

    def want(self, name: ObjectId) -> None:
        """A request names an object that is not adopted: it comes first."""
        if name in self._works or name in self._inquiries or len(self._todo) >= WANTED_MAX + INQUIRIES_WAITING_MAX:
            return
        self.is_touched = True
        self._todo.setdefault(name, 0)
        self._todo.move_to_end(name, last=False)

    def receive(self, now_ns: int, server: int, frame: bytes) -> None:
        """Another server's answer, which is not one to a client's request.

        Raises:
            PeerViolation: no honest server sends that.
        """
        self.is_touched = True
        if frame[0] == LIST_REPLY:
            reason = self._merge.receive(now_ns, server, decode_list_reply(frame), len(frame))
            if reason is not None:
                raise PeerViolation(reason)
        elif frame[0] == REPLY:
            number, vote, authenticators = split(frame, REPLY)
            for inquiry in self._inquiries.values():
                if inquiry.number == number:
                    inquiry.receive(now_ns, server, number, vote, authenticators)

    def receive_sync(self, now_ns: int, server: int, reply: SyncReply) -> None:
        """Another server's answer about a version."""
        self.is_touched = True
        asks, sync = self._syncs.receive(server, reply)
        self._send(asks)
        if sync is None:
            return
        for work in self._syncs.end(sync):
            if sync.version is None:
                self._give_up(now_ns, work)
            else:
                work.fetched[sync.key] = sync.version
                self._go_on(now_ns, work)

    def loaded(self, now_ns: int, work: AdoptionWork, name: ObjectId, record: ObjectRecord | Damaged | None) -> None:
        """The store has an answer for an adoption."""
        if self._works.get(work.names[0]) is not work:
            return
        self.is_touched = True
        is_mended = isinstance(record, Damaged) and name in self._floors
        if isinstance(record, Damaged) and not is_mended:
            self._give_up(now_ns, work)
        else:
            if record is None or is_mended:
                work.absent.add(name)
            self._go_on(now_ns, work)

    def forget(self, now_ns: int, replaced: tuple[int, ...]) -> None:
        """These servers were replaced: what they said counts no more."""
        self.is_touched = True
        for server in replaced:
            self._merge.forget(server)
        for name in list(self._inquiries):
            self._todo[name] = now_ns
        self._inquiries.clear()
        for work in list(self._works.values()):
            if not work.sequence:
                self._give_up(now_ns, work)

    # --- what is due ------------------------------------------------------------------------------------------

    def advance(self, now_ns: int, storage_failure: str | None, rest_until_ns: int = 0) -> None:
        """Do what can be done by now; what is not begun yet is not before ``rest_until_ns``."""
        self.wake_at_ns, self.is_touched, self._durable = None, False, self._outbox.durable
        is_newcomer = not self._membership.will_stand
        followers = self._followers if is_newcomer else self._others
        if is_newcomer and not may_begin(self._quorums, len(followers)):
            return
        self._end_works(now_ns, storage_failure)
        self._end_syncs(now_ns)
        for inquiry in list(self._inquiries.values()):
            if inquiry.wake_at_ns <= now_ns or (inquiry.number and inquiry.is_over):
                self._judge(now_ns, inquiry, followers)
        is_cut_short = False
        if rest_until_ns <= now_ns:
            self._begin_inquiries(now_ns, followers)
            if is_newcomer:
                is_cut_short = self._read_on(now_ns)
                self._send(self._merge.ask(now_ns, followers))
        if is_newcomer and self._merge.is_done and not (self._works or self._inquiries or self._todo):
            self._membership.stand()
            return
        begin_ns = [now_ns if is_cut_short or rest_until_ns > now_ns else self._merge.wake_at_ns] if is_newcomer else []
        self._note_wake(now_ns, storage_failure, rest_until_ns, begin_ns)

    def _end_works(self, now_ns: int, storage_failure: str | None) -> None:
        for work in list(self._works.values()):
            if work.sequence and work.sequence <= self._outbox.durable:
                for name in work.names:
                    self._works.pop(name, None)
                    self.mended_count += self._floors.pop(name, None) is not None
            elif work.is_ready and storage_failure is None:
                self._commit(now_ns, work)

    def _end_syncs(self, now_ns: int) -> None:
        for sync in self._syncs.due(now_ns):
            if sync.deadline_ns > now_ns:
                self._send(self._syncs.ask_after_silence(now_ns, sync))
                continue
            for work in self._syncs.end(sync):
                self._give_up(now_ns, work)

    def _note_wake(
        self, now_ns: int, storage_failure: str | None, rest_until_ns: int, begin_ns: list[int | None]
    ) -> None:
        """Each of ``begin_ns`` is a time at which something may be begun."""
        if self._todo and len(self._inquiries) < INQUIRIES_MAX:
            begin_ns.append(max(now_ns, min(self._todo.values())))
        times = [inquiry.wake_at_ns for inquiry in self._inquiries.values()]
        times += [max(at, rest_until_ns) for at in begin_ns if at is not None]
        if self._syncs.wake_at_ns is not None:
            times.append(self._syncs.wake_at_ns)
        if storage_failure is not None:
            times.append(now_ns + INQUIRY_AGAIN_NS)
        self.wake_at_ns = min(times, default=None)

    # --- lists ------------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        size = sum([work.size for work in self._works.values()])
        return (
            len(self._works) < ADOPTIONS_MAX and size < ADOPTIONS_BYTES_MAX and len(self._todo) < INQUIRIES_WAITING_MAX
        )

    def _read_on(self, now_ns: int) -> bool:
        """Look at some objects; whether there are more, and room for them."""
        for _ in range(ADOPTIONS_AT_ONCE_MAX):
            if not self._has_room or (found := self._merge.take()) is None:
                return False
            name, shown = found
            if name != OWN_RECORD and name not in self._works and name not in self._inquiries:
                self._look_at(now_ns, name, shown)
        return True

    def _look_at(self, now_ns: int, name: ObjectId, shown: Mapping[int, Listed | None]) -> None:
        """What the lists show of one object."""
        if sum([entry is not None for entry in shown.values()]) <= self._quorums.b:
            return  # invented, or accepted by nobody who counts
        histories: dict[int, bytes] = {}
        for server, entry in shown.items():
            if entry is None or entry.is_held:
                history = b"" if entry is None else entry.history
                if is_readable(name, history):
                    histories[server] = history
        plan = None
        if len(histories) >= others_needed(self._quorums):
            plan = plan_adoption(self._quorums, name, {name: view_of(self._quorums, name, list(histories.values()))})
        if isinstance(plan, Adoption):
            self._adopt(now_ns, plan, {name: self._set_of(name, histories)})
        else:
            self._todo.setdefault(name, now_ns)

    def _set_of(self, name: ObjectId, histories: Mapping[int, bytes]) -> ObjectHistories:
        return make_histories(name, [histories.get(server, b"") for server in range(self._quorums.n)])

    # --- reading and repairing by requests --------------------------------------------------------------------

    def _begin_inquiries(self, now_ns: int, followers: list[int]) -> None:
        while len(self._inquiries) < INQUIRIES_MAX:
            due = next((name for name, at in self._todo.items() if at <= now_ns), None)
            if due is None:
                return
            del self._todo[due]
            inquiry = self._inquiries[due] = Inquiry(self._quorums, self._own_index, (), due)
            self._send(inquiry.read(now_ns, self._next_number(), followers))

    def _judge(self, now_ns: int, inquiry: Inquiry, followers: list[int]) -> None:
        """A round or a pause is over."""
        views: dict[ObjectId, View] = {}
        for name in inquiry.names:
            histories = inquiry.histories(name)
            if len(histories) >= others_needed(self._quorums):
                views[name] = view_of(self._quorums, name, histories)
        found: Adoption | Missing | None = None
        if inquiry.target in views:
            found = plan_adoption(self._quorums, inquiry.target, views, self._adopted)
        floor = self._floors.get(inquiry.target)
        if floor is not None and isinstance(found, Adoption) and not may_mend(found, floor):
            found = None
            if inquiry.target in views and inquiry.plan() is None:
                self._put_off(now_ns, inquiry, MENDED_AGAIN_NS)  # until somebody writes it
                return
        if isinstance(found, Adoption):
            del self._inquiries[inquiry.target]
            sets = {name: self._set_of(name, inquiry.histories_by_server(name)) for name, _ in found.histories}
            self._adopt(now_ns, found, sets)
        elif inquiry.rounds >= INQUIRY_ROUNDS_MAX or (isinstance(found, Missing) and not inquiry.add(found.objects)):
            self._put_off(now_ns, inquiry)
        elif isinstance(found, Missing) or len(views) < len(inquiry.names):
            self._read_again(now_ns, inquiry, followers)
        else:
            self._repair(now_ns, inquiry, followers)

    def _repair(self, now_ns: int, inquiry: Inquiry, followers: list[int]) -> None:
        plan = inquiry.plan()
        if isinstance(plan, Missing):
            if inquiry.add(plan.objects):
                self._send(inquiry.read(now_ns, self._next_number(), followers))
            else:
                self._put_off(now_ns, inquiry)
        elif plan is None:
            self._read_again(now_ns, inquiry, followers)
        elif plan.kind in (Kind.BARRIER, Kind.COPY) and inquiry.number:
            inquiry.pause(now_ns, self._next_number())
        else:
            self._counters[f"repair.{plan.kind.value}"] += 1
            self._send(inquiry.repair(now_ns, self._next_number(), followers))

    def _read_again(self, now_ns: int, inquiry: Inquiry, followers: list[int]) -> None:
        """At once if others have to be read as well; after a pause if the same would be read again."""
        if inquiry.number and inquiry.has_read_all:
            inquiry.pause(now_ns, self._next_number())
        else:
            self._send(inquiry.read(now_ns, self._next_number(), followers))

    def _put_off(self, now_ns: int, inquiry: Inquiry, pause_ns: int = INQUIRY_AGAIN_NS) -> None:
        self._inquiries.pop(inquiry.target, None)
        self._todo[inquiry.target] = now_ns + pause_ns

    # --- adopting ---------------------------------------------------------------------------------------------

    def _adopt(self, now_ns: int, adoption: Adoption, shown: Mapping[ObjectId, ObjectHistories]) -> None:
        """Begin to take over; an initial object has nothing to take over: it is initial once we are in standing."""
        if not adoption.histories:
            return
        work = AdoptionWork(self, adoption.histories, adoption.settled, shown)
        if any(name in self._works for name in work.names):
            self._todo[work.names[0]] = now_ns + INQUIRY_AGAIN_NS  # another adoption has one of them in hand
            return
        for name in work.names:
            self._works[name] = work
            self._todo.pop(name, None)
        self._go_on(now_ns, work)

    def _go_on(self, now_ns: int, work: AdoptionWork) -> None:
        """Take an adoption as far as it goes: a wait, after which this is called again, or the transaction."""
        for name in work.names:
            if name not in work.absent and not self._is_absent(now_ns, work, name):
                return
        missing = [key for key in work.needed if key not in work.fetched]
        if missing:
            for key in missing:
                if key not in work.asked:
                    work.asked.add(key)
                    self._send(self._syncs.wait(now_ns, work, key, work.shown[key[0]]))
            return
        for name in work.flagged:
            if name not in work.absent and not self._replicas.fetch(now_ns, name):
                if not self._outbox.has_store:
                    work.absent.add(name)
                    continue
                self._load(work, name)
                return
        work.is_ready = True

    def _is_absent(self, now_ns: int, work: AdoptionWork, name: ObjectId) -> bool:
        """Whether the store is known to have nothing of the object; what is there was adopted before."""
        if self._replicas.fetch(now_ns, name):
            self._adopted.add(name)
            self._floors.pop(name, None)
            self._drop(work)
            if len(work.names) > 1:
                self._todo.update({each: now_ns for each in work.names if each != name})
            return False
        if self._outbox.has_store:
            self._load(work, name)
            return False
        work.absent.add(name)
        return True

    def _load(self, work: AdoptionWork, name: ObjectId) -> None:
        if name not in self._loads.waiting:
            self._outbox.load.append(name)
        self._loads.park(name, work)

    def _drop(self, work: AdoptionWork) -> None:
        for name in work.names:
            self._works.pop(name, None)

    def _give_up(self, now_ns: int, work: AdoptionWork) -> None:
        """Begin again later, with a reading of its own."""
        self._drop(work)
        self._counters["adoptions-given-up"] += 1
        for name in work.names:
            self._todo[name] = now_ns + INQUIRY_AGAIN_NS

    def _commit(self, now_ns: int, work: AdoptionWork) -> None:
        """Histories, versions and flags in one transaction (R6)."""
        if any(name not in work.absent and not self._replicas.fetch(now_ns, name) for name in work.flagged):
            work.is_ready = False
            self._go_on(now_ns, work)
            return
        writes: list[Write] = []
        for name, history in work.histories:
            versions: dict[bytes, Version] = {}
            for key in work.needed:
                if key[0] == name:
                    versions[key[1]] = decode_version(work.fetched[key])
            record = ObjectRecord(encode_history(history), rows_of(versions))
            if self._outbox.has_store:
                writes.append(Write(name, record.history, record.rows, is_whole=name in self._floors))
            else:
                self._replicas.add(now_ns, name, record)
        for candidate in work.settled:
            for name in candidate.objects:
                replica = None if name in work.names or name in work.absent else self._replicas.hot[name]
                if replica is not None and replica.flag_settled(candidate):
                    writes += self._outbox.write_of(replica)
        self._outbox.writes += writes
        self._counters["adopted"] += len(work.names)
        self.adopted_count += len(work.names)
        work.is_ready = False
        work.sequence = self._outbox.next_sequence if self._outbox.has_store else 0
        if not self._outbox.has_store:
            self._drop(work)
