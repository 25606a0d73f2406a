"""In the background a server compares its objects with the others', and catches up unasked (R10; ours).

A server that was down, or that is in no preferred quorum, would otherwise lag until a client happens to ask it. It
reads lists of digests. Where q servers do not agree with its own, it reads the histories, and gives itself an ordinary
repair. What the others themselves do not agree on, and has not changed since the last pass, a client has left: that is
repaired as by any client. What one server alone holds is left to the next call on the object. So fewer repairs are left
to clients, and b + 1 holders of each version stay.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from hmac import compare_digest
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask, Damaged, Listing, ObjectRecord, Page
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.history import history_digest
from fivefold.protocol.limits import (
    INQUIRY_PATIENCE_NS,
    INQUIRY_ROUNDS_MAX,
    LIST_READ_BYTES_MAX,
    SCRUB_FIRST_NS,
    SCRUB_LEFT_NS,
    SCRUB_PASS_NS,
    SCRUB_REPAIRS_MAX,
    SCRUB_STEP_NS,
    SCRUB_STEP_OBJECTS,
    SCRUB_TURN_NS,
    SCRUB_WAITING_MAX,
    VERIFY_READ_NS,
)
from fivefold.protocol.messages import HELD_REPLY, LIST_REPLY, REPLY, decode_list_reply, split
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Listed
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.inquiry import Inquiry, Shown
from fivefold.protocol.server.loading import AdoptionWork, Loads
from fivefold.protocol.server.membership import OWN_RECORD, Membership
from fivefold.protocol.server.merging import Merge
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.turns import Deliver, ScrubState, Turn
from fivefold.protocol.server.unverified import Unverified
from fivefold.protocol.server.verification import Verification
from fivefold.protocol.steps import Kind, Missing, Plan

FIRST_NUMBER: Final = 1 << 61
"""Requests of the scrub are numbered from here on, apart from those of catching up."""


OWN_AGAIN_NS: Final = 5_000_000
"""What this server has accepted itself is shown to the others when it is durable: it is looked at this often."""

OWN_LISTING: Final = -1
"""Number of the scrub's own reading of the store's list."""


class Scrub:
    """Compares, reads and repairs. Its owner hands it frames, pages and the time, and calls :meth:`advance`."""

    def __init__(
        self,
        quorums: QuorumSystem,
        membership: Membership,
        outbox: Outbox,
        replicas: Cache,
        loads: Loads,
        unverified: Unverified,
        counters: Counter[str],
        deliver: Deliver,
        sign: Callable[[Replica], bytes],
        expected: Callable[[int, ObjectId, bytes], bytes],
    ) -> None:
        """Nothing is compared yet; ``deliver`` gives a repair to this server itself, ``sign`` makes authenticators.

        ``expected`` tells the MAC that another server makes for this one.
        """
        self._quorums, self._membership, self._outbox, self._replicas = quorums, membership, outbox, replicas
        self._counters, self._deliver, self._sign, self._expected = counters, deliver, sign, expected
        self._loads, self._own_index = loads, membership.own_index
        self.unverified = unverified
        self._verification = Verification(quorums, self._own_index, unverified, self._send, self._look_at)
        self._numbers = FIRST_NUMBER
        self._merge: Merge | None = None
        self._own: deque[tuple[ObjectId, bytes]] = deque()
        self._own_covered, self._has_own_ended, self._is_reading = "", False, False
        self._pending: tuple[ObjectId, list[bytes]] | None = None
        self._todo: OrderedDict[ObjectId, None] = OrderedDict()
        self._inquiries: dict[ObjectId, Inquiry] = {}
        self._suspected: OrderedDict[ObjectId, None] = OrderedDict()  # what clients may have left
        self._unconfirmed: set[ObjectId] = set()  # of these, what is being read
        self._suspects_ns = 0
        self._turns: dict[ObjectId, Turn] = {}
        self._own_shown: dict[ObjectId, tuple[bytes, bytes]] = {}
        self._missing: set[ObjectId] = set()  # what the disk has nothing of, or nothing that can be used
        self._left: dict[ObjectId, tuple[int, dict[int, bytes]]] = {}
        self._passes = 0
        self._last_pass_ns: int | None = None
        self._caught_up = self._repaired = 0
        self.wake_at_ns: int | None = None
        self.is_touched = True
        self._next_ns: int | None = None

    @property
    def state(self) -> ScrubState:
        """How far it is."""
        position = "" if self._merge is None else self._merge.after
        behind = len(self._todo) + len(self._inquiries)
        return ScrubState(position, self._passes, self._last_pass_ns, behind, self._caught_up, self._repaired)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _send(self, asks: list[Ask]) -> None:
        self._outbox.send += asks
        self._counters["upkeep-asks"] += len(asks)

    @property
    def _others(self) -> list[int]:
        return [server for server in range(self._quorums.n) if server != self._own_index]

    # --- inputs -----------------------------------------------------------------------------------------------

    def receive(self, now_ns: int, server: int, frame: bytes) -> None:
        """Another server's answer.

        Raises:
            PeerViolation: no honest server sends that.
        """
        if frame[0] == LIST_REPLY and self._merge is not None:
            reason = self._merge.receive(now_ns, server, decode_list_reply(frame), len(frame))
            self.is_touched = True
            if reason is not None:
                raise PeerViolation(reason)
        elif frame[0] == HELD_REPLY:
            self._verification.receive(now_ns, server, frame)
            self.is_touched = True
        elif frame[0] == REPLY:
            number, vote, authenticators = split(frame, REPLY)
            for inquiry in self._inquiries.values():
                if inquiry.number == number:
                    inquiry.receive(now_ns, server, number, vote, authenticators)
                    self._check_macs(server, inquiry)
                    self.is_touched = True

    def _check_macs(self, server: int, inquiry: Inquiry) -> None:
        """Count a wrong MAC that a server itself has sent; none at all is what the cut may demand (R3)."""
        if self._membership.announced[server] != self._membership.edition.name:
            return  # its keys may be those of another edition
        for name, (history, authenticator) in inquiry.shown.get(server, {}).items():
            start = self._own_index * MAC_BYTES
            mac = authenticator[start : start + MAC_BYTES]
            if history and mac != bytes(MAC_BYTES) and not compare_digest(mac, self._expected(server, name, history)):
                self._counters[f"seen.{server} wrong-mac"] += 1
                return

    def listed(self, page: Page | Damaged) -> None:
        """A page of the own list; where it cannot be read, this pass ends."""
        self._is_reading = False
        self.is_touched = True
        if isinstance(page, Damaged):
            self._merge, self._pending = None, None
            return
        for name, record in page.objects:
            if isinstance(record, ObjectRecord):
                self._own.append((ObjectId(name), history_digest(ObjectId(name), record.history)))
            self._own_covered = name
        self._has_own_ended = page.is_last

    def is_due(self, now_ns: int) -> bool:
        """Whether :meth:`advance` has something to do."""
        if self.is_touched or (self.wake_at_ns is not None and self.wake_at_ns <= now_ns):
            return True
        unverified = self.unverified
        return unverified.has_begun_to_press or (bool(unverified.fresh) and self._verification.is_idle)

    def forget(self, now_ns: int, replaced: tuple[int, ...]) -> None:
        """These servers were replaced: this pass ends."""
        if replaced:
            self._verification.forget(now_ns)
            self._merge, self._pending = None, None
            self._inquiries.clear()
            self._turns.clear()
            self._unconfirmed.clear()

    # --- what is due ------------------------------------------------------------------------------------------

    def advance(self, now_ns: int, rest_until_ns: int = 0) -> None:
        """Do what can be done by now; what is not begun yet is not before ``rest_until_ns``."""
        self.is_touched = False
        if self._next_ns is None:
            self._next_ns = now_ns + SCRUB_FIRST_NS * (1 + self._own_index)
        self._verification.advance(now_ns)
        self._note_wake(now_ns, rest_until_ns)  # what follows may raise
        if self._membership.is_standing:
            for inquiry in list(self._inquiries.values()):
                if inquiry.wake_at_ns <= now_ns or (inquiry.number and inquiry.is_over):
                    self._judge(now_ns, inquiry)
            if rest_until_ns <= now_ns:
                self._begin_some(now_ns)
        self._note_wake(now_ns, rest_until_ns)

    def _begin_some(self, now_ns: int) -> None:
        while self._todo and len(self._inquiries) < SCRUB_REPAIRS_MAX:
            self._begin(now_ns, self._todo.popitem(last=False)[0])
        while self._suspected and len(self._inquiries) < SCRUB_REPAIRS_MAX and self._suspects_ns <= now_ns:
            name, _ = self._suspected.popitem(last=False)
            if name in self.unverified.open:  # else it was confirmed meanwhile
                self._suspects_ns = now_ns + VERIFY_READ_NS
                self._unconfirmed.add(name)
                self._begin(now_ns, name)
        if self._next_ns is not None and now_ns >= self._next_ns:
            self._step(now_ns)

    def _note_wake(self, now_ns: int, rest_until_ns: int) -> None:
        begin_ns = [now_ns + SCRUB_STEP_NS if not self._membership.is_standing else self._next_ns or 0]
        if len(self._inquiries) < SCRUB_REPAIRS_MAX:  # else the end of an inquiry wakes
            begin_ns += [self._suspects_ns] if self._suspected else []
            begin_ns += [rest_until_ns] if self._todo else []
        times = [max(at, rest_until_ns) for at in begin_ns]
        times += [inquiry.wake_at_ns for inquiry in self._inquiries.values()]
        times += [at for at in (self._verification.wake_at_ns,) if at is not None]
        self.wake_at_ns = min(times, default=None)

    def _look_at(self, name: ObjectId) -> None:
        """Read what a client may have left, if there is room; else it is asked for again."""
        if len(self._suspected) < SCRUB_WAITING_MAX and name not in self._inquiries:
            self._suspected[name] = None

    def _begin(self, now_ns: int, name: ObjectId) -> None:
        if name not in self._inquiries:
            self._inquiries[name] = inquiry = Inquiry(self._quorums, self._own_index, (), name, is_wary=True)
            self._send(inquiry.read(now_ns, self._next_number(), self._others))

    def _step(self, now_ns: int) -> None:
        """Compare some objects."""
        if self._merge is None:
            self._merge = Merge(self._own_index, self._quorums.b + 1, self._next_number, is_whole=False)
            self._own.clear()
            self._own_covered, self._has_own_ended, self._pending = "", False, None
        self._next_ns = now_ns + SCRUB_STEP_NS
        for _ in range(SCRUB_STEP_OBJECTS):
            if len(self._todo) >= SCRUB_WAITING_MAX or not self._compare_next():
                break
        self._send(self._merge.ask(now_ns, self._others))
        if self._merge.is_done and self._pending is None and not (self._todo or self._inquiries):
            self._merge = None
            self._passes += 1
            self._last_pass_ns = now_ns
            self._next_ns = now_ns + SCRUB_PASS_NS

    def _compare_next(self) -> bool:
        """Compare one object; False if something has to come first."""
        if self._pending is None:
            assert self._merge is not None, "a pass is under way"
            found = self._merge.take()
            if found is None:
                return False
            self._pending = found[0], self._digests(*found)
        name, digests = self._pending
        own = self._own_digest(name)
        if own is None:
            return False
        self._pending = None
        if name != OWN_RECORD and 1 + digests.count(own) < self._quorums.q and name not in self._inquiries:
            self._todo[name] = None
        return True

    def _digests(self, name: ObjectId, shown: dict[int, Listed | None]) -> list[bytes]:
        initial = history_digest(name, INITIAL_HISTORY)
        return [
            initial if entry is None else entry.history for entry in shown.values() if entry is None or entry.is_held
        ]

    def _own_digest(self, name: ObjectId) -> bytes | None:
        """What this server has of the object; None if its list has to be read on."""
        while self._own and self._own[0][0] < name:
            self._own.popleft()
        if not self._own and not self._has_own_ended and self._own_covered < name:
            self._read_own()
            return None if self._is_reading else self._own_digest(name)
        if self._own and self._own[0][0] == name:
            return self._own[0][1]
        return history_digest(name, INITIAL_HISTORY)

    def _read_own(self) -> None:
        if self._is_reading:
            return
        if self._outbox.has_store:
            self._is_reading = True
            listing = Listing(OWN_LISTING, self._own_covered, SCRUB_STEP_OBJECTS, LIST_READ_BYTES_MAX)
            self._outbox.lists.append(listing)
        else:
            self.listed(self._replicas.page(ObjectId(self._own_covered), SCRUB_STEP_OBJECTS, LIST_READ_BYTES_MAX))

    # --- repairs ----------------------------------------------------------------------------------------------

    def _judge(self, now_ns: int, inquiry: Inquiry) -> None:
        """A round or a pause is over."""
        others = inquiry.shown.keys() - {self._own_index}
        if inquiry.rounds >= INQUIRY_ROUNDS_MAX or len(others) < self._quorums.q - 1:
            self._drop(inquiry)  # the next pass comes back to it
            return
        if not self._show_own(now_ns, inquiry):
            return
        plan, frame = inquiry.inline(self._next_number())
        if isinstance(plan, Plan) and plan.kind is Kind.INLINE_METHOD and self._is_behind(plan):
            self._drop(inquiry)
            self._caught_up += 1
            self._counters["scrub.caught-up"] += 1
            self._deliver(now_ns, frame=frame)
            return
        plan = plan if isinstance(plan, Missing) else inquiry.plan()
        if isinstance(plan, Missing):
            if not inquiry.add(plan.objects):
                self._drop(inquiry)
                return
            self._send(inquiry.read(now_ns, self._next_number(), self._others))
        elif plan is None or not self._is_left(now_ns, inquiry):
            if plan is None:
                self._end(inquiry)
            self._drop(inquiry)
        else:
            self._take_turn(now_ns, inquiry, plan)

    def _take_turn(self, now_ns: int, inquiry: Inquiry, plan: Plan) -> None:
        """Repair, unless somebody else is at it: several servers may find the same object at the same moment.

        So each waits for its turn, which depends on the object, and reads again. What has changed by then is left to
        others, and so is what a step of its own did not bring on. If they leave it, too, it is found again.
        """
        turn = self._turns.get(inquiry.target)
        if turn is None:
            rank = (self._own_index - digest(inquiry.target.encode())[0]) % self._quorums.n
            self._turns[inquiry.target] = Turn(inquiry.digests)
            inquiry.rest(now_ns + rank * SCRUB_TURN_NS)
        elif inquiry.number == 0:
            self._send(inquiry.read(now_ns, self._next_number(), self._others))
        elif turn.last is plan.kind or (turn.last is None and inquiry.has_changed(turn.before)):
            self._drop(inquiry)
        else:
            turn.last = plan.kind
            self._repair(now_ns, inquiry, plan)

    def _drop(self, inquiry: Inquiry) -> None:
        self._inquiries.pop(inquiry.target, None)
        self._turns.pop(inquiry.target, None)
        self._unconfirmed.discard(inquiry.target)
        self._missing.difference_update(inquiry.names)
        self._forget_own(inquiry)

    def _forget_own(self, inquiry: Inquiry) -> None:
        for name in inquiry.names:
            self._own_shown.pop(name, None)

    def _repair(self, now_ns: int, inquiry: Inquiry, plan: Plan) -> None:
        """Send what is known as a repair, to this server as well if its own history is among that."""
        self._repaired += 1
        self._counters[f"scrub.{plan.kind.value}"] += 1
        servers = self._others
        if self._own_index in inquiry.shown:
            servers = [*servers, self._own_index]
        for ask in inquiry.repair(now_ns, self._next_number(), servers):
            if ask.server == self._own_index:
                self._deliver(now_ns, frame=ask.frame)
            else:
                self._send([ask])
        self._forget_own(inquiry)

    def _show_own(self, now_ns: int, inquiry: Inquiry) -> bool:
        """Add what this server holds; False if it has to be read first, or the disk has to have it first.

        What only a pass of the lists has brought up is not read from the disk for it.
        """
        own: Shown = {}
        inquiry.shown.pop(self._own_index, None)
        for name in inquiry.names:
            found = self._own_shown.get(name)
            if found is None and self._replicas.fetch(now_ns, name):
                found = self._show(name)
                if found is None:
                    inquiry.wake_at_ns = now_ns + OWN_AGAIN_NS
                    return False
            elif found is None:
                if not self._outbox.has_store or name in self._missing or inquiry.target not in self.unverified.open:
                    return True
                self._load(name)
                inquiry.wake_at_ns = now_ns + INQUIRY_PATIENCE_NS
                return False
            own[name] = found
        inquiry.shown[self._own_index] = own
        return True

    def _show(self, name: ObjectId) -> tuple[bytes, bytes] | None:
        """History and authenticator of an object in memory; None while they are not durable."""
        replica = self._replicas.hot[name]
        if replica.sequence > self._outbox.durable:
            return None
        return replica.history, self._sign(replica) if replica.history else b""

    def _load(self, name: ObjectId) -> None:
        if name not in self._loads.waiting:
            self._outbox.load.append(name)
            self._loads.park(name, AdoptionWork(self, (), (), {}))

    def loaded(self, now_ns: int, work: AdoptionWork, name: ObjectId, record: ObjectRecord | Damaged | None) -> None:
        """What this server holds of an object is in memory now, unless its disk has nothing that can be used."""
        self.is_touched = True
        if not isinstance(record, ObjectRecord) or not self._replicas.fetch(now_ns, name):
            self._missing.add(name)
        elif (found := self._show(name)) is not None:
            self._own_shown[name] = found  # noted at once: it may leave the memory again before it is asked for
        for inquiry in self._inquiries.values():
            if name in inquiry.names:
                inquiry.wake_at_ns = now_ns

    def _is_behind(self, plan: Plan) -> bool:
        """Whether this server lacks what it would be brought up to, and has nothing newer, which it would stay with.

        Story: (1) a client leaves a barrier at this server alone. (2) The others have gone on below it. (3) Brought up
        to what they have, this server refuses that as stale, again and again: what it needs is another barrier.
        """
        found, repaired = [self._replicas.hot.get(part.object_id) for part in plan.parts], plan.repaired
        assert repaired is not None, "INLINE_METHOD repairs something"
        held = [replica for replica in found if replica is not None]
        return not any(each.latest > repaired.timestamp or each.holds(repaired) for each in held)

    def _end(self, inquiry: Inquiry) -> None:
        """An object is established: nothing is open of it any more, if what was established is the latest here."""
        name = inquiry.target
        if name in self._missing:  # this server's disk has it no more: a pass will see to that
            self.unverified.forget(name)
        elif self._own_index in inquiry.shown:
            self.unverified.establish(name, inquiry.newest)

    def _is_left(self, now_ns: int, inquiry: Inquiry) -> bool:
        """Whether a client has left the object so: nothing has changed since a pass long ago.

        What verification has asked for in vain has not changed here for a while, and that is long enough.
        """
        if inquiry.target in self._turns or inquiry.target in self._unconfirmed:
            return True
        since_ns, before = self._left.get(inquiry.target, (now_ns, {}))
        if not before or inquiry.has_changed(before):
            if len(self._left) >= SCRUB_WAITING_MAX:
                self._left.clear()
            self._left[inquiry.target] = (now_ns, inquiry.digests)
            return False
        if now_ns - since_ns < SCRUB_LEFT_NS:
            return False
        del self._left[inquiry.target]
        return True
