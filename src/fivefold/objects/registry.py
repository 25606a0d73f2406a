"""The object types and functions that a server runs and a client calls: ``protocol.operations.Executor``."""

from __future__ import annotations

import importlib
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

from fivefold.errors import (
    ConfigurationError,
    FivefoldError,
    ObjectError,
    Rejected,
)
from fivefold.objects.answers import (
    WIRE_NAME,
    decode_refusal,
    decode_rejection,
    describe_failure,
    dotted_name,
    full_name,
    module_of,
)
from fivefold.objects.methods import Method
from fivefold.objects.model import Object, kind_of
from fivefold.objects.running import ObjectType, Running
from fivefold.objects.shelf import Shelf, versions_of
from fivefold.objects.values import BadValue
from fivefold.objects.watchdog import TimeLimit
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, STOPPED, VALUE, ObjectId

_READY_MADE: Final = "fivefold.objects."
"""Module prefix of the ready-made types and functions: a user's own Counter replaces ours."""

FOUND_MAX: Final = 4096
"""Look-ups of a method for certain objects that are remembered."""

_NO_ARGUMENTS: Final[Mapping[str, object]] = MappingProxyType({})


class Registry(Running):
    """Object types, functions over several objects, and Rejected classes, by the names they have on the wire.

    It runs calls by the newest version of each type that it holds.

    Args:
        things: Object classes, marked functions, Rejected classes, or modules that hold them.
        limit: interrupts methods that run too long; None for no limit.

    Raises:
        ConfigurationError: see :meth:`register`.

    Attributes:
        shelf: all codes that it holds, several versions of one type side by side: what a server runs operations by.

    Example:
        >>> from fivefold.objects import Counter, Registry
        >>> registry = Registry(Counter)
        >>> registry.is_update(("Counter/hits",), "increment")
        True
    """

    def __init__(self, *things: object, limit: TimeLimit | None = None) -> None:
        self._types: dict[str, ObjectType] = {}
        self._functions: dict[str, Method] = {}
        self._rejections: dict[str, dict[str, type[Rejected]]] = {}  # by module.name, then by full name
        super().__init__(self._types, self._functions, limit)
        self.shelf = Shelf(limit)
        self.register(*things)

    # --- registration ------------------------------------------------------------------------------------------

    def register(self, *things: object) -> None:
        """Add types, functions, Rejected classes, or all that a module holds.

        With a type or function come the Rejected classes of the module that defines it. Adding the same thing again
        does nothing; a ready-made type or function gives way to another of the same name.

        Raises:
            ConfigurationError: two different things of one name, something that cannot be registered, or a type or
                function that cannot be replicated.
        """
        if all(map(self._has, things)):
            return
        self.forget()
        for thing in things:
            if isinstance(thing, ModuleType):
                for member in _members(thing):
                    self._register_one(member)
            else:
                self._register_one(thing)

    def load(self, module: str) -> None:
        """Import a module by its dotted name and register what it holds.

        ``names=new_names`` imports new_names under the name of names: what it holds has the names on the wire that it
        will have once it takes that module's place. So new code can lie beside the old.

        Raises:
            ConfigurationError: there is no such module, it holds nothing, or see :meth:`register`.
        """
        if "/" in module or module.endswith(".py"):
            raise ConfigurationError(f"{module} is a file: name the module as import does, such as bank or shop.bank")
        name, _, module = module.rpartition("=")
        try:
            loaded = importlib.import_module(module)
            if name:
                vars(loaded)[WIRE_NAME] = name.rpartition(".")[2]
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
        """Whether a type is registered already, as the newest of its name: programs name it for each object."""
        known = self._types.get(thing.__name__) if isinstance(thing, type) else None
        return known is not None and known.cls is thing

    def _register_one(self, thing: object) -> None:
        if isinstance(thing, type) and issubclass(thing, Object) and thing is not Object:
            self._register_type(thing)
        elif isinstance(thing, type) and issubclass(thing, Rejected):
            known = self._rejections.setdefault(dotted_name(thing), {})
            if not self._is_known(known.get(full_name(thing)), thing, "exceptions " + thing.__name__):
                known[full_name(thing)] = thing
            return
        elif isinstance(thing, FunctionType) and kind_of(thing) is not None:
            self._register_function(thing)
        else:
            raise ConfigurationError(f"{thing!r} is no Object class, no marked function and no Rejected class")
        for owner in thing.__mro__ if isinstance(thing, type) else (thing,):
            for member in list(vars(sys.modules.get(owner.__module__, object)).values()):
                if isinstance(member, type) and issubclass(member, Rejected):
                    self._register_one(member)

    def _register_type(self, cls: type[Object]) -> None:
        """Add a type, or another version of it: by name the newest one is found, by code each of them."""
        known = self._types.get(cls.__name__)
        is_ready_made = known is not None and module_of(known.cls).startswith(_READY_MADE)
        if known is not None and known.version != cls.__fivefold_version__ and not is_ready_made:
            self.shelf.put_type(added := ObjectType(cls))
            if known.version < added.version:
                self._types[added.name] = added
        elif not self._is_known(known, cls, cls.__name__):
            self._types[cls.__name__] = ObjectType(cls)
            self.shelf.replace_type(self._types[cls.__name__])

    def _register_function(self, function: FunctionType) -> None:
        """Add a function, or the one that belongs to other versions of its types."""
        known = self._functions.get(dotted_name(function))
        if known is not None and known.function is function:
            return
        method = Method(function, dotted_name(function))
        if known is not None and versions_of(known) != versions_of(method):
            self.shelf.put_function(method)
            if versions_of(known) < versions_of(method):
                self._functions[method.name] = method
        elif not self._is_known(known, function, method.name):
            self._functions[method.name] = method
            self.shelf.put_function(method)

    def _is_known(self, known: object, thing: object, name: str) -> bool:
        if known is None:
            return False
        earlier = known.cls if isinstance(known, ObjectType) else known.function if isinstance(known, Method) else known
        if earlier is thing:
            return True
        names = f"{full_name(earlier)} and {full_name(thing)}".replace(":", ".")
        if not module_of(earlier).startswith(_READY_MADE):
            raise ConfigurationError(f"there are two different {name}, {names}: rename one of them")
        warnings.warn(f"your {name} replaces the ready-made one: rename it if you use both, {names}", stacklevel=4)
        return False

    def _find_rejection(self, name: str) -> type[Rejected] | None:
        """The class of this full name; or, from a server that imports it otherwise, the only one of its module.name."""
        module, _, qualified = name.partition(":")
        known = self._rejections.get(f"{module.rpartition('.')[2]}.{qualified.rpartition('.')[2]}", {})
        return known.get(name) or (next(iter(known.values())) if len(known) == 1 else None)

    def open_queries(self, object_id: ObjectId) -> tuple[str, ...]:
        """The queries of an object; a client with a right to one of them may be shown what others have announced.

        None of a type with ``keeps_calls_private: ClassVar[bool] = True``: its calls are announced to nobody.
        """
        known = self._types.get(object_id.partition("/")[0])
        return () if known is None else known.open_queries

    # --- client ------------------------------------------------------------------------------------------------

    def find(self, objects: tuple[ObjectId, ...], method: str) -> Method:
        """The method or function that a call on these objects means.

        Raises:
            UnknownType: an object's type is not registered.
            UnknownMethod: its type has no such method, or there is no such function.
            InvalidArguments: a function does not take these objects.
        """
        return self.resolve(objects, method)[1]

    def function(self, function: object) -> Method:
        """The registered entry of a marked function, which is registered now if it was not.

        Raises:
            ConfigurationError: it is not marked, or cannot be replicated.
        """
        if not isinstance(function, FunctionType) or kind_of(function) is None:
            raise ConfigurationError(f"{function!r} is no function marked @query or @update")
        known = self._functions.get(dotted_name(function))
        if known is None or known.function is not function:  # programs name it for each call
            self._register_one(function)
            known = self._functions[dotted_name(function)]
        return known

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
        return self.resolve(objects, method)[1].encode_arguments(args, kwargs)

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
            found = self.resolve(objects, method)[1]
            try:
                return found.answer.decode_trusted(content)
            except BadValue as error:
                text = f"the answer does not fit its annotation, do the servers run another version? {error}"
                raise ObjectError(f"{found.title}: {text}") from None
        if tag == REJECTED:
            raise self._decode_rejection(method, content)
        if tag in (FAILED, STOPPED):
            raise ObjectError(f"{method} failed, nothing was changed: {content.decode(errors='replace')}")
        if tag == REFUSED:
            raise decode_refusal(content)
        raise AssertionError(f"the client must have handled an answer with tag {tag!r}")

    def _decode_rejection(self, method: str, content: bytes) -> FivefoldError:
        try:
            return decode_rejection(content, self._find_rejection)
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
