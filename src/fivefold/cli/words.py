"""From the words of ``fivefold call`` to a call: which objects, which method, which arguments.

::

    TYPE KEY METHOD [ARGUMENT…]            one object
    TYPE/KEY METHOD [ARGUMENT…]            the same
    FUNCTION OBJECT… [ARGUMENT…]           a function over several objects; OBJECT is TYPE/KEY or KEY

An ARGUMENT is ``name=VALUE`` or VALUE, and a VALUE JSON; text needs no quotation marks where no other JSON is meant.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from fivefold.errors import InvalidArguments, UnknownMethod, UnknownType
from fivefold.objects import Method, Object, Registry

_NO_JSON: Final = ("Infinity", "-Infinity", "NaN")
"""Numbers that JSON lacks: they are printed under these names, and taken where a float is expected."""


class Reference(Struct, frozen=True):
    """One object.

    Attributes:
        cls: its class.
        key: its key.
    """

    cls: type[Object]
    key: str


class CallWords(Struct, frozen=True):
    """A call as it was meant.

    Attributes:
        method: method or function.
        args: arguments in order, :class:`Reference` for objects of functions.
        kwargs: arguments by name.
        target: the object of a method; None for functions.
    """

    method: Method
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Reference | None


def parse_call(registry: Registry, words: Sequence[str]) -> CallWords:
    """What the words mean.

    Raises:
        UnknownType, UnknownMethod: nothing of that name is registered; the message lists what is.
        InvalidArguments: too few words, too many, an object where none belongs, or a word that is not UTF-8.
    """
    for word in words:
        if not _is_text(word):
            raise InvalidArguments(f"the word {word} is not UTF-8 text: convert it, such as with `iconv -t UTF-8`")
    first, *rest = words
    if "/" in first:
        name, _, key = first.partition("/")
        return _method_call(registry, name, [key, *rest])
    if first in registry.types:
        return _method_call(registry, first, rest)
    return _function_call(_function_named(registry, first), registry, rest)


def _is_text(word: str) -> bool:
    """False for a word whose bytes are not UTF-8: Python hands them on as lone surrogates (PEP 383)."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _method_call(registry: Registry, type_name: str, words: Sequence[str]) -> CallWords:
    known = registry.types.get(type_name)
    if known is None:
        raise UnknownType(
            f"no type {type_name} is known here: name its module with --objects ({_known_names(registry)})"
        )
    if len(words) < 2:
        raise InvalidArguments(f"say which {type_name} and which method: fivefold call {type_name} KEY METHOD")
    key, name, *values = words
    method = known.methods.get(name)
    if method is None:
        choices = ", ".join(sorted(known.methods)) or "none"
        raise UnknownMethod(f"{type_name} has no query or update {name}: it has {choices}")
    args, kwargs = _bind(method, registry, values)
    return CallWords(method, args, kwargs, Reference(known.cls, key))


def _function_call(method: Method, registry: Registry, words: Sequence[str]) -> CallWords:
    args, kwargs = _bind(method, registry, words)
    return CallWords(method, args, kwargs, None)


def _function_named(registry: Registry, name: str) -> Method:
    """The function of that dotted name, or of that last part of one."""
    found = [method for full, method in registry.functions.items() if full == name or full.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownMethod(f"{name} may be {' or '.join(sorted(method.name for method in found))}: say which")
    raise UnknownType(
        f"no type or function {name} is known here: name its module with --objects ({_known_names(registry)})"
    )


def _known_names(registry: Registry) -> str:
    return f"known: {', '.join([*sorted(registry.types), *sorted(registry.functions)])}"


def _bind(method: Method, registry: Registry, words: Sequence[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    parameters = method.signature.parameters
    positional: list[str] = []
    named: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name in parameters):
            positional.append(word)
        elif name in named:
            raise InvalidArguments(f"{method.title}: argument {name} is given twice")
        else:
            named[name] = value
    try:
        bound = method.signature.bind(*positional, **named)
    except TypeError as error:
        raise InvalidArguments(f"{method.title}: {error}: it takes {method.shown}") from None
    _check_names(method, positional, bound.arguments)
    for name, word in bound.arguments.items():
        annotation = parameters[name].annotation
        if isinstance(word, tuple):
            bound.arguments[name] = tuple(_value(registry, one, annotation) for one in word)
        else:
            bound.arguments[name] = _value(registry, word, annotation)
    return bound.args, bound.kwargs


def _check_names(method: Method, words: Sequence[str], bound: Mapping[str, Any]) -> None:
    """Tell a misspelt ``name=VALUE`` from text that happens to contain ``=``, which a parameter for text takes.

    Raises:
        InvalidArguments: a word names no parameter, and stands where no text belongs.
    """
    parameters = method.signature.parameters
    for parameter, value in bound.items():
        name, equals, _ = str(value).partition("=")
        is_misspelt = value in words and equals and name.isidentifier() and name not in parameters
        if is_misspelt and not _takes_text(parameters[parameter].annotation):
            raise InvalidArguments(f"{method.title} has no parameter {name}: it takes {method.shown}")


def _value(registry: Registry, word: str, annotation: Any) -> Any:  # noqa: ANN401 - of any declared type
    if isinstance(annotation, type) and issubclass(annotation, Object):
        return _reference(registry, word, annotation)
    return parse_value(word, annotation)


def _reference(registry: Registry, word: str, wanted: type[Object]) -> Reference:
    name, slash, key = word.partition("/")
    if not slash:
        return Reference(wanted, word)
    known = registry.types.get(name)
    if known is None:
        if len(name) and name[0].isupper():
            raise UnknownType(f"no type {name} is known here: {_known_names(registry)}")
        return Reference(wanted, word)
    if not issubclass(known.cls, wanted):
        raise InvalidArguments(f"{word} is no {wanted.__name__}: name one as {wanted.__name__}/KEY")
    return Reference(known.cls, key)


def parse_value(word: str, annotation: Any) -> Any:  # noqa: ANN401 - of any declared type
    """The value that a word stands for where ``annotation`` is expected.

    JSON as that type if it can be; else, for text and what is written as text, the word itself; else JSON of whatever
    type, for the check of the arguments to complain about; else the word.
    """
    # A parameter for any value would take every JSON, which is meant; one for text would refuse 5, where "5" is meant.
    try:
        return msgspec.json.decode(word, type=annotation)
    except (msgspec.ValidationError, msgspec.DecodeError, TypeError, NameError, RecursionError):
        pass
    try:
        return msgspec.convert(word, annotation)  # what JSON writes as text: a date, a UUID, a member of an Enum
    except (msgspec.ValidationError, TypeError, NameError):
        pass
    if _takes_text(annotation):
        return word
    if word in _NO_JSON and _has_part(annotation, float):
        return float(word)
    try:
        return msgspec.json.decode(word)
    except (msgspec.DecodeError, RecursionError):
        return word


def _takes_text(annotation: Any) -> bool:  # noqa: ANN401 - any declared type
    return _has_part(annotation, inspect.Parameter.empty, Any, str)


def _has_part(annotation: Any, *wanted: Any) -> bool:  # noqa: ANN401 - any declared type
    """Whether an annotation is one of these, or a union that has one."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _has_part(typing.get_args(annotation)[0], *wanted)
    parts = typing.get_args(annotation) if origin not in (list, dict) else ()
    return any(annotation is each for each in wanted) or any(_has_part(part, *wanted) for part in parts)
