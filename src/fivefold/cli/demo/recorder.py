"""Records every call of the workload: for the checker, and for the latencies of each chapter."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fivefold import NOT_APPLIED, FivefoldError, OutcomeUnknown, Rejected
from fivefold.checker import Observation, Outcome


class Latencies(Struct):
    """The calls that ended in one chapter of the story.

    Attributes:
        title: of the chapter.
        began_ns: when it began, on the recorder's clock.
        ended_ns: when it ended; 0 while it lasts.
        taken_ns: how long each call took.
        pause_ns: the longest time without any answer.
    """

    title: str
    began_ns: int
    ended_ns: int
    taken_ns: list[int]
    pause_ns: int

    def percentile(self, percent: float) -> float:
        """Seconds within which this share of the calls was answered; 0 if there were none."""
        ordered = sorted(self.taken_ns)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] / 1e9 if ordered else 0.0

    @property
    def seconds(self) -> float:
        """How long the chapter lasted."""
        return (self.ended_ns - self.began_ns) / 1e9


class Recorder:
    """What all workers did.

    Attributes:
        history: every call that has ended.
        chapters: the calls by chapter.
        unanswered: calls that ended without an answer.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.history: list[Observation] = []
        self.chapters: list[Latencies] = []
        self.unanswered: list[str] = []
        self._start_ns = time.monotonic_ns()
        self._answered_ns = 0

    def now_ns(self) -> int:
        """Time since the recorder was made."""
        return time.monotonic_ns() - self._start_ns

    def begin(self, title: str) -> None:
        """Begin a chapter."""
        self.end()
        self._answered_ns = self.now_ns()
        self.chapters.append(Latencies(title, self._answered_ns, 0, [], 0))

    def end(self) -> None:
        """End the chapter, if there is one."""
        if self.chapters and not self.chapters[-1].ended_ns:
            last = self.chapters[-1]
            last.ended_ns = self.now_ns()
            last.pause_ns = max(last.pause_ns, last.ended_ns - self._answered_ns)

    async def record(
        self, process: str, method: str, objects: tuple[str, ...], arguments: Mapping[str, Any], call: Awaitable[Any]
    ) -> Any:  # noqa: ANN401 - whatever the method answers
        """Await a call and note what became of it; None if it was not answered."""
        invoked = self.now_ns()
        outcome, answer = await self._end_of(call)
        returned = self.now_ns()
        seen = Observation(
            process=process,
            method=method,
            objects=objects,
            arguments=dict(arguments),
            invoke_ns=invoked,
            return_ns=None if outcome is Outcome.UNKNOWN else returned,
            outcome=outcome,
            answer=msgspec.UNSET if outcome in (Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.FAILED) else answer,
        )
        self.history.append(seen)
        if outcome not in (Outcome.OK, Outcome.REJECTED):
            self.unanswered.append(f"{seen}: {answer}")
            return None
        chapter = self.chapters[-1]
        chapter.taken_ns.append(returned - invoked)
        chapter.pause_ns = max(chapter.pause_ns, returned - self._answered_ns)
        self._answered_ns = returned
        return answer

    async def _end_of(self, call: Awaitable[Any]) -> tuple[Outcome, Any]:
        try:
            return Outcome.OK, msgspec.to_builtins(await call)
        except Rejected as rejected:
            return Outcome.REJECTED, type(rejected).__name__
        except OutcomeUnknown as unknown:
            return await self._resolve(unknown)
        except FivefoldError as error:
            return Outcome.FAILED, str(error)

    async def _resolve(self, unknown: OutcomeUnknown) -> tuple[Outcome, Any]:
        try:
            answer = await unknown.resolve()
        except FivefoldError as error:
            return Outcome.UNKNOWN, str(error)
        if answer is NOT_APPLIED:
            return Outcome.CANCELLED, str(unknown)
        return Outcome.OK, msgspec.to_builtins(answer)
