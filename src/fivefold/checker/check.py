"""The check: versions first, then a search of every part, and one result of it all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from fivefold.checker.cycles import name_of_cycle, shortest_cycle
from fivefold.checker.dependencies import Edge, Kind, anomalies, process_edges, version_edges
from fivefold.checker.history import Observation, read_history, validate
from fivefold.checker.model import Models, Refused
from fivefold.checker.models import READY_MADE
from fivefold.checker.parts import JointState, Part, model_answer, parts_of
from fivefold.checker.picture import write_picture
from fivefold.checker.result import Dependency, Result
from fivefold.checker.search import Found, Task, Verdict, search

STEPS_COUNT_MAX = 1_000_000
"""Model steps one check may take: a few seconds, and a few hundred megabytes of configurations at the worst."""

FITS_COUNT_MAX = 10_000
"""States looked at, from the latest backwards, for one that a stuck operation would have fitted."""


def check(
    history: Iterable[Observation], models: Models | None = None, *, steps_count_max: int = STEPS_COUNT_MAX
) -> Result:
    """Check a history: is there one order of its operations that explains all answers and versions, and real time?

    Args:
        history: what was observed, in any order.
        models: models and functions besides :data:`READY_MADE`, or in place of those of the same name.
        steps_count_max: steps of models after which the check gives up, undecided. Each set of objects that is searched
            by itself has a fair share of them.

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
    history = read_history(path)
    result = check(history, models, steps_count_max=steps_count_max)
    if out is not None and result.verdict is Verdict.VIOLATION:
        write_picture(out, result, history)
    return result


@dataclass(frozen=True)
class _Waiting:
    """A part that is not decided, and the steps in vain so far."""

    part: Part
    tasks: tuple[Task, ...]
    share: int = 0


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
        return replace(self._result(Verdict.VIOLATION, (anomaly.object_id,), message), offending=offending)

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
        result = self._result(Verdict.VIOLATION, tuple(objects), message)
        return replace(result, offending=offending, cycle=tuple(map(self._dependency, cycle)))

    def _dependency(self, edge: Edge) -> Dependency:
        return Dependency(self._history[edge.source], self._history[edge.target], edge.kind, edge.object_id)

    def _wrong_answers(self) -> Result | None:
        """Search part by part, the short ones first, so that one hard part hides no violation in another.

        Each part is given an equal share of the steps that are left, so no part gets less than an equal share of all.
        What the others did not need is shared out again, among the parts that need more than they had.
        """
        waiting = []
        for part in parts_of(self._history, self._models):
            if part.tasks is None:
                self._note_unmodelled(part)
            else:
                waiting.append(_Waiting(part, part.tasks))
        waiting.sort(key=lambda each: len(each.tasks))
        while waiting and self._steps_left // len(waiting) > min(each.share for each in waiting):
            undecided = []
            for place, each in enumerate(waiting):
                share = self._steps_left // (len(waiting) - place)
                if share <= each.share:  # it would come as far as before
                    undecided.append(each)
                    continue
                found = search(each.tasks, each.part.initial, steps_count_max=share)
                self._steps_left -= min(found.steps_count, share)
                match found.verdict:
                    case Verdict.VIOLATION:
                        return self._stuck(each.part, found)
                    case Verdict.UNDECIDED:
                        undecided.append(_Waiting(each.part, each.tasks, share))
                    case Verdict.LINEARIZABLE:
                        pass
                    case _:
                        assert_never(found.verdict)
            waiting = undecided
        self._undecided += [object_id for each in waiting for object_id in each.part.objects]
        return None

    def _note_unmodelled(self, part: Part) -> None:
        """Versions alone decide about objects without a model, if all their operations have them."""
        self._unmodelled += part.objects
        operations = (self._history[position] for position in part.positions)
        if not all(set(seen.objects) <= seen.read.keys() | seen.written.keys() for seen in operations):
            self._undecided += part.objects

    def _stuck(self, part: Part, found: Found) -> Result:
        prefix = [self._history[part.positions[place]] for place in found.order]
        stuck = self._history[part.positions[found.stuck[0]]]
        states = tuple(state for state in found.states if isinstance(state, tuple))
        fits_after = self._fits_after(part, found.stuck[0], states)
        message = f"{', '.join(part.objects)}: no order explains [{stuck}]: "
        message += self._instead(part, found.stuck[0], (part.initial, *states)[-1], len(prefix))
        if fits_after is not None:
            message += f"; what it saw fits the state after {fits_after} of them"
        result = self._result(Verdict.VIOLATION, part.objects, message)
        return replace(result, prefix=tuple(prefix), states=states, offending=(stuck,), fits_after=fits_after)

    def _instead(self, part: Part, stuck: int, state: JointState, count: int) -> str:
        answer = model_answer(part, self._history, stuck, state, self._models)
        said = f"reject it {answer.name}".rstrip() if isinstance(answer, Refused) else f"answer {answer!r}"
        return f"after the {count} operations that can be ordered before it, the model would {said}"

    def _fits_after(self, part: Part, stuck: int, states: tuple[JointState, ...]) -> int | None:
        """After how many operations, at the latest, the stuck one would have been right: how stale it is."""
        assert part.tasks is not None
        run = part.tasks[stuck].run
        earliest = max(0, len(states) - FITS_COUNT_MAX)
        for place in range(len(states), earliest - 1, -1):
            if run(states[place - 1] if place else part.initial)[0]:
                return place
        return None

    def _nothing_wrong(self) -> Result:
        if self._undecided:
            missing = sorted(set(self._unmodelled) & set(self._undecided))
            why = f"{self._steps_count_max} steps were not enough: allow more (--steps), or record versions"
            if missing:
                why = f"{missing[0]} has neither a model nor all its versions: pass models"
            return self._result(Verdict.UNDECIDED, tuple(dict.fromkeys(self._undecided)), why)
        objects = sorted({object_id for observation in self._history for object_id in observation.objects})
        message = f"{len(self._history)} operations on {len(objects)} objects are linearizable"
        if self._unmodelled:
            message += f" by their versions; answers of {len(self._unmodelled)} objects were not checked: no model"
        return self._result(Verdict.LINEARIZABLE, tuple(objects), message)

    def _result(self, verdict: Verdict, objects: tuple[str, ...], message: str) -> Result:
        return Result(
            verdict=verdict,
            objects=objects,
            message=message,
            unmodelled=tuple(self._unmodelled),
            operations_count=len(self._history),
            steps_count=self._steps_count_max - self._steps_left,
        )


def _why(edge: Edge) -> str:
    return f"{edge.kind} {edge.object_id}".rstrip()
