"""A client that compares replies as bytes does what one does that looks at every reply."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fivefold.native import native
from fivefold.protocol.client import knowledge, session, standing
from fivefold.protocol.client.alike import OTHER, Alike
from fivefold.protocol.client.session import Session
from fivefold.protocol.history import Entry, encode_history
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    FAIL,
    REQUEST,
    SETTLED,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    Vote,
    decode_operation,
    decode_request,
    encode,
    reply_frame,
    split,
)
from fivefold.protocol.operations import NOT_RUN, REFUSED, STOPPED
from fivefold.protocol.quorums import QuorumSystem
from tests.protocol_rig import A, B, candidate, op

N = 6
SECOND = 1_000_000_000

# What a server may answer; the first one is what all of them answer in the good case.
KINDS = (
    "good",
    "other answer",
    "other candidate",
    "other version",
    "rejected",
    "not run",
    "refused",
    "stale",
    "culled",
    "initial",
    "initial and signed",
    "declined",
    "unable",
    "settled",
    "busy",
    "not canonical",
    "no answers",
    "bad history",
    "no vote",
    "history missing",
    "accepted, initial and signed",
    "short tail",
    "long tail",
    "cut",
    "request",
)

# Seen only when somebody looks: the strike comes later than where each reply is looked at, and so may the suspicion.
SEEN_LATE = ("no answers", "bad history", "no vote", "history missing")


def reply(ask: Any, server: int, kind: str, time: int, mark: int) -> bytes:
    """A reply to a request, with authenticators that no other reply has."""
    number, body, _ = split(ask.frame, REQUEST)
    request = decode_request(body, N)
    calls = len(decode_operation(request).calls) if request.operation else 0
    names = [each.object_id for each in request.sets]
    made = candidate(time + (kind == "other candidate"), *names)
    histories = tuple(encode_history((Entry(made, False),)) for name in names)
    answers: tuple[bytes, ...] = (b"v",) * calls
    status, version, culled = SUCCESS, b"d" * 32, ()
    if kind == "other answer":
        answers = (b"vx",) * calls
    elif kind == "other version":
        version = b"e" * 32
    elif kind == "rejected":  # names a candidate that nobody accepts
        status, version, made = UNCHANGED, b"", candidate(time + 5, *names)
    elif kind == "not run":
        answers = (b"v", *[NOT_RUN] * (calls - 1)) if calls else ()
    elif kind == "refused":
        status, answers = FAIL, (NOT_RUN,) * calls
    elif kind == "stale":
        status, answers = FAIL, ()
    elif kind == "culled":
        culled = (0,)
    elif kind in ("initial", "initial and signed"):
        status, histories = FAIL, (b"",) * len(names)
    elif kind == "declined":
        status, answers = DECLINED, (REFUSED + b"NotAllowed: no",)
    elif kind == "unable":
        status, version, answers = UNABLE, b"", (STOPPED + b"out of time",)
    elif kind == "settled":
        status, version = SETTLED, b""
    elif kind == "busy":
        status, answers = BUSY, (b"xBusy: later",)
    elif kind == "no answers":
        answers = ()
    elif kind == "history missing":
        histories = histories[:-1]
    elif kind == "accepted, initial and signed":
        histories = (b"",) * len(names)
    elif kind == "bad history":
        histories = (b"\x91",) * len(names)
    if status in (DECLINED, BUSY):
        histories, version = (), b""
    vote = encode(
        Vote(
            status,
            made.timestamp if status in (SUCCESS, UNCHANGED, SETTLED) else b"",
            answers,
            version,
            histories,
            culled,
        )
    )
    if kind == "no vote":
        vote = b"\x96\x00\xc1"
    elif kind == "not canonical":
        vote = b"\xdc\x00\x06" + vote[1:]
    signed = len(names) if kind.endswith("initial and signed") else sum(map(bool, histories))
    tail = bytes([mark % 256]) * (16 * N * signed)
    frame = reply_frame(
        number, vote, (tail[: -16 if kind == "short tail" else None], b"x" * 16 * (kind == "long tail"))
    )
    if kind == "cut":
        return frame[:20]
    return b"\x01" + frame[1:] if kind == "request" else frame


def damaged(frame: bytes, random: Random) -> bytes:
    """A reply in which something is changed, cut or put in; behind its key as a rule."""
    start = 9 if random.random() < 0.9 else 0
    data = bytearray(frame)
    for _ in range(random.choice([1, 1, 2])):
        at = random.randrange(start, len(data)) if len(data) > start else start
        if random.random() < 0.5:  # of a vote most is a history: what is before and behind it matters most
            at = min(at, random.randrange(9, 30))
        match random.randrange(4):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + random.choice([1, 16, 96])]
            case _:
                data[at:at] = random.randbytes(random.choice([1, 16, 96]))
    return bytes(data)


class Play:
    """One session, driven by a script; whatever it is seen to do is written down."""

    def __init__(self, quorums: QuorumSystem, liar: int) -> None:
        self.liar = liar
        self.session = Session(quorums, Random(1))
        self.asks: list[Any] = []
        self.now_ns, self.calls, self.marks, self.seen = 0, 0, 0, []

    def run(self, script: list[tuple[Any, ...]]) -> list[Any]:
        for step, *details in script:
            self.now_ns += 1_000_000
            getattr(self, step)(*details)
        for _ in range(40):  # until every deadline has come
            self.now_ns += SECOND
            self.note(self.session.wake(self.now_ns))
        return [*self.seen, self.knowledge()]

    def note(self, actions: Any) -> None:
        self.asks += actions.send
        self.seen.append((actions.send, actions.finished, actions.wake_at_ns))

    def call(self, method: str, objects: tuple[str, ...]) -> None:
        self.calls += 1
        operation = op(method, b"+", *objects, call_id=self.calls.to_bytes(16, "big"))
        deadline_ns = self.now_ns + 20 * SECOND
        _, actions = self.session.call(self.now_ns, operation, is_query=method == "get", deadline_ns=deadline_ns)
        self.note(actions)

    def reply(self, ask: Any, server: int, kind: str, time: int) -> bytes:
        self.marks += 1
        if kind.startswith("damaged"):
            return damaged(reply(ask, server, "good", time, self.marks), Random(kind))
        if kind == "bad history" and server != self.liar:
            kind = "good"  # what q servers show, one of which is honest, is not examined
        return reply(ask, server, kind, time, self.marks)

    def round(self, method: str, objects: tuple[str, ...], order: list[int], kinds: list[str], time: int) -> None:
        """A call, and a reply of each server."""
        self.call(method, objects)
        asks = {ask.server: ask for ask in self.seen[-1][0]}
        for server, kind in zip(order, kinds, strict=True):
            if asks:  # whoever was not asked answers what another one was asked
                ask = asks.get(server, self.asks[-1])
                self.note(self.session.receive(self.now_ns, server, self.reply(ask, server, kind, time)))

    def replies(self, back: int, count: int, kind: str, time: int) -> None:
        """Replies to some of the latest requests, those to one server together."""
        frames: dict[int, list[bytes]] = {}
        for ask in self.asks[len(self.asks) - back :][:count]:
            frames.setdefault(ask.server, []).append(self.reply(ask, ask.server, kind, time))
        for server, each in frames.items():
            self.note(self.session.receive(self.now_ns, server, *each))

    def stranger(self, server: int) -> None:
        """A reply of a server to what may have been asked of another."""
        if self.asks:
            self.note(self.session.receive(self.now_ns, server, self.reply(self.asks[-1], server, "good", 1)))

    def wake(self, pause_ns: int) -> None:
        self.now_ns += pause_ns
        self.note(self.session.wake(self.now_ns))

    def connect(self, server: int) -> None:
        self.note(self.session.connected(self.now_ns, server))

    def disconnect(self, server: int) -> None:
        self.note(self.session.disconnected(self.now_ns, server))

    def knowledge(self) -> Any:
        found = self.session.knowledge
        conditions = [found.conditions([name]) for name in (A, B)]
        known = [(found.trusted(name), found.of(name).histories, found.of(name).authenticators) for name in (A, B)]
        return conditions, known, found.evidence(), found.round_trip_ns, found.standing.slow, found.standing.down


def script_of(random: Random, kinds_of_replies: list[str]) -> list[tuple[Any, ...]]:
    """Mostly rounds whose replies are alike but for one or two, on objects that are met again."""
    script: list[tuple[Any, ...]] = []
    for _ in range(random.randint(2, 8)):
        call = random.choice(["add", "add", "get"]), random.choice([(A,), (A,), (A,), (B,), (A, B), (B, A)])
        kinds = [random.choice(["good"] * 9 + [random.choice(kinds_of_replies)])] * N
        for _ in range(random.choice([0, 0, 1, 2])):
            kinds[random.randrange(N)] = random.choice(kinds_of_replies)
        step = random.randrange(12)
        if step < 8:
            script.append(("round", *call, random.sample(range(N), N), kinds, random.randint(1, 3)))
        elif step == 8:
            script.append(("call", *call))
        elif step == 9:
            script.append(("stranger", random.randrange(N)))
        elif step == 10:
            script.append((random.choice(["connect", "disconnect"]), random.randrange(N)))
        else:
            script.append(("wake", random.choice([0, 60_000_000, SECOND])))
        if random.random() < 0.3:
            back = random.randint(1, 12)
            script.append(("replies", back, random.randint(1, 6), random.choice(kinds), random.randint(1, 3)))
    return script


def take(alike: Alike, server: int, frame: bytes) -> int:
    """Without the short way."""
    return OTHER


@pytest.mark.slow
@pytest.mark.parametrize("suspects", [True, False])
@settings(max_examples=600)
@given(seed=st.integers(0, 2**64))
@example(seed=104884)  # a connection is lost after its reply
@example(seed=48926)  # a reply was looked at, and it was not waited for the busy others as long as after a kept one
def test_like_replies_are_counted_as_if_each_were_looked_at(suspects: bool, seed: int) -> None:
    """Outcomes, messages, alarms and knowledge are those of a client that knows no short way."""
    random = Random(seed)
    script = script_of(random, [kind for kind in KINDS if not (suspects and kind in SEEN_LATE)])
    liar = random.randrange(N)
    with pytest.MonkeyPatch.context() as patch:
        if not suspects:
            patch.setattr(standing, "STRIKES_MAX", 1000)
        # Only a quorum's like replies speak for a server that is back: there is no long way (test_returning.py).
        patch.setattr(knowledge.Knowledge, "maybe_welcome", lambda self, objects, vote: None)
        if native is not None:
            patch.setattr(session, "native", native)
            play = Play(QuorumSystem(N, 1, 1), liar)
            assert play.session.natively is not None
            play.session.natively.judge_every = seed % 2
            natively = play.run(script)
            assert play.session.natively.is_trusted
        patch.setattr(session, "native", None)
        short = Play(QuorumSystem(N, 1, 1), liar).run(script)
        patch.setattr(Alike, "take", take)
        whole = Play(QuorumSystem(N, 1, 1), liar).run(script)
    assert short == whole
    assert native is None or natively == short


@pytest.mark.slow
@pytest.mark.skipif(native is None, reason="fivefold-native is not installed")
@settings(max_examples=600)
@given(seed=st.integers(0, 2**64))
def test_damaged_replies_are_taken_alike_in_native_code(seed: int) -> None:
    """Also those that all servers damage in the same way, which no b liars can bring about."""
    random = Random(seed)
    kinds = [f"damaged {random.getrandbits(32)}" for _ in range(3)]
    script = script_of(random, [*kinds, *kinds, *KINDS])
    with pytest.MonkeyPatch.context() as patch:
        play = Play(QuorumSystem(N, 1, 1), -1)
        assert play.session.natively is not None
        play.session.natively.judge_every = random.choice([0, 1])
        natively = play.run(script)
        assert play.session.natively.is_trusted
        patch.setattr(session, "native", None)
        purely = Play(QuorumSystem(N, 1, 1), -1).run(script)
    assert natively == purely
