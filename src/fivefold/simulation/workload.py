"""What simulated clients do: small objects, fast to run, and the checker's models of them.

Counters and registers by themselves; *bump*, *move* and *look* over several counters at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from fivefold.checker import Function, Models, Outcome, model_of_methods
from fivefold.checker import Invocation as ModelCall
from fivefold.checker import Refused as ModelRefused
from fivefold.protocol.operations import REFUSED, REJECTED, VALUE, Call, Executed, Executor, ObjectId, type_of
from fivefold.simulation.plan import MILLISECOND, PlannedCall

INITIAL_COUNT: Final = 3
"""Value of a counter nobody has written: some moves succeed from the start, some are rejected."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decode = msgspec.msgpack.Decoder().decode
_arguments = msgspec.msgpack.Decoder(dict[str, int]).decode

KINDS: Final[Mapping[str, Mapping[str, bool]]] = MappingProxyType(
    {
        "Counter": {"increment": True, "take": True, "get": False},
        "Register": {"set": True, "get": False},
        "": {"bump": True, "move": True, "look": False},
    }
)
"""Whether each method of each type is an update; functions over several counters are under the empty name."""


class Toys:
    """Runs the workload's methods: an executor like the registry of real objects, only faster."""

    def initial(self, object_id: ObjectId) -> bytes | None:
        """3 for a counter, 0 for a register."""
        name = type_of(object_id)
        if name == "Counter":
            return _encoder.encode(INITIAL_COUNT)
        return _encoder.encode(0) if name == "Register" else None

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """As :data:`KINDS` says; functions take counters only."""
        if any(self.initial(name) is None for name in objects):
            return None
        if len(objects) == 1 and method in KINDS[type_of(objects[0])]:
            return KINDS[type_of(objects[0])][method]
        if any(type_of(name) != "Counter" for name in objects):
            return None
        return KINDS[""].get(method)

    def begin(self) -> None:
        """Nothing takes time."""

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """Run one call on decoded states."""
        try:
            arguments = _arguments(call.arguments)
            values = [_decode(state) for state in states]
            answer, after = step(call.method, values, arguments)
        except (msgspec.MsgspecError, KeyError, ValueError):
            return Executed(REFUSED + b"InvalidArguments: not what the method takes", None)
        if answer is REJECTION:
            return Executed(REJECTED + _encoder.encode(["TooSmall", []]), None)
        states_after = None if after is None else tuple(_encoder.encode(value) for value in after)
        return Executed(VALUE + _encoder.encode(answer), states_after)


REJECTION: Final = object()
"""Stands for a call that its method rejects."""


def step(method: str, values: list[int], arguments: Mapping[str, int]) -> tuple[object, list[int] | None]:
    """What a method answers, and the values after it (None if it changes nothing)."""
    match method:
        case "get":
            return values[0], None
        case "look":
            return values, None
        case "set":
            return None, [arguments["value"]]
        case "increment" | "bump":
            after = [value + arguments["by"] for value in values]
            return (after[0] if method == "increment" else after), after
        case "take":
            if arguments["by"] > values[0]:
                return REJECTION, None
            return values[0] - arguments["by"], [values[0] - arguments["by"]]
        case "move":
            amount = arguments["amount"]
            if amount > values[0] or len(values) < 2:
                return REJECTION, None
            return values[0] - amount, [values[0] - amount, values[1] + amount, *values[2:]]
        case _:
            raise KeyError(method)


def _model_step(values: tuple[int, ...], call: ModelCall) -> tuple[object, tuple[int, ...]]:
    numbers = {name: value for name, value in call.arguments.items() if isinstance(value, int)}
    answer, after = step(call.method, list(values), numbers)
    if answer is REJECTION:
        return ModelRefused("TooSmall"), values
    return answer, values if after is None else tuple(after)


MODELS: Final[Models] = MappingProxyType(
    {
        "Counter": model_of_methods(
            lambda: INITIAL_COUNT,
            queries={"get": lambda value: value},
            updates={
                "increment": lambda value, by: (value + by, value + by),
                "take": lambda value, by: (ModelRefused("TooSmall"), value) if by > value else (value - by, value - by),
            },
        ),
        "Register": model_of_methods(
            lambda: 0, queries={"get": lambda value: value}, updates={"set": lambda _, value: (None, value)}
        ),
        "bump": Function(_model_step),
        "move": Function(_model_step),
        "look": Function(_model_step, is_query=True),
    }
)
"""The same objects once more, for the checker."""


def draw_call(
    random: Random,
    number: int,
    *,
    clients: int,
    counters: list[str],
    safety_ns: int,
    multi: float,
    queries: float,
    is_chain: bool = False,
) -> PlannedCall:
    """One operation: a share ``multi`` over several counters, neighbours in a chain; a share ``queries`` only reads."""
    objects: tuple[str, ...]
    is_query = random.random() < queries
    if len(counters) > 1 and random.random() < multi:
        count = 2 if random.random() < 0.7 else random.randint(2, len(counters))
        if is_chain:
            first = random.randrange(len(counters) - count + 1)
            objects = tuple(random.sample(counters[first : first + count], count))
        else:
            objects = tuple(random.sample(counters, count))
        method = "look" if is_query else ("move" if count == 2 and random.random() < 0.5 else "bump")
    elif random.random() < 0.25:
        objects, method = (f"Register/{random.choice('abcd')}",), ("get" if is_query else "set")
    else:
        objects, method = (random.choice(counters),), ("get" if is_query else "increment")
    arguments = {
        "increment": {"by": random.randint(1, 9)},
        "bump": {"by": random.randint(1, 9)},
        "move": {"amount": random.randint(1, 6)},
        "set": {"value": random.randint(1, 999)},
    }.get(method, {})
    patience_ns = random.choice((150, 600, 2000, 5000)) * MILLISECOND
    return PlannedCall(
        number=number,
        client=random.randrange(clients),
        at_ns=random.randrange(safety_ns),
        objects=objects,
        method=method,
        arguments=_encoder.encode(arguments),
        is_query=is_query,
        patience_ns=patience_ns,
    )


def encode_arguments(arguments: Mapping[str, int]) -> bytes:
    """A call's arguments, as they travel."""
    return _encoder.encode(arguments)


def _seen_arguments(call: PlannedCall) -> dict[str, object]:
    return dict(_arguments(call.arguments))


def _seen_answer(call: PlannedCall, answer: bytes) -> tuple[Outcome, object]:
    if answer[:1] == REJECTED:
        return Outcome.REJECTED, "TooSmall"
    return Outcome.OK, _decode(answer[1:])


class Workload(Struct, frozen=True):
    """The objects of a run, as servers, clients and the checker need them.

    Attributes:
        executor: runs the methods.
        models: the same objects once more, for the checker.
        arguments: a planned call's arguments, for histories.
        answer: what a caller sees of an answer of tag VALUE or REJECTED (tag included): outcome, and value or name.
    """

    executor: Executor
    models: Models
    arguments: Callable[[PlannedCall], dict[str, object]]
    answer: Callable[[PlannedCall, bytes], tuple[Outcome, object]]


TOYS: Final = Workload(Toys(), MODELS, _seen_arguments, _seen_answer)
"""The workload of seeds."""
