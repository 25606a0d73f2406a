"""What a caller sees of an answer, by its tag."""

from __future__ import annotations

import asyncio

import pytest

from fivefold import CallerError, Cluster, NonDeterministicObject, NotAllowed, OutcomeUnknown, Unavailable
from fivefold.api.outcomes import answer_of
from fivefold.objects import Counter, standard_registry
from fivefold.protocol.client.outcomes import Answered, Delay, Disagreed, Outcome, Refused, TimedOut
from fivefold.protocol.client.queues import QueueFull
from fivefold.protocol.operations import CANCELLED, DIGEST, FORGOTTEN, VALUE


class Node:
    """Answers every call alike, at once."""

    def __init__(self, answer: bytes) -> None:
        self._outcome = Answered((answer,))

    def call(self, operation, *, is_query: bool, deadline_s: float, is_fixed: bool = False) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        future.set_result(self._outcome)
        return future


def counter(answer: bytes):
    return Cluster(Node(answer), standard_registry()).object(Counter, "a")


async def test_a_value_is_what_the_method_returned() -> None:
    """Decoded as the method is annotated."""
    assert await counter(VALUE + b"\x07").increment() == 7


@pytest.mark.parametrize(("tag", "text"), [(FORGOTTEN, "too many updates"), (DIGEST, "too long to be remembered")])
async def test_an_answer_that_is_not_known_any_more_says_so(tag: bytes, text: str) -> None:
    """The caller is to read the object."""
    with pytest.raises(OutcomeUnknown, match=text) as lost:
        await counter(tag).increment()
    assert lost.value.call_id is None  # asking again does not help
    assert lost.value.is_applied == (True if tag == DIGEST else None)


class Silence:
    """Lets calls wait until their deadline: updates when they may have been applied, and resolves before."""

    failures = {}  # noqa: RUF012

    def __init__(self, *, is_full: bool) -> None:
        self.patience_s: list[float] = []
        self._is_full = is_full

    def call(self, operation, *, is_query: bool, deadline_s: float, is_fixed: bool = False) -> asyncio.Future:
        self.patience_s.append(deadline_s)
        if is_fixed and self._is_full:
            raise QueueFull
        future = asyncio.get_running_loop().create_future()
        future.set_result(TimedOut(None if is_fixed else 5, 0))
        return future


@pytest.mark.parametrize("is_full", [False, True])
async def test_asking_in_vain_leaves_the_outcome_unknown(is_full: bool) -> None:
    """A resolve that nobody answers, or that cannot be sent, is not Unavailable, which would invite to call again."""
    node = Silence(is_full=is_full)
    with pytest.raises(OutcomeUnknown) as lost:
        await Cluster(node, standard_registry()).object(Counter, "a").increment()
    with pytest.raises(OutcomeUnknown, match="await resolve\\(\\) of this exception again") as still_lost:
        await lost.value.resolve()
    with pytest.raises(OutcomeUnknown, match="await resolve\\(\\) of this exception again"):
        await still_lost.value.resolve()


async def test_resolving_is_given_time() -> None:
    """The deadline of one object may be shorter than any round trip: then a resolve has the connection's."""
    node = Silence(is_full=False)
    with pytest.raises(OutcomeUnknown) as lost:
        await Cluster(node, standard_registry(), deadline_s=7).object(Counter, "a", deadline=0.001).increment()
    with pytest.raises(OutcomeUnknown):
        await lost.value.resolve()
    assert node.patience_s == [0.001, 7]


class Parting:
    """Lets updates be lost, and gives resolves an outcome of one's choice."""

    failures = {}  # noqa: RUF012

    def __init__(self, resolved: Outcome) -> None:
        self._resolved = resolved

    def call(self, operation, *, is_query: bool, deadline_s: float, is_fixed: bool = False) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        future.set_result(self._resolved if is_fixed else TimedOut(5, 0))
        return future


@pytest.mark.parametrize(
    ("is_cancelled", "is_applied", "says"),
    [(True, False, "and it changed nothing"), (None, None, "and it may or may not be applied")],
)
async def test_what_a_resolve_changed_is_not_what_the_call_changed(
    is_cancelled: bool | None, is_applied: bool | None, says: str
) -> None:
    """Where servers differ and the cancellation was written, the lost call was not applied; else that is not known."""
    cluster = Cluster(Parting(Disagreed("", is_cancelled)), standard_registry())
    with pytest.raises(OutcomeUnknown) as lost:
        await cluster.object(Counter, "a").increment()
    assert cluster.pending()
    with pytest.raises(NonDeterministicObject, match=f"for increment of Counter/a, {says}") as found:
        await lost.value.resolve()
    assert found.value.is_applied is is_applied


async def test_a_call_whose_resolve_is_refused_stays_pending() -> None:
    """Its fate is as open as before."""
    cluster = Cluster(Parting(Refused("NotAllowed: no")), standard_registry())
    with pytest.raises(OutcomeUnknown) as lost:
        await cluster.object(Counter, "a").increment()
    with pytest.raises(NotAllowed):
        await lost.value.resolve()
    assert cluster.pending() == (lost.value.call_id,)


async def test_a_cancelled_call_was_not_applied() -> None:
    """Only a resolve asks for that."""
    assert repr(await counter(CANCELLED).increment()) == "NOT_APPLIED"


@pytest.mark.parametrize(
    ("outcome", "error", "says"),
    [
        (TimedOut(None, 3), Unavailable, "got 3 answers before its deadline and changed nothing: check the servers"),
        (TimedOut(None, 5, Delay.CONTENTION), Unavailable, "lost to other calls on its objects until its deadline"),
        (TimedOut(None, 0, Delay.QUEUE), Unavailable, "waited behind earlier calls of this client"),
        (TimedOut(4, 5, Delay.CONTENTION), OutcomeUnknown, "since other calls on its objects kept getting ahead of it"),
        (TimedOut(4, 5), OutcomeUnknown, "did not end before its deadline and may or may not be applied"),
        (
            TimedOut(None, 0, Delay.REFUSAL, "the disk is full"),
            Unavailable,
            r"was refused by servers until its deadline and changed nothing \(the disk is full\)",
        ),
        (
            TimedOut(4, 5, Delay.REFUSAL, "NotAllowed: no"),
            OutcomeUnknown,
            r"is refused by some servers \(NotAllowed: no\) and may or may not be applied: await resolve",
        ),
        (Disagreed("increment", True), NonDeterministicObject, "and it was applied, so that its state now differs"),
        (Disagreed("increment", False), NonDeterministicObject, "and it changed nothing"),
        (Disagreed("increment", None), NonDeterministicObject, "and it may or may not be applied"),
    ],
)
def test_why_a_call_did_not_end_well(outcome: Outcome, error: type[Exception], says: str) -> None:
    """Only where servers were silent does the message send the caller to the servers."""
    with pytest.raises(error, match=says) as raised:
        answer_of(standard_registry(), ("Counter/a",), "increment", outcome, lambda text, _: OutcomeUnknown(text))
    assert not isinstance(raised.value, CallerError), "the caller has made no mistake"
    if isinstance(raised.value, NonDeterministicObject):
        assert isinstance(outcome, Disagreed)
        assert raised.value.is_applied is outcome.is_applied
    assert ("check the servers" in str(raised.value)) is (outcome == TimedOut(None, 3))
