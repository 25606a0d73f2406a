"""Models of the ready-made objects, written down a second time from their documentation: pure and without Fivefold.

States: a counter's and an account's is a number, a register's its value, a map's its sorted pairs, a queue's a tuple.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import MappingProxyType
from typing import Final

from fivefold.checker.model import FrozenMap, Function, Invocation, Models, Refused, freeze, model_of_methods

Queue = tuple[Hashable, ...]


# --- Counter --------------------------------------------------------------------------------------------------------
def _increment(value: int, by: int = 1) -> tuple[object, int]:
    return value + by, value + by


def _decrement(value: int, by: int = 1) -> tuple[object, int]:
    return value - by, value - by


# --- Register -------------------------------------------------------------------------------------------------------
def _set(_: Hashable, value: Hashable) -> tuple[object, Hashable]:
    return None, value


def _compare_and_set(old: Hashable, expected: Hashable, value: Hashable) -> tuple[object, Hashable]:
    return (True, value) if old == expected else (False, old)


# --- Map ------------------------------------------------------------------------------------------------------------
def _frozen(pairs: dict[Hashable, Hashable]) -> FrozenMap:
    frozen = freeze(pairs)
    assert isinstance(frozen, FrozenMap)
    return frozen


def _map_set(state: FrozenMap, key: Hashable, value: Hashable) -> tuple[object, FrozenMap]:
    return None, _frozen({**dict(state), key: value})


def _map_remove(state: FrozenMap, key: Hashable) -> tuple[object, FrozenMap]:
    pairs = dict(state)
    return pairs.pop(key, None), _frozen(pairs)


# --- Queue ----------------------------------------------------------------------------------------------------------
def _queue_take(items: Queue) -> tuple[object, Queue]:
    return (items[0], items[1:]) if items else (Refused(), items)


# --- Account --------------------------------------------------------------------------------------------------------
def _withdraw(balance: int, amount: int) -> tuple[object, int]:
    return (Refused("Overdrawn"), balance) if amount > balance else (None, balance - amount)


def _transfer(balances: tuple[int, ...], call: Invocation) -> tuple[object, tuple[int, ...]]:
    source, target = balances
    amount = call.arguments["amount"]
    assert isinstance(amount, int)
    if amount > source:
        return Refused("Overdrawn"), balances
    return None, (source - amount, target + amount)


READY_MADE: Final[Models] = MappingProxyType(
    {
        "Counter": model_of_methods(
            int, queries={"get": lambda value: value}, updates={"increment": _increment, "decrement": _decrement}
        ),
        "Register": model_of_methods(
            lambda: None,
            queries={"get": lambda value: value},
            updates={"set": _set, "compare_and_set": _compare_and_set},
        ),
        "Map": model_of_methods(
            FrozenMap,
            queries={
                "get": lambda state, key, default=None: dict(state).get(key, default),
                "contains": lambda state, key: key in dict(state),
                "keys": lambda state: tuple(sorted(key for key, _ in state)),
                "size": len,
            },
            updates={"set": _map_set, "remove": _map_remove},
            part=lambda call: call.arguments.get("key"),
        ),
        "Queue": model_of_methods(
            tuple,
            queries={"peek": lambda items: items[0] if items else Refused(), "size": len},
            updates={"put": lambda items, item: (None, (*items, item)), "take": _queue_take},
        ),
        "Account": model_of_methods(
            int,
            queries={"balance": lambda balance: balance},
            updates={"deposit": lambda balance, amount: (None, balance + amount), "withdraw": _withdraw},
        ),
        "transfer": Function(step=_transfer),
    }
)
"""Models by the names of the ready-made types, and of the function ``transfer``."""
