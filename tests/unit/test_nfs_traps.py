"""Where NFS servers go wrong: races, repeated calls, old handles, times, rights, sparse and removed files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from fivefold.gateways.nfs import Chunk, Entries, Ids, MemoryStore, limits, names
from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.objects import Attributes, Caller, Change, Changes, Inode, Refused
from fivefold.gateways.nfs.repeats import Repeats
from fivefold.gateways.nfs.store import LATER, Applied, Ref
from fivefold.gateways.nfs.tree import Tree
from fivefold.gateways.nfs.xdr import Writer, XdrError
from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX
from tests.nfs_client import OK
from tests.nfs_rig import in_memory

ROOT = Caller(0, (0,))
CHUNK = limits.CHUNK_BYTES


class Racing(MemoryStore):
    """Memory in which each call waits for a few others first, by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)

    async def call(self, function: Callable[..., Any], objects: Sequence[Ref], **arguments: Any) -> Any:
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        return await super().call(function, objects, **arguments)


async def tree_over(store: Any) -> tuple[Tree, Handle]:
    tree = Tree(store)
    return tree, await tree.start(mode=0o777, uid=0, gid=0)


async def make(tree: Tree, directory: Handle, name: bytes, kind: Kind = Kind.REG) -> Handle:
    return (await tree.make(directory, name, kind, Changes(mode=0o755), ROOT))[0].handle


async def status_of(work: Any) -> int:
    try:
        await work
    except Refused as refused:
        return refused.args[0]
    return OK


# --- races -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(40))
async def test_two_moves_of_directories_at_once_make_no_cycle(seed: int) -> None:
    """Of a → b/a and b → a/b, by two gateways at once, just one is done: both together would cut a cycle off."""
    store = Racing(seed)
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    a, b = await make(one, root, b"a", Kind.DIR), await make(one, root, b"b", Kind.DIR)
    found = await asyncio.gather(
        status_of(one.rename(root, b"a", b, b"a", ROOT)), status_of(two.rename(root, b"b", a, b"b", ROOT))
    )
    assert sorted(found) == [OK, Status.INVAL]
    listed, _, _ = await one.directories.read(root, 0, 100, ROOT)
    assert len(listed) == 3  # ., .. and the one that is left
    await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", ["mkdir", "exclusive", "link", "rename"])
async def test_of_two_at_once_just_one_gets_the_name(how: str, seed: int) -> None:
    """Two gateways race for one name; what the loser had stays as it was."""
    store = Racing(seed)
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    files = [await make(one, root, name) for name in (b"p", b"q")]

    def race(tree: Tree, at: int) -> Any:
        if how == "mkdir":
            return tree.make(root, b"new", Kind.DIR, Changes(), ROOT)
        if how == "exclusive":
            return tree.make(root, b"new", Kind.REG, Changes(), ROOT, verifier=bytes([at] * 8))
        if how == "link":
            return tree.link(files[at], root, b"new", ROOT)
        return tree.rename(root, b"p", root, b"pq"[at : at + 1] + b"new", ROOT)

    found = await asyncio.gather(status_of(race(one, 0)), status_of(race(two, 1)))
    assert sorted(found) == [OK, Status.NOENT if how == "rename" else Status.EXIST]
    listed, _, _ = await two.directories.read(root, 0, 100, ROOT)
    assert len(listed) == (4 if how == "rename" else 5)
    await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("seed", range(5))
async def test_many_at_once_lose_nothing(seed: int) -> None:
    """Creates, renames and removes side by side, over splitting directories: each name ends where it belongs."""
    store = Racing(seed)
    tree, root = await tree_over(store)
    a, b = await make(tree, root, b"a", Kind.DIR), await make(tree, root, b"b", Kind.DIR)

    async def live(number: int) -> None:
        name = b"%d" % number
        file = await make(tree, a, name)
        await tree.write(file, 0, name, ROOT)
        if number % 2:
            await tree.rename(a, name, b, b"moved" + name, ROOT)
        if number % 3 == 0:
            await tree.remove(b if number % 2 else a, b"moved" + name if number % 2 else name, ROOT)

    await asyncio.gather(*map(live, range(300)))
    for directory, expected in ((a, 100), (b, 100)):
        listed, is_end, attributes = await tree.directories.read(directory, 0, 1000, ROOT)
        assert is_end
        assert len(listed) == expected + 2
        for each in listed[2:]:
            file, _ = await tree.lookup(directory, each.name, ROOT)
            data = (await tree.read(file.handle, 0, 100, ROOT)).data
            assert data == each.name.removeprefix(b"moved")
        assert attributes.nlink == 2
    await tree.close()


async def test_a_gateway_that_guesses_by_what_it_saw_last_answers_by_what_is() -> None:
    """Another gateway swaps two names: whoever looks one up next gets the file that it leads to now."""
    store = MemoryStore()
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    files = {name: await make(one, root, name) for name in (b"p", b"q")}
    for name, file in files.items():
        assert (await two.lookup(root, name, ROOT))[0].handle == file
    for old, new in ((b"p", b"t"), (b"q", b"p"), (b"t", b"q")):
        await one.rename(root, old, root, new, ROOT)
    assert (await two.lookup(root, b"p", ROOT))[0].handle == files[b"q"]
    await two.remove(root, b"p", ROOT)
    assert await status_of(one.getattr(files[b"q"])) == Status.STALE
    assert await status_of(one.getattr(files[b"p"])) == OK
    await asyncio.gather(one.close(), two.close())


async def test_a_gateway_that_guesses_wrong_removes_what_the_name_leads_to() -> None:
    """Another gateway swaps two names; a remove by one that has not looked since takes the right file away."""
    store = MemoryStore()
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    files = {name: await make(two, root, name) for name in (b"p", b"q")}
    for old, new in ((b"p", b"t"), (b"q", b"p"), (b"t", b"q")):
        await one.rename(root, old, root, new, ROOT)
    await two.remove(root, b"p", ROOT)
    assert await status_of(one.getattr(files[b"q"])) == Status.STALE
    assert await status_of(one.getattr(files[b"p"])) == OK
    await asyncio.gather(one.close(), two.close())


async def test_of_two_gateways_that_think_an_id_free_just_one_gets_it() -> None:
    """The other one takes another id: the file that was made first stays as it is."""
    store = MemoryStore()
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    first = await make(one, root, b"first")
    await one.write(first, 0, b"mine", ROOT)
    two.freed.give(first.id, is_dirty=False)
    second = await make(two, root, b"second")
    assert second.id != first.id
    assert (await two.read(first, 0, 9, ROOT)).data == b"mine"
    await asyncio.gather(one.close(), two.close())


async def test_what_a_rename_replaces_is_gone_and_a_full_directory_is_not() -> None:
    """The replaced file's handle is stale, its other names stay; a directory with names in it is NOTEMPTY."""
    tree, root = await tree_over(MemoryStore())
    a, b, c = [await make(tree, root, name) for name in (b"a", b"b", b"c")]
    await tree.link(b, root, b"more", ROOT)
    await tree.rename(root, b"a", root, b"b", ROOT)
    assert (await tree.getattr(b)).nlink == 1
    await tree.rename(root, b"c", root, b"more", ROOT)
    assert await status_of(tree.getattr(b)) == Status.STALE
    assert [await status_of(tree.getattr(each)) for each in (a, c)] == [OK, OK]
    directory = await make(tree, root, b"d", Kind.DIR)
    await make(tree, directory, b"inside")
    assert await status_of(tree.remove(root, b"d", ROOT, is_directory=True)) == Status.NOTEMPTY
    await make(tree, root, b"empty", Kind.DIR)
    assert await status_of(tree.rename(root, b"empty", root, b"d", ROOT)) == Status.NOTEMPTY
    assert await status_of(tree.rename(root, b"d", root, b"empty", ROOT)) == OK
    assert (await tree.getattr(root)).nlink == 3
    await tree.close()


async def test_setattr_is_guarded_by_the_ctime() -> None:
    """With the ctime of an older look it is NOT_SYNC, and nothing changes."""
    tree, root = await tree_over(MemoryStore())
    file = await make(tree, root, b"a")
    seen = (await tree.getattr(file)).ctime
    assert await status_of(tree.setattr(file, Changes(mode=0o600), seen, ROOT)) == OK
    assert await status_of(tree.setattr(file, Changes(mode=0o700), seen, ROOT)) == Status.NOT_SYNC
    assert (await tree.getattr(file)).mode == 0o600
    await tree.close()


# --- calls that are sent again ---------------------------------------------------------------------------------
async def test_a_call_that_is_sent_again_answers_what_it_answered() -> None:
    """A REMOVE in the same bytes by the same host is not made twice; under another xid, or by another host, it is."""
    async with in_memory() as (made, root, make_client):
        client = make_client()
        await client.create(root, b"a")
        record = client.pack(12, bytes(_where(root, b"a")))
        first = await made.service.answer("here", record)
        assert first is not None
        assert first[24:28] == bytes(4)
        assert await made.service.answer("here", record) == first
        for host, again in (("there", record), ("here", client.pack(12, bytes(_where(root, b"a"))))):
            answer = await made.service.answer(host, again)
            assert answer is not None
            assert answer[24:28] == int(Status.NOENT).to_bytes(4)


def _where(handle: bytes, name: bytes) -> bytes:
    return bytes(Writer().opaque(handle).opaque(name).data)


async def test_a_call_that_is_sent_again_while_it_runs_runs_once() -> None:
    """The second one waits for the first one's answer, also when the first one's connection is gone."""
    repeats, gate, runs = Repeats(lambda: 0.0), asyncio.Event(), []

    async def run() -> bytes:
        runs.append(1)
        await gate.wait()
        return b"answer"

    key = repeats.key_of("here", b"", 1, b"record")
    tasks = [asyncio.create_task(repeats.answer(key, run, is_kept=lambda answer: True)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    gate.set()
    assert (await tasks[0], await tasks[2]) == (b"answer", b"answer")
    assert await repeats.answer(key, run, is_kept=lambda answer: True) == b"answer"
    assert len(runs) == 1


async def test_who_waits_for_a_call_that_fails_gets_the_failure() -> None:
    """A malformed call that is sent twice gets two answers: the second one is not left without."""
    repeats, gate = Repeats(lambda: 0.0), asyncio.Event()

    async def run() -> bytes:
        await gate.wait()
        raise XdrError("malformed")

    key = repeats.key_of("here", b"", 1, b"record")
    tasks = [asyncio.create_task(repeats.answer(key, run, is_kept=lambda answer: True)) for _ in range(2)]
    await asyncio.sleep(0)
    gate.set()
    assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [XdrError, XdrError]


async def test_calls_that_wait_for_a_quorum_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come and go while nothing is answered: beyond a bound further calls are told to come back at once."""
    monkeypatch.setattr("fivefold.gateways.nfs.server.RUNNING_CALLS_MAX", 3)
    store = Waiting()
    async with in_memory(store=store) as (_, root, make_client):
        client = make_client()
        store.gate.clear()
        waiting = [asyncio.create_task(client.mkdir(root, b"%d" % at)) for at in range(3)]
        await asyncio.sleep(0)
        assert (await client.getattr(root))[0] == Status.JUKEBOX
        assert (await client.write(root, 0, b"x"))[0] == Status.JUKEBOX
        store.gate.set()
        assert [(await each)[0] for each in waiting] == [OK, OK, OK]
        assert (await client.getattr(root))[0] == OK


class Waiting(MemoryStore):
    """Memory that answers only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, function: Callable[..., Any], objects: Sequence[Ref], **arguments: Any) -> Any:
        await self.gate.wait()
        return await super().call(function, objects, **arguments)


async def test_answers_are_kept_within_bounds() -> None:
    """The oldest answers go: by number, by bytes and by age. What says "come back" is not kept at all."""
    now = [0.0]
    repeats = Repeats(lambda: now[0])
    runs: list[int] = []

    async def ask(number: int, answer: bytes = b"x", *, is_kept: bool = True) -> None:
        async def run() -> bytes:
            runs.append(number)
            return answer

        await repeats.answer(repeats.key_of("h", b"", number, b""), run, is_kept=lambda _: is_kept)

    for number in range(limits.ANSWERS_MAX + 1):
        await ask(number)
    runs.clear()
    for number in (1, 0):
        await ask(number)
    assert runs == [0]
    for number in (-1, -2, -3):
        await ask(number, bytes(limits.ANSWERS_BYTES_MAX // 2))
    runs.clear()
    for number in (-3, -1):
        await ask(number)
    assert runs == [-1]
    now[0] = limits.ANSWERS_AGE_S + 1
    await ask(-9)
    await ask(-3)
    assert runs == [-1, -9, -3]
    await ask(7, is_kept=False)
    await ask(7, is_kept=False)
    assert runs[-2:] == [7, 7]


class Shaky(MemoryStore):
    """Memory that sometimes has no quorum."""

    failure: Exception | None = None

    async def call(self, function: Callable[..., Any], objects: Sequence[Ref], **arguments: Any) -> Any:
        if isinstance(self.failure, Refused):
            raise self.failure
        answer = await super().call(function, objects, **arguments)
        if self.failure is not None and function not in (names.find, names.lookup):
            raise self.failure
        return answer


async def test_without_a_quorum_the_client_is_told_to_come_back_and_then_is_served() -> None:
    """JUKEBOX, which is not remembered as the call's answer: the same bytes succeed later."""
    store = Shaky()
    async with in_memory(store=store) as (made, root, make_client):
        client = make_client()
        record = client.pack(9, bytes(_where(root, b"d")) + bytes(24))
        store.failure = LATER
        answer = await made.service.answer("here", record)
        assert answer is not None
        assert answer[24:28] == int(Status.JUKEBOX).to_bytes(4)
        assert (await client.getattr(root))[0] == Status.JUKEBOX
        store.failure = None
        answer = await made.service.answer("here", record)
        assert answer is not None
        assert answer[24:28] == bytes(4)


async def test_an_update_that_was_made_and_whose_answer_is_lost_is_answered_without_attributes() -> None:
    """OK, which is true, and nothing that is not known. What is made so is there."""
    store = Shaky()
    async with in_memory(store=store) as (made, root, make_client):
        client = make_client()
        _, file, _ = await client.create(root, b"a")
        store.failure = Applied()
        assert await client.setattr(file, mode=0o600) == (OK, {})
        assert await client.write(file, 0, b"data") == (OK, {})
        assert await client.rename(root, b"a", root, b"b") == OK
        assert await client.link(file, root, b"c") == OK
        assert await client.remove(root, b"c") == OK
        answer = await made.service.answer("here", client.pack(9, bytes(_where(root, b"d")) + bytes(24)))
        assert answer is not None
        assert answer[24:] == bytes(4 + 16)
        store.failure = None
        assert sorted((await client.readdir(root))[1]) == [b".", b"..", b"b", b"d"]


def test_answers_of_updates_are_small_enough_to_be_remembered() -> None:
    """Servers keep answers up to 128 bytes whole; the largest usual ones are below that."""
    now = 1_796_062_827_779_136_765
    file = Attributes(1, 300, 0o100644, 1, 100_000, 100_000, 2**40, 2**30, (0, 0), now, 0, 0)
    directory = Attributes(2, 300, 0o1777, 500, 100_000, 100_000, 4096, 0, (0, 0), now, 0, 10**15)
    change = Change(directory, 0, 10**12, 0)
    assert len(msgspec.msgpack.encode(names.Made(file, change, True))) < RING_ANSWER_BYTES_MAX
    assert len(msgspec.msgpack.encode(names.Renamed(change, change, True, True))) < RING_ANSWER_BYTES_MAX


# --- handles and names -----------------------------------------------------------------------------------------
async def test_forged_and_old_handles_are_told_apart() -> None:
    """Bytes that this gateway never made are BADHANDLE; the handle of a file that is gone is STALE."""
    async with in_memory() as (_, root, make_client):
        client = make_client()
        _, old, _ = await client.create(root, b"a")
        for at in range(len(old)):
            forged = old[:at] + bytes([old[at] ^ 1]) + old[at + 1 :]
            assert (await client.getattr(forged))[0] == Status.BADHANDLE
        for forged in (b"", old[:-1], old + b"\0", bytes(32), bytes(64)):
            assert (await client.getattr(forged))[0] == Status.BADHANDLE
        await client.remove(root, b"a")
        _, new, _ = await client.create(root, b"b")
        assert old[8:16] == new[8:16]  # the same id
        assert (await client.getattr(old))[0] == Status.STALE
        assert (await client.write(old, 0, b"x"))[0] == Status.STALE
        assert (await client.getattr(new))[1]["size"] == 0


async def test_names_are_refused_by_the_rfcs_own_errors() -> None:
    """NUL and / are INVAL, over 255 bytes NAMETOOLONG, . and .. cannot be made or removed, none at all is ACCES."""
    async with in_memory() as (_, root, make_client):
        client = make_client()
        cases = [(b"a\0", 22), (b"a/b", 22), (b"x" * 256, 63), (b".", 17), (b"..", 17), (b"", 13), (b"x" * 255, 0)]
        for name, status in cases:
            assert (await client.mkdir(root, name))[0] == status, name
        assert await client.rmdir(root, b".") == Status.INVAL
        assert await client.rmdir(root, b"..") == Status.NOTEMPTY
        assert await client.remove(root, b"..") == Status.INVAL
        assert await client.rename(root, b".", root, b"a") == Status.INVAL
        assert (await client.lookup(root, b"x" * 256))[0] == Status.NAMETOOLONG
        assert (await client.symlink(root, b"l", b"t" * 4096))[0] == OK
        assert (await client.symlink(root, b"m", b"t" * 4097))[0] == Status.NAMETOOLONG


async def test_a_full_bucket_is_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names chosen to meet in one bucket fill it, and the next one gets NOSPC; others go on."""
    monkeypatch.setattr(names, "BUCKET_ENTRIES_MAX", 10)
    monkeypatch.setattr("fivefold.gateways.nfs.objects.LEVEL_MAX", 0)
    async with in_memory() as (_, root, make_client):
        client = make_client()
        for at in range(10):
            assert (await client.create(root, b"%d" % at))[0] == OK
        assert (await client.create(root, b"more"))[0] == Status.NOSPC
        assert await client.rename(root, b"1", root, b"more") == Status.NOSPC
        assert await client.rename(root, b"1", root, b"2") == OK
        assert (await client.create(root, b"more"))[0] == OK


# --- directories -----------------------------------------------------------------------------------------------
async def test_a_small_directory_has_no_bucket_and_a_larger_one_keeps_its_names_and_cookies() -> None:
    """Up to SMALL_ENTRIES_MAX names lie in the inode; the next one moves all to two buckets."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    for at in range(limits.SMALL_ENTRIES_MAX):
        await make(tree, root, b"%d" % at)
    assert not [kind for kind, _ in store.objects if kind is Entries]
    before, is_end, _ = await tree.directories.read(root, 0, 1000, ROOT)
    assert is_end
    assert len(before) == limits.SMALL_ENTRIES_MAX + 2
    last = await make(tree, root, b"more")
    assert len([kind for kind, _ in store.objects if kind is Entries]) == 2
    after, is_end, _ = await tree.directories.read(root, 0, 1000, ROOT)
    assert is_end
    assert [each for each in after if each.name != b"more"] == before
    other, _ = await tree_over(store)
    assert (await other.lookup(root, b"more", ROOT))[0].handle == last
    assert (await other.rename(root, b"more", root, b"most", ROOT))[0].after.nlink == 2
    await other.remove(root, b"most", ROOT)
    assert (await tree.getattr(root)).nlink == 2
    await tree.close()
    await other.close()


async def test_a_directory_that_was_made_with_one_bucket_goes_on_with_it() -> None:
    """As earlier gateways made them: its names are found, made and removed there, and it grows as it did."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    inode = store.objects[Inode, "root/1"]
    assert isinstance(inode, Inode)
    inode.level = 0
    for at in range(limits.BUCKET_LOAD):
        await make(tree, root, b"%d" % at)
    assert not inode.names
    assert len([kind for kind, _ in store.objects if kind is Entries]) == 1
    await make(tree, root, b"more")
    assert (inode.level, inode.split) == (1, 0)
    assert await status_of(tree.lookup(root, b"0", ROOT)) == OK
    await tree.close()


async def test_a_large_directory_is_many_small_buckets() -> None:
    """3,000 names: each bucket stays near its load, so that a new name rewrites a few kilobytes."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    for at in range(3000):
        await make(tree, root, b"file-%d" % at)
    buckets = [each for (kind, _), each in store.objects.items() if kind is Entries]
    sizes = [len(each.names) for each in buckets]
    assert sum(sizes) == 3000
    assert len(buckets) >= 3000 // limits.BUCKET_LOAD
    assert max(sizes) < 3 * limits.BUCKET_LOAD
    assert max(len(msgspec.msgpack.encode(each.names)) for each in buckets) < 5000
    await tree.close()


@pytest.mark.parametrize("seed", range(5))
async def test_a_listing_meets_what_stays_just_once_whatever_else_changes(seed: int) -> None:
    """Names come and go and buckets split between the pages; those that are there all the time come once each."""
    random = Random(seed)
    tree, root = await tree_over(MemoryStore())
    staying = {b"stay-%d" % at for at in range(100)}
    for name in staying:
        await make(tree, root, name)
    seen: list[bytes] = []
    cookie, is_end, number = 0, False, 0
    while not is_end:
        listed, is_end, _ = await tree.directories.read(root, cookie, random.randrange(2, 20), ROOT)
        seen += [each.name for each in listed]
        cookie = listed[-1].cookie if listed else cookie
        for _ in range(20):
            number += 1
            await make(tree, root, b"more-%d" % number)
            if number % 2:
                await tree.remove(root, b"more-%d" % number, ROOT)
    assert sorted(each for each in seen if each in staying) == sorted(staying)
    await tree.close()


async def test_a_file_in_a_removed_directory_is_stale_though_that_id_is_the_next_to_be_used() -> None:
    """The directory's own id comes first among the free ones: it is not asked to be its own child."""
    tree, root = await tree_over(MemoryStore())
    gone = await make(tree, root, b"gone", Kind.DIR)
    await tree.remove(root, b"gone", ROOT, is_directory=True)
    for kind in (Kind.REG, Kind.DIR, Kind.LNK):
        assert await status_of(make(tree, gone, b"new", kind)) == Status.STALE
    assert (await make(tree, root, b"new")).id == gone.id
    await tree.close()


# --- data ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1])
async def test_what_was_cut_never_comes_back(size: int) -> None:
    """A file is cut and gets larger again, by its size or by a write far behind: zeros are between."""
    tree, root = await tree_over(MemoryStore())
    for number, grow in enumerate(("size", "behind", "reopen", "into")):
        file = await make(tree, root, b"%d" % number)
        await tree.write(file, 0, b"x" * 3 * CHUNK, ROOT)
        if grow == "reopen":
            await tree.make(root, b"%d" % number, Kind.REG, Changes(size=size), ROOT, is_guarded=False)
        else:
            await tree.setattr(file, Changes(size=size), None, ROOT)
        if grow == "behind":
            await tree.write(file, 3 * CHUNK, b"y", ROOT)
        if grow == "into":
            await tree.write(file, 3 * CHUNK - 1, b"\0", ROOT)
        await tree.setattr(file, Changes(size=3 * CHUNK), None, ROOT)
        assert (await tree.read(file, 0, 3 * CHUNK, ROOT)).data == b"x" * size + bytes(3 * CHUNK - size)
    await tree.close()


SMALL = limits.SMALL_BYTES_MAX


@pytest.mark.parametrize("size", [1, SMALL - 1, SMALL, SMALL + 1])
async def test_a_small_file_has_no_chunk_and_a_larger_one_keeps_its_beginning(size: int) -> None:
    """Up to SMALL bytes lie in the inode; what grows further, by a write or by a size, has the same bytes."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    for name, end in ((b"write", CHUNK + 5), (b"size", CHUNK + 5), (b"append", size + 9)):
        file = await make(tree, root, name)
        before = sum(kind is Chunk for kind, _ in store.objects)
        await tree.write(file, 0, b"x" * size, ROOT)
        assert (sum(kind is Chunk for kind, _ in store.objects) > before) is (size > SMALL)
        assert (await tree.getattr(file)).used == size
        if name == b"size":
            await tree.setattr(file, Changes(size=end), None, ROOT)
        else:
            await tree.write(file, end - 4, b"tail", ROOT)
        tail = bytes(4) if name == b"size" else b"tail"
        assert (await tree.read(file, 0, end + 9, ROOT)).data == b"x" * size + bytes(end - 4 - size) + tail
        await tree.write(file, 0, b"y", ROOT)
        await tree.setattr(file, Changes(size=2), None, ROOT)
        await tree.setattr(file, Changes(size=7), None, ROOT)
        assert (await tree.read(file, 0, 9, ROOT)).data == (b"yx" if size > 1 else b"y\0") + bytes(5)
    await tree.close()


async def test_a_gateway_that_guesses_wrong_where_a_files_data_is_asks_again() -> None:
    """Another gateway makes a small file large, or a large one small: reads, writes and cuts are right all the same."""
    store = MemoryStore()
    (one, root), (two, _) = await tree_over(store), await tree_over(store)
    file = await make(one, root, b"a")
    await one.write(file, 0, b"small", ROOT)
    await two.write(file, 0, b"L" * CHUNK, ROOT)
    assert (await one.read(file, 2, 3, ROOT)).data == b"LLL"
    await two.setattr(file, Changes(size=5), None, ROOT)  # its beginning stays in a chunk
    one._guesses.learn_size(file.id, 0)
    await one.write(file, 1, b"oo", ROOT)
    assert (await two.read(file, 0, 99, ROOT)).data == b"LooLL"
    one._guesses.learn_size(file.id, 0)
    await one.setattr(file, Changes(size=4), None, ROOT)
    one._guesses.learn_size(file.id, 0)
    await one.make(root, b"a", Kind.REG, Changes(size=2), ROOT, is_guarded=False)
    assert (await two.read(file, 0, 99, ROOT)).data == b"Lo"
    await two.setattr(file, Changes(size=0), None, ROOT)
    await two.write(file, 0, b"again", ROOT)
    await one.write(file, 0, b"A", ROOT)
    assert (await two.read(file, 0, 99, ROOT)).data == b"Again"
    await one.close()
    await two.close()


async def test_a_sparse_file_is_as_small_as_what_was_written() -> None:
    """A byte at 8 TiB makes one chunk; the hole reads as zeros; a size over 16 TiB is FBIG."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    file = await make(tree, root, b"a")
    await tree.write(file, 1 << 43, b"x", ROOT)
    assert sum(kind is Chunk for kind, _ in store.objects) == 1
    assert (await tree.read(file, 1 << 42, 10, ROOT)).data == bytes(10)
    assert (await tree.read(file, (1 << 43) - 3, 10, ROOT)).data == b"\0\0\0x"
    assert (await tree.getattr(file)).used == CHUNK
    assert await status_of(tree.write(file, limits.FILE_BYTES_MAX - 1, b"x", ROOT)) == OK
    assert await status_of(tree.write(file, limits.FILE_BYTES_MAX - 1, b"xy", ROOT)) == Status.FBIG
    assert await status_of(tree.setattr(file, Changes(size=limits.FILE_BYTES_MAX + 1), None, ROOT)) == Status.FBIG
    await tree.close()


async def test_ranges_of_emptied_chunks_between_written_ones_are_bounded() -> None:
    """Every second chunk of a file that was cut is written again: the others are emptied before there are too many."""
    tree, root = await tree_over(MemoryStore())
    file = await make(tree, root, b"a")
    many = 4 * limits.RANGES_MAX
    for at in range(many):
        await tree.write(file, at * CHUNK, b"old", ROOT)
    await tree.setattr(file, Changes(size=0), None, ROOT)
    for at in range(0, many, 2):
        await tree.write(file, at * CHUNK, b"new", ROOT)
    for at in range(many - 1):
        assert (await tree.read(file, at * CHUNK, 3, ROOT)).data == (bytes(3) if at % 2 else b"new")
    await tree.close()


async def test_what_ten_thousand_removed_files_leave_behind_is_bounded() -> None:
    """Create, write, remove, again and again: ids are used again, and in the end no byte of data is left."""
    store = MemoryStore()
    tree, root = await tree_over(store)
    for at in range(10_000):
        file = await make(tree, root, b"a")
        await tree.write(file, 0, b"data", ROOT)
        if at % 10 == 0:
            await tree.write(file, 3 * CHUNK, b"far", ROOT)
        await tree.remove(root, b"a", ROOT)
    await tree.freed.empty_old(is_all=True)
    assert len(store.objects) < 10
    assert all(not each.data for (kind, _), each in store.objects.items() if kind is Chunk)
    await tree.close()


async def test_a_gateway_that_starts_finds_the_ids_that_another_one_left() -> None:
    """No list of free ids is kept: it looks for free inodes, and empties what removed files left."""
    store = MemoryStore()
    one, root = await tree_over(store)
    for at in range(50):
        file = await make(one, root, b"%d" % at)
        await one.write(file, 0, b"data", ROOT)
    for at in range(50):
        await one.remove(root, b"%d" % at, ROOT)
    await one.close()
    count = len(store.objects)
    two, root = await tree_over(store)
    await two.freed._search()
    await two.freed.empty_old(is_all=True)
    assert all(not each.data for (kind, _), each in store.objects.items() if kind is Chunk)
    for at in range(200):  # fewer than one block of ids
        await make(two, root, b"%d" % at)
    assert store.objects[Ids, "root"].next == 2 + limits.IDS_AT_ONCE
    assert sum(kind is Chunk for kind, _ in store.objects) <= count
    await two.close()


# --- rights ----------------------------------------------------------------------------------------------------
async def test_root_is_nobody_unless_told_otherwise() -> None:
    """With root squash a client's root owns files as 65534, and may not touch what belongs to others."""
    async with in_memory(is_squashing=True) as (_, root, make_client):
        admin, user = make_client(0, (0, 5)), make_client(1000, (1000,))
        _, _, attributes = await admin.create(root, b"a", mode=0o644)
        assert (attributes["uid"], attributes["gid"]) == (65534, 65534)
        _, file, _ = await user.create(root, b"b", mode=0o600)
        assert (await admin.setattr(file, mode=0o777))[0] == Status.PERM
        assert (await admin.read(file, 0, 1))[0] == Status.ACCES
        assert await admin.remove(root, b"b") == Status.PERM  # the root directory is sticky
        assert (await user.create(root, b"c", mode=0o644))[2]["gid"] == 1000
    async with in_memory() as (_, root, make_client):
        _, _, attributes = await make_client(0).create(root, b"a")
        assert (attributes["uid"], attributes["gid"]) == (0, 0)


async def test_time_never_goes_back_in_ctime() -> None:
    """The gateway's clock goes back by an hour: ctime grows all the same, at every change."""
    clock = [10**18]
    tree = Tree(MemoryStore(), clock=lambda: clock[0])
    root = await tree.start(mode=0o777, uid=0, gid=0)
    file = await make(tree, root, b"a")
    seen = [(await tree.getattr(file)).ctime]
    for shift in (-3_600 * 10**9, 0, 5, -1):
        clock[0] += shift
        change = await tree.setattr(file, Changes(mode=0o600), None, ROOT)
        assert change.before[2] == seen[-1]
        seen.append(change.after.ctime)
    assert seen == sorted(set(seen))
    await tree.close()
