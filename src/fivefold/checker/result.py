"""What a check found, for programs and for pictures."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from fivefold.checker.dependencies import Kind
from fivefold.checker.history import Observation
from fivefold.checker.search import Verdict


@dataclass(frozen=True)
class Dependency:
    """``before`` has to come before ``after``: because of a version of ``object_id``, or because of time."""

    before: Observation
    after: Observation
    kind: Kind
    object_id: str


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        verdict: LINEARIZABLE (strictly serializable, for several objects), VIOLATION or UNDECIDED.
        objects: ids of the objects at fault or undecided; of all objects if nothing is wrong.
        message: one sentence for people.
        prefix: a violation of a model: the longest linearizable beginning found, in the order of taking effect.
        states: the model's states after each operation of ``prefix``, one tuple each, in the order of ``objects``.
        offending: the operations at fault. For a violation of a model it is the one whose return no order gets past:
            until just before it the history is linearizable.
        cycle: a violation of versions: the shortest cycle found.
        unmodelled: ids of objects whose answers were not checked, because no model is known for all their operations.
        fits_after: after how many operations of ``prefix``, at the latest, the offending one would have been right;
            None if that was never so, or too long ago to be looked for.
        operations_count: operations in the history.
        steps_count: steps of models that were run.
    """

    verdict: Verdict
    objects: tuple[str, ...]
    message: str
    prefix: tuple[Observation, ...] = ()
    states: tuple[tuple[Hashable, ...], ...] = ()
    offending: tuple[Observation, ...] = ()
    cycle: tuple[Dependency, ...] = ()
    unmodelled: tuple[str, ...] = ()
    fits_after: int | None = None
    operations_count: int = 0
    steps_count: int = 0
