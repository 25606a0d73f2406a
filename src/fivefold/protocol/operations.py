"""What is invoked: calls, operations, and the contract of what executes them.

An *operation* names its objects and carries one or more *calls*; each call has a method, arguments and a random
128-bit id (exactly-once, PROTOCOL §6). One object is the special case of several, one call that of several.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NewType, Protocol

from msgspec import Struct

from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX
from fivefold.protocol.times import Time

ObjectId = NewType("ObjectId", str)
"""``Type/key``; compared and locked in code-point order."""

ClientId = NewType("ClientId", bytes)
"""16 bytes: BLAKE2b-128 of the client's pinned certificate (DER); never a field of a message."""

CALL_ID_BYTES: Final = 16
"""Random bytes that a client chooses for each call."""

CODE_BYTES: Final = 16
"""Size of what names the code of one class or function (docs/how-to/upgrade.md)."""

CANCEL: Final = ""
"""The reserved method of a call that resolves another: the other's id is its argument (PROTOCOL §6, resolve)."""


SHOW: Final = "!show"
"""The reserved query of every object: its stored state, as bytes. For `fivefold rescue`."""

ADOPT: Final = "!adopt"
"""The reserved update of every object: a state, and digests of those that it may replace. For `fivefold rescue`."""


def type_of(object_id: ObjectId) -> str:
    """The type's name, which is the part of the id before the first ``/``."""
    return object_id.partition("/")[0]


class Call(Struct, frozen=True, array_like=True, gc=False):
    """One call of an operation.

    Attributes:
        id: 16 random bytes chosen by the client.
        since: logical time of the version on which the earliest attempt that may still be alive was conditioned (on the
            least of the objects); a version whose ring has lost calls newer than that cannot tell any more whether
            the call was applied.
        method: name of the method, dotted name of a multi-object function, or :data:`CANCEL`.
        arguments: canonical bytes of a map from parameter names to values; for CANCEL the id to cancel.
    """

    id: bytes
    since: Time
    method: str
    arguments: bytes


class Operation(Struct, frozen=True, array_like=True, gc=False):
    """What a client wants done.

    Attributes:
        objects: on what, in parameter order.
        calls: what is run in order, each on all of the objects.
        code: names the code that the calls mean, CODE_BYTES for each class or function; empty where all calls are
            CANCEL, which runs none. It is part of the operation, and so of the timestamp: a candidate that one code
            made can never be taken for another's.
        attempt: number of the attempt. It only makes the operation's digest, and with it the candidate, a different one
            for each attempt: what a server says of one attempt then holds of no other. The calls' ids stay the same.
    """

    objects: tuple[ObjectId, ...]
    calls: tuple[Call, ...]
    code: bytes = b""
    attempt: int = 0

    @property
    def method(self) -> str:
        """Name of the first call's method, for messages to people; empty where it has none of its own."""
        return self.calls[0].method if self.calls else ""


class Carried(Struct, frozen=True, array_like=True, gc=False):
    """A call of another client, which an operation carries along with its own (H3 of helping; ours).

    Attributes:
        owner: who has announced it: its rights count, and rings keep it as its own.
        call: the call, byte for byte as it was announced.
    """

    owner: ClientId
    call: Call


class Carrying(Operation, frozen=True, array_like=True, gc=False):
    """An operation on one object that may carry calls of others, which are run first; it need have none of its own.

    Whatever a call of it comes to is recorded, a rejection too. So those are made this way that were announced. Story:
    (1) a withdrawal is announced. (2) Its client tries it, and q servers say: rejected, the account is empty. (3) The
    caller is told so. (4) Somebody else makes a deposit and carries the withdrawal: it is applied.

    Attributes:
        carried: the others' calls. All other operations are written without this field.
    """

    carried: tuple[Carried, ...] = ()


def carried_by(operation: Operation) -> tuple[Carried, ...]:
    """The calls of others that an operation carries; mostly none."""
    return operation.carried if isinstance(operation, Carrying) else ()


def key_of(client: ClientId, call: Call) -> bytes:
    """Where rings keep a client's call; of a CANCEL that of the call to be cancelled."""
    return client + (call.arguments if call.method == CANCEL else call.id)


DIGEST_BYTES: Final = 32


def digest(data: bytes) -> bytes:
    """32 bytes of BLAKE2b (RFC 7693): every digest of the protocol.

    Where each ordinary request makes one, this one line stands in place of a call.
    """
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


# --- answers --------------------------------------------------------------------------------------------------
# One byte says what the rest is. All are agreed upon by the servers in the same way.
VALUE: Final = b"v"
"""The method returned: canonical bytes of the value follow."""
REJECTED: Final = b"r"
"""The method raised a Rejected: canonical bytes of [class name, arguments] follow. Nothing changed."""
FAILED: Final = b"e"
"""The method raised something else or returned what cannot be encoded: text follows. Nothing changed."""
STOPPED: Final = b"s"
"""The call could not be run to its end by this server, for a reason that others need not share: text follows."""
REFUSED: Final = b"x"
"""Unknown type or method, wrong arguments, over a limit: ``ErrorName: text`` follows. Nothing changed."""
CANCELLED: Final = b"c"
"""The call was cancelled by a resolve before it was applied, and never will be."""
FORGOTTEN: Final = b"f"
"""Too many updates have passed since to tell whether the call was applied."""
NOT_RUN: Final = b"n"
"""Not run: the answers of the calls before it fill the reply. The client sends such a call again, by itself.

Of an update that is refused as stale: the ring of the server's latest version does not have it."""
DIGEST: Final = b"d"
"""The call was applied, but its answer was too long for the ring: the digest follows."""


def remembered(answer: bytes) -> bytes:
    """What a ring keeps of an answer: all of it, or of a long one its digest."""
    return answer if len(answer) <= RING_ANSWER_BYTES_MAX else DIGEST + digest(answer)


class Executed(Struct, frozen=True, gc=False):
    """What one call did.

    Attributes:
        answer: a tag (VALUE, REJECTED, FAILED, REFUSED or STOPPED) and its bytes.
        states: the new states in the order of the objects, or None if nothing is to be written (a query, or a
            rejection).
    """

    answer: bytes
    states: tuple[bytes, ...] | None


class Executor(Protocol):
    """Runs the methods of objects on encoded states. Implemented by :class:`fivefold.objects.Registry`.

    Deterministic: equal arguments give equal results on every server, unless one of them is STOPPED. Never raises for
    what a peer sent.
    """

    def initial(self, object_id: ObjectId) -> bytes | None:
        """Canonical state of an object nobody has written yet; None if its type is unknown."""
        ...

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """Whether ``method`` of these objects is an update; None if there is no such method for them."""
        ...

    def begin(self) -> None:
        """The calls that follow are those of one operation: they share what limit there is on their time."""
        ...

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """Run one call (never CANCEL) on copies of ``states``, which are in the order of ``objects``."""
        ...


class Codes(Protocol):
    """Which code a server has. Implemented by :class:`fivefold.objects.Registry`."""

    def running(self, objects: tuple[ObjectId, ...], code: bytes) -> Executor | str:
        """What runs calls on these objects by the code that an operation names; or why this server does not, a text."""
        ...


class AccessPolicy(Protocol):
    """Who may do what: the client's access rules of the cluster file."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """Whether ``client`` may invoke ``method`` on the object; CANCEL if it may update it."""
        ...

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """Whether ``client`` has any right on the object: then it may repair it."""
        ...
