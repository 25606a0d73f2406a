"""What the demo claims, and when it does not."""

import msgspec
import pytest

from fivefold import NOT_APPLIED, OutcomeUnknown, Rejected, Unavailable
from fivefold.checker import Outcome, Result, Verdict
from fivefold.cli.demo.recorder import Latencies, Recorder
from fivefold.cli.demo.report import claims_of
from fivefold.cli.demo.story import LIAR, Ending
from fivefold.protocol.client.knowledge import Evidence

PROOF = Evidence(LIAR, True, False, (0, 1), {}, False)
GOOD = Result(verdict=Verdict.LINEARIZABLE, objects=(), message="fine")


class No(Rejected):
    """It says no."""


def recorder(pause_s: float = 0.1) -> Recorder:
    made = Recorder()
    made.chapters = [Latencies(str(i), 0, 10**9, [10**6], int(pause_s * 1e9)) for i in range(3)]
    return made


def holding(made: Recorder, ending: Ending, result: Result = GOOD) -> list[bool]:
    return [claim.holds for claim in claims_of(made, ending, result)]


def test_all_holds() -> None:
    """Answers throughout, proof against the liar, a linearizable history and nothing missing."""
    assert holding(recorder(), Ending({"ada": (PROOF,)}, [])) == [True] * 4


def test_a_long_pause_is_no_work() -> None:
    """More than three seconds without an answer are a failure."""
    assert holding(recorder(3.1), Ending({"ada": (PROOF,)}, [])) == [False, True, True, True]


def test_an_unanswered_call_is_a_failure() -> None:
    """A single call without an answer is one too many."""
    made = recorder()
    made.unanswered.append("p: Counter/x.increment → ?")
    assert holding(made, Ending({"ada": (PROOF,)}, [])) == [False, True, True, True]


@pytest.mark.parametrize(
    "evidence",
    [
        (),
        (msgspec.structs.replace(PROOF, is_excluded=False, is_suspected=True),),
        (PROOF, msgspec.structs.replace(PROOF, server=0)),
    ],
    ids=["none", "suspicion", "an honest server"],
)
def test_the_liar_and_nobody_else_is_proven(evidence: tuple[Evidence, ...]) -> None:
    """No proof, mere suspicion, or proof against an honest server: the liar was not caught."""
    assert holding(recorder(), Ending({"ada": evidence}, [])) == [True, False, True, True]


def test_lost_updates_and_violations_are_failures() -> None:
    """What is missing and what cannot be ordered is told."""
    bad = Result(verdict=Verdict.UNDECIDED, objects=(), message="too many steps")
    assert holding(recorder(), Ending({"ada": (PROOF,)}, ["Counter/x is 1"]), bad) == [True, True, False, False]


async def raising(error: Exception) -> None:
    raise error


async def resolved(value: object) -> object:
    return value


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (No("no"), Outcome.REJECTED),
        (Unavailable("later"), Outcome.FAILED),
        (OutcomeUnknown("dark", lambda: resolved(7)), Outcome.OK),
        (OutcomeUnknown("dark", lambda: resolved(NOT_APPLIED)), Outcome.CANCELLED),
        (OutcomeUnknown("dark"), Outcome.UNKNOWN),
    ],
)
async def test_every_end_of_a_call_is_recorded(error: Exception, outcome: Outcome) -> None:
    """Rejections, failures and unknown outcomes, resolved where possible, each reach the history as what they are."""
    made = Recorder()
    made.begin("chapter")
    await made.record("p", "increment", ("Counter/x",), {}, raising(error))
    assert made.history[0].outcome is outcome
    assert len(made.unanswered) == (outcome not in (Outcome.OK, Outcome.REJECTED))
    assert len(made.chapters[0].taken_ns) == (outcome in (Outcome.OK, Outcome.REJECTED))


def test_percentiles() -> None:
    """The 99th of a hundred calls is the slowest but one at most; of none it is zero."""
    hundred = Latencies("", 0, 1, [i * 10**9 for i in range(1, 101)], 0)
    assert [hundred.percentile(percent) for percent in (50, 99, 100)] == [51.0, 100.0, 100.0]
    assert Latencies("", 0, 1, [], 0).percentile(99) == 0.0
