"""A journal with overlays over a database is one mapping from objects to records, whenever it is folded or read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage.journal import decode_writes, encode_prefix, encode_writes, opening, padded, scan
from fivefold.storage.overlay import Layers, Overlay

EPOCH = b"epoch-01"
keys = st.binary(min_size=1, max_size=1).filter(lambda key: key < b"\x05")
writes = st.builds(
    Write,
    object_id=st.sampled_from(["A/x", "A/y", "B/𝄞"]),
    history=st.binary(max_size=3),
    put=st.lists(st.tuples(keys, st.binary(max_size=3)), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
    delete=st.lists(keys, max_size=3).map(tuple),
)


class Naive:
    """A dictionary a record."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[bytes, bytes]]] = {}

    def apply(self, write: Write) -> Write:
        """Apply what of a write is allowed: a row is put only while it is not stored."""
        _, rows = self.objects.get(write.object_id, (b"", {}))
        kept = {key: data for key, data in rows.items() if key not in write.delete}
        put = tuple((key, data) for key, data in write.put if key not in kept)
        self.objects[write.object_id] = (write.history, kept | dict(put))
        return Write(write.object_id, write.history, put, write.delete)

    def record(self, object_id: str) -> ObjectRecord | None:
        if object_id not in self.objects:
            return None
        history, rows = self.objects[object_id]
        return ObjectRecord(history, tuple(sorted(rows.items())))


def fold(rows: dict[tuple[str, bytes], bytes], overlay: Overlay) -> None:
    for key, data in overlay.rows().items():
        if data is None:
            rows.pop(key, None)
        else:
            rows[key] = data


def stored(rows: dict[tuple[str, bytes], bytes], object_id: str) -> ObjectRecord | None:
    found = sorted((key, data) for (name, key), data in rows.items() if name == object_id)
    return ObjectRecord(found[0][1], tuple(found[1:])) if found else None


@pytest.mark.slow
@given(st.lists(writes | st.sampled_from(["rotate", "fold"])))
def test_layers_are_one_mapping(steps: list[Write | str]) -> None:
    """After any writes, rotations and folds every object is what a plain dictionary says."""
    layers, naive, rows = Layers(Overlay()), Naive(), {}
    for step in steps:
        if isinstance(step, Write):
            layers.apply([naive.apply(step)])
        elif step == "rotate" and layers.folding is None:
            layers.rotate()
        elif step == "fold" and layers.folding is not None:
            fold(rows, layers.folding)
            layers.folded()
    for object_id in ("A/x", "A/y", "B/𝄞", "none"):
        assert layers.load(object_id, lambda name: stored(rows, name)) == naive.record(object_id)


@pytest.mark.slow
@given(st.lists(writes), st.lists(writes))
def test_a_fold_can_be_repeated(first: list[Write], second: list[Write]) -> None:
    """What a crash makes us fold again changes nothing, even over what came after it."""
    naive = Naive()
    first, second = [naive.apply(write) for write in first], [naive.apply(write) for write in second]
    once: dict[tuple[str, bytes], bytes] = {}
    fold(once, Overlay(first + second))
    again: dict[tuple[str, bytes], bytes] = {}
    for part in (first, second, first, second):
        fold(again, Overlay(part))
    assert again == once


@given(st.lists(st.lists(writes, max_size=4), max_size=6), st.data())
def test_a_segment_reads_back_what_was_whole(batches: list[list[Write]], data: st.DataObject) -> None:
    """Cut anywhere, a segment gives back the records before the cut and no others."""
    content, ends = b"", []
    for payload in (opening(0), *map(encode_writes, batches)):
        content += encode_prefix(EPOCH, 1, len(content), payload) + payload
        ends.append(len(content))
        content += bytes(padded(len(content)) - len(content))
    cut = data.draw(st.integers(0, len(content)))
    found = scan(content[:cut] + bytes(len(content) - cut), EPOCH, 1)
    whole = sum(end <= cut for end in ends)
    read = [decode_writes(payload) for payload in found.payloads] if found is not None else []
    # Zeros that were cut off are put back: a record may end in zeros and be whole after all.
    assert read[: max(0, whole - 1)] == batches[: max(0, whole - 1)]
    assert len(read) <= max(0, whole)
