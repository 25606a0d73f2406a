"""Replies against a session: one server says what the script likes, connections come and go, frames come again.

A call must end by its deadline, and what its caller is told must be true: an answer was applied, once, and a call that
"changed nothing" is not in the state.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.client.outcomes import Answered, Refused, TimedOut
from fivefold.protocol.history import history_digest
from fivefold.protocol.messages import REPLY, decode_request, decode_vote, encode, reply_frame, split
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Vote
from fivefold.simulation.rack import rack_keys
from tests.fuzz.script import Script
from tests.protocol_rig import SECOND, A, B, Desk, Toy, WatchedRack, X, Y, op

N: Final = 6
LIAR: Final = 1
TIMEOUT_S: Final = 5.0
STEPS_MAX: Final = 4000


class Tampered(Desk):
    """A client one of whose servers lies by script."""

    def __init__(self, rack: WatchedRack, script: Script) -> None:
        super().__init__(rack, X, seed=1 + script.number())
        self._script = script
        self._names: list[ObjectId] = [A]
        self._seen: list[bytes] = []
        self.lies[LIAR] = self._lie
        self.cuts = self._cut

    def _cut(self, server: int, frame: bytes) -> bool:
        """Note what is asked; now and then the connection breaks before or after that, or old frames come again."""
        script = self._script
        self._names = [each.object_id for each in decode_request(split(frame, 1)[1], N).sets]
        event = script.number()
        if event == 1:
            self._take(self.session.disconnected(self.rack.now_ns, server))
            self._take(self.session.connected(self.rack.now_ns, server))
            return False
        if event == 2 and self._seen:
            self._take(self.session.receive(self.rack.now_ns, script.number() % N, script.one_of(self._seen)))
        if event == 3:
            self._take(self.session.receive(self.rack.now_ns, LIAR, script.mutated(frame)))
        return event != 4

    def _lie(self, frame: bytes) -> bytes | None:
        """The liar's reply: altered bytes, or a vote put together and signed."""
        script = self._script
        kind = script.number() % 6
        self._seen.append(frame)
        if kind == 0:
            return frame
        if kind == 1:
            return script.mutated(frame)
        number, body, tail = split(frame, REPLY)
        try:
            vote = decode_vote(script.mutated(body) if kind == 2 else body)
        except PeerViolation:
            return reply_frame(number, script.mutated(body), (tail,))
        if kind == 3:
            return reply_frame(number, encode(vote), (script.mutated(tail),))
        return self._signed(number, self._altered(vote))

    def _altered(self, vote: Vote) -> Vote:
        script = self._script
        shown = [self.rack.history(script.number() % N, script.one_of((A, B))) for _ in vote.histories]
        changes: dict[str, object] = {
            "status": script.number() % 4,
            "answers": tuple(script.mutated(b"v1") for _ in range(script.number() % 3)),
            "version_digest": script.one_of((vote.version_digest, b"", b"d" * 32)),
            "histories": tuple(script.mutated(each) for each in shown),
            "culled": tuple(sorted({script.number() % 8 for _ in range(script.number() % 7)})),
            "candidate": script.one_of((vote.candidate, b"")),
        }
        chosen = script.some_of(sorted(changes))
        return msgspec.structs.replace(vote, **{name: changes[name] for name in chosen})

    def _signed(self, number: int, vote: Vote) -> bytes:
        keys = rack_keys(LIAR, N)
        pairs = zip(self._names, vote.histories, strict=False)
        return reply_frame(
            number, encode(vote), [keys.make(history_digest(name, each)) for name, each in pairs if each]
        )


def sessions(data: bytes) -> None:
    """A session: never raises, ends every call in time, and tells the truth, whatever one server sends."""
    script = Script(data)
    rack = WatchedRack(Toy(), n=N, t=1, b=1, liars={LIAR})
    desk, told = Tampered(rack, script), {}
    calls = [(bytes([65 + number]), script.one_of(((A,), (A,), (B,), (A, B)))) for number in range(4)]
    started = {}
    for token, objects in calls:
        ticket = desk.start(op("add", token, *objects), timeout_s=TIMEOUT_S)
        started[ticket] = (token, objects, rack.now_ns + int(TIMEOUT_S * SECOND))
        for _ in range(script.number() % 32):
            if desk.pending:
                desk.step()
    for _ in range(STEPS_MAX):
        told |= desk.finished
        if started.keys() <= told.keys():
            break
        if not desk.pending:
            assert desk._wake_at_ns is not None, "a call without a timer never ends"
        desk.step()
        assert rack.now_ns <= max(deadline for _, _, deadline in started.values()), "after its deadline"
    assert started.keys() <= told.keys(), "a call that never ends"
    other = Desk(rack, Y, seed=9)
    for ticket, (token, objects, _) in started.items():
        outcome = told[ticket]
        for name in objects:
            read = other.call("get", b"", name, timeout_s=100)
            assert isinstance(read, Answered), f"an honest client cannot read: {read}"
            count = read.answers[0].count(token)
            assert count <= 1, f"{token!r} was applied {count} times"
            if isinstance(outcome, Answered):
                assert count == 1, f"{token!r} was answered, and is lost"
            elif isinstance(outcome, Refused) or (isinstance(outcome, TimedOut) and outcome.since is None):
                assert count == 0, f"{outcome}, and {token!r} was applied"
