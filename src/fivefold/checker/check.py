"""The check: versions first, then a search of every part, and one result of it all."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fivefold.checker.cycles import name_of_cycle, shortest_cycle
from fivefold.checker.dependencies import Edge, Kind, anomalies, process_edges, version_edges
from fivefold.checker.history import Observation, read_history, validate
from fivefold.checker.model import Models, Refused
from fivefold.checker.models import READY_MADE
from fivefold.checker.parts import Part, model_answer, parts_of
from fivefold.checker.search import Found, Verdict, search

STEPS_COUNT_MAX = 1_000_000
"""Model steps one check may take: a few seconds, and a few hundred megabytes of configurations at the worst."""


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
        offending: the operations at fault. Of a model's violation: those of which one had to come after ``prefix``,
            and none could; the history is linearizable up to the return of the first.
        cycle: a violation of versions: the shortest cycle found.
        unmodelled: ids of objects whose answers were not checked, because no model is known for all their operations.
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
    operations_count: int = 0
    steps_count: int = 0


def check(
    history: Iterable[Observation], models: Models | None = None, *, steps_count_max: int = STEPS_COUNT_MAX
) -> Result:
    """Check a history: is there one order of its operations that explains all answers and versions, and real time?

    Args:
        history: what was observed, in any order.
        models: models and functions besides :data:`READY_MADE`, or in place of those of the same name.
        steps_count_max: steps of models after which the check gives up, undecided.

    Raises:
        HistoryError: the history contradicts itself, or a model cannot run one of its operations.
    """
    observations = validate(enumerate(history, start=1))
    return _Check(observations, {**READY_MADE, **(models or {})}, steps_count_max).result()


def check_file(
    path: Path | str,
    out: Path | str | None = None,
    *,
    models: Models | None = None,
    steps_count_max: int = STEPS_COUNT_MAX,
) -> Result:
    """Check a file of JSON lines, and draw what is wrong with it.

    Args:
        path: the history.
        out: where to write the picture if there is a violation: ``.svg`` for the picture alone, any other name for a
            page with the explanation. None draws nothing.
        models: as for :func:`check`.
        steps_count_max: as for :func:`check`.

    Raises:
        HistoryError: the file is not a history, or a model cannot run one of its operations.
    """
    from fivefold.checker.picture import write_picture

    history = read_history(path)
    result = check(history, models, steps_count_max=steps_count_max)
    if out is not None and result.verdict is Verdict.VIOLATION:
        write_picture(out, result, history)
    return result


class _Check:
    def __init__(self, history: Sequence[Observation], models: Models, steps_count_max: int) -> None:
        self._history = history
        self._models = models
        self._steps_left = steps_count_max
        self._steps_count_max = steps_count_max
        self._unmodelled: list[str] = []
        self._undecided: list[str] = []

    def result(self) -> Result:
        return self._wrong_versions() or self._cycle() or self._wrong_answers() or self._nothing_wrong()

    def _wrong_versions(self) -> Result | None:
        anomaly = next(anomalies(self._history), None)
        if anomaly is None:
            return None
        offending = tuple(self._history[position] for position in anomaly.operations)
        message = f"{anomaly.object_id}: {anomaly.name}: {' and '.join(map(str, offending))}"
        return self._result(Verdict.VIOLATION, (anomaly.object_id,), message, offending=offending)

    def _cycle(self) -> Result | None:
        edges = [*version_edges(self._history), *process_edges(self._history)]
        if all(edge.kind is Kind.PROCESS for edge in edges):
            return None  # without versions there is only time, and time has no cycles
        cycle = shortest_cycle(self._history, edges)
        if not cycle:
            return None
        offending = tuple(self._history[edge.source] for edge in cycle)
        objects = sorted({edge.object_id for edge in cycle if edge.object_id})
        way = " ".join(f"[{self._history[edge.source]}] –{_why(edge)}→" for edge in cycle)
        message = f"{name_of_cycle(cycle)}: {way} and back to the first"
        dependencies = tuple(map(self._dependency, cycle))
        return self._result(Verdict.VIOLATION, tuple(objects), message, offending=offending, cycle=dependencies)

    def _dependency(self, edge: Edge) -> Dependency:
        return Dependency(self._history[edge.source], self._history[edge.target], edge.kind, edge.object_id)

    def _wrong_answers(self) -> Result | None:
        for part in parts_of(self._history, self._models):
            if part.tasks is None:
                self._note_unmodelled(part)
                continue
            found = search(part.tasks, part.initial, steps_count_max=self._steps_left)
            self._steps_left = max(0, self._steps_left - found.steps_count)
            match found.verdict:
                case Verdict.VIOLATION:
                    return self._stuck(part, found)
                case Verdict.UNDECIDED:
                    self._undecided += part.objects
                case Verdict.LINEARIZABLE:
                    pass
        return None

    def _note_unmodelled(self, part: Part) -> None:
        """Versions alone decide about objects without a model, if all their operations have them."""
        self._unmodelled += part.objects
        operations = (self._history[position] for position in part.positions)
        if not all(set(seen.objects) <= seen.read.keys() | seen.written.keys() for seen in operations):
            self._undecided += part.objects

    def _stuck(self, part: Part, found: Found) -> Result:
        prefix, stuck = ([self._history[part.positions[at]] for at in places] for places in (found.order, found.stuck))
        states = tuple(state for state in found.states if isinstance(state, tuple))
        joint = states[-1] if states else part.initial
        message = f"{', '.join(part.objects)}: no order explains [{stuck[0]}]"
        answer = model_answer(part, self._history, found.stuck[0], joint, self._models)
        said = f"reject it {answer.name}".rstrip() if isinstance(answer, Refused) else f"answer {answer!r}"
        message += f"; after the {len(prefix)} operations that can be ordered before it, the model would {said}"
        return self._result(
            Verdict.VIOLATION, part.objects, message, prefix=tuple(prefix), states=states, offending=tuple(stuck)
        )

    def _nothing_wrong(self) -> Result:
        if self._undecided:
            missing = sorted(set(self._unmodelled) & set(self._undecided))
            why = f"{missing[0]} has neither a model nor all its versions: pass models" if missing else (
                f"{self._steps_count_max} steps were not enough: allow more, or record versions"
            )
            return self._result(Verdict.UNDECIDED, tuple(dict.fromkeys(self._undecided)), why)
        objects = sorted({object_id for observation in self._history for object_id in observation.objects})
        message = f"{len(self._history)} operations on {len(objects)} objects are linearizable"
        if self._unmodelled:
            message += f" by their versions; answers of {len(self._unmodelled)} objects were not checked: no model"
        return self._result(Verdict.LINEARIZABLE, tuple(objects), message)

    def _result(
        self,
        verdict: Verdict,
        objects: tuple[str, ...],
        message: str,
        *,
        prefix: tuple[Observation, ...] = (),
        states: tuple[tuple[Hashable, ...], ...] = (),
        offending: tuple[Observation, ...] = (),
        cycle: tuple[Dependency, ...] = (),
    ) -> Result:
        return Result(
            verdict=verdict,
            objects=objects,
            message=message,
            prefix=prefix,
            states=states,
            offending=offending,
            cycle=cycle,
            unmodelled=tuple(self._unmodelled),
            operations_count=len(self._history),
            steps_count=self._steps_count_max - self._steps_left,
        )


def _why(edge: Edge) -> str:
    return f"{edge.kind} {edge.object_id}".rstrip()
