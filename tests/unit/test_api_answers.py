"""What a caller sees of an answer, by its tag."""

from __future__ import annotations

import asyncio

import pytest

from fivefold import Cluster, OutcomeUnknown
from fivefold.objects import Counter, standard_registry
from fivefold.protocol.operations import CANCELLED, DIGEST, FORGOTTEN, VALUE
from fivefold.protocol.outcomes import Answered


class Node:
    """Answers every call alike, at once."""

    def __init__(self, answer: bytes) -> None:
        self._outcome = Answered((answer,))

    def call(self, operation, *, is_query: bool, deadline_s: float) -> asyncio.Future:
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
    with pytest.raises(OutcomeUnknown, match=text):
        await counter(tag).increment()


async def test_a_cancelled_call_was_not_applied() -> None:
    """Only a resolve asks for that."""
    assert repr(await counter(CANCELLED).increment()) == "NOT_APPLIED"
