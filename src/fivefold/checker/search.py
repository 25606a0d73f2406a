"""The search for a linearization: Wing and Gong's, with Lowe's cache, as in porcupine.

The search walks through the history and picks, again and again, one of the operations that may come next: it was
invoked before any other open one returned. It leaves dead ends by backtracking. It never enters a configuration (which
operations are done, and the state) again that it has left once.

Ours, because clients of Fivefold do see unknown outcomes. An operation that may never have taken effect is tried only
where no other move works, and only if it changes the state. Equal ones can be swapped, so they are tried in order of
invocation. A configuration is left out if another with the same state got there with fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import inf

from msgspec import Struct

from fivefold.checker.history import HistoryError


class Verdict(StrEnum):
    """What a check found."""

    LINEARIZABLE = "linearizable"
    """A correct sequential order exists."""
    VIOLATION = "violation"
    """No correct sequential order exists."""
    UNDECIDED = "undecided"
    """The work allowed was done, or no model is known: nothing was proved either way."""


class Task(Struct, frozen=True):
    """One operation of a search.

    Attributes:
        invoke: when it was invoked.
        deadline: when it returned: it takes effect at or before this time; ``inf`` if it did not return.
        is_required: False if it may never have taken effect.
        run: from a state to whether the operation may take effect in it, and the state after it.
        is_query: True if it is known to leave every state as it is.
        before: positions of the tasks that come before this one for other reasons than time.
        likeness: equal for tasks that are not required and can be swapped.
    """

    invoke: int
    deadline: float
    is_required: bool
    run: Callable[[Hashable], tuple[bool, Hashable]]
    is_query: bool = False
    before: tuple[int, ...] = ()
    likeness: Hashable = None


@dataclass(frozen=True)
class Found:
    """How a search ended.

    Attributes:
        verdict: what it found.
        order: positions of the tasks of the longest linearization found; all required ones if it is a complete one.
        states: the state after each of them.
        stuck: positions of the tasks of which one had to come next, and none could. The first is the one whose
            return no linearization gets past: up to there the history is linearizable.
        steps_count: steps of the model that were run.
    """

    verdict: Verdict
    order: tuple[int, ...]
    states: tuple[Hashable, ...]
    stuck: tuple[int, ...]
    steps_count: int


class _Exhausted(Exception):
    """The steps allowed are used up."""


@dataclass(frozen=True)
class _Move:
    """Optional tasks taken first, then one required task, and where that leads."""

    optional: tuple[int, ...]
    task: int
    state: Hashable
    used: int


@dataclass(frozen=True)
class _Place:
    """A configuration: required tasks done (all below ``low``, and the bits of ``window`` from there) and the rest."""

    low: int
    window: int
    used: int
    state: Hashable

    def after(self, rank: int, move: _Move) -> _Place:
        window = self.window | 1 << (rank - self.low)
        ones = (~window & (window + 1)).bit_length() - 1
        return _Place(self.low + ones, window >> ones, move.used, move.state)


def search(tasks: Sequence[Task], initial: Hashable, *, steps_count_max: int) -> Found:
    """Look for a linearization of ``tasks`` from the state ``initial`` in ``steps_count_max`` steps of the model."""
    return _Search(tasks, initial, steps_count_max).found()


class _Search:
    def __init__(self, tasks: Sequence[Task], initial: Hashable, steps_count_max: int) -> None:
        self._tasks = tasks
        self._initial = initial
        self._steps_count_max = steps_count_max
        self._steps_count = 0
        by_time = sorted(range(len(tasks)), key=lambda task: tasks[task].invoke)
        self._open = _OpenTasks(tasks, [task for task in by_time if tasks[task].is_required])
        self._alike: dict[Hashable, list[int]] = {}
        for task in by_time:
            if not (tasks[task].is_required or tasks[task].is_query):
                self._alike.setdefault(tasks[task].likeness, []).append(task)
        optional = [task for alike in self._alike.values() for task in alike]
        self._bit = {task: 1 << place for place, task in enumerate(optional)}
        self._seen: dict[tuple[int, int, Hashable], tuple[int, ...]] = {}
        self._path: list[_Move] = []
        self._best = (-inf, -1)
        self._best_path: tuple[_Move, ...] | None = None
        self._best_open: tuple[int, ...] = ()

    def found(self) -> Found:
        try:
            verdict = Verdict.LINEARIZABLE if self._walk() else Verdict.VIOLATION
        except _Exhausted:
            verdict = Verdict.UNDECIDED
        except TypeError as error:  # those of models come as HistoryError
            raise HistoryError(f"a model's state cannot be hashed ({error}): use tuples and frozensets") from error
        self._keep_best()
        order, states = self._replay(tuple(self._path) if verdict is Verdict.LINEARIZABLE else self._best_path or ())
        stuck = () if verdict is Verdict.LINEARIZABLE else self._best_open
        return Found(verdict, order, states, stuck, self._steps_count)

    def _walk(self) -> bool:
        """Depth first, without recursion: histories are longer than Python's stack."""
        places = [_Place(0, 0, 0, self._initial)]
        moves = [self._moves(places[0])]
        while self._open:
            move = next(moves[-1], None)
            if move is None:
                moves.pop()
                places.pop()
                if not moves:
                    return False
                self._keep_best()
                self._open.put_back(self._path.pop().task)
                continue
            place = places[-1].after(self._open.rank[move.task], move)
            if self._is_new(place):
                self._open.take(move.task)
                self._path.append(move)
                places.append(place)
                moves.append(self._moves(place))
        return True

    def _is_new(self, place: _Place) -> bool:
        """Whether no configuration at least as good was entered: same tasks and state, no optional task more."""
        key = (place.low, place.window, place.state)
        entered = self._seen.get(key, ())
        if any(used & place.used == used for used in entered):
            return False
        self._seen[key] = (*entered, place.used)
        return True

    def _moves(self, place: _Place) -> Iterator[_Move]:
        """All moves from here, those with the fewest optional tasks first."""
        nexts, horizon = self._open.nexts()
        self._note_progress(nexts, horizon)
        nexts = [task for task in nexts if self._open.is_free(task)]
        level = [_Move((), -1, place.state, place.used)]
        least: dict[Hashable, list[int]] = {place.state: [place.used]}
        while level:
            branching = []
            for start in level:
                allowed = [move for task in nexts if (move := self._maybe_move(start, task))]
                # A query that may happen now can be moved here from wherever it is in a correct order, as nothing there
                # depends on it: no other move need be tried, and only updates branch. (Not so an update that happens
                # to change nothing now: it may be needed later, where it does.)
                query = next((move for move in allowed if self._tasks[move.task].is_query), None)
                if query is not None:
                    yield query
                    continue
                yield from allowed
                branching.append(start)
            level = list(self._one_optional_more(branching, horizon, least)) if self._alike else []

    def _maybe_move(self, start: _Move, task: int) -> _Move | None:
        is_allowed, state = self._run(task, start.state)
        return _Move(start.optional, task, state, start.used) if is_allowed else None

    def _one_optional_more(
        self, level: list[_Move], horizon: float, least: dict[Hashable, list[int]]
    ) -> Iterator[_Move]:
        for start in level:
            for alike in self._alike.values():
                task = next((task for task in alike if not start.used & self._bit[task]), None)
                if task is None or self._tasks[task].invoke > horizon:
                    continue
                allowed, state = self._run(task, start.state)
                used = start.used | self._bit[task]
                if not allowed or any(other & used == other for other in least.setdefault(state, [])):
                    continue
                least[state].append(used)
                yield _Move((*start.optional, task), -1, state, used)

    def _run(self, task: int, state: Hashable) -> tuple[bool, Hashable]:
        self._steps_count += 1
        if self._steps_count > self._steps_count_max:
            raise _Exhausted
        return self._tasks[task].run(state)

    def _note_progress(self, nexts: list[int], horizon: float) -> None:
        """Remember the place that gets past most returns; along one path this only grows."""
        if (horizon, len(self._path)) > self._best:
            self._best = (horizon, len(self._path))
            self._best_path = None
            self._best_open = tuple(nexts)

    def _keep_best(self) -> None:
        """Copy the path before it is left, if it is the best so far: copying at every step would be quadratic."""
        if self._best_path is None and len(self._path) == self._best[1]:
            self._best_path = tuple(self._path)

    def _replay(self, path: Sequence[_Move]) -> tuple[tuple[int, ...], tuple[Hashable, ...]]:
        order = tuple(task for move in path for task in (*move.optional, move.task))
        states = []
        state = self._initial
        for task in order:
            state = self._tasks[task].run(state)[1]
            states.append(state)
        return order, tuple(states)


class _OpenTasks:
    """The required tasks not yet done, by time of invocation: a linked list of which tasks are taken and put back.

    Attributes:
        rank: each task's place by time of invocation.
    """

    def __init__(self, tasks: Sequence[Task], by_time: list[int]) -> None:
        self._tasks = tasks
        self.rank = {task: rank for rank, task in enumerate(by_time)}
        self._end = len(tasks)
        ring = [self._end, *by_time, self._end]
        self._next = dict(pairwise(ring))
        self._previous = dict(pairwise(reversed(ring)))
        self._is_open = [task in self.rank for task in range(len(tasks))]

    def __bool__(self) -> bool:
        return self._next[self._end] != self._end

    def nexts(self) -> tuple[list[int], float]:
        """The tasks of which one has to come next, earliest deadline first, and that deadline."""
        nexts = []
        horizon = inf
        task = self._next[self._end]
        while task != self._end and self._tasks[task].invoke <= horizon:
            nexts.append(task)
            horizon = min(horizon, self._tasks[task].deadline)
            task = self._next[task]
        nexts.sort(key=lambda task: self._tasks[task].deadline)
        return nexts, horizon

    def is_free(self, task: int) -> bool:
        """Whether all that has to come before the task is done."""
        return not any(self._is_open[other] for other in self._tasks[task].before)

    def take(self, task: int) -> None:
        before, after = self._previous[task], self._next[task]
        self._next[before], self._previous[after] = after, before
        self._is_open[task] = False

    def put_back(self, task: int) -> None:
        """Undo the latest ``take`` that was not undone yet, which took this task."""
        before, after = self._previous[task], self._next[task]
        self._next[before] = self._previous[after] = task
        self._is_open[task] = True
