"""What clients leave unfinished is found in the background, repaired, and bounded for each client (PROTOCOL §8)."""

import pytest

from fivefold.protocol import limits
from fivefold.protocol.actions import Ask
from fivefold.protocol.history import time_of
from fivefold.protocol.messages import BUSY, HELD, REQUEST, HeldReply, decode_held, held_reply_frame
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server import Server
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter, rack_keys
from tests.protocol_rig import SECOND, A, B, WatchedRack, X, Y, candidate, claims, newest, now, op, send, showing

STEP_NS = SECOND // 50
NAMES = [ObjectId(f"Reg/{number:04}") for number in range(40)]


class Verifying(WatchedRack):
    """All servers verify; a client may have four candidates open at each."""

    def __init__(self, *, n: int = 6, t: int = 1, b: int = 1) -> None:
        self.held_lies: set[int] = set()
        self.down: set[int] = set()
        self.fickle: set[int] = set()
        self.invents_barriers = False
        super().__init__(n=n, t=t, b=b)

    def _boot(self, index: int) -> Server:
        keys = rack_keys(index, self.quorums.n)
        server = Server(self.quorums, keys, self._executors[index], self._access, has_scrub=True)
        server.upkeep.unverified.open_max = 4
        return server

    def _ask(self, asker: int, ask: Ask) -> None:
        if ask.server in self.down or asker in self.down:
            return
        if ask.server in self.held_lies and ask.frame[0] == HELD:
            request = decode_held(ask.frame)
            frame = held_reply_frame(HeldReply(request.number, b"\1" * len(request.items)))
            back = self.servers[asker].receive_from_server(self.now_ns, ask.server, 0, frame)
            self._perform(asker, back)
            return
        if ask.server in self.fickle and ask.frame[0] == REQUEST:
            self._answer_with_an_invention(asker, ask)
            return
        super()._ask(asker, ask)

    def _answer_with_an_invention(self, asker: int, ask: Ask) -> None:
        """Another candidate above everything with each answer."""
        self._numbers += 1
        machine = self.servers[ask.server]
        self._perform(ask.server, machine.receive_from_server(self.now_ns, asker, self._numbers, ask.frame))
        answer = self._replies.pop((ask.server, self._numbers), None)
        if answer is not None:
            latest = max(time_of(newest(self, server).timestamp) for server in range(self.quorums.n))
            at, salt = (latest + 1 if self.invents_barriers else 99), self._numbers.to_bytes(4, "big")
            invented = candidate(at, is_barrier=self.invents_barriers, salt=salt)
            lie = showing(self, ask.server, {A: claims(self, ask.server, A, invented)})(answer)
            self._perform(asker, self.servers[asker].receive_from_server(self.now_ns, ask.server, 0, lie))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(int(seconds * SECOND / STEP_NS)):
            self.now_ns += STEP_NS
            for index, machine in enumerate(self.servers):
                if index not in self.down:
                    self._perform(index, machine.wake(self.now_ns))

    def open(self, server: int, client: bytes = X) -> int:
        """How many candidates of a client are open at a server."""
        return self.servers[server].upkeep.unverified.counts.get(client, 0)


def write(rack: WatchedRack, to: list[int], name: ObjectId = A, value: bytes = b"v", client: bytes = X) -> None:
    send(rack, client, now(rack, range(rack.quorums.n), name), to, kind=Kind.METHOD, operation=op("set", value, name))


def attempt(rack: WatchedRack, to: list[int], name: ObjectId, client: bytes = X) -> dict[int, int]:
    """Statuses of an update that may be turned away."""
    letter = Letter(rack, client, now(rack, range(rack.quorums.n), name), operation=op("set", b"w", name))
    return {server: vote.status for server, vote in letter.to(to).items()}


def test_what_is_established_is_open_no_more_after_a_moment() -> None:
    """A frame or two to each other server, whatever the number of objects, and nobody is blamed."""
    rack = Verifying()
    for name in NAMES[:3]:
        write(rack, [0, 1, 2, 3, 4], name)
    assert [rack.open(server) for server in range(6)] == [3, 3, 3, 3, 3, 0]
    rack.asked.clear()
    rack.wait(0.2)
    assert not rack.asked, "its client may still be at it"
    rack.wait(0.4)
    assert [rack.open(server) for server in range(6)] == [0] * 6
    assert len(rack.asked) <= 2 * 5 * 5
    assert all(server.upkeep.unverified.left == 0 for server in rack.servers)


def test_a_client_that_is_far_from_its_limit_is_not_looked_at_soon() -> None:
    """Who changes each of thousands of objects once a second costs no questions; what it has left is found later."""
    rack = Verifying()
    for value in (b"1", b"2", b"3"):
        write(rack, [0, 1, 2, 3, 4], A, value)
        rack.wait(1.8)
    assert not rack.asked
    rack.wait(2.3)
    assert rack.asked
    assert rack.open(0) == 0


def test_a_client_that_comes_near_its_limit_is_looked_at_soon() -> None:
    """What it has had open for longest comes first, until it is far from its limit again."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4], A)
    rack.wait(1)
    assert (rack.open(0), rack.asked) == (1, [])
    for name in NAMES[1:3]:
        write(rack, [0, 1, 2, 3, 4], name)
    assert rack.asked, "at once: it was written more than a quarter of a second ago"
    rack.wait(0.2)
    assert rack.open(0) == 2


def test_an_update_on_an_update_proves_that_one_established() -> None:
    """However often an object is written, its client has one candidate open, and nobody need be asked."""
    rack = Verifying()
    for number in range(20):
        write(rack, [0, 1, 2, 3, 4], A, b"%d" % number)
    assert rack.open(0) == 1
    write(rack, [0, 1, 2, 3, 4], A, b"y", Y)
    assert (rack.open(0), rack.open(0, Y)) == (0, 1)


def test_an_update_on_r_minus_1_servers_is_repaired() -> None:
    """The next client finds the object established, without a repair of its own."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(1)
    write(rack, [0, 1], A, b"left")
    rack.wait(6)
    assert len({newest(rack, server) for server in range(5)}) == 1
    assert {rack.state(server, A) for server in range(6)} == {b"v"}
    assert rack.open(0) == rack.open(1) == 0
    assert rack.servers[0].upkeep.unverified.left > 0


def test_a_server_that_has_all_it_can_to_repair_sleeps_until_something_ends() -> None:
    """It repairs a few objects at a time; while nobody answers, more of them must not wake it at once, without end."""
    rack = Verifying()
    for server in rack.servers[:2]:
        server.upkeep.unverified.open_max = 40
    rack.down |= {2, 3, 4, 5}
    for name in NAMES[: 2 * limits.SCRUB_REPAIRS_MAX]:
        write(rack, [0, 1], name)
    woken = 0
    for _ in range(1000):
        at_ns = rack.servers[0].wake(rack.now_ns).wake_at_ns
        assert at_ns is not None
        rack.now_ns = max(rack.now_ns, at_ns)
        woken += 1
        if rack.now_ns > 20 * SECOND:
            break
    assert woken < 1000, "it wakes itself at one moment again and again"


def test_what_busy_servers_could_not_confirm_in_time_does_not_hold_its_client_up() -> None:
    """Once they answer, hundreds of objects are confirmed in a few questions: they need not be read one by one."""
    rack = Verifying()
    for server in rack.servers:
        server.upkeep.unverified.open_max = 4 * len(NAMES)
    for name in NAMES:
        write(rack, [0, 1, 2, 3, 4], name)
    rack.down.add(4)
    rack.wait(5)
    assert rack.open(0) == len(NAMES)
    rack.down.remove(4)
    rack.wait(3)
    assert [rack.open(server) for server in range(5)] == [0] * 5


def test_an_update_on_r_servers_is_completed() -> None:
    """It may have been complete for somebody: it is brought to the others, and stays."""
    rack = Verifying()
    write(rack, [0, 1, 2], A, b"left")
    rack.wait(6)
    assert [rack.state(server, A) for server in range(6)] == [b"left"] * 6
    assert [rack.open(server) for server in range(6)] == [0] * 6


def test_a_barrier_that_was_left_is_repaired() -> None:
    """A barrier decides nothing, so it is never taken for established, however many hold it."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(1)
    send(rack, X, now(rack, [0], A), [0, 1, 2, 3, 4, 5], kind=Kind.BARRIER)
    assert newest(rack, 0).is_barrier
    rack.wait(4)
    assert not any(newest(rack, server).is_barrier for server in range(5))
    assert {rack.state(server, A) for server in range(5)} == {b"v"}


def test_a_joint_update_that_was_left_is_repaired_on_all_its_objects() -> None:
    """Both objects show one newest candidate afterwards, or both none of it."""
    rack = Verifying()
    send(rack, X, now(rack, range(6), A, B), [0, 1, 2], kind=Kind.METHOD, operation=op("set", b"v", A, B))
    rack.wait(8)
    assert len({rack.state(server, name) for server in range(5) for name in (A, B)}) == 1
    assert [rack.open(server) for server in range(6)] == [0] * 6


def test_repairs_come_through_beside_a_server_that_is_down() -> None:
    """The server that repairs is one of the q itself."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(1)
    rack.down.add(5)
    write(rack, [0, 1], A, b"left")
    rack.wait(12)
    assert len({newest(rack, server) for server in range(5)}) == 1
    assert rack.open(0) == 0


def test_a_client_with_too_much_open_waits_and_holds_nobody_else_up() -> None:
    """It is told to wait until what it has left is verified; others write, and it may read."""
    rack = Verifying()
    for name in NAMES[:4]:
        write(rack, [0, 1], name)
    assert attempt(rack, [0, 1, 2], NAMES[5]) == {0: BUSY, 1: BUSY, 2: 0}
    assert rack.servers[0].counters["turned-away.unverified"] == 1
    assert set(attempt(rack, [0, 1, 2, 3, 4], NAMES[6], Y).values()) == {0}
    query = Letter(rack, X, now(rack, range(6), NAMES[6]), operation=op("get", b"", NAMES[6]))
    assert query.to([0])[0].status == 0
    rack.wait(20)
    assert rack.open(0) == 0
    assert attempt(rack, [0, 1], NAMES[5]) == {0: 0, 1: 0}


def test_what_a_client_has_left_costs_it_time() -> None:
    """However fast others repair it: so many at once, and then so many a second."""
    rack = Verifying()
    rack.servers[0].upkeep.unverified.open_max = 10**6
    write(rack, [0, 1, 2, 3, 4, 5])
    waits = 0
    for number in range(limits.LEFT_BURST_NS // limits.LEFT_NS + 20):
        view = now(rack, [0], A)
        before = newest(rack, 0)
        Letter(rack, X, view).to([0])
        waits += newest(rack, 0) == before
        rack.now_ns += 1
        assert newest(rack, 0).is_barrier, number
    assert waits >= 18, "each barrier takes the place of the last one, which is left"
    assert rack.servers[0].upkeep.must_wait(rack.now_ns, X)
    assert not rack.servers[0].upkeep.must_wait(rack.now_ns, Y)
    assert not rack.servers[0].upkeep.must_wait(rack.now_ns + 1 * SECOND, X)


def test_one_liar_does_not_verify() -> None:
    """A candidate that r - 1 servers hold is not established because b others say so, too."""
    rack = Verifying()
    rack.held_lies = {5}
    write(rack, [0, 1, 2, 3], A, b"left")
    rack.wait(2.5)
    assert rack.open(0) == 0, "with the liar five servers hold it: as in any history set"
    write(rack, [0, 1], B, b"left")
    rack.wait(2.7)
    assert rack.open(0) == 1


def test_a_liar_that_shows_something_else_each_time_stops_no_repair() -> None:
    """What b servers show may always change; found by seed 2 of --leaving."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(1)
    rack.fickle = {5}
    write(rack, [0, 1], A, b"left")
    rack.wait(12)
    assert len({newest(rack, server) for server in range(5)}) == 1
    assert rack.open(0) == rack.open(1) == 0


def test_a_liar_that_invents_above_every_barrier_stops_no_repair() -> None:
    """A barrier that was left calls for another one and a copy; believed, each invention calls for one more barrier."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(3)
    rack.fickle = {5}
    rack.invents_barriers = True
    send(rack, X, now(rack, [0]), [0], kind=Kind.BARRIER)
    rack.wait(8)
    assert len({newest(rack, server) for server in range(5)}) == 1
    assert not newest(rack, 0).is_barrier
    assert rack.open(0) == 0


def test_a_barrier_that_others_have_gone_on_below_is_repaired() -> None:
    """X leaves it at one server; Y, who does not see it, updates at the five others. Found by seed 10029 of leaving."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    send(rack, X, now(rack, [0]), [0], kind=Kind.BARRIER)
    view = now(rack, range(1, 6))
    send(rack, Y, view, range(1, 6), kind=Kind.METHOD, operation=op("set", b"w"))
    rack.wait(8)
    assert len({newest(rack, server) for server in range(6)}) == 1
    assert rack.state(0, A) == b"w"
    assert rack.open(0) == 0


def test_a_server_that_has_fallen_behind_catches_up_though_a_liar_shows_something_newer() -> None:
    """What b servers show alone comes last among what a server brings itself up to."""
    rack = Verifying(n=7, t=1, b=1)
    rack.fickle = {6}
    write(rack, [0, 1, 2, 3, 4, 5])
    write(rack, [1, 2, 3, 4, 5, 6], A, b"w")
    rack.wait(6)
    assert rack.state(0, A) == b"w"
    assert rack.open(0) == 0


def test_what_has_left_the_memory_is_read_for_its_repair() -> None:
    """A small cache keeps nothing of it; the disk does."""
    rack = Verifying()
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(1)
    write(rack, [0, 1], A, b"left")
    for server in (0, 1):
        rack.servers[server]._replicas.drop(A)
    rack.wait(6)
    assert len({newest(rack, server) for server in range(5)}) == 1
    assert rack.open(0) == rack.open(1) == 0


def test_answers_of_servers_that_were_not_asked_count_for_nothing() -> None:
    """Neither does a second answer of one server."""
    rack = Verifying()
    write(rack, [0, 1], A, b"left")
    rack.down = {1, 2, 3, 4, 5}
    rack.wait(2.3)
    number = rack.servers[0].upkeep._scrub._verification._batch.number
    for _ in range(9):
        frame = held_reply_frame(HeldReply(number, b"\1"))
        rack._perform(0, rack.servers[0].receive_from_server(rack.now_ns, 5, 0, frame))
    rack.wait(0.6)
    assert rack.open(0) == 1


def test_a_server_that_signs_wrongly_is_seen_by_who_asks_it() -> None:
    """Over its own connection a wrong MAC is its own doing; the cut's missing ones are not."""
    rack = Verifying()
    for server in rack.servers:
        for other in range(6):
            server.announced(0, other, *rack.servers[0].membership.edition.name)
    write(rack, [0, 1, 2, 3, 4, 5])
    rack.wait(3)
    rack.servers[5].keys = rack.servers[5]._replies.keys = rack_keys(4, 6)
    rack.servers[5]._replicas.forget_macs()
    write(rack, [0, 1], A, b"left")
    rack.wait(5)
    seen = {name for server in (0, 1) for name in rack.servers[server].counters if name.startswith("seen.")}
    assert seen == {"seen.5 wrong-mac"}


def test_a_malformed_message_is_counted_by_server() -> None:
    """What no honest server sends is noted by whom it was sent."""
    rack = Verifying()
    rack._perform(0, rack.servers[0].receive_from_server(0, 3, 7, bytes((HELD,))))
    assert rack.servers[0].counters["seen.3 held-malformed"] == 1


@pytest.mark.parametrize("frame", [bytes((HELD,)), bytes((HELD,)) + b"\x92\x01\xc0", bytes((HELD,)) + bytes(300_000)])
def test_a_malformed_question_is_refused(frame: bytes) -> None:
    """It is counted, and changes nothing."""
    rack = Verifying()
    rack._perform(0, rack.servers[0].receive_from_server(0, 1, 7, frame))
    assert sum(count for name, count in rack.servers[0].counters.items() if name.startswith("rejected.")) == 1
