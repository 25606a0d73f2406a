"""Running an operation on versions: exactly once, cancelled calls, rejections (PROTOCOL §4.6, §6)."""

from __future__ import annotations

from collections.abc import Mapping

from fivefold.protocol.limits import ANSWERS_BYTES_MAX
from fivefold.protocol.messages import SUCCESS, UNABLE, UNCHANGED
from fivefold.protocol.operations import (
    CANCEL,
    CANCELLED,
    NOT_RUN,
    STOPPED,
    ClientId,
    Executed,
    Executor,
    ObjectId,
    Operation,
    key_of,
)
from fivefold.protocol.records import Recorded, Result, Version
from fivefold.protocol.server.versions import append_outcomes, recall
from fivefold.protocol.times import unpack_time


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
        answers, version = execute_alone(executor, client, operation, recorded, is_query=is_query, time=time)
        made = None if version is None else (version,)
        return Result(answers, made, status_of(answers, is_query=is_query, is_made=made is not None))
    recorded = versions[min(objects)]
    states: tuple[bytes, ...] = tuple([versions[name].state for name in objects])
    answers, fresh, states = _run(executor, client, operation, recorded, states, is_query=is_query)
    if fresh is None:
        return Result(answers, None, status_of(answers, is_query=is_query, is_made=False))
    by_name = dict(zip(objects, states, strict=True))
    changed = [append_outcomes(version, time, by_name[name], fresh) for name, version in versions.items()]
    return Result(answers, tuple(changed), SUCCESS)


def execute_alone(
    executor: Executor, client: ClientId, operation: Operation, version: Version, *, is_query: bool, time: int
) -> tuple[tuple[bytes, ...], Version | None]:
    """``execute`` for an operation on one object, which has this version: its answers, and the new version if any."""
    answers, fresh, states = _run(executor, client, operation, version, (version.state,), is_query=is_query)
    return answers, None if fresh is None else append_outcomes(version, time, states[0], fresh)


def status_of(answers: tuple[bytes, ...], *, is_query: bool, is_made: bool) -> int:
    """What a server says of an operation that gave these answers; ``is_made`` if it made versions."""
    assert not (is_query and is_made), "a query writes nothing"
    if is_made:
        return SUCCESS
    if answers[0].startswith(STOPPED):
        return UNABLE
    return SUCCESS if is_query else UNCHANGED


def _run(
    executor: Executor,
    client: ClientId,
    operation: Operation,
    recorded: Version,
    states: tuple[bytes, ...],
    *,
    is_query: bool,
) -> tuple[tuple[bytes, ...], tuple[Recorded, ...] | None, tuple[bytes, ...]]:
    """The answers, what is to be recorded of calls (None if nothing is to be written), and the states they leave.

    Where one call is stopped, nothing of the operation is done: other servers may run all of it, and what they make is
    the candidate's version.
    """
    objects = operation.objects
    answers: tuple[bytes, ...] = ()
    fresh: tuple[Recorded, ...] = ()
    has_changed, room = False, ANSWERS_BYTES_MAX
    executor.begin()
    for call in operation.calls:
        is_cancel = call.method == CANCEL
        key, answer = client + (call.arguments if is_cancel else call.id), None  # see key_of
        if not is_query:
            since = call.since if isinstance(call.since, int) else unpack_time(call.since)
            answer = recall(recorded, key, since)
        if answer is None and is_cancel:
            answer, has_changed = CANCELLED, True
            fresh += (Recorded(key, answer),)
        elif answer is None:
            done = executor.execute(objects, call, states) if room > 0 else Executed(NOT_RUN, None)
            answer = done.answer
            if answer.startswith(STOPPED):
                return (answer,), None, states
            if len(answer) > room > 0:  # what it did is dropped: neither its state nor its answer is taken
                answer, room = NOT_RUN, 0
            elif answer != NOT_RUN:
                fresh += (Recorded(key, answer),)
                if done.states is not None:
                    states, has_changed = done.states, True
        room -= len(answer)
        answers += (answer,)
    assert len(answers) == len(operation.calls), "every call has an answer"
    assert fresh or not has_changed, "who changes a state is remembered"
    return answers, fresh if has_changed and not is_query else None, states


def repeated_answers(client: ClientId, operation: Operation, version: Version) -> tuple[bytes, ...]:
    """What the operation that made ``version`` answered; nothing is run (§4.3)."""
    return tuple(
        [recall(version, key_of(client, call), unpack_time(call.since)) or NOT_RUN for call in operation.calls]
    )
