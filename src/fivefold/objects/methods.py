"""A query or update made ready to run: its parameters, their codecs, and how to call it.

Arguments travel as a map from parameter names to values, only what was given; the server fills in defaults.
So a parameter with a default can be added to a method without breaking older clients.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import FunctionType
from typing import Any, Final

import msgspec

from fivefold.errors import ConfigurationError, InvalidArguments, TooLarge
from fivefold.objects.code import fingerprint
from fivefold.objects.items import has_more_items
from fivefold.objects.model import Kind, Object, hints_of, kind_of
from fivefold.objects.values import BadType, BadValue, Codec
from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX, ITEMS_MAX, METHOD_BYTES_MAX, OPERATION_OBJECTS_MAX
from fivefold.protocol.operations import CODE_BYTES, digest

_encode_map: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_READABLE: Final = (
    (re.compile(r"(?:\btyping\.)?\bAnnotated\[([^,\[\]]+), [^\]]*\]"), r"\1"),
    (re.compile(r"\btyping\.Any\b|\bAny\b"), "Value"),
    (re.compile(r"\bNoneType\b"), "None"),
    (re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])"), ""),
)
_NO_ARGUMENTS: Final = _encode_map({})
_SCALARS: Final = (type(None), bool, int, float, str, bytes)


def readable(text: str) -> str:
    """A signature or annotation as its author would write it: without modules and constraints."""
    for pattern, replacement in _READABLE:
        text = pattern.sub(replacement, text)
    return text


class Method:
    """One query or update.

    Args:
        function: the marked function.
        name: as it travels: a method's name, or ``module.function``.
        owner: the Object type of a method; None for a function over several objects.

    Raises:
        ConfigurationError: a parameter or the answer cannot be sent; the text says what to do.

    Attributes:
        name: as above.
        title: for messages: ``Type.method`` or ``module.function``.
        kind: query or update.
        function: as above.
        signature: without ``self``.
        shown: the signature for people.
        objects: types of the objects, in parameter order; a variadic one is not in it.
        variadic: type of ``*objects``, or None.
        answer: codec of what it returns.
        arguments: codec of the plain arguments, as a struct.
    """

    __slots__ = (
        "_code",
        "_codecs",
        "_keywords",
        "_order",
        "_positional",
        "_required",
        "_variadic_at",
        "answer",
        "arguments",
        "function",
        "is_simple",
        "is_update",
        "kind",
        "name",
        "objects",
        "shown",
        "signature",
        "title",
        "variadic",
    )

    def __init__(self, function: FunctionType, name: str, owner: type[Object] | None = None) -> None:
        kind = kind_of(function)
        assert kind is not None, "only marked functions are registered"
        self.function = function
        self.kind: Kind = kind
        self.is_update = kind == "update"
        self.name = name
        self.title = name if owner is None else f"{owner.__name__}.{name}"
        if len(name.encode()) > METHOD_BYTES_MAX:
            raise ConfigurationError(f"{self.title}: its name is over {METHOD_BYTES_MAX} bytes, shorten it")
        parameters = list(inspect.signature(function).parameters.values())
        hints = hints_of(function)
        if owner is not None:
            if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
                raise ConfigurationError(f"{self.title} needs self as its first parameter")
            del parameters[0]
        self.signature = inspect.Signature(
            [parameter.replace(annotation=hints.get(parameter.name, Parameter.empty)) for parameter in parameters],
            return_annotation=hints.get("return", inspect.Signature.empty),
        )
        self.shown = readable(str(self.signature))
        self._sort_out(list(self.signature.parameters.values()), owner)
        self.answer = self._codec(hints.get("return", Any), "its answer")
        self._code = b""

    @property
    def code(self) -> bytes:
        """What names a function's code in operations; worked out when it is first asked for."""
        if not self._code:
            # With its name: two modules may hold the same text, and a call means one of them.
            self._code = digest(self.name.encode() + fingerprint(self.function, 1))[:CODE_BYTES]
        return self._code

    def _sort_out(self, parameters: list[Parameter], owner: type[Object] | None) -> None:
        """Tell objects from plain arguments, and note where each goes in the call."""
        objects: list[type[Object]] = [] if owner is None else [owner]
        plain: list[Parameter] = []
        self.variadic: type[Object] | None = None
        self._variadic_at = 0
        # Where the n-th positional argument of the function comes from: (is it an object, its index).
        self._positional: list[tuple[bool, int]] = [(True, 0)] if owner is not None else []
        self._keywords: list[tuple[str, bool, int]] = []
        for parameter in parameters:
            is_object = isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Object)
            self._check_parameter(parameter, is_object, owner)
            if parameter.kind is Parameter.VAR_POSITIONAL:
                self.variadic = parameter.annotation
                continue
            source = (is_object, len(objects) if is_object else len(plain))
            if parameter.kind is Parameter.KEYWORD_ONLY:
                self._keywords.append((parameter.name, *source))
            else:
                self._positional.append(source)
            if is_object:
                objects.append(parameter.annotation)
            else:
                plain.append(parameter)
        if not objects and self.variadic is None:
            raise ConfigurationError(f"{self.title}: annotate at least one parameter with an Object type")
        if len(objects) > OPERATION_OBJECTS_MAX:
            raise ConfigurationError(f"{self.title}: at most {OPERATION_OBJECTS_MAX} objects can take part in one call")
        self.objects = tuple(objects)
        self._order = [parameter.name for parameter in plain]
        self._required = frozenset(item.name for item in plain if item.default is Parameter.empty)
        expected = [*((True, index) for index in range(len(objects))), *((False, index) for index in range(len(plain)))]
        self.is_simple = self._positional == expected and self.variadic is None
        self._make_codecs(plain)

    def _check_parameter(self, parameter: Parameter, is_object: bool, owner: type[Object] | None) -> None:
        where = f"{self.title}: parameter {parameter.name}"
        if parameter.annotation is Parameter.empty:
            raise ConfigurationError(f"{where} has no type: annotate it")
        if is_object and owner is not None:
            raise ConfigurationError(f"{where} is an Object: write a function over both objects instead of a method")
        if is_object and parameter.default is not Parameter.empty:
            raise ConfigurationError(f"{where} is an Object and cannot have a default")
        if is_object and self.variadic is not None:
            raise ConfigurationError(f"{where} must come before *{self.variadic.__name__} objects")
        if parameter.kind is Parameter.VAR_KEYWORD or (parameter.kind is Parameter.VAR_POSITIONAL and not is_object):
            raise ConfigurationError(f"{where} takes any number of arguments: use a list or a dict instead")

    def _make_codecs(self, plain: list[Parameter]) -> None:
        self._codecs = {item.name: self._codec(item.annotation, f"parameter {item.name}") for item in plain}
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for item in plain:
            declared = Any if item.annotation is object else item.annotation
            if item.default is Parameter.empty:
                fields.append((item.name, declared))
            else:
                fields.append((item.name, declared, self._default(item)))
        struct = msgspec.defstruct(self.function.__name__, fields, kw_only=True, forbid_unknown_fields=True)
        self.arguments = Codec(struct, role="arguments")

    def _default(self, item: Parameter) -> Any:  # noqa: ANN401 - of any declared type
        codec = self._codecs[item.name]
        try:
            data = codec.encode(item.default)
        except BadValue as error:
            text = f"{self.title}: the default of {item.name} does not fit its type: {error}"
            raise ConfigurationError(text) from None
        default = codec.decode(data)
        # A list that one call changed would otherwise be the next call's default.
        return default if isinstance(default, _SCALARS) else msgspec.field(default_factory=lambda: codec.decode(data))

    def _codec(self, declared: object, what: str) -> Codec:
        try:
            return Codec(declared)
        except (BadType, NameError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{self.title}: {what}: {error}") from None

    # --- client ------------------------------------------------------------------------------------------------

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[list[object], dict[str, object]]:
        """Split what a caller gave into the objects, in parameter order, and the plain arguments by name.

        For a method of one object the list is empty.

        Raises:
            InvalidArguments: wrong number or names.
        """
        try:
            bound = self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidArguments(f"{self.title}: {error}: it takes {self.shown}") from None
        plain = {name: bound[name] for name in self._order if name in bound}
        objects: list[object] = []
        for name, value in bound.items():
            if name not in plain:
                objects.extend(value if isinstance(value, tuple) else (value,))
        return objects, plain

    def encode_arguments(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        """Canonical bytes of plain arguments, given by position (in parameter order) or by name.

        Raises:
            InvalidArguments: wrong number, names or types.
            TooLarge: over ARGUMENTS_BYTES_MAX.
        """
        if not (args or kwargs or self._required):
            return _NO_ARGUMENTS
        if len(args) > len(self._order):
            raise InvalidArguments(f"{self.title}: got {len(args)} arguments by position: it takes {self.shown}")
        given = dict(zip(self._order, args, strict=False))
        for name, value in kwargs.items():
            if name not in self._codecs or name in given:
                problem = "given twice" if name in given else "unexpected"
                raise InvalidArguments(f"{self.title}: argument {name} is {problem}: it takes {self.shown}")
            given[name] = value
        if not self._required <= given.keys():
            missing = ", ".join(name for name in self._order if name in self._required and name not in given)
            raise InvalidArguments(f"{self.title}: argument {missing} is missing: it takes {self.shown}")
        data = _encode_map({name: self._encode_argument(name, value) for name, value in given.items()})
        if len(data) > ARGUMENTS_BYTES_MAX:
            text = f"the arguments take {len(data)} bytes, at most {ARGUMENTS_BYTES_MAX} are allowed"
            raise TooLarge(f"{self.title}: {text}")
        if has_more_items(data, ITEMS_MAX):
            raise TooLarge(f"{self.title}: the arguments hold more than {ITEMS_MAX} items: pass them in several calls")
        return data

    def _encode_argument(self, name: str, value: object) -> msgspec.Raw:
        try:
            return msgspec.Raw(self._codecs[name].encode(value))
        except BadValue as error:
            raise InvalidArguments(f"{self.title}: argument {name}: {error}") from None

    # --- server ------------------------------------------------------------------------------------------------

    def accepts(self, types: list[type[Object]]) -> bool:
        """Whether objects of these types, in this order, are what it takes."""
        fixed = len(self.objects)
        if self.variadic is None:
            return len(types) == fixed and all(map(issubclass, types, self.objects))
        many = types[fixed:]
        is_fitting = all(issubclass(item, self.variadic) for item in many)
        return len(types) >= max(fixed, 1) and all(map(issubclass, types[:fixed], self.objects)) and is_fitting

    def prepare(self, objects: list[Any], struct: msgspec.Struct) -> tuple[Callable[..., object], list[Any]]:
        """What to call, and with which positional arguments."""
        plain = msgspec.structs.astuple(struct)
        if self.is_simple:
            return self.function, [*objects, *plain]
        positional = [objects[index] if is_object else plain[index] for is_object, index in self._positional]
        if self.variadic is not None:
            positional += objects[len(self.objects) :]
        keywords = {name: objects[at] if is_object else plain[at] for name, is_object, at in self._keywords}
        return functools.partial(self.function, **keywords), positional
