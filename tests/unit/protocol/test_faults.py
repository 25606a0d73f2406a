"""An exception of our own, at any point of the server's code, ends one input and harms nobody else (PROTOCOL §4.0)."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import fivefold.protocol
from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.actions import Actions, Ask, Channel, Reply, Store, Write
from fivefold.protocol.history import make_histories
from fivefold.protocol.messages import BUSY, FAIL, REPLY, SUCCESS, decode_vote, encode, request_frame, split, sync_frame
from fivefold.protocol.operations import ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import TIMESTAMP_BYTES, LogicalTimestamp, SyncRequest, Vote
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.synchronise import SyncTable
from fivefold.simulation.rack import Letter, columns
from tests.protocol_rig import A, B, C, WatchedRack, X, Y, Z, now, op

OURS = str(Path(fivefold.protocol.__file__).parent)
E, F, G = ObjectId("Reg/e"), ObjectId("Reg/f"), ObjectId("Reg/g")
SERVER = 3
INPUTS = {"receive_from_client", "receive_from_server", "loaded", "durable", "wake", "closed"}


def raising_at(number: int, error: type[Exception], run: Callable[[], Actions]) -> tuple[Actions | None, str]:
    """Run with an exception at the so-many-th call of a function of the protocol package; where that was, if it was.

    No actions if the exception came through.
    """
    count, where = 0, ""

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count, where
        code = frame.f_code
        # A generator is called once more to be closed, and nothing that is raised then gets out of it.
        if event == "call" and code.co_filename.startswith(OURS) and code.co_name not in {*INPUTS, "<genexpr>"}:
            if count == number:
                sys.setprofile(None)
                where = code.co_qualname
                count += 1
                raise error("injected")
            count += 1

    sys.setprofile(see)
    try:
        return run(), where
    except error:
        return None, where
    finally:
        sys.setprofile(None)


class Scene:
    """One server under inputs of three clients and another server, one of which an exception may hit.

    Attributes:
        replies: what each request was answered, by its name: votes, in order.
        shown: whether all histories shown so far were on the disk at that moment.
        where: the function that raised.
    """

    def __init__(self, hit: str = "", number: int = 0, error: type[Exception] = MemoryError) -> None:
        self.rack = WatchedRack()
        for client, name in ((X, A), (Y, B), (Z, E)):
            operation = op("set", b"1", name, call_id=b"s" * 16)
            letter = Letter(self.rack, client, now(self.rack, [], name), operation=operation)
            letter.to([0, 1, 2, 4, 5] if name == E else range(5))
        self.rack.restart(SERVER)
        self.machine, self.disk = self.rack.servers[SERVER], self.rack.disks[SERVER]
        self.hit, self.number, self.error, self.where = hit, number, error, ""
        self.names: dict[tuple[int, int], str] = {}
        self.replies: dict[str, list[Vote]] = {}
        self.answers: list[bytes] = []
        self.durable = set(self.disk.histories.values())
        self.asks: list[Ask] = []
        self.loads: list[str] = []
        self.staged: list = []
        self.faults = 0

    def give(self, name: str, take: Callable[..., Actions], *arguments: object) -> None:
        """An input, as a driver gives it."""
        if name == self.hit and not self.where:
            actions, self.where = raising_at(self.number, self.error, lambda: take(self.rack.now_ns, *arguments))
            if actions is None:  # a driver tells again what nobody else will, and else has the machine go on
                is_frames = take.__name__.startswith("receive")
                actions = self.machine.wake(self.rack.now_ns) if is_frames else take(self.rack.now_ns, *arguments)
                self.faults += 1
        else:
            actions = take(self.rack.now_ns, *arguments)
        self.faults += len(actions.faults)
        for store in actions.store:
            self.staged.append(store)
        for message in actions.send:
            if isinstance(message, Ask):
                self.asks.append(message)
            elif message.frame[0] == REPLY:
                vote = decode_vote(split(message.frame, REPLY)[1])
                for each in vote.histories:
                    assert not each or each in self.durable, "shown, and not durable"
                name = self.names[message.channel, split(message.frame, REPLY)[0]]
                self.replies.setdefault(name, []).append(vote)
            else:
                self.answers.append(message.frame)
        self.loads += actions.load

    def ask(
        self, name: str, client: ClientId, shown: list[int], *objects: ObjectId, operation: Operation | None = None
    ) -> None:
        """A client's request, on a connection of its own."""
        self.send(name, client, Letter(self.rack, client, now(self.rack, shown, *objects), operation=operation))

    def send(self, together: str, client: ClientId, *letters: Letter) -> None:
        """Requests of a client that come together, on one connection."""
        channel, frames = Channel(len(self.names) + 1), []
        for number, (name, letter) in enumerate(zip(together.split(" / "), letters, strict=True), 1):
            self.names[channel, number] = name
            proof = columns(b"".join(letter.proofs), 6)[SERVER]
            frames.append(request_frame(number, encode(letter.request), proof))
        self.give(together, self.machine.receive_from_client, client, channel, *frames)

    def load(self) -> None:
        """The disk answers every load."""
        while self.loads:
            name = self.loads.pop(0)
            self.give(f"loaded {name}", self.machine.loaded, ObjectId(name), self.disk.record(name))

    def commit(self, name: str) -> None:
        """What is staged is durable."""
        staged, self.staged = self.staged, []
        for store in staged:
            for write in store.writes:
                self.disk.apply(write)
                self.durable.add(write.history)
        if staged:
            self.give(name, self.machine.durable, staged[-1].sequence)

    def run(self) -> Scene:
        """Loads that two wait for, ordinary and joint updates, a sync, a repair, a query, and time passing."""
        everyone = list(range(5))
        self.ask("cold A", X, everyone, A, operation=op("add", b"2", A, call_id=b"1" * 16))
        self.ask("cold A too", Y, everyone, A, operation=op("get", b"", A, call_id=b"2" * 16))
        self.ask("cold B", Y, everyone, B, operation=op("add", b"2", B, call_id=b"3" * 16))
        self.load()
        self.commit("committed once")
        self.ask("ordinary C", Z, [], C, operation=op("set", b"1", C, call_id=b"4" * 16))
        self.load()
        self.commit("committed twice")
        self.ask("missing E", Z, [0, 1, 2, 4, 5], E, operation=op("add", b"2", E, call_id=b"5" * 16))
        self.load()
        self.ask("barrier B", X, [0], B)
        letters = [
            Letter(self.rack, Y, now(self.rack, []), operation=op("get", b"", A, call_id=b"8" * 16)),
            Letter(self.rack, Y, now(self.rack, [0], B), target=B),
        ]
        self.send("stale A / barrier B again", Y, *letters)
        self.ask("joint F and G", X, [], F, G, operation=op("add", b"3", F, G, call_id=b"6" * 16))
        self.load()
        self.sync()
        self.commit("committed again")
        timestamp = self.rack.entries(0, B)[-1].candidate.timestamp
        question = sync_frame(SyncRequest(1, B, timestamp, is_whole=True))
        self.give("sync of B", self.machine.receive_from_server, 1, Channel(99), question)
        self.ask("query C", Y, [SERVER], C, operation=op("get", b"", C, call_id=b"7" * 16))
        self.load()
        self.rack.now_ns += 3_000_000_000
        self.give("time passes", self.machine.wake)
        return self

    def sync(self) -> None:
        """The other servers answer what they are asked."""
        asks, self.asks = self.asks, []
        for number, ask in enumerate(asks):
            channel = Channel(1000 + number)
            self.rack._perform(
                ask.server, self.rack.servers[ask.server].receive_from_server(0, SERVER, channel, ask.frame)
            )
            answer = self.rack._replies.pop((ask.server, channel))
            self.give(f"answer {number}", self.machine.receive_from_server, ask.server, Channel(0), answer)


OBJECTS = {
    "cold A": {A}, "cold A too": {A}, "cold B": {B}, "ordinary C": {C}, "missing E": {E}, "barrier B": {B},
    "stale A": {A}, "barrier B again": {B}, "joint F and G": {F, G}, "query C": {C},
}  # fmt: skip
FAILING = {"cold A too", "query C", "stale A"}
HIT = {
    "cold A": {A}, "cold A too": {A}, "cold B": {B}, "ordinary C": {C}, "missing E": {E}, "barrier B": {B},
    "stale A / barrier B again": {A, B}, "joint F and G": {F, G}, "query C": {C},
    "loaded Reg/a": {A}, "loaded Reg/b": {B}, "loaded Reg/c": {C}, "loaded Reg/e": {E},
    "loaded Reg/f": {F, G}, "loaded Reg/g": {F, G},
    "committed once": set(), "committed twice": set(), "committed again": set(),
    "sync of B": set(), "answer 0": {E}, "answer 1": {E}, "time passes": set(),
}  # fmt: skip
"""The inputs, and the objects that each is about: on others nothing may differ."""


@pytest.mark.parametrize(
    ("hit", "error"),
    [
        *((hit, MemoryError) for hit in HIT),
        *((hit, PeerViolation) for hit in ("ordinary C", "loaded Reg/b", "answer 1")),
    ],
)
def test_an_exception_anywhere_harms_nobody_else(hit: str, error: type[Exception]) -> None:
    """At every call of every function of ours: other objects' requests are answered as ever, nothing is left waiting,
    and no history is shown that is not durable.
    """
    whole = Scene().run()
    number = 0
    while True:
        scene = Scene(hit, number, error).run()
        if not scene.where:
            break
        # What reads a peer's bytes says by a PeerViolation that they are bad: then they are refused, and no error.
        assert scene.faults == 1 or (error is PeerViolation and not scene.faults), scene.where
        told = f"{error.__name__} in {scene.where}"
        for name, objects in OBJECTS.items():
            if objects.isdisjoint(HIT[hit]):
                assert scene.replies.get(name) == whole.replies.get(name), f"{name} differs after {told}"
        unanswered = [name for name in OBJECTS if name not in scene.replies]
        assert len(unanswered) <= 1, f"{unanswered} got no answer after {told}"
        if hit not in ("sync of B", "cold B", "barrier B", "stale A / barrier B again", "loaded Reg/b"):
            assert scene.answers == whole.answers, f"the other server's question is not answered after {told}"
        assert scene.machine.pending_requests == whole.machine.pending_requests, f"something waits after {told}"
        assert_objects_work(scene, told)
        number += 1
    assert number > 3


def assert_objects_work(scene: Scene, told: str) -> None:
    """At most the objects hit are set aside; when everything is durable each is served again, as the disk has it."""
    assert set(scene.machine.set_aside) <= HIT[scene.hit], told
    scene.hit = ""
    scene.commit("committed in the end")
    for number, name in enumerate((A, B, C, E, F, G)):
        scene.ask(f"after {number}", X, [], name)
        scene.load()
        (vote,) = scene.replies[f"after {number}"]
        assert (vote.status, vote.histories) == (FAIL, (scene.rack.history(SERVER, name),)), told
    assert not scene.machine.set_aside, told


def test_an_object_that_fails_again_and_again_stays_out() -> None:
    """After eight times it is not read from the disk again; its callers are told why, and others are served."""
    scene = Scene().run()
    for _ in range(limits.SET_ASIDE_TIMES_MAX):
        scene.machine._acceptance.set_aside((C,), MemoryError())
        assert scene.machine._acceptance.why_aside(C) is None
    scene.machine._acceptance.set_aside((C,), MemoryError())
    scene.ask("after", X, [], C)
    (vote,) = scene.replies["after"]
    assert (vote.status, vote.answers) == (
        BUSY,
        (b"xReg/c is set aside after an error in this server: MemoryError; restart the server",),
    )
    scene.ask("other", X, [], A)
    assert scene.replies["other"][0].status == FAIL


def test_nothing_fails_without_an_exception() -> None:
    """The scene itself: every request is accepted or shown the histories, once."""
    scene = Scene().run()
    assert scene.faults == 0
    statuses = {name: [vote.status for vote in votes] for name, votes in scene.replies.items()}
    assert statuses == {name: [FAIL if name in FAILING else SUCCESS] for name in OBJECTS}
    assert len(scene.answers) == 1
    assert scene.machine.pending_requests == 0


class _Breaking(dict[int, list[Reply]]):
    """A dictionary that cannot forget, once."""

    breaks = 1

    def pop(self, *key: object) -> list[Reply]:  # type: ignore[override]
        self.breaks -= 1
        if self.breaks >= 0:
            raise MemoryError
        return super().pop(*key)  # type: ignore[call-overload, no-any-return]


def test_replies_that_have_left_do_not_wait_for_ever() -> None:
    """Injected seed 115: an exception after a reply had left and before it was forgotten; it was counted for good."""
    outbox = Outbox(has_store=True)
    outbox.next_sequence = 3
    for sequence in (1, 2):
        outbox.promise(Reply(Channel(sequence), b"reply"), sequence)
    outbox._waiting = _Breaking(outbox._waiting)
    outbox.reached = 1
    with pytest.raises(MemoryError):
        outbox.let_go()
    outbox.recount()
    assert (outbox.send, outbox.waiting_count, outbox.waiting_bytes) == ([Reply(Channel(1), b"reply")], 1, 5)
    outbox.reached = 2
    outbox.let_go()
    assert (len(outbox.send), outbox.waiting_count, outbox.waiting_bytes) == (2, 0, 0)


@pytest.mark.parametrize("at", range(1, 13))
def test_what_an_exception_kept_from_leaving_leaves_later(at: int) -> None:
    """Injected seed 131: writes were forgotten, and never handed over; the histories in them were shown later."""
    outbox = Outbox(has_store=True)
    outbox.writes, outbox.load = [Write("Reg/a", b"history")], [A]
    outbox.promise(Reply(Channel(1), b"reply"), 0)
    expected = Actions((Store(1, tuple(outbox.writes)),), (Reply(Channel(1), b"reply"),), (A,), 7)
    code = Outbox.empty.__code__

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if frame.f_code is not code:
            return None
        if event == "line" and frame.f_lineno == code.co_firstlineno + at:
            raise MemoryError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        left = outbox.empty(7)
    except MemoryError:
        left = outbox.empty(7)
    finally:
        sys.settrace(before)
    assert left == expected
    assert outbox.empty(None) == Actions()
    assert outbox.next_sequence == 2


def test_handing_over_takes_no_memory() -> None:
    """Nothing is made between the first and the last thing that is forgotten: to clear a list takes no memory."""
    made = {each.opname for each in dis.get_instructions(Outbox._hand_over)}
    assert not [name for name in made if name.startswith(("BUILD", "BINARY", "MAKE"))]


def test_a_sync_whose_end_failed_is_known_by_its_number_or_not_at_all() -> None:
    """Injected seed 740: after an exception each request for one version raised KeyError."""
    syncs = SyncTable(0, QuorumSystem(6, 1, 1))
    key, nothing = (A, LogicalTimestamp(b"t" * TIMESTAMP_BYTES)), make_histories(A, [b""] * 6)
    first, second = Waiting(), Waiting()
    syncs.wait(0, first, key, nothing)  # type: ignore[arg-type]
    (sync,) = syncs.due(10**10)
    syncs._syncs.clear()
    syncs.recount()
    assert syncs.wait(0, second, key, nothing), "the version is asked for anew"  # type: ignore[arg-type]
    (sync,) = syncs.due(10**10)
    syncs._copied = ()  # type: ignore[assignment]
    with pytest.raises(IndexError):
        syncs.end(sync)
    syncs.recount()
    assert syncs.end(sync) == [second]
    assert syncs.parked_count == 0


class Waiting:
    """Work that waits for a version; of no interest otherwise."""
