"""Writes laid over what the database says: coalesced, bounded, and never half."""

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.schema import HISTORY


def test_the_last_word_on_each_row_is_left() -> None:
    """Coalescing keeps one entry a row: its data, or its deletion if it may be stored below."""
    overlay = Overlay([Write("A/x", b"1", ((b"t", b"v"), (b"u", b"v"))), Write("A/x", b"2", (), (b"s", b"t"))])
    assert overlay.rows() == {("A/x", HISTORY): b"2", ("A/x", b"s"): None, ("A/x", b"u"): b"v"}


def test_a_row_from_below_can_be_put_again() -> None:
    """Deleted, put and deleted again, it is gone; put once more, it is there."""
    overlay = Overlay([Write("A/x", b"1", (), (b"t",)), Write("A/x", b"2", ((b"t", b"v"),))])
    assert overlay.rows() == {("A/x", HISTORY): b"2", ("A/x", b"t"): b"v"}
    size = overlay.size
    overlay.apply([Write("A/x", b"3", (), (b"t",))])
    below = ObjectRecord(b"0", ((b"t", b"v"),))
    assert overlay.rows() == {("A/x", HISTORY): b"3", ("A/x", b"t"): None}
    assert overlay.patched("A/x", below) == ObjectRecord(b"3", ())
    overlay.apply([Write("A/x", b"4", ((b"t", b"v"),))])
    assert overlay.patched("A/x", below) == ObjectRecord(b"4", ((b"t", b"v"),))
    assert overlay.size == size


def test_a_record_is_patched() -> None:
    """Versions from below stay unless deleted or replaced, in the order of their timestamps."""
    overlay = Overlay([Write("A/x", b"new", ((b"2", b"two"), (b"0", b"nought")), (b"1",))])
    below = ObjectRecord(b"old", ((b"1", b"one"), (b"2", b"zwei"), (b"3", b"three")))
    versions = ((b"0", b"nought"), (b"2", b"two"), (b"3", b"three"))
    assert overlay.patched("A/x", below) == ObjectRecord(b"new", versions)
    assert overlay.patched("A/x", None) == ObjectRecord(b"new", versions[:2])
    assert overlay.patched("A/y", below) is below
    assert overlay.patched("A/y", None) is None


def test_updates_of_one_object_hardly_grow() -> None:
    """A thousand versions of a kilobyte, each replacing the one before, take the memory of one."""
    overlay = Overlay()
    for number in range(1000):
        timestamp, before = number.to_bytes(4, "big"), (number - 1).to_bytes(4, "big", signed=True)
        overlay.apply([Write("A/x", bytes(400), ((timestamp, bytes(1000)),), (before,))])
    assert 1400 < overlay.size < 3000
    overlay.apply(Write(f"A/{number}", bytes(400), ((b"1", bytes(1000)),)) for number in range(1000))
    assert overlay.size > 1_400_000


def test_layers_lie_over_each_other() -> None:
    """The one being filled has the last word, then the one being folded, then the database."""
    layers = Layers(Overlay([Write("A/x", b"1", ((b"1", b"one"),)), Write("A/y", b"1")]))
    folding = layers.rotate()
    layers.apply([Write("A/x", b"2", ((b"2", b"two"),), (b"1",))])
    assert layers.folding is folding
    assert layers.load("A/x", lambda name: None) == ObjectRecord(b"2", ((b"2", b"two"),))
    assert layers.load("A/y", lambda name: None) == ObjectRecord(b"1", ())
    assert layers.object_ids() == {"A/x", "A/y"}
    layers.folded()
    assert layers.load("A/y", lambda name: None) is None


def test_a_fold_during_a_load_is_not_missed() -> None:
    """The database is read without the writes, then they are folded: the load reads it again."""
    layers = Layers(Overlay([Write("A/x", b"new")]))
    layers.rotate()
    database = ObjectRecord(b"old", ())
    reads = 0

    def below(object_id: str) -> ObjectRecord:
        nonlocal database, reads
        reads += 1
        found = database
        if reads == 1:
            database = ObjectRecord(b"new", ())
            layers.folded()
        return found

    assert layers.load("A/x", below) == ObjectRecord(b"new", ())
    assert reads == 2


def test_a_rotation_during_a_load_is_not_missed() -> None:
    """The database is read, then two rotations and folds pass it by: nothing older is laid over newer."""
    layers = Layers(Overlay([Write("A/x", b"1")]))
    reads = 0

    def below(object_id: str) -> ObjectRecord:
        nonlocal reads
        reads += 1
        if reads == 1:
            layers.rotate()
            layers.folded()
            return ObjectRecord(b"0", ())
        return ObjectRecord(b"1", ())

    assert layers.load("A/x", below) == ObjectRecord(b"1", ())
