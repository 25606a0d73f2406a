"""An object that the disk has damaged is taken over again from the others, and not below what was promised."""

from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.protocol.history import floor_of
from fivefold.protocol.messages import BUSY
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import MemoryDisk
from tests.protocol_rig import SECOND, A, WatchedRack, X, newest, now, op, send


class RottenDisk(MemoryDisk):
    """A disk on which one object is damaged, until it is written as a whole."""

    def __init__(self, disk: MemoryDisk, *, has_floor: bool = True) -> None:
        self.histories, self.rows = dict(disk.histories), {name: dict(rows) for name, rows in disk.rows.items()}
        self.floor = floor_of(self.histories[A]) if has_floor else b""
        self.is_rotten = True

    def apply(self, write: Write) -> None:
        if write.is_whole:
            self.is_rotten = False
            self.rows.pop(write.object_id, None)
        super().apply(write)

    def record(self, object_id: str) -> ObjectRecord | Damaged | None:
        if object_id == A and self.is_rotten:
            return Damaged(f"{object_id} does not match its checksum", self.floor)
        return super().record(object_id)


def rot(rack: WatchedRack, *, has_floor: bool = True) -> None:
    """Server 0 is started again, and finds the object damaged."""
    rack.disks[0] = RottenDisk(rack.disks[0], has_floor=has_floor)
    rack.restart(0)
    look(rack)


def look(rack: WatchedRack) -> None:
    """Somebody asks for the object, and time passes."""
    send(rack, X, {A: {}}, [0], kind=None, accepts=[])
    for _ in range(200):
        rack.now_ns += SECOND // 10
        rack._perform(0, rack.servers[0].wake(rack.now_ns))


def written(rack: WatchedRack, value: bytes, to: list[int], name: ObjectId = A) -> None:
    send(rack, X, now(rack, to, name), to, kind=Kind.METHOD, operation=op("set", value, name))


def test_a_damaged_object_is_taken_over_again() -> None:
    """Requests are answered BUSY until then; afterwards the server has history and version as the others do."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2, 3])
    rot(rack)
    assert not rack.disks[0].is_rotten
    assert newest(rack, 0) == newest(rack, 1)
    assert rack.state(0, A) == b"v"
    assert rack.servers[0].progress.mended == 1
    written(rack, b"w", [0, 1, 2])


def test_it_stays_out_below_its_floor() -> None:
    """It had accepted a barrier that nobody else has: what q others hold is older, so it waits for something newer."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, b"e", [0, 1, 2, 3])
    send(rack, X, now(rack, [0, 1, 2, 3]), [0], kind=Kind.METHOD, operation=op("set", b"x"))
    send(rack, X, now(rack, [0, 1, 2]), [0], kind=Kind.BARRIER)
    rot(rack)
    assert rack.disks[0].is_rotten
    for value in (b"1", b"2", b"3"):
        written(rack, value, [1, 2, 3])
    look(rack)
    assert not rack.disks[0].is_rotten
    assert rack.state(0, A) == b"3"


def test_what_it_promised_before_the_damage_holds() -> None:
    """The schedule of adoption.may_mend: without the floor a complete update is lost."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, b"e", [0, 1, 2, 3])
    send(rack, X, now(rack, [0, 1, 2, 3]), [0], kind=Kind.METHOD, operation=op("set", b"x"))
    barrier = send(rack, X, now(rack, [0, 1, 2]), [0], kind=Kind.BARRIER)
    old = rack.history(0, A)
    rot(rack)
    shown = now(rack, [1, 2, 3])
    m = send(rack, X, shown, [], kind=Kind.METHOD, operation=op("set", b"m"))
    m.to([0, 1, 2])
    barrier.to([2, 3])
    view = now(rack, [2, 3])
    view[A][0] = old
    send(rack, X, view, [2, 3], kind=Kind.COPY, accepts=[2, 3])
    send(rack, X, now(rack, [1, 2, 3]), [1], kind=Kind.INLINE_METHOD, accepts=[1])


def test_without_a_floor_it_stays_out() -> None:
    """Nobody can tell what the server had promised: it is to be replaced."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2, 3])
    rot(rack, has_floor=False)
    assert rack.disks[0].is_rotten
    votes = send(rack, X, {A: {}}, [], kind=None).to([0])
    assert votes[0].status == BUSY


def test_what_the_others_have_left_unfinished_is_repaired_first() -> None:
    """Of order r, but below q: the damaged server has the others finish it, and then takes it over."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, b"v", [0, 1, 2])
    rot(rack)
    assert not rack.disks[0].is_rotten
    assert rack.state(0, A) == rack.state(3, A) == b"v"
