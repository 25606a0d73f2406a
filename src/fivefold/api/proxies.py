"""Remote objects: the methods of an object's class, as coroutines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from fivefold.errors import InvalidArguments, UnknownMethod
from fivefold.objects import Object, kind_of
from fivefold.protocol.limits import OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import ObjectId

T = TypeVar("T", bound=Object)
P = ParamSpec("P")
R = TypeVar("R")


SECONDS_MAX: Final = 1_000_000_000
"""The longest deadline: some 30 years."""


class Invoker(Protocol):
    """Whoever runs calls for proxies."""

    def invoke(
        self,
        objects: tuple[ObjectId, ...],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline_s: float | None,
    ) -> Coroutine[Any, Any, Any]:
        """Check the arguments, run the call within the deadline (None for the usual one), give back its answer."""
        ...


class Remote(Generic[T]):
    """A replicated object: ``await remote.method(arguments)`` runs a method of its class on the servers.

    It has the queries and updates of its class, and nothing else: its state is on the servers. mypy knows their types
    with the plugin ``fivefold.mypy_plugin``; ``await remote.do(Counter.increment, by=2)`` is typed for every checker.
    """

    __slots__ = ("__dict__", "_cls", "_deadline_s", "_invoker", "_key", "_objects")

    def __init__(self, invoker: Invoker, cls: type[T], key: str, deadline_s: float | None = None) -> None:
        """Made by ``Cluster.object``.

        Raises:
            InvalidArguments: the key is empty, too long or contains control characters, or the deadline cannot be one.
        """
        _check(cls, key)
        if deadline_s is not None:
            check_seconds(deadline_s)
        self._invoker = invoker
        self._cls = cls
        self._key = key
        self._deadline_s = deadline_s
        self._objects = (ObjectId(f"{cls.__name__}/{key}"),)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A method of the class, to be called on the servers.

        Raises:
            UnknownMethod: the class has no query or update of this name.
        """
        if name.startswith("_"):
            raise AttributeError(name)  # of Python and its tools, which ask for what may not be there
        if kind_of(getattr(self._cls, name, None)) is None:
            methods = ", ".join(methods_of(self)) or "none"
            raise UnknownMethod(f"{self._cls.__name__} has no query or update {name}: it has {methods}")

        invoke, objects, deadline_s = self._invoker.invoke, self._objects, self._deadline_s

        def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:  # noqa: ANN401 (any method of any class)
            return invoke(objects, name, args, kwargs, deadline_s)

        call.__name__ = name
        self.__dict__[name] = call  # from now on Python finds it without asking here
        return call

    def __dir__(self) -> list[str]:
        """The queries and updates, too."""
        return [*{*super().__dir__(), *methods_of(self)}]

    def do(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run a method given as ``Counter.increment``, with its own types."""
        return self._invoker.invoke(self._objects, method.__name__, args, kwargs, self._deadline_s)

    def with_deadline(self, seconds: float) -> Remote[T]:
        """The same object, each of whose calls may take this long."""
        return Remote(self._invoker, self._cls, self._key, seconds)

    def __repr__(self) -> str:
        """Type and key."""
        return f"Remote({self._cls.__name__}, {self._key!r})"


def _check(cls: object, key: object) -> None:
    if not isinstance(cls, type) or not issubclass(cls, Object):
        raise InvalidArguments(f"the first argument must be a subclass of fivefold.Object: got {cls!r}")
    if not isinstance(key, str) or not key or not key.isprintable():
        raise InvalidArguments(f"an object's key is a non-empty string of printable characters: got {key!r}")
    if len(f"{cls.__name__}/{key}".encode()) > OBJECT_ID_BYTES_MAX:
        raise InvalidArguments(f"the object's id is over {OBJECT_ID_BYTES_MAX} bytes: choose a shorter key")


def check_seconds(seconds: object, what: str = "deadline") -> None:
    """Refuse a time for calls that is none.

    Raises:
        InvalidArguments: not a number, or not above 0, or more than the clock can take.
    """
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= SECONDS_MAX:
        raise InvalidArguments(f"{what} is seconds, a number above 0 and up to {SECONDS_MAX:,}: got {seconds!r}")


def methods_of(remote: Remote[Any]) -> list[str]:
    """Names of the queries and updates of the object's class."""
    return [name for name in dir(remote._cls) if kind_of(getattr(remote._cls, name, None)) is not None]


def id_of(remote: Remote[Any]) -> ObjectId:
    """The id of the replicated object."""
    name: ObjectId = remote._objects[0]
    return name


def deadline_of(remote: Remote[Any]) -> float | None:
    """The deadline of its calls in seconds, None for the cluster's."""
    deadline: float | None = remote._deadline_s
    return deadline


def split_arguments(
    title: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Remote[Any], ...], dict[str, Any]]:
    """Tell a function's remote objects, in parameter order, from its plain arguments, by name.

    Raises:
        InvalidArguments: the arguments do not fit the signature, or something else stands where an object belongs.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"{title}: {error}; it takes {signature}") from None
    remotes: list[Remote[Any]] = []
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        annotation = signature.parameters[name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Object)):
            values[name] = value
            continue
        many = value if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else (value,)
        for one in many:
            if not isinstance(one, Remote):
                raise InvalidArguments(
                    f"{title}: {name} must be a remote {annotation.__name__}: get it with cluster.object()"
                )
            remotes.append(one)
    return tuple(remotes), values
