"""Cutting a history into parts that can be searched one by one, and making tasks of their operations.

Strict serializability is local: a history is correct if it is correct for every set of objects that no operation joins
to others. So is a map's for each of its keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import inf
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from fivefold.checker.dependencies import process_edges, returned_ns, version_edges
from fivefold.checker.history import HistoryError, Observation, Outcome
from fivefold.checker.model import Exact, Function, Invocation, Model, Models, Refused, freeze, is_same, type_of
from fivefold.checker.search import Task

JointState = tuple[Hashable, ...]
Step = Callable[[JointState], tuple[object, JointState]]


class Part(Struct, frozen=True):
    """Operations that are searched together.

    Attributes:
        objects: the ids of all their objects, sorted; a joint state holds one state for each.
        positions: where the operations are in the whole history.
        tasks: one for each operation, or None if a model is missing.
        initial: the joint state before all of them.
    """

    objects: tuple[str, ...]
    positions: tuple[int, ...]
    tasks: tuple[Task, ...] | None
    initial: JointState


def parts_of(history: Sequence[Observation], models: Models) -> Iterator[Part]:
    """The parts of a history, in order of their objects. Operations known to have had no effect are left out."""
    effective = [
        position
        for position, observation in enumerate(history)
        if observation.outcome not in (Outcome.FAILED, Outcome.CANCELLED)
    ]
    for objects, positions in sorted(_joined(history, effective).items()):
        if not all(_is_known(history[position], models) for position in positions):
            yield Part(objects, tuple(positions), None, ())
            continue
        for confined in _confined(history, objects, positions, models):
            yield _part(history, objects, confined, models)


def _joined(history: Sequence[Observation], positions: list[int]) -> dict[tuple[str, ...], list[int]]:
    """Positions by the set of objects that their operations, one with another, join (union-find)."""
    parent: dict[str, str] = {}

    def root(object_id: str) -> str:
        while parent.setdefault(object_id, object_id) != object_id:
            parent[object_id] = object_id = parent[parent[object_id]]
        return object_id

    for position in positions:
        first, *others = history[position].objects
        root(first)
        for other in others:
            parent[root(other)] = root(first)
    members = defaultdict(list)
    for object_id in sorted(parent):
        members[root(object_id)].append(object_id)
    found = defaultdict(list)
    for position in positions:
        found[tuple(members[root(history[position].objects[0])])].append(position)
    return found


def _is_known(observation: Observation, models: Models) -> bool:
    if not all(isinstance(models.get(type_of(object_id)), Model) for object_id in observation.objects):
        return False
    is_method = len(observation.objects) == 1 and "." not in observation.method
    return is_method or _function(observation, models) is not None


def _function(observation: Observation, models: Models) -> Function | None:
    """The function called, by its full name or by the last part of it; None for a method of one object."""
    if len(observation.objects) == 1 and "." not in observation.method:
        return None
    for name in (observation.method, observation.method.rpartition(".")[2]):
        function = models.get(name)
        if isinstance(function, Function):
            return function
    return None


def _confined(
    history: Sequence[Observation], objects: tuple[str, ...], positions: list[int], models: Models
) -> list[list[int]]:
    """``positions`` cut by the part of the object that each call is confined to, if every call is confined to one."""
    model = models[type_of(objects[0])]
    if len(objects) > 1 or not isinstance(model, Model) or model.part is None:
        return [positions]
    found = defaultdict(list)
    for position in positions:
        part = None if _function(history[position], models) else _part_of(model, history[position])
        if part is None:
            return [positions]
        found[part].append(position)
    return list(found.values())


def _part_of(model: Model[Any], observation: Observation) -> Hashable | None:
    assert model.part is not None
    try:
        part: Hashable | None = model.part(invocation(observation))
        hash(part)
    except Exception as error:
        raise HistoryError(f"{observation}: the model cannot name its part: {error}") from error
    return part


def _initial(models: Models, object_id: str) -> Hashable:
    try:
        state: Hashable = _model(models, object_id).init()
    except Exception as error:
        raise HistoryError(f"{object_id}: the model cannot make its first state: {error}") from error
    return state


def invocation(observation: Observation) -> Invocation:
    """The call as models see it."""
    arguments = {name: freeze(value) for name, value in observation.arguments.items()}
    return Invocation(observation.method, observation.objects, arguments)


def _part(history: Sequence[Observation], objects: tuple[str, ...], positions: list[int], models: Models) -> Part:
    observations = [history[position] for position in positions]
    before = defaultdict(list)
    for edge in (*version_edges(observations), *process_edges(observations)):
        before[edge.target].append(edge.source)
    tasks = tuple(
        _task(observation, objects, models, tuple(before[place])) for place, observation in enumerate(observations)
    )
    initial = tuple(_initial(models, object_id) for object_id in objects)
    return Part(objects, tuple(positions), tasks, initial)


def _model(models: Models, object_id: str) -> Model[Any]:
    model = models[type_of(object_id)]
    assert isinstance(model, Model)
    return model


def _task(observation: Observation, objects: tuple[str, ...], models: Models, before: tuple[int, ...]) -> Task:
    call = invocation(observation)
    step = _step(observation, call, objects, models)
    is_unknown = observation.outcome == Outcome.UNKNOWN
    # An unknown outcome with a version of its own did take effect: only its answer is not known.
    is_required = not is_unknown or bool(observation.written)
    return Task(
        invoke=observation.invoke_ns,
        deadline=inf if is_unknown else returned_ns(observation),
        is_required=is_required,
        run=_judged(observation, step),
        is_query=_is_query(observation, models),
        before=before,
        likeness=None if is_required else (call.method, call.objects, tuple(sorted(call.arguments.items(), key=repr))),
    )


def _is_query(observation: Observation, models: Models) -> bool:
    """Whether the operation certainly leaves every state as it is; a rejected one does."""
    if observation.outcome == Outcome.REJECTED:
        return True
    function = _function(observation, models)
    if function is not None:
        return function.is_query
    return observation.method in _model(models, observation.objects[0]).queries


def _step(observation: Observation, call: Invocation, objects: tuple[str, ...], models: Models) -> Step:
    """One step of the joint state: the function's, or that of the one object's model."""
    places = tuple(objects.index(object_id) for object_id in call.objects)
    function = _function(observation, models)
    if function is None:
        step_one = _model(models, call.objects[0]).step
        place = places[0]
        if len(objects) == 1:
            return lambda joint: _as_joint(step_one(joint[0], call))

        def step_of_one(joint: JointState) -> tuple[object, JointState]:
            answer, state = step_one(joint[place], call)
            return answer, (*joint[:place], state, *joint[place + 1 :])

        return step_of_one
    step_all = function.step

    def step_of_function(joint: JointState) -> tuple[object, JointState]:
        answer, states = step_all(tuple(joint[place] for place in places), call)
        changed = dict(zip(places, states, strict=True))
        return answer, tuple(changed.get(place, state) for place, state in enumerate(joint))

    return step_of_function


def _as_joint(stepped: tuple[object, Hashable]) -> tuple[object, JointState]:
    return stepped[0], (stepped[1],)


def _judged(observation: Observation, step: Step) -> Callable[[Any], tuple[bool, Hashable]]:
    """``step``, with a judgement of its answer in the answer's place."""
    agrees = _judge(observation)

    def run(joint: JointState) -> tuple[bool, Hashable]:
        answer, after = answered(observation, step, joint)
        return agrees(answer), joint if isinstance(answer, Refused) else after

    return run


def answered(observation: Observation, step: Step, joint: JointState) -> tuple[object, JointState]:
    """The model's answer and state; what the model raises names the operation.

    Raises:
        HistoryError: the model cannot run the operation.
    """
    try:
        return step(joint)
    except Exception as error:
        raise HistoryError(f"{observation}: the model cannot run this: {error}") from error


def _judge(observation: Observation) -> Callable[[object], bool]:
    """Whether a model's answer agrees with what the caller saw."""
    recorded = observation.answer
    if observation.outcome == Outcome.UNKNOWN:
        return lambda answer: True
    if observation.outcome == Outcome.REJECTED:
        names = ("", str(recorded).rpartition(".")[2])
        return lambda answer: isinstance(answer, Refused) and (recorded is UNSET or answer.name in names)
    if isinstance(recorded, UnsetType):
        return lambda answer: not isinstance(answer, Refused)
    expected = Exact.of(freeze(recorded))
    return lambda answer: not isinstance(answer, Refused) and is_same(answer, expected)


def model_answer(part: Part, history: Sequence[Observation], place: int, joint: JointState, models: Models) -> object:
    """What the model would answer to the part's operation number ``place`` in the state ``joint``."""
    observation = history[part.positions[place]]
    step = _step(observation, invocation(observation), part.objects, models)
    return answered(observation, step, joint)[0]
