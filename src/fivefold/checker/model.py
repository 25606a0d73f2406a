"""Models: what an object would do if it stood alone, as pure functions.

A model is porcupine's ``init`` and ``step``. Objects of Fivefold are deterministic, so ``step`` says *the* answer
instead of judging one: the same model then serves operations whose answer nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from dataclasses import is_dataclass
from typing import Any, Generic, TypeVar

from msgspec import Struct, to_builtins

from fivefold.checker.history import HistoryError

State = TypeVar("State", bound=Hashable)


class Invocation(Struct, frozen=True):
    """One call, as a model sees it.

    Attributes:
        method: name of the method or function.
        objects: ids of its objects, in parameter order.
        arguments: by parameter name; lists have become tuples, sets frozensets, and maps :class:`FrozenMap`.
    """

    method: str
    objects: tuple[str, ...]
    arguments: Mapping[str, Hashable]


class FrozenMap(tuple[tuple[Hashable, Hashable], ...]):
    """A map as a hashable value: its pairs, sorted by the text of their keys. Equal maps have equal pairs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {value!r}" for key, value in self) + "}"


class Exact(Struct, frozen=True):
    """A value in a state, told apart by type as well: 1, 1.0 and True are three values here.

    Attributes:
        value: the value, frozen.
        text: what tells it apart.
    """

    value: Hashable
    text: str

    @classmethod
    def of(cls, value: Hashable) -> Exact:
        """``value``, exactly."""
        return cls(value, repr(value))

    def __repr__(self) -> str:
        return self.text


def is_same(answer: object, recorded: Exact) -> bool:
    """Whether a model's answer is the one that was recorded."""
    frozen = freeze(answer)
    return frozen == recorded.value and repr(frozen) == recorded.text


class Refused(Struct, frozen=True):
    """An answer that says: the method rejects the call, and nothing changes.

    Attributes:
        name: class name of the rejection; empty agrees with every rejection.
    """

    name: str = ""


class Model(Struct, Generic[State], frozen=True):
    """A sequential object.

    Two states are the same state when they are equal (porcupine's ``equal``), so states must be hashable: use numbers,
    strings, tuples, frozensets, frozen dataclasses.

    Attributes:
        init: makes the state of an object nobody has written yet.
        step: from a state and a call to the answer (or :class:`Refused`) and the state after it. Pure, and total: a
            call that it cannot run raises, and the history is refused.
        queries: names of the methods that never change the state; left out, the search is slower.
        part: optional; the part of the object that a call is confined to (a map's key), or None if it is not. An
            object all of whose calls are confined is checked part by part, which is faster by far.
    """

    init: Callable[[], State]
    step: Callable[[State, Invocation], tuple[object, State]]
    queries: Container[str] = ()
    part: Callable[[Invocation], Hashable | None] | None = None


class Function(Struct, frozen=True):
    """A function over several objects, in sequence.

    Attributes:
        step: like a model's, with the tuple of the objects' states in the order of ``call.objects``.
        is_query: True if it never changes the states.
    """

    step: Callable[[tuple[Any, ...], Invocation], tuple[object, tuple[Any, ...]]]
    is_query: bool = False


Models = Mapping[str, Model[Any] | Function]
"""Models by name of the object type, and functions by the name that histories give as ``method``. The states' types
differ from model to model, hence ``Any``; each model is typed by itself."""


def model_of_methods(
    init: Callable[[], State],
    *,
    queries: Mapping[str, Callable[..., object]],
    updates: Mapping[str, Callable[..., tuple[object, State]]],
    part: Callable[[Invocation], Hashable | None] | None = None,
) -> Model[State]:
    """A model from one pure function per method, called as ``method(state, **arguments)``.

    Args:
        init: makes the state of an object nobody has written yet.
        queries: by name, from a state to the answer.
        updates: by name, from a state to the answer and the next state.
        part: as for :class:`Model`.
    """

    def step(state: State, call: Invocation) -> tuple[object, State]:
        if call.method in queries:
            return queries[call.method](state, **call.arguments), state
        update = updates.get(call.method)
        if update is None:
            raise HistoryError(f"it has no method {call.method!r}")
        return update(state, **call.arguments)

    return Model(init=init, step=step, queries=frozenset(queries), part=part)


def function_of(function: Callable[..., tuple[object, tuple[Any, ...]]], *, is_query: bool = False) -> Function:
    """A function over several objects from a pure one, called as ``function(states, **arguments)``."""

    def step(states: tuple[Any, ...], call: Invocation) -> tuple[object, tuple[Any, ...]]:
        return function(states, **call.arguments)

    return Function(step=step, is_query=is_query)


def freeze(value: object) -> Hashable:
    """``value`` (made of JSON or msgspec values) as a hashable value; structs become maps, as in JSON.

    Raises:
        HistoryError: the value holds something that is neither hashable nor a list, set or map.
    """
    if isinstance(value, list | tuple) and not isinstance(value, FrozenMap):
        return tuple(map(freeze, value))
    if isinstance(value, set | frozenset):
        return frozenset(map(freeze, value))
    if isinstance(value, Struct) or is_dataclass(value):
        return freeze(to_builtins(value))
    if isinstance(value, Mapping):
        pairs = ((freeze(key), freeze(inner)) for key, inner in value.items())
        return FrozenMap(sorted(pairs, key=lambda pair: repr(pair[0])))
    if not isinstance(value, Hashable):
        raise HistoryError(f"a value of type {type(value).__name__} cannot be compared: use JSON values")
    return value


def type_of(object_id: str) -> str:
    """The type's name: what comes before the first ``/`` of the id."""
    return object_id.partition("/")[0]
