"""Remote objects: the methods of an object's class, as coroutines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

from fivefold.errors import InvalidArguments, UnknownMethod
from fivefold.objects import Object, kind_of, readable
from fivefold.protocol.limits import OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import ObjectId

T = TypeVar("T", bound=Object)
P = ParamSpec("P")
R = TypeVar("R")


SECONDS_MAX: Final = 1_000_000_000
"""The longest deadline: some 30 years."""


class Invoker(Protocol):
    """Runs calls for proxies."""

    def invoke(
        self,
        objects: tuple[ObjectId, ...],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline_s: float | None,
        call_id: str | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Check the arguments, run the call within the deadline (None for the usual one), give back its answer."""
        ...

    def new_id_of(self, objects: tuple[ObjectId, ...], method: str) -> str:
        """An id for an update that is to be made."""
        ...


class RemoteMethod(Generic[P, R]):
    """A method of a remote object: ``await hits.increment(by=2)``."""

    def __init__(self, remote: TypedRemote[Any], name: str) -> None:
        """Made by the remote object."""
        self.__name__, self.__doc__ = name, getattr(remote._cls, name).__doc__
        self._remote, self._objects, self._title = remote, remote._objects, f"{remote._cls.__name__}.{name}"
        self._invoke, self._deadline_s = remote._invoker.invoke, remote._deadline_s

    @property
    def __signature__(self) -> inspect.Signature:
        """As the class declares it, without ``self``: for help() and prompts."""
        function = getattr(self._remote._cls, self.__name__)
        try:
            signature = inspect.signature(function, eval_str=True)
        except NameError:  # what it names is for type checkers only
            signature = inspect.signature(function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run it on the servers."""
        call = self._invoke(self._objects, self.__name__, args, kwargs, self._deadline_s)
        call.__qualname__ = self._title  # type: ignore[attr-defined]  # what Python says was never awaited
        return call

    def new_id(self) -> str:
        """An id for one call of this update: keep it, pass it to :meth:`with_id`, and resolve it if need be.

        Make it shortly before the call: it says from when on the object must remember its updates.

        Raises:
            InvalidArguments: it is a query, which changes nothing.
        """
        return self._remote._invoker.new_id_of(self._objects, self.__name__)

    def with_id(self, call_id: str, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run this update under an id that was made for it.

        However often it is run so, it is applied once at most: each time it gives the answer of the first.
        """
        call = self._invoke(self._objects, self.__name__, args, kwargs, self._deadline_s, call_id)
        call.__qualname__ = self._title  # type: ignore[attr-defined]
        return call

    def __repr__(self) -> str:
        """Object, name and signature."""
        return f"<remote {self._objects[0]}.{self.__name__}{readable(str(self.__signature__))}>"


class _Named:
    """Stands for a method in a subclass of Remote; instances have the method itself."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function, self.name = function, function.__name__

    def __get__(self, instance: TypedRemote[Any] | None, owner: type[TypedRemote[Any]]) -> object:
        return self if instance is None else instance._method(self.name)


class TypedRemote(Generic[T]):
    """A replicated object with the methods that a subclass names, so that every checker and editor knows their types.

    ``fivefold stubs MODULE`` prints such subclasses::

        class RemoteCounter(TypedRemote[Counter]):
            increment = remote(Counter.increment)

    Then ``await cluster.object(RemoteCounter, "hits").increment(by=2)`` is an ``int``.
    """

    _invoker: Invoker
    _cls: type[T]
    _key: str
    _deadline_s: float | None
    _objects: tuple[ObjectId]

    def __init_subclass__(cls) -> None:
        """Check the names.

        Raises:
            InvalidArguments: a method under another name, or of another class.
        """
        super().__init_subclass__()
        for name, named in vars(cls).items():
            if isinstance(named, _Named) and (name, named.function) != (named.name, getattr(class_of(cls), name, None)):
                right = f"{named.name} = remote({class_of(cls).__name__}.{named.name})"
                raise InvalidArguments(f"{cls.__name__}.{name}: write '{right}'")

    def __init__(self, invoker: Invoker, cls: type[T], key: str, deadline_s: float | None = None) -> None:
        """Made by ``Cluster.object``.

        Raises:
            InvalidArguments: the key is empty, too long or contains control characters, or the deadline cannot be one.
        """
        _check(cls, key)
        if deadline_s is not None:
            check_seconds(deadline_s)
        objects = (ObjectId(f"{cls.__name__}/{key}"),)
        self.__dict__.update(_invoker=invoker, _cls=cls, _key=key, _deadline_s=deadline_s, _objects=objects)

    if not TYPE_CHECKING:  # to type checkers it would say that any attribute may be set

        def __setattr__(self, name: str, value: object) -> NoReturn:
            """Refuse it: the state is on the servers."""
            raise AttributeError(no_assignment(self._cls, self._objects[0], name))

        def __delattr__(self, name: str) -> NoReturn:
            """Refuse that, too."""
            self.__setattr__(name, None)

        def __getattr__(self, name: str) -> RemoteMethod[..., Any]:
            """A method that the subclass does not name."""
            return self._method(name)

    def __reduce__(self) -> NoReturn:
        """Refuse it: the connection cannot leave its process."""
        raise TypeError(f"{self!r} cannot leave its process: pass the key, and connect there")

    def _method(self, name: str) -> RemoteMethod[..., Any]:
        """A method of the class, to be called on the servers.

        Raises:
            UnknownMethod: the class has no query or update of this name.
        """
        if name.startswith("_"):
            raise AttributeError(name)  # of Python and its tools, which ask for what may not be there
        if kind_of(getattr(self._cls, name, None)) is None:
            methods = ", ".join(methods_of(self)) or "none"
            raise UnknownMethod(f"{self._cls.__name__} has no query or update {name}: it has {methods}")

        call: RemoteMethod[..., Any] = RemoteMethod(self, name)
        self.__dict__[name] = call  # from now on Python finds it without asking here
        return call

    def __dir__(self) -> list[str]:
        """The queries and updates, too."""
        return [*{*super().__dir__(), *methods_of(self)}]

    def do(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run a method given as ``Counter.increment``, with its own types."""
        run: Coroutine[Any, Any, R] = getattr(self, method.__name__)(*args, **kwargs)
        return run

    def with_deadline(self, seconds: float) -> Self:
        """The same object, each of whose calls may take this long."""
        return type(self)(self._invoker, self._cls, self._key, seconds)

    def __repr__(self) -> str:
        """Type and key."""
        return f"{type(self).__name__}({self._cls.__name__}, {self._key!r})"


class Remote(TypedRemote[T]):
    """A replicated object: ``await remote.method(arguments)`` runs a method of its class on the servers.

    It has the queries and updates of its class, and nothing else: its state is on the servers. mypy knows their types
    with the plugin ``fivefold.mypy_plugin``, every checker and editor with a :class:`TypedRemote`.
    """

    def __getattr__(self, name: str) -> RemoteMethod[..., Any]:
        """A method of the class, to be called on the servers.

        Raises:
            UnknownMethod: the class has no query or update of this name.
        """
        return self._method(name)


def remote(method: Callable[Concatenate[Any, P], R]) -> RemoteMethod[P, R]:
    """A query or update, for a subclass of :class:`TypedRemote`, which tells its type to every checker and editor.

    Raises:
        InvalidArguments: it is no query or update, or (when the class is made) not one of the class, of this name.
    """
    if kind_of(method) is None:
        raise InvalidArguments(f"remote() takes a query or update, such as Counter.increment: got {method!r}")
    named: Any = _Named(method)
    answer: RemoteMethod[P, R] = named
    return answer


def class_of(cls: type[Any]) -> type[Object]:
    """The object class of ``TypedRemote[Counter]``'s subclass.

    Raises:
        InvalidArguments: it does not say which.
    """
    for base in cls.__mro__:
        for declared in base.__dict__.get("__orig_bases__", ()):
            found = (*get_args(declared), None)[0]
            if get_origin(declared) in (TypedRemote, Remote) and isinstance(found, type) and issubclass(found, Object):
                return found
    raise InvalidArguments(f"{cls.__name__} does not say whose it is: derive it from TypedRemote[YourClass]")


def no_assignment(cls: type[Object], object_id: ObjectId, name: str) -> str:
    """What to tell a program that sets an attribute of a remote object."""
    updates = [each for each in dir(cls) if kind_of(getattr(cls, each, None)) == "update"]
    what = f"call a method that changes it: {', '.join(updates)}" if updates else "it has no method that changes it"
    return f"{name} cannot be set, the state of {object_id} is on the servers: {what}"


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


def methods_of(remote: TypedRemote[Any]) -> list[str]:
    """Names of the queries and updates of the object's class."""
    return [name for name in dir(remote._cls) if kind_of(getattr(remote._cls, name, None)) is not None]


def id_of(remote: TypedRemote[Any]) -> ObjectId:
    """The id of the replicated object."""
    name: ObjectId = remote._objects[0]
    return name


def deadline_of(remote: TypedRemote[Any]) -> float | None:
    """The deadline of its calls in seconds, None for the cluster's."""
    deadline: float | None = remote._deadline_s
    return deadline


def split_arguments(
    title: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[TypedRemote[Any], ...], dict[str, Any]]:
    """Tell a function's remote objects, in parameter order, from its plain arguments, by name.

    Raises:
        InvalidArguments: the arguments do not fit the signature, or something else stands where an object belongs.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"{title}: {error}; it takes {signature}") from None
    remotes: list[TypedRemote[Any]] = []
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        annotation = signature.parameters[name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Object)):
            values[name] = value
            continue
        many = value if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else (value,)
        for one in many:
            if not isinstance(one, TypedRemote):
                raise InvalidArguments(
                    f"{title}: {name} must be a remote {annotation.__name__}: get it with cluster.object()"
                )
            remotes.append(one)
    return tuple(remotes), values
