"""A client's call while it is not over."""

from __future__ import annotations

from msgspec import Struct

from fivefold.protocol.operations import ObjectId, Operation


class Pending(Struct):
    """One call as its caller made it.

    Attributes:
        ticket: its number.
        operation: an operation of just this call.
        objects: the operation's objects in the order of their ids.
        is_query: whether it is a query.
        deadline_ns: when its caller gives up.
        is_fixed: a resolve, whose ``since`` is that of the lost call.
        is_single: it must not be combined: a resolve, one over several objects, or a call of a combined operation that
            was refused as a whole.
        is_open: whether its caller still waits.
    """

    ticket: int
    operation: Operation
    objects: tuple[ObjectId, ...]
    is_query: bool
    deadline_ns: int
    is_fixed: bool
    is_single: bool
    is_open: bool = True
