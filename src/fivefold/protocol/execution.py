"""Running an operation on versions: exactly once, cancelled calls, rejections (PROTOCOL §4.6, §6)."""

from __future__ import annotations

from collections.abc import Mapping

from fivefold.protocol.operations import CANCEL, CANCELLED, FORGOTTEN, ClientId, Executor, ObjectId, Operation
from fivefold.protocol.records import Outcome, Result, Version
from fivefold.protocol.versions import append_outcomes, can_tell, find_answer, ring_key


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
    states = tuple([versions[name].state for name in objects])
    if is_query:
        return Result(tuple([executor.execute(objects, call, states).answer for call in operation.calls]), None)
    recorded = versions[objects[0] if len(objects) == 1 else min(objects)]
    answers: list[bytes] = []
    fresh: list[Outcome] = []
    has_changed = False
    for call in operation.calls:
        key = ring_key(client, call.arguments if call.method == CANCEL else call.id)
        answer = find_answer(recorded, key)
        if answer is None and not can_tell(recorded, call.since):
            answer = FORGOTTEN
        if answer is not None:
            answers.append(answer)
            continue
        if call.method == CANCEL:
            answer, has_changed = CANCELLED, True
        else:
            done = executor.execute(objects, call, states)
            answer = done.answer
            if done.states is not None:
                states, has_changed = done.states, True
        answers.append(answer)
        fresh.append(Outcome(key, answer))
    if not has_changed:
        return Result(tuple(answers), None)
    outcomes = tuple(fresh)
    pairs = zip(objects, states, strict=True)
    changed = [append_outcomes(versions[name], time, state, outcomes) for name, state in pairs]
    return Result(tuple(answers), tuple(changed))
