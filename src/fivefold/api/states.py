"""Whole states of objects, past the objects' own methods: looked at by SHOW, replaced by ADOPT.

For `fivefold rescue`, `fivefold export` and `fivefold import`. The client's access rule must be ``*``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from fivefold.api.cluster import Cluster
from fivefold.api.outcomes import refusal
from fivefold.errors import Unavailable
from fivefold.objects import Adoption
from fivefold.protocol.client import Answered, Disagreed, Outcome, Refused
from fivefold.protocol.operations import (
    ADOPT,
    CALL_ID_BYTES,
    REFUSED,
    SHOW,
    VALUE,
    Call,
    ObjectId,
    Operation,
    digest,
)


async def show_state(cluster: Cluster, name: ObjectId) -> bytes | Disagreed:
    """The stored state of an object, empty if nobody has written it; or what each server holds, if they differ.

    Raises:
        FivefoldError: as for any call.
    """
    outcome = await cluster.run_operation(_operation(cluster, name, SHOW, b""), is_query=True)
    return outcome if isinstance(outcome, Disagreed) else state_in(_answer(name, outcome))


async def adopt_state(cluster: Cluster, name: ObjectId, state: bytes, instead_of: Iterable[bytes]) -> None:
    """Give an object this state, in place of one of ``instead_of``.

    Raises:
        InvalidArguments: it has another one, or this is no state of its type.
        FivefoldError: as for any call.
    """
    adoption = Adoption(state, tuple(sorted({digest(each) for each in instead_of})))
    operation = _operation(cluster, name, ADOPT, msgspec.msgpack.encode(adoption))
    _answer(name, await cluster.run_operation(operation, is_query=False))


def state_in(answer: bytes) -> bytes:
    """The state in an answer to SHOW; nothing if a liar shows what is no state."""
    try:
        return msgspec.msgpack.decode(answer[len(VALUE) :], type=bytes)
    except msgspec.MsgspecError:
        return b""


def _operation(cluster: Cluster, name: ObjectId, method: str, arguments: bytes) -> Operation:
    return Operation((name,), (Call(os.urandom(CALL_ID_BYTES), 0, method, arguments),), cluster.code_of(name))


def _answer(name: ObjectId, outcome: Outcome) -> bytes:
    """The answer; everything else is refused."""
    match outcome:
        case Answered(answers=(answer, *_)) if answer.startswith(VALUE):
            return answer
        case Answered(answers=(answer, *_)) if answer.startswith(REFUSED):
            raise refusal(answer[len(REFUSED) :].decode(errors="replace"))
        case Refused(reason=reason):
            raise refusal(reason)
        case _:
            raise Unavailable(f"{name} could not be read or written in time: run the same command again")
