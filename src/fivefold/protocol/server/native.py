"""Ordinary requests by native code (docs/decisions/0022): what :mod:`ordinary` does, from the frame to the reply.

The native module is given a frame and reads what it needs of the replica. It changes nothing but the number of the
channel's last request. What it returns is carried out here, like a decision of ``OrdinaryRequests``. Whatever it does
not take for an ordinary request goes the long way in Python, and is judged there.

A *judge* works some requests out both ways. Where they differ, Python's way is gone, the driver logs the frame, and
native code is asked no more: nobody knows what else it does wrong.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.native import Differs, Native
from fivefold.protocol.actions import Channel, Fault, Reply
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.history import encode_entry, history_digest
from fivefold.protocol.messages import REQUEST, UNABLE, decode_operation, decode_request, read_operation, split
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.records import Candidate, Entry, LogicalTimestamp, ObjectHistories, Part, Recorded, Ring, Version
from fivefold.protocol.server.ordinary import Decision, reply_to
from fivefold.protocol.server.replica import Replica, Shown
from fivefold.protocol.server.taking import Taking

_STATUS_AT: Final = 14
"""Where a reply frame has the status of its vote: behind 13 bytes of head and one of the array."""


Asked = tuple[int, ClientId, ObjectId]
Decided = tuple[int, Replica, ObjectHistories, LogicalTimestamp, Version | None, bytes, int, bytes, bytes]
"""A request's number, its replica, the set that was verified, the candidate's timestamp, the new version if any, the
history afterwards and where its last entry begins, all MACs over it, and the reply frame."""


class NativeRequests:
    """Takes ordinary requests.

    Attributes:
        judge_every: of every N requests one is worked out both ways. 0: none.
        is_trusted: the two have never differed here.
    """

    def __init__(
        self, module: Native, taking: Taking, q: int, numbers: dict[Channel, int], asked: deque[Asked]
    ) -> None:
        """Carry out by ``taking``; ``numbers`` are those of the last requests, which are remembered in ``asked``."""
        self._taking, self._numbers = taking, numbers
        self._hot, self._n = taking.replicas.hot, taking.replies.keys.n
        self._panicked = module.Panicked
        self._requests = module.Requests(
            self._n,
            q,
            numbers=numbers,
            hot=self._hot,
            asked=asked,
            prepare=taking.ordinary.prepare,
            decode_operation=read_operation,
            types=(Version, Ring, Recorded, ObjectHistories),
        )
        self.judge_every, self._judge_in = 0, 0
        self.is_trusted = True

    @classmethod
    def of(
        cls, module: Native | None, taking: Taking, q: int, numbers: dict[Channel, int], asked: deque[Asked]
    ) -> NativeRequests | None:
        """Those of a native module, if there is one."""
        return None if module is None else cls(module, taking, q, numbers, asked)

    def take(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> bool:
        """Do at once what the frame asks for; False if it is to be looked at by Python."""
        if self._taking.replies.membership.untold or not self.is_trusted:  # who is cut off, Python knows
            return False
        judged: Decided | None = None
        is_judged = self.judge_every > 0 and self._is_due()
        if is_judged:
            judged = self._work_out(client, frame)
        before = self._numbers.get(channel, 0)
        try:
            decided = self._requests.decide(now_ns, client, channel, frame, self._taking.replies.keys.maker)
        except self._panicked as error:
            self._taking.counters["native.panicked"] += 1
            self._go_back(channel, before, Fault("working on a request in native code", error, None))
            return False
        if decided is None:
            return False
        if is_judged and not _are_alike(decided, judged):
            self._taking.counters["native.differed"] += 1
            self.is_trusted = False
            self._go_back(channel, before, Fault("judging native code", _difference(frame, decided, judged), None))
            return False
        _, replica, verified, timestamp, version, history, last_at, macs, reply = decided
        shown = Shown(timestamp, history, last_at, macs)
        self._taking.carry_out(now_ns, Reply(channel, reply, now_ns), replica, verified, version, shown)
        return True

    def _is_due(self) -> bool:
        self._judge_in -= 1
        if self._judge_in <= 0:
            self._judge_in = self.judge_every
            return True
        return False

    def _go_back(self, channel: Channel, before: int, fault: Fault) -> None:
        """Nothing was done: Python is to have the frame."""
        self._numbers[channel] = before
        self._taking.outbox.faults.append(fault)

    def _work_out(self, client: ClientId, frame: bytes) -> Decided | None:
        """What Python makes of the frame; None if it is not an ordinary request. Nothing is changed."""
        try:
            number, body, proof = split(frame, REQUEST)
            request = decode_request(body, self._n)
            operation = decode_operation(request) if request.operation else None
        except PeerViolation:
            return None
        replica = self._hot.get(request.sets[0].object_id)
        if operation is None or replica is None:
            return None
        decision = self._taking.ordinary.decide(client, request, operation, proof, replica)
        if decision is None:
            return None
        return self._shown_by(number, decision, replica, request.sets[0])

    def _shown_by(self, number: int, decision: Decision, replica: Replica, verified: ObjectHistories) -> Decided:
        _, timestamp, _, version = decision
        history, last_at, macs = replica.history, replica.last_at, self._taking.replies.macs(replica)
        if version is not None:
            entry = Entry(Candidate(timestamp, (Part(replica.object_id, replica.latest, None),)), False)
            last = history[last_at:]
            history, last_at = b"\x92" + last + encode_entry(entry), 1 + len(last)
            macs = self._taking.replies.keys.macs(history_digest(replica.object_id, history))
        frame = reply_to(number, decision, history, macs[: self._n * MAC_BYTES])
        return number, replica, verified, timestamp, version, history, last_at, macs, frame


def _are_alike(decided: Decided, judged: Decided | None) -> bool:
    """Whether both ways came to the same; what one of them could not run says nothing of the other."""
    if judged is not None and UNABLE in (decided[-1][_STATUS_AT], judged[-1][_STATUS_AT]):
        return True
    return decided == judged


def _difference(frame: bytes, decided: Decided, judged: Decided | None) -> Differs:
    by_python = "that it is no ordinary request" if judged is None else judged[-1].hex()
    return Differs(f"native code says {decided[-1].hex()} where Python says {by_python}, to {frame.hex()}")
