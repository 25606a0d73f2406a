"""Damages the files of a small store in every way a disk can, and judges what a server would answer from them.

    python -m tests.storage_damage bits                 every single bit of every file
    python -m tests.storage_damage bits 1 closed        of the files of the store after a clean end
    python -m tests.storage_damage random 100000        that many random damages, with a seed each
    python -m tests.storage_damage random 2000 whole    each in a store that is then opened, used and closed

Each damage must be *refused* (the server does not start, or names the object as damaged), *healed* or *harmless* (the
object is as it was). An object that is missing or older than what was promised is forgotten history; an exception that
is no sentence for the operator is a traceback. Either is a failure.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.storage import DATABASE_NAME, DamagedRecord, Inspector, SqliteStorage, guard, recovery, segments
from fivefold.storage import writer as writer_module
from fivefold.storage.guard import REACH_NAME, RECORD_NAME, DataRecord
from fivefold.storage.journal import PAGE_BYTES
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.reach import read_reach

CLUSTER, SERVER = "c1", "s1"
OBJECTS = 6
GROWTH_BYTES = 4 * PAGE_BYTES
NEVER = "A/never"
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


def small_store(set_: Callable[[object, str, object], None] = setattr) -> None:
    """Make files small, so that all of their bits can be tried."""
    for module in (segments, recovery):
        set_(module, "GROWTH_BYTES", GROWTH_BYTES)
    set_(writer_module, "OVERLAY_BYTES_MAX", 5000)
    set_(guard, "FIRST_SHARE_MIN", 1.0)
    set_(guard, "QUICK_CHECK_BYTES_MAX", guard.QUICK_CHECK_BYTES_MAX)


def images(root: Path) -> list[Image]:
    """A store after a clean end, and after crashes with more and more in its journal, one later than the other."""
    maker = _Maker(root)
    found = [maker.image("made")]
    for number in range(OBJECTS):
        maker.write(number, 1)
    found.append(maker.image("all in the journal"))
    for round_ in range(2, 8):
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
    maker.write(0, 8)
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


def every_bit(image: Image, stride: int) -> Iterator[tuple[str, str, bytes]]:
    """What was done, to which file, and its contents then: one flipped bit each, every ``stride``-th of them."""
    for name, data in image.files.items():
        for bit in range(len(data) % stride, 8 * len(data), stride):
            yield f"bit {bit}", name, _flipped(data, bit)


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
    try:
        return _use(root, image) if is_whole else _look(root, image)
    except DataDirectoryError as error:
        if "\n" in str(error):
            raise Forgotten(f"{image.name}: {what} in {name}: several lines: {error!r}") from error
        return "refused"
    except Exception as error:
        raise Forgotten(f"{image.name}: {what} in {name}: {type(error).__name__}: {error}") from error


def _look(root: Path, image: Image) -> str:
    """What ``open_data`` and the reader read, without writing."""
    path, identity = root / "data" / DATABASE_NAME, root / "identity"
    own = DataRecord(format=guard.RECORD_FORMAT, cluster=CLUSTER, server=SERVER, generation=1)
    try:
        record = guard._read_record(identity / RECORD_NAME, own)
        guard._maybe_create(path, identity, own, record=record, fresh_allowed=False)
        guard._verify(path, own, record=record, fresh_allowed=False)
        with Inspector(path) as inspector:
            ledger = inspector.ledger()
            recovered = recovery.recover(path, inspector.seal().mark, read_reach(identity / REACH_NAME))
            layers = recovered.layers if recovered is not None else Layers(Overlay())
            found: dict[str, object] = {}
            for object_id in (*image.promised, NEVER):
                try:
                    found[object_id] = layers.load(object_id, lambda each: ledger.read(inspector._connection, each))
                except (DamagedRecord, sqlite3.Error):
                    found[object_id] = DamagedRecord
    except (OSError, sqlite3.Error) as error:
        raise DataDirectoryError(" ".join(str(error).split())) from error
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


def try_bits(root: Path, *, stride: int = 1, name: str = "") -> Counter[str]:
    """Every bit of every file of every image, or of the one of that name; or every ``stride``-th."""
    seen: Counter[str] = Counter()
    guard.QUICK_CHECK_BYTES_MAX = 0  # SQLite's own check would see most of it, but is for small databases only
    for image in images(root / "made")[1:]:
        if name in ("", image.name):
            for what, file, data in every_bit(image, stride):
                seen[judge(root / "judged", image, what, file, data, is_whole=False)] += 1
    return seen


def main() -> None:
    """Run what the command line asks for."""
    small_store()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        began = time.monotonic()
        if sys.argv[1] == "bits":
            stride, name = int(sys.argv[2]) if len(sys.argv) > 2 else 1, "".join(sys.argv[3:4])
            seen = try_bits(Path(directory), stride=stride, name=name)
        else:
            seen = try_random(Path(directory), int(sys.argv[2]), is_whole=len(sys.argv) > 3)
        sys.stdout.write(f"{seen.total():,} damages in {time.monotonic() - began:.0f} s: {dict(seen)}\n")


if __name__ == "__main__":
    main()
