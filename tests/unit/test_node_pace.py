"""Background work yields to clients: its share depends on what the server does for them, and on free processors."""

import pytest

from fivefold.node.server.pace import (
    COST,
    CREDIT_NS,
    OF_READERS,
    OF_UPKEEP,
    REST_NS_MAX,
    SHARE_MIN,
    WINDOW_NS,
    Gauge,
    Pace,
    run_delay_ns,
)

MS = 1_000_000


class Machine:
    """A server that does background work as fast as it may, beside what it does for clients."""

    def __init__(self, *, busy: float, waits: float | None) -> None:
        self.busy, self.waits = busy, waits
        self.now_ns = 10**15
        self.background_ns = 0
        self.gauge = Gauge(process_clock=self._process_ns, delay_clock=self._delay_ns)
        self.longest_ns = 0

    def _process_ns(self) -> int:
        return round(self.now_ns * self.busy + self.background_ns)

    def _delay_ns(self) -> int | None:
        return None if self.waits is None else round(self.now_ns * self.waits)

    def share(self, of_busy: float, seconds: int = 20, piece_ns: int = 2 * MS) -> float:
        """The share of a processor that background work has in the second half of that time."""
        pace, began_ns, halfway = Pace(self.gauge, of_busy, REST_NS_MAX, credit_ns=0), self.now_ns, None
        while self.now_ns < began_ns + seconds * 10**9:
            if halfway is None and self.now_ns >= began_ns + seconds * 10**9 // 2:
                halfway = self.now_ns, self.background_ns
            wait_ns = pace.wait_ns(self.now_ns)
            self.longest_ns = max(self.longest_ns, wait_ns)
            if wait_ns:
                self.now_ns += wait_ns
                continue
            self.now_ns += round(COST * piece_ns)
            self.background_ns += round(COST * piece_ns)
            pace.spend(self.now_ns, piece_ns)
        assert halfway is not None
        return (self.background_ns - halfway[1]) / (self.now_ns - halfway[0])


@pytest.mark.parametrize("waits", [0.0, 0.5, None])
def test_beside_no_clients_it_hardly_rests(waits: float | None) -> None:
    """Nobody is kept waiting, whatever else the machine runs."""
    assert Machine(busy=0.0, waits=waits).share(OF_READERS) > 0.9


@pytest.mark.parametrize("waits", [0.3, None])
@pytest.mark.parametrize("of_busy", [OF_UPKEEP, OF_READERS])
def test_where_processors_are_short_it_has_a_part_of_what_clients_have(waits: float | None, of_busy: float) -> None:
    """A server that works for clients 40 % of the time gives it half of that, or 15 %."""
    assert Machine(busy=0.4, waits=waits).share(of_busy) == pytest.approx(of_busy * 0.4, rel=0.15)


def test_on_a_machine_of_its_own_it_has_what_is_left() -> None:
    """The server works for clients 40 % of the time and never waits for a processor."""
    assert Machine(busy=0.4, waits=0.0).share(OF_READERS) == pytest.approx(0.6, rel=0.15)


def test_it_always_has_a_little() -> None:
    """Few requests, and a machine that is busy with other things: it comes to an end all the same."""
    assert Machine(busy=0.03, waits=0.9).share(OF_READERS) == pytest.approx(SHARE_MIN, rel=0.15)


def test_no_rest_is_longer_than_its_bound() -> None:
    """However long a piece has taken, the next one begins within a second."""
    machine = Machine(busy=0.03, waits=0.9)
    machine.share(OF_READERS, seconds=60, piece_ns=30 * MS)
    assert 0.9 * REST_NS_MAX < machine.longest_ns <= REST_NS_MAX


def test_it_goes_on_although_other_work_is_charged_to_it_all_the_time() -> None:
    """What does not ask before it works may use up more than the share: what asks still has a piece each rest."""
    machine = Machine(busy=0.1, waits=0.9)
    pace, passed = Pace(machine.gauge, OF_READERS, REST_NS_MAX, credit_ns=0), 0
    for _ in range(10_000):
        machine.now_ns += MS
        passed += pace.wait_ns(machine.now_ns) == 0
        pace.spend(machine.now_ns, MS)
    assert 9 <= passed <= 12, "once a second, for ten seconds"


def test_a_reader_that_has_rested_has_two_answers_at_once() -> None:
    """An object's history, and the version that it shows; one that never rests has the same share as without credit."""
    machine = Machine(busy=0.1, waits=0.9)
    machine.share(OF_READERS)
    for credit_ns, is_free in ((0, False), (CREDIT_NS, True)):
        pace = Pace(machine.gauge, OF_READERS, REST_NS_MAX, credit_ns=credit_ns)
        pace.spend(machine.now_ns, MS // 4)
        machine.now_ns += 2 * CREDIT_NS
        assert pace.wait_ns(machine.now_ns) == 0
        pace.spend(machine.now_ns, MS // 4)
        assert (pace.wait_ns(machine.now_ns) == 0) == is_free
        for _ in range(20):
            pace.spend(machine.now_ns, MS // 4)
        assert pace.wait_ns(machine.now_ns) > 0, "the credit is used up"


def test_what_clients_do_is_seen_within_a_window() -> None:
    """They come while it works: half a second later it has its part and no more."""
    machine = Machine(busy=0.0, waits=0.5)
    machine.share(OF_READERS, seconds=5)
    assert not machine.gauge.is_short
    before_ns = machine._process_ns()
    machine.busy = 0.4
    machine.background_ns -= machine._process_ns() - before_ns  # a clock goes on from where it was
    for _ in range(2):
        machine.now_ns += WINDOW_NS
        machine.gauge.look(machine.now_ns, 0)
    assert machine.gauge.is_short
    assert machine.gauge.busy == pytest.approx(0.4, rel=0.05)


def test_the_system_tells_how_long_a_thread_has_waited() -> None:
    """It only grows; where there is no /proc nobody can tell."""
    first = run_delay_ns()
    if first is not None:
        assert 0 <= first <= (run_delay_ns() or 0)
