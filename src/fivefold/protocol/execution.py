"""Running an operation on versions: exactly once, cancelled calls, rejections (PROTOCOL §4.6, §6)."""

from __future__ import annotations

from collections.abc import Mapping

from fivefold.protocol.limits import ANSWERS_BYTES_MAX
from fivefold.protocol.operations import (
    CANCEL,
    CANCELLED,
    NOT_RUN,
    Call,
    ClientId,
    Executed,
    Executor,
    ObjectId,
    Operation,
)
from fivefold.protocol.records import Outcome, Result, Version
from fivefold.protocol.versions import append_outcomes, recall


def execute(
    executor: Executor,
    client: ClientId,
    operation: Operation,
    versions: Mapping[ObjectId, Version],
    *,
    is_query: bool,
    time: int,
) -> Result:
    """Run the calls in order, each on what the one before it left.

    The ring that decides whether a call was applied before is that of the least object: all objects of an operation
    record it together. ``time`` is the logical time of the candidate that an update makes; queries are not recorded.
    """
    objects = operation.objects
    if len(objects) == 1:
        recorded = versions[objects[0]]
        states: tuple[bytes, ...] = (recorded.state,)
    else:
        recorded = versions[min(objects)]
        states = tuple([versions[name].state for name in objects])
    answers: list[bytes] = []
    fresh: list[Outcome] = []
    has_changed, room = False, ANSWERS_BYTES_MAX
    for call in operation.calls:
        key, answer = b"", None
        if not is_query:
            key = _key_of(client, call)
            answer = recall(recorded, key, call.since)
        if answer is None and call.method == CANCEL:
            answer, has_changed = CANCELLED, True
            fresh.append(Outcome(key, answer))
        elif answer is None:
            done = executor.execute(objects, call, states) if room > 0 else Executed(NOT_RUN, None)
            answer = done.answer
            if len(answer) > room > 0:  # what it did is dropped: neither its state nor its answer is taken
                answer, room = NOT_RUN, 0
            elif answer != NOT_RUN:
                fresh.append(Outcome(key, answer))
                if done.states is not None:
                    states, has_changed = done.states, True
        room -= len(answer)
        answers.append(answer)
    if is_query or not has_changed:
        return Result(tuple(answers), None)
    outcomes = tuple(fresh)
    if len(objects) == 1:
        return Result(tuple(answers), (append_outcomes(recorded, time, states[0], outcomes),))
    by_name = dict(zip(objects, states, strict=True))
    changed = [append_outcomes(version, time, by_name[name], outcomes) for name, version in versions.items()]
    return Result(tuple(answers), tuple(changed))


def _key_of(client: ClientId, call: Call) -> bytes:
    return client + (call.arguments if call.method == CANCEL else call.id)


def repeated_answers(client: ClientId, operation: Operation, version: Version) -> tuple[bytes, ...]:
    """What the operation that made ``version`` answered; nothing is run (§4.3)."""
    return tuple([recall(version, _key_of(client, call), call.since) or NOT_RUN for call in operation.calls])
