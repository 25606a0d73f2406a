"""Running calls by one code: ``protocol.operations.Executor`` over some types and functions."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

import msgspec
from msgspec import Struct

from fivefold.errors import ConfigurationError, FivefoldError, InvalidArguments, Rejected, UnknownMethod, UnknownType
from fivefold.objects.adoption import decode_adoption
from fivefold.objects.answers import describe_failure, encode_failure, encode_refusal, encode_rejection, encode_stopped
from fivefold.objects.code import fingerprint
from fivefold.objects.items import has_more_items
from fivefold.objects.methods import Method
from fivefold.objects.model import Object, hints_of, state_codec
from fivefold.objects.values import BadType, BadValue, Codec
from fivefold.objects.watchdog import Overrun, TimeLimit
from fivefold.protocol.limits import (
    ANSWER_BYTES_MAX,
    ARGUMENTS_BYTES_MAX,
    ITEMS_MAX,
    OPERATION_OBJECTS_MAX,
    STATE_BYTES_MAX,
)
from fivefold.protocol.operations import ADOPT, SHOW, VALUE, Call, Executed, ObjectId, digest

NEVER_WRITTEN: Final = b""
"""State of an object before its first update: whatever code comes first reads it as the class's defaults."""

PRIVATE: Final = "keeps_calls_private"
"""The class attribute of a type whose announced calls no other client is shown before they are applied."""

_RESERVED: Final = {SHOW: False, ADOPT: True}
_TAG: Final = b"\xc1"
"""What the state of a version other than 1 begins with; MessagePack never uses this byte."""
_VERSION_BYTES: Final = 4
_TAG_BYTES: Final = 1 + _VERSION_BYTES

OF_THIS_SERVER: Final = (MemoryError, RecursionError, OSError, ImportError, SystemError)
"""What a method raises for a reason that other servers need not share: their memory, stack, disk or modules differ."""

FOUND_MAX: Final = 4096
"""Look-ups of a method for certain objects that are remembered."""


class ObjectType:
    """A registered class: its state's codec, its version and code, its queries and updates by name.

    Args:
        cls: the Object class.

    Raises:
        ConfigurationError: a field, parameter or answer of it cannot be sent.
    """

    __slots__ = ("_code", "_migrations", "cls", "codec", "methods", "name", "open_queries", "tag", "version")

    def __init__(self, cls: type[Object]) -> None:
        self.cls = cls
        self.name = cls.__name__
        try:
            self.codec = state_codec(cls)
            self.codec.encode(cls())
            self._migrations = {start: _migration(function) for start, function in cls.__fivefold_migrations__.items()}
        except (BadType, BadValue, NameError) as error:
            raise ConfigurationError(f"{self.name}: {error}") from None
        self.methods = {name: Method(function, name, cls) for name, function in cls.__fivefold_methods__.items()}
        named = [name for name, method in self.methods.items() if not method.is_update]
        self.open_queries = () if getattr(cls, PRIVATE, False) else tuple(named)
        self.version = cls.__fivefold_version__
        self.tag = b"" if self.version == 1 else _TAG + self.version.to_bytes(_VERSION_BYTES, "big")
        self._code = b""

    @property
    def code(self) -> bytes:
        """What names this code in operations; worked out when it is first asked for."""
        if not self._code:
            self._code = fingerprint(self.cls, self.version)
        return self._code

    def decode(self, state: bytes, limit: TimeLimit | None = None) -> Any:  # noqa: ANN401 - an instance of the class
        """A fresh object with this state, which a version of the class has stored; migrated if need be.

        Raises:
            BadValue: the state does not fit, a newer version has stored it, or its migration fails or does not end.
        """
        if state[:1] == _TAG or self.tag or not state:
            return self._decode_versioned(state, limit)
        return self.codec.decode_trusted(state)

    def _decode_versioned(self, state: bytes, limit: TimeLimit | None) -> Any:  # noqa: ANN401
        if not state:
            return self.cls()
        stored, fields = 1, state
        if state[:1] == _TAG:
            stored, fields = int.from_bytes(state[1:_TAG_BYTES], "big"), state[_TAG_BYTES:]
        if (found := self._migrations.get(stored)) is not None:
            return self._migrate(found[0], found[1].decode_trusted(fields), limit)
        if stored > self.version:
            raise BadValue(f"version {stored} of {self.name} has stored it, and this is version {self.version}")
        return self.codec.decode_trusted(fields)

    def _migrate(self, migration: FunctionType, old: object, limit: TimeLimit | None) -> Any:  # noqa: ANN401
        fresh = self.cls()
        try:
            if limit is None:
                migration(fresh, old)
            else:
                limit.call(migration, fresh, old)
            # A query does not store it: it is to see what an update would.
            return self.codec.decode_trusted(self.codec.encode(fresh))
        except Overrun:
            text = f"ran longer than {limit.limit_ms if limit else 0} ms"
        except BadValue as error:
            text = str(error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and _is_of_the_user():
                raise
            text = describe_failure(error)
        raise BadValue(f"its migration {migration.__name__} failed: {text}")

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        """The state to store.

        Raises:
            BadValue: it does not fit the fields.
        """
        return self.tag + self.codec.encode(value)


def _is_of_the_user() -> bool:
    """Whether KeyboardInterrupt is Ctrl-C, in a program or test that runs methods itself."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _migration(function: FunctionType) -> tuple[FunctionType, Codec]:
    name = list(inspect.signature(function).parameters)[1]
    hint = hints_of(function).get(name)
    if hint is None:
        raise ConfigurationError(f"{function.__qualname__}: annotate {name} with the type of the old state")
    is_object = isinstance(hint, type) and issubclass(hint, Object)
    return function, state_codec(hint) if is_object else Codec(hint)


class Running:
    """Runs calls by the types and functions that it is given.

    Args:
        types: by name; may grow.
        functions: over several objects, by name; may grow.
        limit: interrupts methods that run too long; None for no limit.
    """

    __slots__ = ("_found", "_functions", "_types", "limit")

    def __init__(
        self, types: Mapping[str, ObjectType], functions: Mapping[str, Method], limit: TimeLimit | None
    ) -> None:
        """Nothing is looked up yet."""
        self._types, self._functions, self.limit = types, functions, limit
        self._found: dict[tuple[str, ...], tuple[list[ObjectType], Method]] = {}

    def forget(self) -> None:
        """Types or functions have changed: look everything up again."""
        self._found.clear()

    def initial(self, object_id: ObjectId) -> bytes | None:
        """NEVER_WRITTEN, the state of an object nobody has written yet; None if its type is unknown."""
        return NEVER_WRITTEN if object_id.partition("/")[0] in self._types else None

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """Whether ``method`` of these objects is an update; None if there is no such method for them."""
        if method in _RESERVED:
            return _RESERVED[method] if len(objects) == 1 and self.initial(objects[0]) is not None else None
        try:
            return self.resolve(objects, method)[1].is_update
        except FivefoldError:
            return None

    def begin(self) -> None:
        """The calls that follow are those of one operation, and share its time limit."""
        if self.limit is not None:
            self.limit.begin()

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """Run one call on copies of ``states``; never raises, whatever the call says (see the protocol)."""
        if call.method in _RESERVED:
            return self._execute_reserved(objects, call, states)
        try:
            types, method = self.resolve(objects, call.method)
        except FivefoldError as error:
            return _refused(type(error).__name__, str(error))
        assert len(types) == len(states), "a state for each object"
        if len(call.arguments) > ARGUMENTS_BYTES_MAX:
            return _refused("TooLarge", f"{method.title}: the arguments are over {ARGUMENTS_BYTES_MAX} bytes")
        # Before they are decoded, which is what takes the time. No more items than bytes: nearly always that tells.
        if len(call.arguments) > ITEMS_MAX and has_more_items(call.arguments, ITEMS_MAX):
            return _refused("TooLarge", f"{method.title}: the arguments hold more than {ITEMS_MAX} items")
        try:
            arguments = method.arguments.decode(call.arguments)
        except BadValue as error:
            return _refused("InvalidArguments", f"{method.title}: argument {error}")
        except MemoryError as error:
            return _stopped(describe_failure(error))
        copies = []
        try:
            for known, state in zip(types, states):  # noqa: B905 (a loop costs no call, a comprehension does)
                copies.append(known.decode(state, self.limit))
        except BadValue as error:
            return _stopped(f"{method.title}: the stored state does not fit the class, did its fields change? {error}")
        except MemoryError as error:
            return _stopped(describe_failure(error))
        return self._run(types, method, copies, arguments)

    def _run(self, types: list[ObjectType], method: Method, copies: list[Any], arguments: Struct) -> Executed:
        try:
            function, positional = method.prepare(copies, arguments)
            value = function(*positional) if self.limit is None else self.limit.call(function, *positional)
        except Rejected as error:
            return Executed(encode_rejection(error), None)
        except Overrun:
            return _stopped(f"TimeLimit: ran longer than {self.limit.limit_ms if self.limit else 0} ms")
        except KeyboardInterrupt as error:
            if _is_of_the_user():
                raise
            # A server stops by a handler of its own, so here the method raised it. Going up it would end the server,
            # and then, by the client's retries, every other one.
            return _failed(describe_failure(error))
        except OF_THIS_SERVER as error:
            return _stopped(describe_failure(error))
        except BaseException as error:
            return _failed(describe_failure(error))
        return _encode_results(types, method, value, copies)

    def _execute_reserved(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """SHOW or ADOPT, of one object: no code of the class runs."""
        known = self._types.get(objects[0].partition("/")[0])
        if known is None or len(objects) != 1:
            return _refused("UnknownType", f"there is no object type for {', '.join(objects)}")
        if call.method == SHOW:
            answer = VALUE + msgspec.msgpack.encode(states[0])
            if len(answer) > ANSWER_BYTES_MAX:
                return _refused("TooLarge", f"the state of {objects[0]} takes more than {ANSWER_BYTES_MAX} bytes")
            return Executed(answer, None)
        try:
            adoption = decode_adoption(call.arguments)
        except (msgspec.MsgspecError, RecursionError):
            return _refused("InvalidArguments", f"that names no state for {objects[0]}")
        if text := _excess(adoption.state):
            return _refused("TooLarge", f"the state of {objects[0]} would {text}")
        try:
            known.decode(adoption.state, self.limit)
        except BadValue as error:
            return _refused("InvalidArguments", f"that is no state of {objects[0]}: {error}")
        if digest(states[0]) not in adoption.instead_of:
            # (1) Two rescues look at a diverged object; (2) one is done; (3) an update is acknowledged; (4) the other
            # brings back the state that it saw, and the update is lost.
            return _refused(
                "InvalidArguments", f"{objects[0]} has changed since its states were shown: look at it again"
            )
        return Executed(VALUE + msgspec.msgpack.encode(None), (adoption.state,))

    def resolve(self, objects: tuple[ObjectId, ...], name: str) -> tuple[list[ObjectType], Method]:
        """The objects' types, and the method or function.

        Raises:
            UnknownType, UnknownMethod, InvalidArguments: in this order.
        """
        # By the types' names, not by the objects': there are few of them, so they are at hand.
        key: tuple[str, ...] = (name,)
        for object_id in objects:
            key += (object_id[: object_id.find("/") + 1],)
        found = self._found.get(key)
        if found is None:
            found = self._look_up(objects, name)
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            self._found[key] = found
        if len(objects) > 1 and len(set(objects)) != len(objects):
            raise InvalidArguments(f"{name}: every object must be another one, got {', '.join(objects)}")
        return found

    def _look_up(self, objects: tuple[ObjectId, ...], name: str) -> tuple[list[ObjectType], Method]:
        types = [self._type_of(object_id) for object_id in objects]
        if len(types) == 1 and (method := types[0].methods.get(name)) is not None:
            return types, method
        function = self._functions.get(name)
        if function is None:
            raise UnknownMethod(self._describe_unknown(types, name))
        if not function.accepts([known.cls for known in types]):
            given = ", ".join(known.name for known in types)
            raise InvalidArguments(f"{name} cannot be called on ({given}): it takes {function.shown}")
        if len(objects) > OPERATION_OBJECTS_MAX:
            raise InvalidArguments(f"{name}: at most {OPERATION_OBJECTS_MAX} objects can take part in one call")
        return types, function

    def _type_of(self, object_id: ObjectId) -> ObjectType:
        name, slash, _ = object_id.partition("/")
        known = self._types.get(name)
        if known is None or not slash:
            raise UnknownType(f"there is no object type {name}: register it with the servers and with the client")
        return known

    def _describe_unknown(self, types: list[ObjectType], name: str) -> str:
        if len(types) != 1 or "." in name:
            return f"there is no function {name}: register its module with the servers and with the client"
        return f"{types[0].name} has no query or update {name}: it has {', '.join(sorted(types[0].methods)) or 'none'}"


def _encode_results(types: list[ObjectType], method: Method, value: object, copies: list[Any]) -> Executed:
    try:
        answer = VALUE + method.answer.encode(value)
    except BadValue as error:
        return _failed(f"{method.title}: its answer does not fit its annotation: {error}")
    except MemoryError as error:
        return _stopped(describe_failure(error))
    if len(answer) > ANSWER_BYTES_MAX:
        text = f"the answer takes {len(answer)} bytes, at most {ANSWER_BYTES_MAX} are allowed"
        return _refused("TooLarge", f"{method.title}: {text}")
    if not method.is_update:
        return Executed(answer, None)
    try:
        states: tuple[bytes, ...] = ()
        for known, copy in zip(types, copies):  # noqa: B905
            states += (known.tag + known.codec.encode(copy),)  # known.encode(copy), without a call
    except BadValue as error:
        return _failed(f"{method.title}: it left a state that does not fit its fields: {error}")
    except MemoryError as error:
        return _stopped(describe_failure(error))
    for known, state in zip(types, states):  # noqa: B905
        if len(state) > ITEMS_MAX and (text := _excess(state)):
            return _refused("TooLarge", f"{method.title}: the new {known.name} would {text}")
    return Executed(answer, states)


def _excess(state: bytes) -> str:
    """What is too much about a state; empty if nothing is. One with fewer bytes than ITEMS_MAX is never too large."""
    if len(state) > STATE_BYTES_MAX:
        return f"take {len(state)} bytes, at most {STATE_BYTES_MAX} are allowed"
    return f"hold more than {ITEMS_MAX} items, keep them in several objects" if has_more_items(state, ITEMS_MAX) else ""


def _failed(text: str) -> Executed:
    return Executed(encode_failure(text), None)


def _stopped(text: str) -> Executed:
    return Executed(encode_stopped(text), None)


def _refused(name: str, text: str) -> Executed:
    return Executed(encode_refusal(name, text), None)
