"""A server compares its objects with the others', catches up unasked, and repairs what clients have left (R10)."""

import pytest

from fivefold.protocol.limits import SCRUB_FIRST_NS, SCRUB_PASS_NS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server import Server
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import rack_keys
from tests.protocol_rig import SECOND, A, B, WatchedRack, X, newest, now, op, send

NAMES = [ObjectId(f"Reg/{number:04}") for number in range(40)]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps and pages for a few objects."""
    monkeypatch.setattr("fivefold.protocol.server.scrub.SCRUB_STEP_OBJECTS", 8)


class Scrubbed(WatchedRack):
    """Server 3 compares; the others do not."""

    def _boot(self, index: int) -> Server:
        keys = rack_keys(index, self.quorums.n)
        return Server(self.quorums, keys, self._executors[index], self._access, has_scrub=index == 3)

    def wait(self, seconds: int = 1) -> None:
        """Let time pass."""
        for _ in range(20 * seconds):
            self.now_ns += SECOND // 20
            self._perform(3, self.servers[3].wake(self.now_ns))

    def pass_by(self, passes: int = 1) -> None:
        """Let time pass until so many passes more are over."""
        wanted = self.servers[3].upkeep.scrub.passes + passes
        for _ in range(50_000):
            if self.servers[3].upkeep.scrub.passes >= wanted:
                return
            self.now_ns += SECOND // 20
            self._perform(3, self.servers[3].wake(self.now_ns))
        raise AssertionError(self.servers[3].upkeep.scrub)


def written(rack: WatchedRack, value: bytes, to: list[int], *names: ObjectId) -> None:
    for name in names or (A,):
        view = now(rack, to, name)
        send(rack, X, view, to, kind=Kind.METHOD, operation=op("set", value, name))


def test_a_server_that_was_down_catches_up_unasked() -> None:
    """All that the others hold, over several steps; objects that nobody has told it of, too."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2], *NAMES)
    assert rack.history(3, NAMES[0]) == b""
    rack.pass_by()
    assert [rack.state(3, name) for name in (NAMES[0], NAMES[20], NAMES[-1])] == [b"v"] * 3
    assert all(newest(rack, 3, name) == newest(rack, 0, name) for name in NAMES)
    assert rack.servers[3].counters["scrub.caught-up"] == len(NAMES)
    assert rack.servers[3].upkeep.scrub.behind == 0
    written(rack, b"w", [0, 1, 2])
    rack.pass_by()
    assert rack.state(3, A) == b"w"


def test_what_is_equal_costs_lists_alone() -> None:
    """A pass over objects on which all agree asks nobody for histories."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2, 3], *NAMES)
    rack.wait(3)
    rack.asked.clear()
    rack.pass_by()
    assert len(rack.asked) <= 3 * 2, "lists, and nothing else"
    assert rack.servers[3].upkeep.scrub.passes == 1


def test_candidates_over_several_objects_are_taken_over_on_all() -> None:
    """Not settled anywhere: in one step, or not at all."""
    rack = Scrubbed(n=4, t=1, b=0)
    send(rack, X, now(rack, [0, 1, 2], A, B), [0, 1, 2], kind=Kind.METHOD, operation=op("set", b"v", A, B))
    rack.pass_by()
    assert newest(rack, 3, A) == newest(rack, 3, B) == newest(rack, 0, A)


def test_what_a_client_has_left_is_repaired_in_the_next_pass() -> None:
    """A barrier on two servers: after ten minutes without a change it is repaired as by any client."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2, 3])
    rack.wait(3)
    send(rack, X, now(rack, [0, 1, 2, 3]), [0], kind=Kind.METHOD, operation=op("set", b"left"))
    send(rack, X, now(rack, [0, 1, 2]), [0, 1], kind=Kind.BARRIER)
    rack.pass_by()
    assert rack.servers[3].upkeep.scrub.repaired == 0, "its client may be at it"
    rack.pass_by()
    assert rack.servers[3].upkeep.scrub.repaired > 0
    assert newest(rack, 0) == newest(rack, 1) == newest(rack, 2)
    assert {rack.state(server, A) for server in range(4)} == {b"v"}


def test_the_first_pass_comes_a_while_after_the_start() -> None:
    """Servers that are started together do not compare at the same moment, and passes have pauses between them."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2])
    rack._perform(3, rack.servers[3].wake(0))
    rack.now_ns = 4 * SCRUB_FIRST_NS - 1
    rack._perform(3, rack.servers[3].wake(rack.now_ns))
    assert rack.history(3, A) == b""
    rack.pass_by()
    ended = rack.servers[3].upkeep.scrub.last_pass_ns
    rack.pass_by()
    assert rack.servers[3].upkeep.scrub.last_pass_ns - ended >= SCRUB_PASS_NS


def test_a_silent_server_does_not_stop_a_pass() -> None:
    """Its list is left out for a while."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2])
    rack.silent.add(2)
    rack._ask_honestly, rack._ask = (
        rack._ask,
        lambda asker, ask: None if ask.server == 2 else rack._ask_honestly(asker, ask),
    )
    rack.pass_by()
    assert rack.state(3, A) == b"v"


def test_a_scrub_that_is_to_rest_begins_nothing_new() -> None:
    """It compares nothing, and reads and repairs nothing, until the rest is over; it does not wake before."""
    rack = Scrubbed(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2], *NAMES)
    rack.wait()
    upkeep = rack.servers[3].upkeep
    upkeep.rest_until_ns = rack.now_ns + 1000 * SECOND
    rack.asked.clear()
    rack.wait(200)
    assert not rack.asked
    assert upkeep._scrub.wake_at_ns == upkeep.rest_until_ns
    upkeep.rest_until_ns = 0
    rack.pass_by()
    assert rack.servers[3].counters["scrub.caught-up"] == len(NAMES)
