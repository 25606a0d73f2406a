"""Running an operation that carries other clients' calls (H3 of helping; ours).

Carried calls run first: they have waited, and the carrier's own calls must not get ahead of them. Each is kept
in the ring under its *owner's* key, so it is applied once, however often it is carried.

Every call is recorded, rejections too: else a carried call that rejects would make no version and no push, and be
listed for ever; and a call of the client's own that is in pools could be carried after it was told to be rejected.
"""

from __future__ import annotations

from fivefold.protocol.limits import ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX
from fivefold.protocol.messages import SUCCESS, UNABLE, UNCHANGED
from fivefold.protocol.operations import (
    CANCEL,
    CANCELLED,
    NOT_RUN,
    STOPPED,
    Call,
    Carrying,
    ClientId,
    Executed,
    Executor,
    ObjectId,
    key_of,
)
from fivefold.protocol.records import Recorded, Result, Version
from fivefold.protocol.server.versions import append_outcomes, recall
from fivefold.protocol.times import unpack_time


def execute_carrying(
    executor: Executor, client: ClientId, operation: Carrying, base: Version, *, time: int
) -> Result | ClientId:
    """Run the others' calls, then the client's own, each on what the one before it left.

    Returns:
        What it did, with an answer for each of the client's own calls; or the owner of a carried call that was stopped:
        then nothing is done, and the client is not to carry it again.
    """
    run = _Run(executor, operation.objects, base)
    executor.begin()
    for each in operation.carried:
        if run.call(each.owner, each.call).startswith(STOPPED):
            return each.owner
    executor.begin()  # what the others' calls took of time and room is not taken from the client's own
    run.room = ANSWER_BYTES_MAX + max(0, run.room)
    answers: tuple[bytes, ...] = ()
    for call in operation.calls:
        answer = run.call(client, call)
        if answer.startswith(STOPPED):
            return Result((answer,), None, UNABLE)
        answers += (answer,)
    if not run.fresh:
        return Result(answers, None, UNCHANGED)
    made = append_outcomes(base, time, run.states[0], run.fresh)
    return Result(answers, (made,), SUCCESS)


class _Run:
    """The calls so far.

    Attributes:
        room: bytes of answers for which there still is room.
        states: what they have left.
        fresh: what is to be recorded of them.
    """

    __slots__ = ("_base", "_executor", "_objects", "fresh", "room", "states")

    def __init__(self, executor: Executor, objects: tuple[ObjectId, ...], base: Version) -> None:
        self._executor, self._objects, self._base = executor, objects, base
        self.room = ANSWERS_BYTES_MAX - ANSWER_BYTES_MAX
        self.states: tuple[bytes, ...] = (base.state,)
        self.fresh: tuple[Recorded, ...] = ()

    def call(self, owner: ClientId, call: Call) -> bytes:
        """Run one call, unless it was run before; its answer."""
        key = key_of(owner, call)
        answer = recall(self._base, key, unpack_time(call.since))
        if answer is None and call.method == CANCEL:
            answer = CANCELLED
            self.fresh += (Recorded(key, answer),)
        elif answer is None:
            done = Executed(NOT_RUN, None)
            if self.room > 0:
                done = self._executor.execute(self._objects, call, self.states)
            answer = done.answer
            if answer.startswith(STOPPED):
                return answer
            if len(answer) > self.room > 0:  # what it did is dropped: neither its state nor its answer is taken
                answer, self.room = NOT_RUN, 0
            elif answer != NOT_RUN:
                self.fresh += (Recorded(key, answer),)
                self.states = self.states if done.states is None else done.states
        self.room -= len(answer)
        return answer
