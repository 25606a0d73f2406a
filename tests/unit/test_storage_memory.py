"""The store in memory: packing, pages of ids, and its size."""

import subprocess
import sys

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage import MemoryStorage
from fivefold.storage.memory import RECENT_OBJECTS_MAX

OBJECTS = RECENT_OBJECTS_MAX + 1


def filled() -> MemoryStorage:
    """A store with one object more than it keeps unpacked."""
    storage = MemoryStorage(lambda sequence: None)
    for number in range(OBJECTS):
        storage.stage(number + 1, [Write(f"A/{number:06d}", b"h%d" % number, ((b"1", b"v"),))])
    return storage


def load(storage: MemoryStorage, object_id: str) -> ObjectRecord | None:
    found: list[ObjectRecord | None] = []
    storage.load(object_id, found.append)
    return found[0]


def test_a_packed_object_reads_like_a_recent_one() -> None:
    """The object that was written first is packed by now, and unchanged."""
    storage = filled()
    assert load(storage, "A/000000") == ObjectRecord(b"h0", ((b"1", b"v"),))
    assert load(storage, f"A/{OBJECTS - 1:06d}") == ObjectRecord(b"h%d" % (OBJECTS - 1), ((b"1", b"v"),))


def test_a_packed_object_can_be_written() -> None:
    """A write to a packed object keeps its other versions and does not count it twice."""
    storage = filled()
    storage.stage(OBJECTS + 1, [Write("A/000000", b"new", ((b"2", b"w"),))])
    assert load(storage, "A/000000") == ObjectRecord(b"new", ((b"1", b"v"), (b"2", b"w")))
    assert storage.count == OBJECTS


def test_ids_are_paged_in_order() -> None:
    """Pages of ids follow each other in code-point order, packed or not."""
    storage = filled()
    assert storage.object_ids(limit=2) == ["A/000000", "A/000001"]
    assert storage.object_ids(after="A/000001", limit=1) == ["A/000002"]
    assert storage.object_ids(after=f"A/{OBJECTS - 1:06d}") == []


HUNDRED_THOUSAND = r"""
import random
from msgspec.msgpack import encode
from fivefold.protocol.actions import Write
from fivefold.storage import MemoryStorage
# Laid out like the real thing, with its randomness: a timestamp holds two digests, a history names each of its
# timestamps twice, a ring entry has a random key, and a version shares all but one entry with the one before.
draw = random.Random(1).randbytes
clients = [draw(16) for _ in range(8)]
storage = MemoryStorage(lambda sequence: None)
def kibibytes(field):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))
before = kibibytes("VmRSS")
for number in range(100_000):
    name = f"Counter/{number:06d}"
    oldest, older, newer = (bytes(7) + bytes([time, 0]) + clients[time % 8] + draw(64) for time in (7, 8, 9))
    history = encode([[[older, [[name, oldest, None]]], False], [[newer, [[name, older, None]]], False]])
    ring = [draw(16) + number.to_bytes(8, "big") + bytes([0, 6]) + b"v" + draw(5) for _ in range(6)]
    rings = ring[:5], ring[1:]
    first, second = (encode([8, 7, draw(8), [[own[-1][:16], own[-1][26:]]], b"".join(own)]) for own in rings)
    storage.stage(number + 1, [Write(name, history, ((older, first), (newer, second)))])
# Not ru_maxrss: that remembers how large the process was that started this one.
print(len(history), len(first), kibibytes("VmHWM") - before)
"""


def test_a_hundred_thousand_small_objects_fit() -> None:
    """100,000 objects of a 400 B history and two 200 B versions take less than 70 MB."""
    done = subprocess.run([sys.executable, "-c", HUNDRED_THOUSAND], capture_output=True, text=True, check=True)
    history_bytes, version_bytes, grown_kib = map(int, done.stdout.split())
    assert history_bytes > 400
    assert version_bytes > 200
    assert grown_kib * 1024 < 70_000_000
