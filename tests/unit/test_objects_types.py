"""The ready-made types and functions, called as the local classes they are."""

from collections.abc import Callable

import pytest

from fivefold.errors import Rejected
from fivefold.objects import (
    Account,
    Counter,
    Empty,
    Full,
    Held,
    KeyTaken,
    Lease,
    Lock,
    Map,
    NoSuchKey,
    NotHolder,
    Overdrawn,
    Queue,
    Register,
    acquire_all,
    move_key,
    release_all,
    standard_registry,
    total,
    transfer,
)


def test_standard_registry() -> None:
    """Every server and client knows the ready-made types and functions."""
    registry = standard_registry()
    assert sorted(registry.types) == ["Account", "Counter", "Lock", "Map", "Queue", "Register"]
    assert sorted(registry.functions) == [
        "transfers.acquire_all",
        "transfers.move_key",
        "transfers.release_all",
        "transfers.total",
        "transfers.transfer",
    ]


def test_counter() -> None:
    """A counter counts up and down, by one or more."""
    counter = Counter()
    assert [counter.increment(), counter.increment(by=5), counter.decrement(by=8), counter.get()] == [1, 6, -2, -2]
    counter.add(3)
    assert counter.get() == 1


def test_register() -> None:
    """A register holds what was written last, and compares types too."""
    register = Register()
    assert register.read() is None
    register.write({"a": [1]})
    assert not register.compare_and_set({"a": [True]}, 2)
    assert register.compare_and_set({"a": [1]}, 2)
    assert register.read() == 2


def test_map() -> None:
    """A map gives, takes and replaces values by key."""
    table = Map()
    table.put("a", 1)
    assert [table.get("a"), table.get("b"), table.get("b", 7)] == [1, None, 7]
    assert [table.put_if_absent("a", 2), table.put_if_absent("b", None), table.size()] == [False, True, 2]
    assert [table.contains("b"), table.delete("b"), table.delete("b"), table.contains("b")] == [
        True,
        True,
        False,
        False,
    ]
    assert [table.compare_and_set("a", True, 3), table.compare_and_set("a", 1, 3), table.get("a")] == [False, True, 3]
    assert not table.compare_and_set("none", None, 3)


def test_map_keys() -> None:
    """Keys come in order, by prefix and in pages."""
    table = Map(entries={"b/2": 1, "a": 1, "b/1": 1, "b/3": 1})
    assert table.keys() == ["a", "b/1", "b/2", "b/3"]
    assert table.keys(prefix="b/", limit=2) == ["b/1", "b/2"]
    assert table.keys(prefix="b/", after="b/2") == ["b/3"]


def test_queue() -> None:
    """A queue gives back what was put, in order, up to its capacity."""
    queue = Queue(capacity=2)
    assert [queue.put("a"), queue.put("b")] == [1, 2]
    with pytest.raises(Full, match="holds 2 values, its capacity is 2"):
        queue.put("c")
    assert [queue.peek(), queue.take(), queue.take(), queue.size()] == ["a", "a", "b", 0]
    for call in (queue.take, queue.peek):
        with pytest.raises(Empty):
            call()
    queue.set_capacity(0)
    with pytest.raises(Full):
        queue.put("a")


def test_lock_is_held_until_it_ends() -> None:
    """A lock is held up to, and not at, the end of its lease; the token grows with every acquisition."""
    lock = Lock()
    assert lock.holder(0) is None
    assert lock.acquire("x", now_ms=100, ttl_ms=50) == 1
    assert lock.holder(149) == Lease("x", 1, 150)
    with pytest.raises(Held, match="x holds the lock until 150 ms") as caught:
        lock.acquire("y", now_ms=149, ttl_ms=50)
    assert (caught.value.owner, caught.value.expires_ms) == ("x", 150)
    assert lock.holder(150) is None
    assert lock.acquire("y", now_ms=150, ttl_ms=50) == 2


def test_lock_renew_and_release() -> None:
    """Only the holder, with the token of this lease, can renew or release."""
    lock = Lock()
    token = lock.acquire("x", now_ms=0, ttl_ms=10)
    lock.renew("x", token, now_ms=9, ttl_ms=10)
    assert lock.holder(18) == Lease("x", token, 19)
    lock.release("x", token)
    assert lock.holder(18) is None
    assert lock.acquire("x", now_ms=18, ttl_ms=10) == token + 1


@pytest.mark.parametrize(
    "call",
    [
        lambda lock: lock.release("y", 1),
        lambda lock: lock.release("x", 2),
        lambda lock: lock.release("", 1),
        lambda lock: lock.renew("x", 2, 0, 10),
        lambda lock: lock.renew("x", 1, 10, 10),
        lambda lock: (lock.release("x", 1), lock.release("x", 1)),
        lambda lock: (lock.release("x", 1), lock.release("", 1)),
    ],
)
def test_lock_refuses_others(call: Callable[[Lock], object]) -> None:
    """Another owner, an old token, or a lease that ran out is refused."""
    lock = Lock()
    lock.acquire("x", now_ms=0, ttl_ms=10)
    with pytest.raises(NotHolder):
        call(lock)


def test_account() -> None:
    """An account can be emptied, not overdrawn."""
    account = Account()
    assert [account.deposit(5), account.withdraw(5), account.balance()] == [5, 0, 0]
    with pytest.raises(Overdrawn, match="holds 0, which is less than 1"):
        account.withdraw(1)


def test_transfer() -> None:
    """A transfer keeps the total."""
    source, target = Account(funds=5), Account()
    transfer(source, target, 3)
    assert (source.funds, target.funds, total(source, target)) == (2, 3, 5)
    with pytest.raises(Overdrawn):
        transfer(source, target, 3)


def test_move_key() -> None:
    """A key moves with its value, unless it is missing or taken."""
    source, target = Map(entries={"a": 1, "b": 2}), Map(entries={"b": 3})
    move_key(source, target, "a")
    assert (source.entries, target.entries) == ({"b": 2}, {"a": 1, "b": 3})
    with pytest.raises(NoSuchKey):
        move_key(source, target, "a")
    with pytest.raises(KeyTaken):
        move_key(source, target, "b")


def test_several_locks() -> None:
    """Locks are taken together and let go of together."""
    locks = [Lock(), Lock(token=4)]
    tokens = acquire_all(*locks, owner="x", now_ms=0, ttl_ms=10)
    assert tokens == [1, 5]
    with pytest.raises(Held):
        acquire_all(Lock(), *locks, owner="y", now_ms=0, ttl_ms=10)
    with pytest.raises(NotHolder, match="there are 2 locks but 1 tokens"):
        release_all(*locks, owner="x", tokens=[1])
    release_all(*locks, owner="x", tokens=tokens)
    assert [lock.holder(0) for lock in locks] == [None, None]


def test_rejections_are_rejected() -> None:
    """Everything the ready-made types refuse with is a Rejected."""
    kinds = (Empty, Full, Held, KeyTaken, NoSuchKey, NotHolder, Overdrawn)
    assert all(issubclass(kind, Rejected) for kind in kinds)
