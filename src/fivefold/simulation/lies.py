"""What a malevolent server may say: each lie alters a reply before it is signed.

A liar runs the production machine, so that it knows what an honest server would say, and has its own keys: whatever
history it makes up is properly signed, unless the lie is the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

import msgspec

from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    decode_history,
    history_digest,
    is_barrier,
    make_timestamp,
    time_of,
)
from fivefold.protocol.limits import TIME_LEAD_MAX, TIME_MAX
from fivefold.protocol.messages import FAIL, SETTLED, SUCCESS, encode, reply_frame
from fivefold.protocol.operations import VALUE, ObjectId, digest
from fivefold.protocol.records import (
    INITIAL_HISTORY,
    Candidate,
    Entry,
    LogicalTimestamp,
    Part,
    ReplicaHistory,
    SyncReply,
    Vote,
)
from fivefold.simulation.rack import client_id
from fivefold.simulation.watch import Watch

_encoder = msgspec.msgpack.Encoder()


class Draft:
    """A reply before it is signed and sent.

    Attributes:
        names: objects of the request.
        caller: machine number of the asking client or server.
        status: see :class:`~fivefold.protocol.messages.Vote`, as are the four after it.
        broken: servers that get a wrong MAC in every authenticator.
        is_dropped: nothing is sent.
    """

    __slots__ = (
        "answers",
        "broken",
        "caller",
        "candidate",
        "culled",
        "histories",
        "is_dropped",
        "names",
        "number",
        "status",
        "version_digest",
    )

    def __init__(self, names: list[ObjectId], caller: int, number: int, vote: Vote) -> None:
        """Start with what an honest server says."""
        self.names, self.caller, self.number = names, caller, number
        self.status, self.candidate, self.answers = vote.status, vote.candidate, vote.answers
        self.version_digest, self.culled = vote.version_digest, vote.culled
        self.histories = list(vote.histories)
        self.broken: set[int] = set()
        self.is_dropped = False

    def frame(self, keys: AuthenticatorKeys) -> bytes:
        """Signed and encoded."""
        tails = []
        for name, history in zip(self.names, self.histories, strict=False):
            if history:
                macs = bytearray(keys.make(history_digest(name, history)))
                for server in self.broken:
                    macs[server * MAC_BYTES] ^= 1
                tails.append(bytes(macs))
        vote = Vote(
            self.status, self.candidate, self.answers, self.version_digest, tuple(self.histories), tuple(self.culled)
        )
        return reply_frame(self.number, encode(vote), tails)


class Liar:
    """What lies are made from.

    Attributes:
        index: the server.
        random: its own stream.
        watch: all that was ever signed; liars and villains share what they know.
        n: servers in all.
        b: how many of them may lie.
        past: its own histories of each object, oldest first.
    """

    def __init__(self, index: int, random: Random, watch: Watch, *, n: int, b: int) -> None:
        """Know nothing of the past yet."""
        self.index, self.random, self.watch, self.n, self.b = index, random, watch, n, b
        self.past: dict[ObjectId, list[bytes]] = {}

    def any_history(self, name: ObjectId) -> bytes:
        """A history that some server once had, or this one."""
        server = self.random.randrange(self.n)
        known = self.watch.signed.get((server, name)) or self.past.get(name) or [INITIAL_HISTORY]
        return known[-1 - self.random.randrange(min(len(known), 4))]

    def candidates(self, name: ObjectId) -> list[Candidate]:
        """Candidates that benign servers have accepted, in the order of acceptance."""
        return list(self.watch.chains.of(name).candidates.values())

    def latest_time(self, name: ObjectId) -> int:
        """The greatest time of all that benign servers have accepted."""
        return time_of(self.watch.chains.of(name).latest)

    def invented(self, name: ObjectId, others: list[ObjectId]) -> Candidate:
        """A candidate that no server has accepted: about now, or in the far future."""
        random, latest = self.random, self.latest_time(name)
        time = random.choice((latest + 1, latest + 2, max(1, latest), latest + 2**20, TIME_LEAD_MAX, TIME_MAX - 1))
        is_new_barrier = random.random() < 0.3
        objects = sorted({name, *(other for other in others if random.random() < 0.5)})
        timestamp = make_timestamp(
            time,
            is_barrier=is_new_barrier,
            client=client_id(random.choice(("c0", "v0", "zz"))),
            operation_digest=bytes(32) if is_new_barrier or random.random() < 0.3 else random.randbytes(32),
            history_set_digest=random.randbytes(32),
        )
        return Candidate(timestamp, tuple(self._invented_part(each, timestamp) for each in objects))

    def _invented_part(self, name: ObjectId, timestamp: LogicalTimestamp) -> Part:
        below = [c.timestamp for c in self.candidates(name) if c.timestamp < timestamp and not is_barrier(c.timestamp)]
        on = self.random.choice(below) if below else INITIAL_TIMESTAMP
        base = self.random.choice(below) if below and self.random.random() < 0.3 else None
        return Part(name, on, base)


Lie = Callable[[Liar, Draft], None]


def forged(entries: ReplicaHistory) -> bytes:
    """Bytes of a history that nobody has checked: the protocol's own encoder would vouch for it in its memo."""
    return _encoder.encode(entries)


def with_entry(name: ObjectId, history: bytes, candidate: Candidate, *, is_settled: bool, keeps_later: bool) -> bytes:
    """A history with one more candidate in it, and without later versions if they are not to be kept."""
    entries = {entry.candidate.timestamp: entry for entry in decode_history(name, history)}
    entries[candidate.timestamp] = Entry(candidate, is_settled)
    ordered = [entries[timestamp] for timestamp in sorted(entries)]
    if not keeps_later:
        ordered = [e for e in ordered if e.candidate.timestamp <= candidate.timestamp or e.candidate.is_barrier]
    return forged(tuple(ordered))


def silence(liar: Liar, draft: Draft) -> None:
    """Say nothing, mostly."""
    draft.is_dropped = liar.random.random() < 0.8


def stale(liar: Liar, draft: Draft) -> None:
    """Show what was true some time ago."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        past = liar.past.get(name, [INITIAL_HISTORY])
        draft.histories[position] = past[-1 - liar.random.randrange(min(len(past), 6))]


def equivocate(liar: Liar, draft: Draft) -> None:
    """Tell one half of the clients the truth and the other half an old story with another answer."""
    if draft.caller % 2:
        stale(liar, draft)
        wrong_answer(liar, draft)


def wrong_answer(liar: Liar, draft: Draft) -> None:
    """Answer something else."""
    draft.answers = tuple(VALUE + bytes([liar.random.randrange(100)]) for _ in draft.answers)
    if liar.random.random() < 0.3 and draft.version_digest:
        draft.version_digest = digest(liar.random.randbytes(4))


def invent(liar: Liar, draft: Draft) -> None:
    """Show a candidate that nobody accepted."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        candidate = liar.invented(name, draft.names)
        is_settled = liar.random.random() < 0.5
        draft.histories[position] = with_entry(
            name, draft.histories[position], candidate, is_settled=is_settled, keeps_later=True
        )


def favour(liar: Liar, draft: Draft) -> None:
    """Claim a candidate that others hold, on top of any history that ever was, to bring its order to a threshold."""
    random = liar.random
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        known = liar.candidates(name)
        history = liar.any_history(name)
        if known:
            candidate = known[-1 - random.randrange(min(len(known), 5))]
            is_settled, keeps_later = random.random() < 0.5, random.random() < 0.6
            history = with_entry(name, history, candidate, is_settled=is_settled, keeps_later=keeps_later)
        draft.histories[position] = history


def agree(liar: Liar, draft: Draft) -> None:
    """Say that everything was accepted, or is settled, whatever it was."""
    known = [each.timestamp for name in draft.names for each in liar.candidates(name)]
    if draft.status == FAIL and known:
        draft.status, draft.candidate = liar.random.choice((SUCCESS, SETTLED)), liar.random.choice(known[-8:])
        draft.answers = draft.answers or (VALUE + b"\x01",)
        if draft.status == SETTLED:  # nobody reads it with an answer that no established version has
            draft.answers = (VALUE + b"\x01",) * len(draft.answers)


def refuse(liar: Liar, draft: Draft) -> None:
    """Accept, and say that one did not."""
    draft.status, draft.candidate, draft.answers, draft.version_digest = FAIL, b"", (), b""
    stale(liar, draft)


def break_macs(liar: Liar, draft: Draft) -> None:
    """Sign wrongly for some servers: at most b at one time, more at another."""
    count = liar.random.choice((1, liar.b, liar.b + 1, liar.n))
    draft.broken = set(liar.random.sample(range(liar.n), min(count, liar.n)))


def slander(liar: Liar, draft: Draft) -> None:
    """Say that others' MACs are wrong."""
    draft.culled = tuple(sorted(liar.random.sample(range(liar.n), liar.random.randint(1, liar.n - 1))))


def flag(liar: Liar, draft: Draft) -> None:
    """Turn the settled flags over."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        entries = decode_history(name, draft.histories[position])
        if draft.histories[position]:
            turned = tuple(Entry(e.candidate, e.candidate.is_multi and liar.random.random() < 0.5) for e in entries)
            draft.histories[position] = forged(turned)


def truth(liar: Liar, draft: Draft) -> None:
    """Nothing but the truth."""


LIES: Final[Mapping[str, Lie]] = MappingProxyType(
    {
        "silent": silence,
        "stale": stale,
        "equivocating": equivocate,
        "wrong answers": wrong_answer,
        "inventing": invent,
        "favouring": favour,
        "agreeing": agree,
        "refusing": refuse,
        "breaking MACs": break_macs,
        "slandering": slander,
        "turning flags": flag,
        "lying in sync": truth,
    }
)
"""Lies in replies to clients, by name; *twins* and *anything* are in :mod:`fivefold.simulation.liars`."""


def lie_in_sync(liar: Liar, reply: SyncReply) -> SyncReply | None:
    """Another version, a digest of nothing, a copy that does not match, or silence."""
    random = liar.random
    choice = random.randrange(5)
    if choice == 0:
        return None
    if choice == 1:
        return SyncReply(reply.number, digest(random.randbytes(8)), b"")
    if choice == 2 and reply.version:
        return SyncReply(reply.number, reply.digest, reply.version[:-1] + b"\x00")
    if choice == 3 and reply.version:
        other = reply.version[:1] + bytes([reply.version[1] ^ 1]) + reply.version[2:]
        return SyncReply(reply.number, digest(other), other)
    return SyncReply(reply.number, b"", b"")
