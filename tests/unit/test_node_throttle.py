"""Rates of clients (PROTOCOL §8): what is over one waits, in order, and nothing is lost."""

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.node.server.pace import COST, CREDIT_NS, OF_READERS
from fivefold.node.server.throttle import (
    BURST_NS,
    LONG_NS,
    PAUSE_NS_MIN,
    PIECE_FRAMES,
    REQUEST_BYTES,
    REQUEST_NS,
    WAITING_MAX,
    Bucket,
    Throttle,
)
from fivefold.protocol.actions import Channel
from fivefold.protocol.limits import SYNCS_MAX
from fivefold.protocol.operations import ClientId

SECOND = 1_000_000_000
MS = 1_000_000
ANN = ClientId(b"ann".ljust(16))
BOB = ClientId(b"bob".ljust(16))
REQUEST = b"x" * 600


class Timer:
    """What a loop's ``call_later`` returns."""

    def __init__(self, at_ns, callback):
        self.at_ns, self.callback, self.is_cancelled = at_ns, callback, False

    def cancel(self):
        self.is_cancelled = True


class Wire:
    """A connection as the throttle sees it: what it sends while it is held comes later."""

    def __init__(self, rack, number, client):
        self.rack, self.number, self.peer, self.is_held = rack, Channel(number), client, False
        rack.throttle.opened(self, self.heard)
        self.passed = []
        self.costs_ns = {}
        self.written = 0

    def heard(self, frames):
        for frame in frames:
            self.passed.append((self.rack.now_ns, frame))
            self.rack.used_ns += self.costs_ns.get(frame, 0)
        return self.written

    def hold(self):
        self.is_held = True

    def release(self):
        self.is_held = False

    def send(self, *frames):
        self.rack.throttle.arrive(self.number, list(frames))


class Rack:
    """A throttle on a clock of its own."""

    def __init__(self, rates):
        self.now_ns = 10**15
        self.timers = deque()
        self.used_ns = 0
        self.waiting = Counter()
        self.held = set()
        self.throttle = Throttle(
            lambda: self.now_ns,
            rates,
            processor_clock=lambda: self.used_ns,
            waiting_of=lambda client: self.waiting[client],
            must_wait=lambda now_ns, client: client in self.held,
        )
        self.throttle.call_later = self._call_later

    def _call_later(self, seconds, callback):
        timer = Timer(self.now_ns + round(seconds * SECOND), callback)
        self.timers.append(timer)
        return timer

    def advance(self, ns):
        """Let time pass, and timers go off."""
        end = self.now_ns + ns
        while due := sorted((t for t in self.timers if not t.is_cancelled and t.at_ns <= end), key=lambda t: t.at_ns):
            self.timers.remove(due[0])
            self.now_ns = max(self.now_ns, due[0].at_ns)
            due[0].callback()
        self.now_ns = end


def test_without_a_rate_everything_passes_at_once():
    """Who has no rate is not limited, and nothing is counted."""
    rack = Rack({BOB: 1})
    wire = Wire(rack, 1, ANN)
    wire.send(*[REQUEST] * 10_000)
    assert len(wire.passed) == 10_000
    assert (rack.throttle.waited, wire.is_held, len(rack.timers)) == (0, False, 0)


@pytest.mark.parametrize("rates", [{}, {ANN: 1000}])
def test_a_client_whose_work_is_not_verified_is_not_read(rates):
    """With a rate or without: nothing is lost, what came later stays behind, and others pass."""
    rack = Rack(rates)
    wire, other = Wire(rack, 1, ANN), Wire(rack, 2, BOB)
    wire.send(b"0")
    rack.held.add(ANN)
    wire.send(b"1", b"2")
    wire.send(b"3")
    other.send(b"4")
    rack.advance(5 * PAUSE_NS_MIN)
    assert [frame for _, frame in wire.passed] == [b"0"]
    assert wire.is_held
    assert len(other.passed) == 1
    assert not other.is_held
    rack.held.clear()
    wire.send(b"5")
    rack.advance(PAUSE_NS_MIN)
    assert [frame for _, frame in wire.passed] == [b"0", b"1", b"2", b"3", b"5"]
    assert not wire.is_held


def test_a_second_s_worth_passes_at_once_and_the_rest_at_the_rate():
    """Of 35 requests at ten a second ten pass, then ten each second; meanwhile the connection is not read."""
    rack = Rack({ANN: 10})
    wire = Wire(rack, 1, ANN)
    frames = [b"%d" % number for number in range(35)]
    wire.send(*frames)
    assert len(wire.passed) == 10
    assert wire.is_held
    assert rack.throttle.waited == 25
    for passed in (20, 30):
        rack.advance(SECOND)
        assert (len(wire.passed), wire.is_held) == (passed, True)
    rack.advance(SECOND)
    assert [frame for _, frame in wire.passed] == frames
    assert not wire.is_held
    assert rack.throttle.waited == 25


def test_what_arrives_while_others_wait_waits_behind_them():
    """A connection that is held may still deliver a few frames: they keep their place, and nobody is woken twice."""
    rack = Rack({ANN: 2})
    wire = Wire(rack, 1, ANN)
    wire.send(b"0", b"1", b"2")
    wire.send(b"3")
    assert sum(not timer.is_cancelled for timer in rack.timers) == 1
    assert len(wire.passed) == 2
    assert rack.throttle.waited == 2
    rack.advance(SECOND)
    assert [frame for _, frame in wire.passed] == [b"0", b"1", b"2", b"3"]


def test_connections_of_one_client_share_its_rate_and_other_clients_have_their_own():
    """More connections are no way around a rate."""
    rack = Rack({ANN: 10, BOB: 10})
    wires = [Wire(rack, number, ANN) for number in range(5)]
    other = Wire(rack, 9, BOB)
    for wire in [*wires, other]:
        wire.send(*[REQUEST] * 10)
    assert sum(len(wire.passed) for wire in wires) == 10
    assert len(other.passed) == 10
    rack.advance(4 * SECOND)
    assert sum(len(wire.passed) for wire in wires) == 50


def test_large_requests_count_for_more():
    """One of ten times 64 KiB counts eleven times: the next one waits for that, and for no more."""
    rack = Rack({ANN: 10})
    wire = Wire(rack, 1, ANN)
    wire.send(bytes(10 * REQUEST_BYTES), b"next", b"after")
    assert len(wire.passed) == 1
    rack.advance(SECOND // 5 - 1)
    assert len(wire.passed) == 1
    rack.advance(1)
    assert len(wire.passed) == 2


def test_a_request_that_takes_long_counts_for_more():
    """Of requests that take twenty times what one may, a client with a rate of ten has one in two seconds."""
    rack = Rack({ANN: 10})
    wire = Wire(rack, 1, ANN)
    wire.costs_ns = {b"costly": 20 * REQUEST_NS}
    wire.send(*[b"costly"] * 8)
    assert len(wire.passed) == 1
    for passed in (2, 3, 4):
        rack.advance(2 * SECOND)
        assert len(wire.passed) == passed


@pytest.mark.parametrize("processor_ns", [LONG_NS - MS, LONG_NS + MS])
def test_on_a_busy_machine_a_long_request_counts_by_the_time_on_the_wall(processor_ns):
    """The server gets a tenth of a processor. A short request counts what it used, a long one what others waited.

    Either way a client with a rate of 100 gets a twentieth.
    """
    rack = Rack({ANN: 100})
    wire, began_ns = Wire(rack, 1, ANN), rack.now_ns

    def heard(frames):
        rack.used_ns += processor_ns
        rack.now_ns += 10 * processor_ns
        return 0

    rack.throttle.closed(wire.number)
    rack.throttle.opened(wire, heard)
    wire.send(*[b"costly"] * 10_000)
    while rack.now_ns < began_ns + 100 * SECOND:
        rack.advance(SECOND // 100)
    counted_ns = rack.used_ns if processor_ns < LONG_NS else 10 * rack.used_ns
    assert 0.045 < counted_ns / (rack.now_ns - began_ns) < 0.065


@given(st.integers(5, 1000), st.lists(st.integers(0, 30 * MS), min_size=1, max_size=20))
def test_a_client_gets_its_share_of_the_processor_and_no_more(rate, costs):
    """However costs are mixed: rate x REQUEST_NS a second, a second's worth, and one request more."""
    rack = Rack({ANN: rate})
    wires = [Wire(rack, number, ANN) for number in range(2)]
    frames = [b"%d" % number for number in range(len(costs))]
    for number, wire in enumerate(wires):
        wire.costs_ns = dict(zip(frames, costs, strict=True))
        wire.send(*frames[number::2])
    began = rack.now_ns
    while rack.used_ns < sum(costs):
        share = rate * REQUEST_NS * (rack.now_ns - began + BURST_NS) // SECOND
        assert rack.used_ns <= share + max(costs) + MS
        rack.advance(SECOND)


def test_what_a_request_has_written_and_got_counts_too():
    """A request of some bytes that writes four MiB counts 65 times, and a long answer like a long request."""
    rack = Rack({ANN: 10, BOB: 10})
    writer, reader = Wire(rack, 1, ANN), Wire(rack, 2, BOB)
    writer.written = 64 * REQUEST_BYTES
    writer.send(b"write", b"next")
    reader.send(b"read")
    rack.throttle.sent(reader.number, 64 * REQUEST_BYTES)
    reader.send(b"next")
    assert (len(writer.passed), len(reader.passed)) == (1, 1)
    rack.advance(SECOND * 55 // 10)
    assert (len(writer.passed), len(reader.passed)) == (1, 1)
    rack.advance(SECOND)
    assert (len(writer.passed), len(reader.passed)) == (2, 2)


def test_time_for_a_request_that_waited_counts_for_its_client():
    """What a server does for ANN when an object has been loaded or fetched is not free, and nobody else's."""
    rack = Rack({ANN: 10, BOB: 10})
    wires = [Wire(rack, 1, ANN), Wire(rack, 2, BOB)]
    began = rack.throttle.read()
    rack.used_ns += 60 * REQUEST_NS
    rack.throttle.resumed([ANN, ANN, ClientId(b"no rate".ljust(16))], began)
    for wire in wires:
        wire.send(b"next")
    assert [len(wire.passed) for wire in wires] == [0, 1]
    rack.advance(4 * SECOND)
    assert len(wires[0].passed) == 1


def test_requests_that_wait_in_the_server_are_few():
    """Story: a hundred costly queries of a version that is missing pass at once, and are worked on together, later."""
    rack = Rack({ANN: 100, BOB: 100})
    wires = [Wire(rack, number, ANN) for number in range(2)]
    for wire in wires:
        heard = wire.heard

        def park(frames, heard=heard):
            rack.waiting[ANN] += len(frames)
            return heard(frames)

        rack.throttle.closed(wire.number)
        rack.throttle.opened(wire, park)
        wire.send(*[b"costly"] * 50)
    other = Wire(rack, 9, BOB)
    other.send(*[b"cheap"] * 50)
    rack.advance(SECOND)
    assert sum(len(wire.passed) for wire in wires) == WAITING_MAX
    assert len(other.passed) == 50
    rack.waiting.clear()
    began = rack.throttle.read()
    rack.used_ns += WAITING_MAX * 20 * REQUEST_NS
    rack.throttle.resumed([ANN] * WAITING_MAX, began)
    rack.advance(SECOND)
    assert sum(len(wire.passed) for wire in wires) == WAITING_MAX
    rack.advance(4 * SECOND)
    assert sum(len(wire.passed) for wire in wires) > WAITING_MAX


def test_a_server_whose_answer_others_waited_for_does_not_pay_for_them():
    """The time goes to the clients, so an honest server's answers are not held back."""
    rack = Rack({ANN: 10})
    wire = Wire(rack, 1, 3)

    def heard(frames):
        began = rack.throttle.read()
        rack.used_ns += SECOND
        rack.throttle.resumed([ANN], began)
        return 0

    rack.throttle.closed(wire.number)
    rack.throttle.opened(wire, heard)
    for _ in range(3):
        wire.send(b"a copy")
    assert not wire.is_held


def test_another_server_has_a_share_of_the_time():
    """Frames of one server pass as long as they take a fifth of the time; all its connections share that."""
    rack = Rack({})
    wires = [Wire(rack, number, 3) for number in range(3)]
    other = Wire(rack, 9, 4)
    for wire in wires:
        wire.costs_ns = {b"costly": 10 * MS}
    for _ in range(50):
        for wire in wires:
            wire.send(b"costly")
    other.send(*[b"cheap"] * SYNCS_MAX)
    assert len(other.passed) == SYNCS_MAX
    rack.advance(9 * SECOND // 10)
    assert 300 * MS <= rack.used_ns <= 200 * MS * 2 + 10 * MS


def test_a_closed_connection_is_not_looked_at_again():
    """What waits goes with its connection: nothing is passed on for a channel that is gone."""
    rack = Rack({ANN: 1})
    wire = Wire(rack, 1, ANN)
    wire.send(b"0", b"1")
    rack.throttle.closed(wire.number)
    rack.advance(10 * SECOND)
    assert [frame for _, frame in wire.passed] == [b"0"]


def test_when_the_server_stops_nothing_comes_back():
    """No timer of a server that stops goes off."""
    rack = Rack({ANN: 1})
    wire = Wire(rack, 1, ANN)
    wire.send(b"0", b"1")
    rack.throttle.close()
    assert all(timer.is_cancelled for timer in rack.timers)


def test_a_rate_that_is_lifted_lets_everything_pass():
    """With no rate any more the connection is read again at once, and what waited comes first."""
    rack = Rack({ANN: 1})
    wire = Wire(rack, 1, ANN)
    wire.send(b"0", b"1", b"2")
    rack.throttle.replace({})
    wire.send(b"3")
    assert [frame for _, frame in wire.passed] == [b"0", b"1", b"2", b"3"]
    assert not wire.is_held


def test_a_rate_may_come_and_change_while_connections_are_open():
    """A client that had none has one from now on; a greater one counts from now; the same one is not filled again."""
    rack = Rack({})
    wire = Wire(rack, 1, ANN)
    wire.send(*[REQUEST] * 50)
    rack.throttle.replace({ANN: 10})
    wire.send(*[REQUEST] * 50)
    assert len(wire.passed) == 60
    rack.throttle.replace({ANN: 10, BOB: 5})
    assert len(wire.passed) == 60
    rack.throttle.replace({ANN: 20})
    assert len(wire.passed) == 80


def test_a_rate_holds_while_editions_change():
    """A server that switches closes its clients' connections and reads the file: nobody gets a second's worth anew."""
    rack, passed = Rack({ANN: 10}), 0
    for number in range(20):
        wire = Wire(rack, number, ANN)
        wire.send(*[REQUEST] * 40)
        rack.advance(SECOND // 10)
        passed += len(wire.passed)
        rack.throttle.closed(wire.number)
        rack.throttle.replace({ANN: 10, **({BOB: 5} if number % 2 else {})})
    assert passed == 10 + 20


def test_a_connection_that_waits_is_not_looked_at_for_each_request():
    """At a high rate the server wakes a hundred times a second, not for each request."""
    rack = Rack({ANN: 100_000})
    wire = Wire(rack, 1, ANN)
    wire.send(*[REQUEST] * 110_000)
    assert len(wire.passed) == 100_000
    rack.advance(PAUSE_NS_MIN - 1)
    assert len(wire.passed) == 100_000
    rack.advance(1)
    assert len(wire.passed) == 101_000


arrivals = st.lists(
    st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 2), st.lists(st.integers(1, 3 * REQUEST_BYTES), max_size=9)),
    max_size=30,
)


@given(st.integers(1, 300), arrivals)
def test_no_stretch_of_time_has_more_than_the_rate_and_a_second(rate, arrivals):
    """In any stretch no more than the rate's share, a second's worth and one last request pass; in the end all do."""
    rack = Rack({ANN: rate})
    wires = [Wire(rack, number, ANN) for number in range(3)]
    sent = [[] for _ in wires]
    for pause_ns, number, sizes in arrivals:
        rack.advance(pause_ns)
        frames = [bytes(size) for size in sizes]
        if frames:
            sent[number] += frames
            wires[number].send(*frames)
    most = 1 + 3
    passed = sorted((at, 1 + len(frame) // REQUEST_BYTES) for wire in wires for at, frame in wire.passed)
    for first in range(len(passed)):
        total = 0
        for at, cost in passed[first:]:
            total += cost
            assert (total - most) * SECOND <= rate * (at - passed[first][0] + BURST_NS)
    rack.advance(1000 * SECOND * (1 + 1000 // rate))
    assert [[frame for _, frame in wire.passed] for wire in wires] == sent
    assert not any(wire.is_held for wire in wires)


@pytest.mark.parametrize("rate", [1, 7, 1_000_000])
def test_a_full_bucket_holds_a_second_s_worth(rate):
    """Just that: the next one waits for one interval."""
    bucket, now_ns = Bucket(rate), 10**18
    count = 0
    while not bucket.wait_ns(now_ns):
        bucket.spend(now_ns, 0)
        count += 1
    assert count == rate or (SECOND % rate and rate <= count <= rate + 1)
    assert bucket.wait_ns(now_ns) <= SECOND // rate


# --- background work --------------------------------------------------------------------------------------------


def paced(waits: bool = True) -> tuple[Rack, Wire, Wire]:
    """A connection that a backup reads over, and another of the same client; the machine is busy with clients."""
    rack = Rack({})
    gauge = rack.throttle.readers._gauge
    gauge.busy, gauge.is_short = 0.5, waits
    backup, other = Wire(rack, 1, ANN), Wire(rack, 2, ANN)
    rack.throttle.reads_all(backup.number)
    for number in range(100):
        backup.costs_ns[b"%d" % number] = MS
    return rack, backup, other


def test_what_is_read_for_a_backup_waits_while_the_server_is_busy() -> None:
    """One piece after the other, at its share; the client's other connection does not wait; nothing is lost."""
    rack, backup, other = paced()
    backup.send(*[b"%d" % number for number in range(50)])
    other.send(*[REQUEST] * 50)
    assert len(backup.passed) == PIECE_FRAMES
    assert len(other.passed) == 50
    assert backup.is_held
    rest_ns = PIECE_FRAMES * COST * MS / (OF_READERS * 0.5)
    rack.advance(round(rest_ns * 0.8) - CREDIT_NS)  # it has rested before, and may use that up
    assert len(backup.passed) == PIECE_FRAMES
    rack.advance(round(rest_ns * 1.5))
    assert len(backup.passed) == 3 * PIECE_FRAMES, "one piece after each rest"
    rack.advance(10 * SECOND)
    assert [frame for _, frame in backup.passed] == [b"%d" % number for number in range(50)]
    assert not backup.is_held


def test_a_rate_holds_a_backup_back_as_well() -> None:
    """Its client has a rate: the slower of both counts."""
    rack = Rack({ANN: 1})
    backup = Wire(rack, 1, ANN)
    rack.throttle.reads_all(backup.number)
    backup.send(*[REQUEST] * 10)
    rack.advance(4 * SECOND)
    assert len(backup.passed) == 5
    rack.throttle.closed(backup.number)
    rack.throttle.reads_all(backup.number)
