"""What the command line can say about a registry."""

import random
import time
from random import randint

from fivefold.objects import Account, Lock, MethodDescription, Object, Registry, TypeDescription, describe, query, total
from fivefold.objects.code import fingerprint


class Shady(Object):
    """Uses what differs from server to server."""

    names: set[str] = set()  # noqa: RUF012

    @query
    def guess(self) -> float:
        return max(random.random() for _ in range(randint(1, 2)))

    @query
    def now(self) -> list[float]:
        """Tell the time.

        And more.
        """
        return [time.time(), hash("x"), id(self)]


def test_description() -> None:
    """Types, fields, methods and functions are listed by name, with readable signatures."""
    found = describe(Registry(Account, total))
    assert found.types == (
        TypeDescription(
            "Account",
            "An account whose balance never falls below 0.",
            (("funds", "int"),),
            (
                MethodDescription("balance", "query", "() -> int", "The balance.", ()),
                MethodDescription(
                    "deposit",
                    "update",
                    "(amount: int) -> int",
                    "Add ``amount`` and return the new balance.",
                    (),
                ),
                MethodDescription(
                    "withdraw",
                    "update",
                    "(amount: int) -> int",
                    "Take ``amount`` out and return the new balance.",
                    (),
                ),
            ),
            code=fingerprint(Account, 1).hex(),
        ),
    )
    assert [(item.name, item.signature) for item in found.functions] == [
        ("transfers.total", "(*accounts: Account) -> int")
    ]


def test_suspects() -> None:
    """Clocks, chance and addresses are pointed out, in inner functions and under imported names too."""
    guess, now = describe(Registry(Shady)).types[0].methods
    assert (guess.suspects, now.suspects) == (("randint", "random"), ("hash", "id", "time"))
    assert now.summary == "Tell the time."


def test_ready_made_types_are_above_suspicion() -> None:
    """A lock has no clock."""
    assert all(method.suspects == () for method in describe(Registry(Lock)).types[0].methods)
