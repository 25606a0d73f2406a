"""The object types and functions that a server runs and a client calls: ``protocol.operations.Executor``."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

from fivefold.errors import (
    ConfigurationError,
    FivefoldError,
    InvalidArguments,
    ObjectError,
    Rejected,
    UnknownMethod,
    UnknownType,
)
from fivefold.objects.answers import (
    decode_refusal,
    decode_rejection,
    describe_failure,
    dotted_name,
    encode_failure,
    encode_refusal,
    encode_rejection,
)
from fivefold.objects.methods import Method
from fivefold.objects.model import Object, kind_of, state_codec
from fivefold.objects.values import BadType, BadValue
from fivefold.objects.watchdog import Overrun, TimeLimit
from fivefold.protocol.limits import ANSWER_BYTES_MAX, ARGUMENTS_BYTES_MAX, OPERATION_OBJECTS_MAX, STATE_BYTES_MAX
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, VALUE, Call, Executed, ObjectId

_READY_MADE: Final = "fivefold.objects."
"""Module prefix of what gives way to a type or function of the same name: whoever writes a Counter means theirs."""

FOUND_MAX: Final = 4096
"""Look-ups of a method for certain objects that are remembered."""

_NO_ARGUMENTS: Final[Mapping[str, object]] = MappingProxyType({})


class ObjectType:
    """A registered class: its state's codec, its initial state, its queries and updates by name.

    Args:
        cls: the Object class.

    Raises:
        ConfigurationError: a field, parameter or answer of it cannot be sent.
    """

    __slots__ = ("cls", "codec", "initial", "methods", "name")

    def __init__(self, cls: type[Object]) -> None:
        self.cls = cls
        self.name = cls.__name__
        try:
            self.codec = state_codec(cls)
            self.initial = self.codec.encode(cls())
        except (BadType, BadValue, NameError) as error:
            raise ConfigurationError(f"{self.name}: {error}") from None
        self.methods = {name: Method(function, name, cls) for name, function in cls.__fivefold_methods__.items()}


class Registry:
    """Object types, functions over several objects, and Rejected classes, by the names they have on the wire.

    Args:
        things: Object classes, marked functions, Rejected classes, or modules that hold them.
        limit: interrupts methods that run too long; None for no limit.

    Raises:
        ConfigurationError: see :meth:`register`.

    Example:
        >>> from fivefold.objects import Counter, Registry
        >>> registry = Registry(Counter)
        >>> registry.is_update(("Counter/hits",), "increment")
        True
    """

    def __init__(self, *things: object, limit: TimeLimit | None = None) -> None:
        self.limit = limit
        self._types: dict[str, ObjectType] = {}
        self._found: dict[tuple[str, ...], tuple[list[ObjectType], Method]] = {}
        self._functions: dict[str, Method] = {}
        self._rejections: dict[str, type[Rejected]] = {}
        self.register(*things)

    # --- registration ------------------------------------------------------------------------------------------

    def register(self, *things: object) -> None:
        """Add types, functions, Rejected classes, or all those that a module holds.

        With a type or function come the Rejected classes of the module that defines it. Adding the same thing again
        does nothing; a ready-made type or function gives way to another of the same name.

        Raises:
            ConfigurationError: two different things of one name, something that cannot be registered, or a type or
                function that cannot be replicated.
        """
        if all(map(self._has, things)):
            return
        self._found.clear()
        for thing in things:
            if isinstance(thing, ModuleType):
                for member in _members(thing):
                    self._register_one(member)
            else:
                self._register_one(thing)

    def load(self, module: str) -> None:
        """Import a module by its dotted name and register what it holds.

        Raises:
            ConfigurationError: there is no such module, it holds nothing, or see :meth:`register`.
        """
        if "/" in module or module.endswith(".py"):
            raise ConfigurationError(f"{module} is a file: name the module as import does, such as bank or shop.bank")
        try:
            loaded = importlib.import_module(module)
        except FivefoldError:
            raise
        except Exception as error:  # whatever the module's own code raises
            text = f"module {module} cannot be imported: {describe_failure(error)}{_place_of(error)}"
            raise ConfigurationError(text) from error
        if not any(True for _ in _members(loaded)):
            raise ConfigurationError(f"module {module} holds no Object class and no function marked @query or @update")
        self.register(loaded)

    @property
    def types(self) -> Mapping[str, ObjectType]:
        """Registered types by name."""
        return MappingProxyType(self._types)

    @property
    def functions(self) -> Mapping[str, Method]:
        """Registered functions over several objects by dotted name."""
        return MappingProxyType(self._functions)

    def _has(self, thing: object) -> bool:
        """Whether a type is registered already: programs name it again for each of its objects."""
        known = self._types.get(thing.__name__) if isinstance(thing, type) else None
        return known is not None and known.cls is thing

    def _register_one(self, thing: object) -> None:
        if isinstance(thing, type) and issubclass(thing, Object) and thing is not Object:
            if not self._is_known(self._types.get(thing.__name__), thing, thing.__name__):
                self._types[thing.__name__] = ObjectType(thing)
        elif isinstance(thing, type) and issubclass(thing, Rejected):
            if not self._is_known(self._rejections.get(dotted_name(thing)), thing, dotted_name(thing)):
                self._rejections[dotted_name(thing)] = thing
            return
        elif isinstance(thing, FunctionType) and kind_of(thing) is not None:
            if not self._is_known(self._functions.get(dotted_name(thing)), thing, dotted_name(thing)):
                method = Method(thing, dotted_name(thing))
                self._functions[method.name] = method
        else:
            raise ConfigurationError(f"{thing!r} is no Object class, no marked function and no Rejected class")
        for owner in thing.__mro__ if isinstance(thing, type) else (thing,):
            for member in list(vars(sys.modules.get(owner.__module__, object)).values()):
                if isinstance(member, type) and issubclass(member, Rejected):
                    self._register_one(member)

    def _is_known(self, known: object, thing: object, name: str) -> bool:
        if known is None:
            return False
        earlier = known.cls if isinstance(known, ObjectType) else known.function if isinstance(known, Method) else known
        if earlier is thing:
            return True
        if str(getattr(earlier, "__module__", "")).startswith(_READY_MADE):
            return False
        raise ConfigurationError(f"there are two different {name}: rename one of them")

    # --- server: the Executor ----------------------------------------------------------------------------------

    def initial(self, object_id: ObjectId) -> bytes | None:
        """Canonical state of an object nobody has written yet; None if its type is unknown."""
        known = self._types.get(object_id.partition("/")[0])
        return None if known is None else known.initial

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """Whether ``method`` of these objects is an update; None if there is no such method for them."""
        try:
            return self._find(objects, method)[1].is_update
        except FivefoldError:
            return None

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """Run one call on copies of ``states``; never raises, whatever the call says (see the protocol)."""
        try:
            types, method = self._find(objects, call.method)
        except FivefoldError as error:
            return _refused(type(error).__name__, str(error))
        assert len(types) == len(states), "a state for each object"
        if len(call.arguments) > ARGUMENTS_BYTES_MAX:
            return _refused("TooLarge", f"{method.title}: the arguments are over {ARGUMENTS_BYTES_MAX} bytes")
        try:
            arguments = method.arguments.decode(call.arguments)
        except BadValue as error:
            return _refused("InvalidArguments", f"{method.title}: argument {error}")
        try:
            copies = [known.codec.decode_trusted(state) for known, state in zip(types, states)]  # noqa: B905
        except BadValue as error:
            return _failed(f"{method.title}: the stored state does not fit the class, did its fields change? {error}")
        try:
            function, positional = method.prepare(copies, arguments)
            value = function(*positional) if self.limit is None else self.limit.call(function, *positional)
        except Rejected as error:
            return Executed(encode_rejection(error), None)
        except Overrun:
            return _failed(f"TimeLimit: ran longer than {self.limit.limit_ms if self.limit else 0} ms")
        except KeyboardInterrupt as error:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                raise  # Ctrl-C, in a program or test that runs methods itself
            # A server stops by a handler of its own, so here the method raised it. Going up it would end the server,
            # and then, by the client's retries, every other one.
            return _failed(describe_failure(error))
        except BaseException as error:
            return _failed(describe_failure(error))
        return _encode_results(types, method, value, copies)

    def _find(self, objects: tuple[ObjectId, ...], name: str) -> tuple[list[ObjectType], Method]:
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

    # --- client ------------------------------------------------------------------------------------------------

    def find(self, objects: tuple[ObjectId, ...], method: str) -> Method:
        """The method or function that a call on these objects means.

        Raises:
            UnknownType: an object's type is not registered.
            UnknownMethod: its type has no such method, or there is no such function.
            InvalidArguments: a function does not take these objects.
        """
        return self._find(objects, method)[1]

    def function(self, function: object) -> Method:
        """The registered entry of a marked function, which is registered now if it was not.

        Raises:
            ConfigurationError: it is not marked, or cannot be replicated.
        """
        if not isinstance(function, FunctionType) or kind_of(function) is None:
            raise ConfigurationError(f"{function!r} is no function marked @query or @update")
        self._register_one(function)
        return self._functions[dotted_name(function)]

    def encode_arguments(
        self,
        objects: tuple[ObjectId, ...],
        method: str,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] = _NO_ARGUMENTS,
    ) -> bytes:
        """Canonical bytes of the plain arguments of a call; nothing that a server would refuse.

        Args:
            objects: ids of the objects, in parameter order.
            method: name of the method or function.
            args: plain arguments by position, objects left out.
            kwargs: plain arguments by name.

        Raises:
            UnknownType, UnknownMethod: see :meth:`find`.
            InvalidArguments: the text says which argument, and what was expected.
            TooLarge: over ARGUMENTS_BYTES_MAX.
        """
        return self._find(objects, method)[1].encode_arguments(args, kwargs)

    def decode_answer(self, objects: tuple[ObjectId, ...], method: str, answer: bytes) -> Any:  # noqa: ANN401 - as annotated
        """What the method returned.

        Args:
            objects: ids of the objects.
            method: name of the method or function.
            answer: as :meth:`execute` wrote it: a tag and its bytes.

        Raises:
            Rejected: the method raised it; of the method's own class if that is registered here.
            ObjectError: the method failed, or the servers run another version of it.
            InvalidArguments, UnknownType, UnknownMethod, TooLarge: the servers refused the call.
        """
        tag, content = answer[:1], answer[1:]
        if tag == VALUE:
            found = self._find(objects, method)[1]
            try:
                return found.answer.decode_trusted(content)
            except BadValue as error:
                text = f"the answer does not fit its annotation, do the servers run another version? {error}"
                raise ObjectError(f"{found.title}: {text}") from None
        if tag == REJECTED:
            raise self._decode_rejection(method, content)
        if tag == FAILED:
            raise ObjectError(f"{method} failed, nothing was changed: {content.decode(errors='replace')}")
        if tag == REFUSED:
            raise decode_refusal(content)
        raise AssertionError(f"the client must have handled an answer with tag {tag!r}")

    def _decode_rejection(self, method: str, content: bytes) -> FivefoldError:
        try:
            return decode_rejection(content, self._rejections)
        except BadValue as error:
            return ObjectError(f"{method} was rejected in a way this version cannot read: {error}")


def _place_of(error: Exception) -> str:
    """Where in the program's own code an import failed, so that nobody has to look for it; empty if not in there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not each.filename.startswith("<") and each.filename != __file__]
    own = [each for each in own if each.filename != importlib.__file__]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _members(module: ModuleType) -> Iterator[object]:
    for name, member in vars(module).items():
        if name.startswith("_"):
            continue
        is_class = isinstance(member, type) and issubclass(member, (Object, Rejected))
        if (is_class and member not in (Object, Rejected)) or kind_of(member) is not None:
            yield member


def _encode_results(types: list[ObjectType], method: Method, value: object, copies: list[Any]) -> Executed:
    try:
        answer = VALUE + method.answer.encode(value)
    except BadValue as error:
        return _failed(f"{method.title}: its answer does not fit its annotation: {error}")
    except MemoryError as error:
        return _failed(describe_failure(error))
    if len(answer) > ANSWER_BYTES_MAX:
        text = f"the answer takes {len(answer)} bytes, at most {ANSWER_BYTES_MAX} are allowed"
        return _refused("TooLarge", f"{method.title}: {text}")
    if not method.is_update:
        return Executed(answer, None)
    try:
        states = tuple([known.codec.encode(copy) for known, copy in zip(types, copies)])  # noqa: B905
    except BadValue as error:
        return _failed(f"{method.title}: it left a state that does not fit its fields: {error}")
    except MemoryError as error:
        return _failed(describe_failure(error))
    if max(map(len, states)) > STATE_BYTES_MAX:
        known, state = next(pair for pair in zip(types, states, strict=True) if len(pair[1]) > STATE_BYTES_MAX)
        text = f"the new {known.name} would take {len(state)} bytes, at most {STATE_BYTES_MAX} are allowed"
        return _refused("TooLarge", f"{method.title}: {text}")
    return Executed(answer, states)


def _failed(text: str) -> Executed:
    return Executed(encode_failure(text), None)


def _refused(name: str, text: str) -> Executed:
    return Executed(encode_refusal(name, text), None)
