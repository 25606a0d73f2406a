"""How many random seeds notice each planted bug: ``python -m tests.simulation.mutation_campaign [SECONDS] [NAMES]``.

Those that none notices within the time need directed tests; tests/scenarios/test_mutations.py has one for each bug.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from fivefold.protocol import classify, client
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation.mutations import Caught, seek
from tests.planted import BUGS, Patch


def _resized(*, q: int = 0, r: int = 0) -> list[Patch]:
    """Quorums of q more servers than they need, and repair from r more."""
    honest = QuorumSystem.__init__

    def init(self: QuorumSystem, n: int, t: int, b: int) -> None:
        honest(self, n, t, b)
        self.q, self.r = self.q + q, self.r + r

    return [(QuorumSystem, "__init__", init)]


MORE_BUGS: dict[str, Callable[[], list[Patch]]] = {
    "quorums_smaller": lambda: _resized(q=-1),
    "repairable_from_fewer": lambda: _resized(r=-1),
    "repairable_from_more": lambda: _resized(r=1),
    "barriers_not_asked_for": lambda: [(classify, "_shows_barrier", lambda quorums, view, barrier: True)],
    "votes_of_anybody": lambda: [(client, "accepted_by", lambda round_: list(round_.votes))],
}
"""Bugs that a directed test would notice at once, for comparison."""


class TooSlow(Exception):
    """A seed that does not end: the bug has made a livelock."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise TooSlow("the run does not end")


def report(names: Sequence[str], budget_s: float) -> list[Caught]:
    """Seek each bug, and print a line for it."""
    found = []
    signal.signal(signal.SIGALRM, _interrupt)
    for name in names:
        signal.setitimer(signal.ITIMER_REAL, 2 * budget_s)
        caught = seek(name, {**BUGS, **MORE_BUGS}[name], budget_s=budget_s)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(f"{name:45} {caught.seeds_count:5} {caught.failure or '-'}"[:170], flush=True)  # noqa: T201
        found.append(caught)
    return found


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    results = report(sys.argv[2:] or sorted({**BUGS, **MORE_BUGS}), seconds)
    print(f"{sum(each.failure is not None for each in results)} of {len(results)} noticed by random seeds")  # noqa: T201
