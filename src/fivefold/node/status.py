"""What a server says about itself, to its operator: status messages beside the protocol."""

from __future__ import annotations

import resource
from typing import Final

import msgspec
from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.node.sayings import Said
from fivefold.objects import TypeDescription
from fivefold.protocol.activity import Lately
from fivefold.protocol.durations import BOUNDS_NS, Durations

STATUS: Final = 5
"""First byte of a status request: the kind, then an 8-byte number that the answer repeats."""
STATUS_BYTES: Final = 9
"""Size of a status request."""
STATUS_REPLY: Final = 6
"""First byte of a status reply: the kind, the number, then a ServerStatus."""


class Place(Struct, frozen=True):
    """A server's place among the others, as it sees it.

    Attributes:
        edition: number of the edition of the cluster file that it uses.
        digest: of that edition, in hexadecimal.
        cut: it signs nothing for servers that use an older edition than this; 0 for none.
        born: the edition in which its identity began.
        is_standing: whether it has all that it needs to answer for every object; a newcomer has not at first.
        standing_s: seconds since a newcomer came to that; None if it was before this start.
        told: other servers that use its edition or a newer one.
        needed: how many of these a newcomer waits for.
        listed: objects of the others that a newcomer has looked at.
        adopted: objects that it has taken over.
        under_repair: objects that it reads again, or repairs.
        list_bytes: of lists that it has got.
        behind: objects in which it differs from the others and is not done with.
        passes: how often it has compared all of them since it started.
        position: the last object that it has compared in this pass; empty between two.
        mover: id of the client that moves the sealed cluster, in hexadecimal; empty if it is not sealed.
        moved_to: id of the cluster that has taken this one's place; empty if none has.
        last_pass_s: seconds since the last pass over all of them ended; None before the first.
    """

    edition: int
    digest: str
    cut: int
    born: int
    is_standing: bool
    standing_s: float | None
    told: tuple[int, ...]
    needed: int
    listed: int
    adopted: int
    under_repair: int
    list_bytes: int
    behind: int = 0
    passes: int = 0
    position: str = ""
    mover: str = ""
    moved_to: str = ""
    last_pass_s: float | None = None


class Room(Struct, frozen=True, array_like=True):
    """What a server's data take on its disk, as of some seconds ago.

    Attributes:
        objects: in its database.
        database_bytes: of the database.
        journal_bytes: of the journal.
        free_bytes: what is left on the file system.
        disk_bytes: its size.
    """

    objects: int
    database_bytes: int
    journal_bytes: int
    free_bytes: int
    disk_bytes: int


class Histogram(Struct, frozen=True, array_like=True):
    """How long things took.

    Attributes:
        bounds_s: upper ends of the classes.
        counts: how many there were in each class; one more for what took longer.
        sum_s: how long all of them took together.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


def histogram_of(durations: Durations) -> Histogram:
    """As it is now."""
    return Histogram(_BOUNDS_S, tuple(durations.counts), durations.sum_ns / 1e9)


_BOUNDS_S: Final = tuple(bound / 1e9 for bound in BOUNDS_NS)


class ServerStatus(Struct, frozen=True):
    """One server, as it sees itself. A malevolent server may say anything here.

    Attributes:
        index: its index in the cluster file.
        version: of the program.
        storage: ``sqlite`` or ``memory``.
        storage_failure: why nothing can be made durable at present, or None.
        uptime_s: seconds since it started.
        cached_objects: objects in its memory.
        transactions: transactions staged and durable since it started.
        connections: identified connections open now.
        counters: what happened how often: steps accepted, messages rejected and connections refused by reason, object
            syncs.
        memory_bytes: resident memory of its process.
        types: every version of every type that it holds, and which of them run.
        damaged: objects that its disk has damaged, the first of them, and what is known of each.
        set_aside: objects that it does not serve after an error of its own, and why; not all if there are many.
        place: which edition of the cluster file it uses, and how far it is as a newcomer; None without a file.
        said: what clients have told it of servers that lie; it believes none of it.
        durations: how long it took: ``reply`` from a request to its reply, ``commit`` until a transaction was durable,
            ``sync`` to fetch a version from other servers.
        lately: what is hot, and who is loud; of the objects those that the client that asks has rights on.
        queues: what waits for what: how many requests, replies or bytes.
        cached_bytes: about how much memory its objects take.
        room: on its disk; None without a disk.
        variant: what does the work there: ``native`` or ``pure Python``.
        clients: that are connected, the one that asks among them.
    """

    index: int
    version: str
    storage: str
    storage_failure: str | None
    uptime_s: float
    cached_objects: int
    transactions: tuple[int, int]
    connections: int
    counters: dict[str, int]
    memory_bytes: int
    damaged: dict[str, str] = {}
    types: tuple[TypeDescription, ...] = ()
    set_aside: dict[str, str] = {}
    place: Place | None = None
    said: tuple[Said, ...] = ()
    durations: dict[str, Histogram] = {}
    lately: Lately | None = None
    queues: dict[str, int] = {}
    cached_bytes: int = 0
    room: Room | None = None
    variant: str = ""
    clients: int = 0


def progress_text(place: Place, index: int, n: int) -> str:
    """How far a newcomer is, in words; and that it is in standing."""
    if place.is_standing:
        return f"server {index} is in standing, in edition {place.edition}"
    born = f"server {index} is newborn (edition {place.born}) and answers for what it has adopted"
    others = [each for each in range(n) if each != index]
    silent = [str(each) for each in others if each not in place.told]
    told = f"{len(place.told)} of the others use its edition"
    if len(place.told) < place.needed:
        return f"{born}: {told}, {place.needed} have to: bring the cluster file to server {', '.join(silent)}"
    missing = f" (not server {', '.join(silent)})" if silent else ""
    return f"{born}: {told}{missing}; {place.listed} listed, {place.adopted} adopted, {place.under_repair} under repair"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ServerStatus)


def status_frame(number: int) -> bytes:
    """Ask a server for its status."""
    return bytes([STATUS]) + number.to_bytes(8, "big")


def status_reply_frame(request: bytes, status: ServerStatus) -> bytes:
    """Answer a status request."""
    return bytes([STATUS_REPLY]) + request[1:9] + _encoder.encode(status)


def decode_status(frame: bytes) -> tuple[int, ServerStatus]:
    """The number and the status of a status reply.

    Raises:
        PeerViolation: not a status reply.
    """
    try:
        return int.from_bytes(frame[1:9], "big"), _decoder.decode(frame[9:])
    except msgspec.MsgspecError as error:
        raise PeerViolation("status-malformed", str(error)) from None


def resident_bytes() -> int:
    """Memory of this process now; its maximum where the system does not tell (no /proc)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
