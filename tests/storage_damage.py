"""Damages the files of a small store in every way a disk can, and judges what a server would answer from them.

    python -m tests.storage_damage bits                          every single bit of every file, small pages
    python -m tests.storage_damage bits --image closed           of the files of the store after a clean end
    python -m tests.storage_damage bits --page 4096 --stride 7   every 7th bit, pages as in production
    python -m tests.storage_damage random 100000                 that many random damages, with a seed each
    python -m tests.storage_damage random 10000 --first 90000    the last tenth of them
    python -m tests.storage_damage random 2000 --whole           each in a store that is then opened, used and closed

Each damage must be *refused* (the server does not start, or names the object as damaged), *healed* or *harmless* (the
object is as it was). An object that is missing or older than what was promised is forgotten history; an exception that
is no sentence for the operator is a traceback. Either is a failure.

Tried so far, without a failure (Python 3.11, SQLite 3.40.1, one process on a shared machine):

    what                                          damages      harmless   refused   named as damaged   seconds
    bits --image closed                           214,192       157,431    23,876             32,885       354
    bits --image "opened again"                   501,744       455,276    13,612             32,856       630
    bits --image "all in the journal"             493,552       465,792    27,712                 48       264
    bits --image "folded and written on"        1,077,360       727,832   349,528                  0     1,629
    random 100000                                 100,000        68,433    30,478              1,089       242
    random 2000 --first 200000 --whole              2,000         1,396       593                 11        16
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.storage import DATABASE_NAME, DamagedRecord, Inspector, SqliteStorage, guard, recovery, schema, segments
from fivefold.storage import writer as writer_module
from fivefold.storage.guard import REACH_NAME, RECORD_NAME, DataRecord
from fivefold.storage.journal import PAGE_BYTES
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.reach import read_reach

CLUSTER, SERVER = "c1", "s1"
OBJECTS = 6
GROWTH_BYTES = 4 * PAGE_BYTES
NEVER = "A/never"
ROUNDS = 8
SMALL_PAGE_BYTES = 1024
SMALL_ROUNDS = 5
"""All bits of a store with fewer writes and smaller pages in its database: a quarter as many, of every kind."""
MEMORY = Path("/dev/shm")
Files = dict[str, bytes]
"""The contents of ``data/…`` and ``identity/…``."""


class Image:
    """What lies on the disk at one moment, and what had been promised by then."""

    def __init__(self, name: str, files: Files, promised: dict[str, ObjectRecord]) -> None:
        self.name, self.files, self.promised = name, files, promised


class Forgotten(AssertionError):
    """A damage led to forgotten history, or to an exception that nobody expects."""


# --- a small store at several moments ---------------------------------------------------------------------------


def small_store(set_: Callable[[object, str, object], None] = setattr, *, page_bytes: int = schema.PAGE_BYTES) -> None:
    """Make files small, so that all of their bits can be tried."""
    set_(schema, "PAGE_BYTES", page_bytes)
    for module in (segments, recovery):
        set_(module, "GROWTH_BYTES", GROWTH_BYTES)
    set_(writer_module, "OVERLAY_BYTES_MAX", 5000)
    set_(guard, "FIRST_SHARE_MIN", 1.0)
    set_(guard, "QUICK_CHECK_BYTES_MAX", guard.QUICK_CHECK_BYTES_MAX)


def images(root: Path, rounds: int = ROUNDS) -> list[Image]:
    """A store after a clean end, and after crashes with more and more in its journal, one later than the other."""
    maker = _Maker(root)
    found = [maker.image("made")]
    for number in range(OBJECTS):
        maker.write(number, 1)
    found.append(maker.image("all in the journal"))
    for round_ in range(2, rounds):
        for number in range(OBJECTS - 1):
            maker.write(number, round_)
    maker.until_folded()
    found.append(maker.image("folded and written on"))
    # The file has everything now, and the log still says how it came there: a damaged log hides the last of it.
    maker.storage._checkpointer._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    found.append(maker.image("folded, written on and checkpointed"))
    maker.storage.close()
    found.append(maker.image("closed"))
    maker.open()
    maker.write(0, rounds)
    found.append(maker.image("opened again"))
    maker.storage.close()
    maker.loop.close()
    return found


class _Maker:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.promised: dict[str, ObjectRecord] = {}
        self.loop = asyncio.new_event_loop()
        (root / "identity").mkdir(parents=True)
        self.open()

    def open(self) -> None:
        self.durable = 0
        self.storage = _open(self.root, self.loop, self._on_durable)

    def _on_durable(self, sequence: int) -> None:
        self.durable = sequence

    def write(self, number: int, round_: int) -> None:
        name = f"A/{number}"
        before = self.promised.get(name)
        history = b"history %d of %d" % (round_, number)
        put = ((b"version %d" % round_, b"%d" % number * 300),)
        deleted = tuple(key for key, _ in before.rows)[:-1] if before else ()
        kept = tuple(row for row in before.rows if row[0] not in deleted) if before else ()
        sequence = self.durable + 1
        self.storage.stage(sequence, [Write(name, history, put, deleted)])
        self._until(lambda: self.durable == sequence)
        self.promised[name] = ObjectRecord(history, tuple(sorted((*kept, *put))))

    def until_folded(self) -> None:
        self._until(self.storage._checkpointer.wait_idle)

    def _until(self, is_true: object) -> None:
        deadline = time.monotonic() + 30
        while not is_true():  # type: ignore[operator]
            assert time.monotonic() < deadline
            self.loop.run_until_complete(asyncio.sleep(0.001))

    def image(self, name: str) -> Image:
        return Image(name, read_files(self.root), dict(self.promised))


def _open(root: Path, loop: asyncio.AbstractEventLoop, on_durable: object = lambda sequence: None) -> SqliteStorage:
    return guard.open_data(
        root / "data",
        root / "identity",
        CLUSTER,
        SERVER,
        loop,
        on_durable,
        fresh_allowed=True,  # type: ignore[arg-type]
    )


def read_files(root: Path) -> Files:
    """All files below ``root`` that a crash leaves."""
    paths = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(paths) if path.name != "lock"}


def write_files(root: Path, files: Files) -> None:
    """Make ``root`` hold exactly these."""
    for name in ("data", "identity"):
        (root / name).mkdir(parents=True, mode=0o700, exist_ok=True)
        for path in (root / name).iterdir():
            path.unlink()
    for name, data in files.items():
        (root / name).write_bytes(data)


# --- damages ----------------------------------------------------------------------------------------------------


def random_damage(random: Random, image: Image, older: Image) -> tuple[str, str, bytes | None]:
    """One damage to one file; None for a file that is gone."""
    name = random.choice(sorted(image.files))
    data = image.files[name]
    kind = random.choice(_KINDS)
    if not data and kind in (_flips, _overwrite, _zeros, _cut, _move_page, _old_page):
        kind = _garbage_after
    return f"{kind.__name__[1:]}", name, kind(random, data, older.files.get(name))


def _flipped(data: bytes, bit: int) -> bytes:
    place = bit // 8
    return data[:place] + bytes([data[place] ^ 1 << bit % 8]) + data[place + 1 :]


def _flips(random: Random, data: bytes, old: bytes | None) -> bytes:
    for _ in range(random.choice((1, 1, 2, 3, 8, 64))):
        data = _flipped(data, random.randrange(8 * len(data)))
    return data


def _range(random: Random, data: bytes) -> tuple[int, int]:
    size = min(len(data), random.choice((1, 2, 4, 16, 100, 512, 4096, 8192)))
    start = random.randrange(len(data))
    return start, min(len(data), start + size)


def _overwrite(random: Random, data: bytes, old: bytes | None) -> bytes:
    start, end = _range(random, data)
    return data[:start] + random.randbytes(end - start) + data[end:]


def _zeros(random: Random, data: bytes, old: bytes | None) -> bytes:
    start, end = _range(random, data)
    return data[:start] + bytes(end - start) + data[end:]


def _cut(random: Random, data: bytes, old: bytes | None) -> bytes:
    size = random.randrange(len(data))
    return data[: size - size % 4096 if random.random() < 0.5 else size]


def _garbage_after(random: Random, data: bytes, old: bytes | None) -> bytes:
    return data + random.randbytes(random.choice((1, 100, 4096)))


def _move_page(random: Random, data: bytes, old: bytes | None) -> bytes:
    pages = max(1, len(data) // 4096)
    source, target = random.randrange(pages) * 4096, random.randrange(pages) * 4096
    page = data[source : source + 4096]
    return data[:target] + page + data[target + len(page) :]


def _old_page(random: Random, data: bytes, old: bytes | None) -> bytes:
    """A write that the disk never made."""
    start = random.randrange(max(1, len(data) // 4096)) * 4096
    page = (old or b"")[start : start + 4096]
    return data[:start] + page + data[start + len(page) :]


def _old_file(random: Random, data: bytes, old: bytes | None) -> bytes | None:
    return old


def _gone(random: Random, data: bytes, old: bytes | None) -> None:
    return None


_KINDS = (_flips, _flips, _overwrite, _zeros, _cut, _garbage_after, _move_page, _old_page, _old_page, _old_file, _gone)


# --- judging ----------------------------------------------------------------------------------------------------


def judge(root: Path, image: Image, what: str, name: str, data: bytes | None, *, is_whole: bool) -> str:
    """What became of the store with one damaged file: ``refused``, ``out`` (objects named as damaged) or ``harmless``.

    Args:
        root: where to put the files.
        image: the undamaged store.
        what: was done to it.
        name: the file.
        data: what it holds, None if it is gone.
        is_whole: open the store for good, write to it and close it, instead of only reading all that it reads.

    Raises:
        Forgotten: it is none of these.
    """
    files = {**image.files, name: data}
    write_files(root, {each: content for each, content in files.items() if content is not None})
    return _judged(f"{image.name}: {what} in {name}", lambda: (_use if is_whole else _look)(root, image))


def _judged(what: str, look: Callable[[], str]) -> str:
    try:
        return look()
    except DataDirectoryError as error:
        if "\n" in str(error):
            raise Forgotten(f"{what}: several lines: {error!r}") from error
        return "refused"
    except Exception as error:
        raise Forgotten(f"{what}: {type(error).__name__}: {error}") from error


class _InDatabase(NamedTuple):
    """What a start reads without the journal: where that must go on, and every object (or that it is damaged)."""

    mark: schema.Mark
    found: dict[str, ObjectRecord | DamagedRecord | None]


def _look(root: Path, image: Image) -> str:
    """What ``open_data`` and the reader read, without writing."""
    try:
        return _look_beyond(root, image, _look_into_database(root, image))
    except (OSError, sqlite3.Error) as error:
        raise DataDirectoryError(" ".join(str(error).split())) from error


def _look_into_database(root: Path, image: Image) -> _InDatabase:
    path, identity = root / "data" / DATABASE_NAME, root / "identity"
    own = DataRecord(format=guard.RECORD_FORMAT, cluster=CLUSTER, server=SERVER, generation=1)
    record = guard._read_record(identity / RECORD_NAME, own)
    guard._maybe_create(path, identity, own, record=record, fresh_allowed=False)
    guard._verify(path, own, record=record, fresh_allowed=False)
    found: dict[str, ObjectRecord | DamagedRecord | None] = {}
    with Inspector(path) as inspector:
        ledger = inspector.ledger()
        for object_id in (*image.promised, NEVER):
            try:
                found[object_id] = ledger.read(inspector._connection, object_id)
            except (DamagedRecord, sqlite3.Error) as error:
                found[object_id] = DamagedRecord(str(error))
        return _InDatabase(inspector.seal().mark, found)


def _look_beyond(root: Path, image: Image, database: _InDatabase) -> str:
    recovered = recovery.recover(
        root / "data" / DATABASE_NAME, database.mark, read_reach(root / "identity" / REACH_NAME)
    )
    layers = recovered.layers if recovered is not None else Layers(Overlay())

    def load(object_id: str) -> ObjectRecord | None:
        record = database.found[object_id]
        if isinstance(record, DamagedRecord):
            raise record
        return record

    found: dict[str, object] = {}
    for object_id in database.found:
        try:
            found[object_id] = layers.load(object_id, load)
        except DamagedRecord:
            found[object_id] = DamagedRecord
    return _verdict(image, found)


def _verdict(image: Image, found: dict[str, object]) -> str:
    result = "harmless"
    for object_id, record in found.items():
        if record is DamagedRecord or isinstance(record, Damaged):
            result = "out"
        elif record != image.promised.get(object_id):
            raise AssertionError(f"{object_id} is {record} instead of {image.promised.get(object_id)}")
    return result


def _use(root: Path, image: Image) -> str:
    """Open the store, load everything, write to what can be loaded, close, and look."""
    loop = asyncio.new_event_loop()
    try:
        storage = _open(root, loop)
        try:
            found = loop.run_until_complete(_load(storage, (*image.promised, NEVER)))
            verdict = _verdict(image, found)
            writable = [name for name, record in found.items() if isinstance(record, ObjectRecord)]
            storage.stage(1, [Write(name, b"newest", ((b"version 99", b"newest"),)) for name in writable])
        finally:
            storage.close()
    finally:
        loop.close()
    later = Image(image.name, {}, dict(image.promised))
    for name in writable:
        before = image.promised[name]
        rows = tuple(sorted((*before.rows, (b"version 99", b"newest"))))
        later.promised[name] = ObjectRecord(b"newest", rows)
    _look(root, later)
    return verdict


async def _load(storage: SqliteStorage, names: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        storage.load(name, lambda record, name=name: found.update({name: record}))  # type: ignore[misc]
    deadline = time.monotonic() + 20
    while len(found) < len(names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer for {sorted(set(names) - set(found))}: {storage.failure}")
        await asyncio.sleep(0.001)
    return found


# --- the command ------------------------------------------------------------------------------------------------


def try_random(root: Path, count: int, *, first_seed: int = 0, is_whole: bool = False) -> Counter[str]:
    """So many random damages; counts what became of them.

    Raises:
        Forgotten: the message has the seed.
    """
    made = images(root / "made")
    seen: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + count):
        random = Random(seed)
        position = random.randrange(1, len(made))
        image, older = made[position], made[random.randrange(position)]
        what, name, data = random_damage(random, image, older)
        guard.QUICK_CHECK_BYTES_MAX = random.choice((0, 2**20))  # a large database is not read whole at the start
        seen[judge(root / "judged", image, f"seed {seed}: {what}", name, data, is_whole=is_whole)] += 1
    return seen


def try_bits(root: Path, *, stride: int = 1, name: str = "", rounds: int = ROUNDS) -> Counter[str]:
    """Every bit of every file of every image, or of the one of that name; or every ``stride``-th.

    Raises:
        Forgotten: the message says which bit.
    """
    seen: Counter[str] = Counter()
    guard.QUICK_CHECK_BYTES_MAX = 0  # SQLite's own check would see most of it, but is for small databases only
    for image in images(root / "made", rounds)[1:]:
        if name in ("", image.name):
            write_files(root / "judged", image.files)
            for file in image.files:
                seen += _try_bits_of(root / "judged", image, file, stride)
            assert read_files(root / "judged") == image.files, "looking changes nothing"
    return seen


def _try_bits_of(root: Path, image: Image, file: str, stride: int) -> Counter[str]:
    """Every ``stride``-th bit of one file, flipped where it lies and put back."""
    seen: Counter[str] = Counter()
    data = image.files[file]
    log_index = root / "data" / f"{DATABASE_NAME}-shm"
    # What lies in the database is not read again for each bit of a file that has no say in that.
    is_beyond = ".journal-" in file or file.endswith(REACH_NAME)
    database = _look_into_database(root, image) if is_beyond else None
    look = (lambda: _look(root, image)) if database is None else (lambda: _look_beyond(root, image, database))
    descriptor = os.open(root / file, os.O_WRONLY)
    try:
        for bit in range(len(data) % stride, 8 * len(data), stride):
            place = bit // 8
            os.pwrite(descriptor, bytes([data[place] ^ 1 << bit % 8]), place)
            log_index.unlink(missing_ok=True)
            seen[_judged(f"{image.name}: bit {bit} in {file}", look)] += 1
            os.pwrite(descriptor, data[place : place + 1], place)
    finally:
        os.close(descriptor)
        log_index.unlink(missing_ok=True)
    return seen


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.storage_damage")
    kinds = parser.add_subparsers(dest="kind", required=True)
    bits = kinds.add_parser("bits")
    bits.add_argument("--image", default="")
    bits.add_argument("--page", type=int, default=SMALL_PAGE_BYTES)
    bits.add_argument("--stride", type=int, default=1)
    random = kinds.add_parser("random")
    random.add_argument("count", type=int)
    random.add_argument("--first", type=int, default=0)
    random.add_argument("--whole", action="store_true")
    asked = parser.parse_args()
    small_store(page_bytes=asked.page if asked.kind == "bits" else schema.PAGE_BYTES)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        began, root = time.monotonic(), Path(directory)
        if asked.kind == "bits":
            rounds = SMALL_ROUNDS if asked.page == SMALL_PAGE_BYTES else ROUNDS
            seen = try_bits(root, stride=asked.stride, name=asked.image, rounds=rounds)
        else:
            seen = try_random(root, asked.count, first_seed=asked.first, is_whole=asked.whole)
        sys.stdout.write(f"{seen.total():,} damages in {time.monotonic() - began:.0f} s: {dict(seen)}\n")


if __name__ == "__main__":
    main()
