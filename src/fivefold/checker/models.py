"""Models of the ready-made objects, written down a second time from their documentation: pure and without Fivefold.

States: a counter's and an account's is a number; a register's its value; a map's the set of its pairs; a queue's its
values and its capacity; a lock's its owner, its latest token and the end of the lease.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import MappingProxyType
from typing import Final

from fivefold.checker.model import Exact, Invocation, Model, Models, Refused, function_of, model_of_methods

Pairs = frozenset[tuple[str, Exact]]
Waiting = tuple[tuple[Exact, ...], int]
Lease = tuple[str, int, int]

NOBODY: Final[Lease] = ("", 0, 0)
NULL: Final = Exact.of(None)

# --- Counter --------------------------------------------------------------------------------------------------------
COUNTER: Final[Model[int]] = model_of_methods(
    int,
    queries={"get": lambda value: value},
    updates={
        "increment": lambda value, by=1: (value + by, value + by),
        "decrement": lambda value, by=1: (value - by, value - by),
        "add": lambda value, amount: (None, value + amount),
    },
)


# --- Register -------------------------------------------------------------------------------------------------------
def _register_compare_and_set(old: Exact, expected: Hashable, value: Hashable) -> tuple[bool, Exact]:
    return (True, Exact.of(value)) if old == Exact.of(expected) else (False, old)


REGISTER: Final[Model[Exact]] = model_of_methods(
    lambda: NULL,
    queries={"read": lambda value: value.value},
    updates={
        "write": lambda _, value: (None, Exact.of(value)),
        "compare_and_set": _register_compare_and_set,
    },
)


# --- Map ------------------------------------------------------------------------------------------------------------
def _with(pairs: Pairs, key: str, value: Exact) -> Pairs:
    return _without(pairs, key) | {(key, value)}


def _without(pairs: Pairs, key: str) -> Pairs:
    return pairs - {pair for pair in pairs if pair[0] == key}


def _map_get(pairs: Pairs, key: str, default: Hashable = None) -> Hashable:
    found = dict(pairs).get(key)
    return default if found is None else found.value


def _map_keys(pairs: Pairs, prefix: str = "", after: str = "", limit: int = 1000) -> tuple[str, ...]:
    return tuple(sorted(key for key, _ in pairs if key.startswith(prefix) and (not after or key > after))[:limit])


def _map_put(pairs: Pairs, key: str, value: Hashable) -> tuple[None, Pairs]:
    return None, _with(pairs, key, Exact.of(value))


def _map_put_if_absent(pairs: Pairs, key: str, value: Hashable) -> tuple[bool, Pairs]:
    return (False, pairs) if key in dict(pairs) else (True, _with(pairs, key, Exact.of(value)))


def _map_compare_and_set(pairs: Pairs, key: str, expected: Hashable, value: Hashable) -> tuple[bool, Pairs]:
    is_expected = dict(pairs).get(key) == Exact.of(expected)
    return (True, _with(pairs, key, Exact.of(value))) if is_expected else (False, pairs)


def _map_delete(pairs: Pairs, key: str) -> tuple[bool, Pairs]:
    return key in dict(pairs), _without(pairs, key)


def _key_of(call: Invocation) -> Hashable | None:
    """A map's calls are confined to their key, if they have one."""
    return call.arguments.get("key")


MAP: Final[Model[Pairs]] = model_of_methods(
    frozenset,
    queries={
        "get": _map_get,
        "contains": lambda pairs, key: key in dict(pairs),
        "size": len,
        "keys": _map_keys,
    },
    updates={
        "put": _map_put,
        "put_if_absent": _map_put_if_absent,
        "compare_and_set": _map_compare_and_set,
        "delete": _map_delete,
    },
    part=_key_of,
)


# --- Queue ----------------------------------------------------------------------------------------------------------
def _queue_put(state: Waiting, value: Hashable) -> tuple[object, Waiting]:
    values, capacity = state
    if len(values) >= capacity:
        return Refused("Full"), state
    return len(values) + 1, ((*values, Exact.of(value)), capacity)


def _queue_take(state: Waiting) -> tuple[object, Waiting]:
    values, capacity = state
    return (values[0].value, (values[1:], capacity)) if values else (Refused("Empty"), state)


QUEUE: Final[Model[Waiting]] = model_of_methods(
    lambda: ((), 1000),
    queries={
        "size": lambda state: len(state[0]),
        "peek": lambda state: state[0][0].value if state[0] else Refused("Empty"),
    },
    updates={
        "put": _queue_put,
        "take": _queue_take,
        "set_capacity": lambda state, capacity: (None, (state[0], capacity)),
    },
)


# --- Lock -----------------------------------------------------------------------------------------------------------
def _is_held(lease: Lease, now_ms: int) -> bool:
    return lease[0] != "" and now_ms < lease[2]


def _lock_holder(lease: Lease, now_ms: int) -> object:
    return dict(zip(("owner", "token", "expires_ms"), lease, strict=True)) if _is_held(lease, now_ms) else None


def _lock_acquire(lease: Lease, owner: str, now_ms: int, ttl_ms: int) -> tuple[object, Lease]:
    if _is_held(lease, now_ms):
        return Refused("Held"), lease
    return lease[1] + 1, (owner, lease[1] + 1, now_ms + ttl_ms)


def _lock_renew(lease: Lease, owner: str, token: int, now_ms: int, ttl_ms: int) -> tuple[object, Lease]:
    if owner == "" or lease[:2] != (owner, token) or not _is_held(lease, now_ms):
        return Refused("NotHolder"), lease
    return None, (owner, token, now_ms + ttl_ms)


def _lock_release(lease: Lease, owner: str, token: int) -> tuple[object, Lease]:
    return (Refused("NotHolder"), lease) if owner == "" or lease[:2] != (owner, token) else (None, ("", token, 0))


LOCK: Final[Model[Lease]] = model_of_methods(
    lambda: NOBODY,
    queries={"holder": _lock_holder},
    updates={"acquire": _lock_acquire, "renew": _lock_renew, "release": _lock_release},
)


# --- Account --------------------------------------------------------------------------------------------------------
def _withdraw(funds: int, amount: int) -> tuple[object, int]:
    return (Refused("Overdrawn"), funds) if funds < amount else (funds - amount, funds - amount)


ACCOUNT: Final[Model[int]] = model_of_methods(
    int,
    queries={"balance": lambda funds: funds},
    updates={"deposit": lambda funds, amount: (funds + amount, funds + amount), "withdraw": _withdraw},
)


# --- functions over several objects ---------------------------------------------------------------------------------
def _transfer(states: tuple[int, ...], amount: int) -> tuple[object, tuple[int, ...]]:
    source, target = states
    return (Refused("Overdrawn"), states) if source < amount else (None, (source - amount, target + amount))


def _move_key(states: tuple[Pairs, ...], key: str) -> tuple[object, tuple[Pairs, ...]]:
    source, target = states
    found = dict(source).get(key)
    if found is None:
        return Refused("NoSuchKey"), states
    if key in dict(target):
        return Refused("KeyTaken"), states
    return None, (_without(source, key), _with(target, key, found))


def _acquire_all(states: tuple[Lease, ...], owner: str, now_ms: int, ttl_ms: int) -> tuple[object, tuple[Lease, ...]]:
    if any(_is_held(lease, now_ms) for lease in states):
        return Refused("Held"), states
    after = tuple((owner, token + 1, now_ms + ttl_ms) for _, token, _ in states)
    return tuple(token for _, token, _ in after), after


def _release_all(states: tuple[Lease, ...], owner: str, tokens: tuple[int, ...]) -> tuple[object, tuple[Lease, ...]]:
    if owner == "" or [(holder, token) for holder, token, _ in states] != [(owner, token) for token in tokens]:
        return Refused("NotHolder"), states
    return None, tuple(("", token, 0) for _, token, _ in states)


READY_MADE: Final[Models] = MappingProxyType(
    {
        "Account": ACCOUNT,
        "Counter": COUNTER,
        "Lock": LOCK,
        "Map": MAP,
        "Queue": QUEUE,
        "Register": REGISTER,
        "transfer": function_of(_transfer),
        "total": function_of(lambda states: (sum(states), states), is_query=True),
        "move_key": function_of(_move_key),
        "acquire_all": function_of(_acquire_all),
        "release_all": function_of(_release_all),
    }
)
"""Models by the names of the ready-made types, and of the functions over several of them."""
