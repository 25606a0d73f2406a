"""Functions over several objects: each is applied to all of them or to none."""

from __future__ import annotations

from fivefold.errors import Rejected
from fivefold.objects.account import Account, Amount
from fivefold.objects.lock import Lock, Milliseconds, NotHolder, Owner
from fivefold.objects.map import Map
from fivefold.objects.model import query, update


class NoSuchKey(Rejected):
    """The source has no such key."""


class KeyTaken(Rejected):
    """The target has that key already."""


@update
def transfer(source: Account, target: Account, amount: Amount) -> None:
    """Move ``amount`` from one account to another.

    Raises:
        Overdrawn: the source holds less.
    """
    source.withdraw(amount)
    target.deposit(amount)


@query
def total(*accounts: Account) -> int:
    """What the accounts hold together, at one moment."""
    return sum(account.funds for account in accounts)


@update
def move_key(source: Map, target: Map, key: str) -> None:
    """Move a key and its value from one map to another.

    Raises:
        NoSuchKey: the source does not have it.
        KeyTaken: the target has it already.
    """
    if key not in source.entries:
        raise NoSuchKey(f"the source has no key {key}")
    if key in target.entries:
        raise KeyTaken(f"the target has a key {key} already")
    target.entries[key] = source.entries.pop(key)


@update
def acquire_all(*locks: Lock, owner: Owner, now_ms: int, ttl_ms: Milliseconds) -> list[int]:
    """Take all the locks or none; returns their fencing tokens in order. There is no order of locking to keep to.

    Raises:
        Held: one of them is taken.
    """
    return [lock.acquire(owner, now_ms, ttl_ms) for lock in locks]


@update
def release_all(*locks: Lock, owner: Owner, tokens: list[int]) -> None:
    """Let go of all the locks.

    Raises:
        NotHolder: one of them is not held by this owner with its token, or there is not one token for each.
    """
    if len(tokens) != len(locks):
        raise NotHolder(f"there are {len(locks)} locks but {len(tokens)} tokens: give one for each")
    for lock, token in zip(locks, tokens, strict=True):
        lock.release(owner, token)
