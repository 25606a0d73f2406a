"""Checks of the storage contract: each is a function, run over every implementation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fivefold.protocol.actions import Damaged, ObjectRecord, Page, Write
from fivefold.storage import SqliteStorage, Storage
from fivefold.storage.writer import Pace
from fivefold.testing.cluster import SurvivingStorage

SECONDS_MAX = 20


class Harness:
    """A store with what its callbacks said."""

    def __init__(self, make: Callable[[Callable[[int], None]], Storage]) -> None:
        self.durable: list[int] = []
        self.during: Callable[[int], None] = lambda sequence: None
        self._changed = asyncio.Event()
        self.storage = make(self._on_durable)

    def _on_durable(self, sequence: int) -> None:
        self.durable.append(sequence)
        self._changed.set()
        self.during(sequence)

    async def until_durable(self, sequence: int) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not self.durable or self.durable[-1] < sequence:
                self._changed.clear()
                await self._changed.wait()

    async def commit(self, sequence: int, *writes: Write) -> None:
        self.storage.stage(sequence, writes)
        await self.until_durable(sequence)

    async def load(self, object_id: str) -> ObjectRecord | None:
        found: asyncio.Future[ObjectRecord | None] = asyncio.get_running_loop().create_future()
        self.storage.load(object_id, found.set_result)
        async with asyncio.timeout(SECONDS_MAX):
            return await found


@pytest.fixture(params=["memory", "sqlite", "sqlite, quick disk"])
async def harness(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Harness]:
    monkeypatch.setattr(Pace, "is_quick", "quick" in request.param)

    def make(on_durable: Callable[[int], None]) -> Storage:
        if request.param == "memory":
            return SurvivingStorage().open(on_durable)
        path = tmp_path / "objects.sqlite"
        SqliteStorage.create(path, "cluster", "fingerprint")
        return SqliteStorage(path, asyncio.get_running_loop(), on_durable)

    harness = Harness(make)
    yield harness
    harness.storage.close()


async def test_an_object_never_written_is_none(harness: Harness) -> None:
    """Loading an unknown object gives None."""
    assert await harness.load("Counter/hits") is None


async def test_a_durable_write_is_loaded(harness: Harness) -> None:
    """A load gives back history and versions as they were written."""
    await harness.commit(1, Write("Counter/hits", b"history", ((b"1", b"one"), (b"2", b"two"))))
    assert await harness.load("Counter/hits") == ObjectRecord(b"history", ((b"1", b"one"), (b"2", b"two")))


async def test_a_later_write_replaces_the_history_and_adds_versions(harness: Harness) -> None:
    """A write that deletes nothing keeps the older versions."""
    await harness.commit(1, Write("Counter/hits", b"a", ((b"1", b"one"),)))
    await harness.commit(2, Write("Counter/hits", b"b", ((b"2", b"two"),)))
    assert await harness.load("Counter/hits") == ObjectRecord(b"b", ((b"1", b"one"), (b"2", b"two")))


async def test_a_deleted_row_can_be_put_again(harness: Harness) -> None:
    """Whether it is then there depends on the last word only."""
    await harness.commit(1, Write("Counter/hits", b"a", ((b"1", b"one"), (b"2", b"two"))))
    await harness.commit(2, Write("Counter/hits", b"b", (), (b"1", b"2")))
    await harness.commit(3, Write("Counter/hits", b"c", ((b"1", b"uno"), (b"2", b"due"))))
    await harness.commit(4, Write("Counter/hits", b"d", (), (b"1",)))
    assert await harness.load("Counter/hits") == ObjectRecord(b"d", ((b"2", b"due"),))


async def test_deleted_versions_are_gone(harness: Harness) -> None:
    """Deleting names versions by timestamp; an unknown one is no error."""
    await harness.commit(1, Write("Counter/hits", b"a", ((b"1", b"one"), (b"2", b"two"))))
    await harness.commit(2, Write("Counter/hits", b"b", (), (b"1", b"9")))
    assert await harness.load("Counter/hits") == ObjectRecord(b"b", ((b"2", b"two"),))


async def test_delete_comes_before_put_in_one_write(harness: Harness) -> None:
    """A timestamp that is both deleted and put is there afterwards."""
    await harness.commit(1, Write("Counter/hits", b"a", ((b"1", b"one"),), (b"1",)))
    assert await harness.load("Counter/hits") == ObjectRecord(b"a", ((b"1", b"one"),))


async def test_an_object_without_versions_is_not_none(harness: Harness) -> None:
    """A history alone is an object."""
    await harness.commit(1, Write("Counter/hits", b""))
    assert await harness.load("Counter/hits") == ObjectRecord(b"", ())


async def test_versions_come_in_the_order_of_their_timestamps(harness: Harness) -> None:
    """The order of versions does not depend on the order in which they were put."""
    await harness.commit(1, Write("Counter/hits", b"a", ((b"2", b"two"), (b"\xff", b"last"), (b"1", b"one"))))
    record = await harness.load("Counter/hits")
    assert record is not None
    assert [timestamp for timestamp, _ in record.rows] == [b"1", b"2", b"\xff"]


async def test_objects_do_not_see_each_other(harness: Harness) -> None:
    """Ids that are prefixes of one another, hold a zero or differ in case are different objects."""
    ids = ["A/x", "A/xy", "A/x\0", "a/x", "A/é", "A/e\u0301", "A/𝄞"]
    await harness.commit(1, *(Write(object_id, object_id.encode(), ((b"1", b"v"),)) for object_id in ids))
    for object_id in ids:
        assert await harness.load(object_id) == ObjectRecord(object_id.encode(), ((b"1", b"v"),))


async def test_sequences_become_durable_in_order(harness: Harness) -> None:
    """What on_durable hears only grows, and ends with the last sequence staged."""
    for sequence in range(1, 101):
        harness.storage.stage(sequence, [Write("Counter/hits", str(sequence).encode())])
    await harness.until_durable(100)
    assert harness.durable == sorted(set(harness.durable))
    assert await harness.load("Counter/hits") == ObjectRecord(b"100", ())


async def test_writes_of_one_group_apply_in_order(harness: Harness) -> None:
    """Put, delete and put again in one group leave what the last one says."""
    harness.storage.stage(1, [Write("A/x", b"1", ((b"1", b"one"), (b"2", b"two")))])
    harness.storage.stage(2, [Write("A/x", b"2", (), (b"1", b"2"))])
    harness.storage.stage(3, [Write("A/x", b"3", ((b"2", b"dos"),))])
    await harness.until_durable(3)
    assert await harness.load("A/x") == ObjectRecord(b"3", ((b"2", b"dos"),))


async def test_an_empty_transaction_becomes_durable(harness: Harness) -> None:
    """A transaction without writes is told durable like any other."""
    await harness.commit(1)
    assert harness.durable == [1]


async def test_staged_bytes_return_to_zero(harness: Harness) -> None:
    """Nothing counts as staged when everything is durable."""
    await harness.commit(1, Write("Counter/hits", b"a" * 1000, ((b"1", b"v" * 1000),)))
    assert harness.storage.staged_bytes == 0
    assert harness.storage.failure is None


async def test_staging_from_within_on_durable_is_not_recursive(harness: Harness) -> None:
    """on_durable is never called inside on_durable, and everything staged from it becomes durable."""
    depth = 0

    def stage_next(sequence: int) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        if sequence < 2000:
            harness.storage.stage(sequence + 1, [Write("Counter/hits", str(sequence + 1).encode())])
        depth -= 1

    harness.during = stage_next
    await harness.commit(1, Write("Counter/hits", b"1"))
    await harness.until_durable(2000)
    assert await harness.load("Counter/hits") == ObjectRecord(b"2000", ())


async def test_a_load_from_within_on_durable_sees_the_write(harness: Harness) -> None:
    """What on_durable has named is what a load sees from then on."""
    found: asyncio.Future[ObjectRecord | None] = asyncio.get_running_loop().create_future()
    harness.during = lambda sequence: harness.storage.load("Counter/hits", found.set_result)
    harness.storage.stage(1, [Write("Counter/hits", b"a")])
    async with asyncio.timeout(SECONDS_MAX):
        assert await found == ObjectRecord(b"a", ())


async def test_many_large_writes_in_one_transaction(harness: Harness) -> None:
    """Transactions over every limit of one statement keep each byte: 300 objects, then 16 versions of 1 MiB."""
    small = [Write(f"A/{number}", b"h", ((b"1", b"v"), (b"2", b"v"))) for number in range(300)]
    large = Write("A/large", b"h", tuple((bytes([number]), bytes([number]) * 2**20) for number in range(16)))
    await harness.commit(1, *small, large)
    await harness.commit(2, *(Write(f"A/{number}", b"i", (), (b"1",)) for number in range(300)))
    for number in (0, 127, 128, 299):
        assert await harness.load(f"A/{number}") == ObjectRecord(b"i", ((b"2", b"v"),))
    assert await harness.load("A/large") == ObjectRecord(b"h", large.put)


async def test_no_callback_after_close(harness: Harness) -> None:
    """Neither on_durable nor a load's done is called once close has returned."""
    loaded: list[ObjectRecord | None] = []
    harness.storage.stage(1, [Write("A/x", b"a")])
    harness.storage.load("A/x", loaded.append)
    before = list(harness.durable), list(loaded)
    harness.storage.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (harness.durable, loaded) == before


async def test_close_twice_is_harmless(harness: Harness) -> None:
    """Closing a closed store does nothing."""
    harness.storage.close()
    harness.storage.close()


async def page(harness: Harness, after: str = "", objects_max: int = 100, bytes_max: int = 1_000_000) -> Page:
    found: asyncio.Future[Page | Damaged] = asyncio.get_running_loop().create_future()
    harness.storage.list_objects(after, objects_max, bytes_max, found.set_result)
    async with asyncio.timeout(SECONDS_MAX):
        result = await found
    assert isinstance(result, Page)
    return result


async def test_an_empty_store_lists_nothing(harness: Harness) -> None:
    """The first page is the last."""
    assert await page(harness) == Page((), is_last=True)


async def test_objects_are_listed_in_the_order_of_their_ids(harness: Harness) -> None:
    """With their records, from the first id greater than the one given; also ids beyond ASCII."""
    names = ["A/b", "A/a", "B/é", "A/\U0001f600", "A/￿"]
    for sequence, name in enumerate(names, 1):
        await harness.commit(sequence, Write(name, b"h", ((b"1", name.encode()),)))
    ordered = sorted(names)
    whole = await page(harness)
    assert whole == Page(tuple((name, ObjectRecord(b"h", ((b"1", name.encode()),))) for name in ordered), is_last=True)
    assert [name for name, _ in (await page(harness, ordered[1])).objects] == ordered[2:]
    assert await page(harness, ordered[-1]) == Page((), is_last=True)


async def test_a_page_has_so_many_objects_at_most(harness: Harness) -> None:
    """It says whether others follow: with one fewer, exactly as many, and one more than there are."""
    await harness.commit(1, *[Write(f"A/{number}", b"h") for number in range(5)])
    assert [
        (len(found.objects), found.is_last) for found in [await page(harness, "", count) for count in (4, 5, 6)]
    ] == [
        (4, False),
        (5, True),
        (5, True),
    ]


async def test_a_page_ends_with_the_object_that_reaches_its_bytes(harness: Harness) -> None:
    """Each page has one object at least."""
    await harness.commit(1, *[Write(f"A/{number}", b"h", ((b"1", bytes(1000)),)) for number in range(5)])
    assert len((await page(harness, "", 100, 1)).objects) == 1
    assert len((await page(harness, "", 100, 2500)).objects) == 3
    assert not (await page(harness, "", 100, 2500)).is_last
