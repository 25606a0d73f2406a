"""What may be an Object, and what is refused when the class is created."""

import abc
import dataclasses
import enum
from collections import deque
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
import pytest

from fivefold.errors import ConfigurationError
from fivefold.objects import Account, Counter, Map, Object, Registry, query, update
from fivefold.objects.model import kind_of


def create(**namespace: Any) -> type:
    """Create an Object class called Sample; annotations are passed as ``__annotations__``."""
    return type(Object)("Sample", (Object,), {"__module__": __name__, **namespace})


def do(self: Object) -> int:
    return 1


def test_fields_are_the_state() -> None:
    """The annotated fields, in order, are what is stored: as an array, without names."""
    assert Registry(Account).types["Account"].encode(Account()) == msgspec.msgpack.encode([0])


def test_methods_run_locally() -> None:
    """A decorated method is still the method: it can be called on a local instance."""
    counter = Counter(value=3)
    assert (counter.increment(by=2), counter.get()) == (5, 5)


def test_kind() -> None:
    """A decorator notes the kind and leaves the function itself in place."""
    assert (kind_of(Counter.get), kind_of(Counter.increment), kind_of(len)) == ("query", "update", None)


def test_mutable_defaults_are_copied() -> None:
    """Every object has its own copy of a mutable default, also of one that is not empty."""
    sample = create(__annotations__={"names": dict[str, list[int]]}, names={"a": [1]})
    one, other = sample(), sample()
    one.names["a"].append(2)
    assert other.names == {"a": [1]}


def test_later_change_of_the_default_changes_nothing() -> None:
    """The default is the one written in the class, whatever happens to that list afterwards."""
    default = [1]
    sample = create(__annotations__={"numbers": list[int]}, numbers=default)
    default.append(2)
    assert sample().numbers == [1]


def test_inheritance() -> None:
    """A subclass has the fields and methods of its base, and its own after them."""

    class Named(Counter):
        name: str = "x"

        @query
        def title(self) -> str:
            return f"{self.name}{self.value}"

    registry = Registry(Named)
    assert registry.types["Named"].encode(Named()) == msgspec.msgpack.encode([0, "x"])
    assert sorted(registry.types["Named"].methods) == ["add", "decrement", "get", "increment", "title"]


def test_class_constants_are_allowed() -> None:
    """A ClassVar that cannot change is a constant, not state."""

    class Limited(Object):
        MAX: ClassVar[int] = 5
        value: int = 0

    assert Registry(Limited).types["Limited"].encode(Limited()) == msgspec.msgpack.encode([0])


@pytest.mark.parametrize(
    ("namespace", "problem"),
    [
        ({"value": 0}, "Sample.value has no type: write 'value: int = …' (or ClassVar)"),
        ({"value": [0]}, "Sample.value has no type"),
        ({"__annotations__": {"value": int}}, "Sample.value has no default"),
        ({"__annotations__": {"a": int, "b": int}, "a": 0}, "give every field a type and a default"),
        ({"__annotations__": {"_value": int}, "_value": 0}, "cannot start with an underscore"),
        ({"_value": 0}, "Sample._value has no type"),
        ({"__annotations__": {"value": int}, "value": "x"}, "its default does not fit its type: expected int, got str"),
        ({"__annotations__": {"value": int}, "value": 2**64}, "its default does not fit its type"),
        ({"__annotations__": {"value": float}, "value": float("nan")}, "NaN"),
        ({"__annotations__": {"value": deque[int]}, "value": None}, "deque is not supported"),
        ({"__annotations__": {"value": complex}, "value": 0j}, "complex is not supported"),
        ({"__annotations__": {"value": bytearray}, "value": bytearray()}, "bytearray is not supported"),
        (
            {"__annotations__": {"value": set[frozenset[int]]}, "value": set()},
            "a set of frozenset cannot be put in order",
        ),
        ({"__annotations__": {"value": set[float]}, "value": set()}, "a set of float cannot be put in order"),
        ({"__annotations__": {"value": set}, "value": set()}, "a set of any cannot be put in order"),
        ({"__annotations__": {"value": set[int | str]}, "value": set()}, "a set of union cannot be put in order"),
        ({"__annotations__": {"value": dict[float, int]}, "value": {}}, "a map with keys of float"),
        ({"__annotations__": {"value": Counter}, "value": Counter()}, "Counter is an Object, which cannot be a value"),
        ({"__annotations__": {"value": list[Counter]}, "value": []}, "Counter is an Object"),
        ({"__annotations__": {"value": ClassVar[list]}, "value": []}, "must be a constant"),
        ({"__annotations__": {"value": object}, "value": None}, "Sample: object is not supported"),
        ({"__annotations__": {"value": int}, "value": lambda self: 0}, "Sample.value is both a field and a method"),
        ({"do": query(do)}, "Sample.do: remote objects have a do(), rename yours"),
        ({"__init__": lambda self: None}, "__init__ cannot be replaced"),
        ({"__setattr__": lambda self, name, value: None}, "__setattr__ cannot be replaced"),
    ],
)
def test_what_cannot_be_state_is_refused(namespace: dict[str, Any], problem: str) -> None:
    """A class that could not be replicated is refused when it is created, with a text that says why."""
    with pytest.raises(ConfigurationError) as caught:
        create(**namespace)
    assert problem in str(caught.value)


def test_class_options_are_refused() -> None:
    """How a state is stored is not for the class to choose."""
    with pytest.raises(ConfigurationError, match="takes no class options but version, remove frozen"):
        type(Object)("Sample", (Object,), {}, frozen=True)


class Tree(msgspec.Struct):
    children: "list[Tree]" = []


class Loose(msgspec.Struct, eq=False):
    value: int = 0


class Odd(msgspec.Struct):  # noqa: PLW1641
    value: int = 0

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Busy(msgspec.Struct):
    value: int = 0

    def __post_init__(self) -> None:
        raise KeyError


class Guess(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> "Guess":
        raise KeyError


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (Tree, "Tree contains itself"),
        (Loose, "Loose must be a Struct with eq=True"),
        (Odd, "no __eq__ of its own"),
        (Busy, "Busy has a __post_init__"),
        (Guess, "Guess has a _missing_"),
    ],
)
def test_structs_that_are_not_canonical_are_refused(declared: type, problem: str) -> None:
    """A nested Struct must be comparable and of bounded depth."""
    with pytest.raises(ConfigurationError, match=problem):
        create(__annotations__={"items": list[declared]}, items=[])  # type: ignore[valid-type]


# --- bases and what hides fields ------------------------------------------------------------------------------------


class Plain:
    """A mix-in that gives its subclasses' instances a __dict__."""

    def note(self, text: str) -> None:
        self.last = text


class Slotted:
    __slots__ = ("last",)


class Annotated:
    __slots__ = ()
    changes: int = 0


class Clean:
    """A mix-in that is fine: methods and constants only."""

    __slots__ = ()
    MOST: ClassVar[int] = 5

    @query
    def most(self) -> int:
        return self.MOST


class Comparing:
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Loud:
    __slots__ = ()
    sound = "WOOF"


class Speaking(Protocol):
    def speak(self) -> str: ...


class Animal(Object):
    sound: str = "?"


@pytest.mark.parametrize(
    ("bases", "namespace", "problem"),
    [
        ((Plain, Object), {}, "Sample: Plain gives objects attributes that are no fields and would be lost"),
        ((Object, Plain), {}, "Sample: Plain gives objects attributes that are no fields and would be lost"),
        ((Animal, Plain), {}, "Sample: Plain gives objects attributes that are no fields and would be lost"),
        ((Slotted, Object), {}, "Sample: Slotted has attributes that are not stored"),
        ((Annotated, Object), {}, "Sample: Annotated.changes would not be stored: derive Annotated from Object"),
        ((Comparing, Object), {}, "Comparing.__eq__ cannot be replaced"),
        ((Object, abc.ABC), {}, "Sample: an abc.ABC or Protocol cannot be a base of an Object"),
        ((Speaking, Object), {}, "Sample: an abc.ABC or Protocol cannot be a base of an Object"),
        ((Loud, Animal), {}, "Sample.sound is a field that another sound hides"),
        ((Animal,), {"sound": "woof"}, "Sample.sound is a field that another sound hides: write 'sound: … = …'"),
        ((Animal,), {"sound": property(lambda self: "x")}, "Sample.sound is a field that another sound hides"),
        ((Animal,), {"sound": do}, "Sample.sound is both a field and a method"),
        (
            (Animal,),
            {"__annotations__": {"sound": ClassVar[str]}, "sound": "x"},
            "Sample.sound is a field that another sound hides",
        ),
    ],
)
def test_definitions_that_cannot_work_are_refused(
    bases: tuple[type, ...], namespace: dict[str, Any], problem: str
) -> None:
    """What would keep state that is not stored, or hide what is, is refused when the class is made, in one sentence."""
    with pytest.raises(ConfigurationError) as caught:
        type(Object)("Sample", bases, {"__module__": __name__, **namespace})
    assert problem in str(caught.value)


def test_a_generic_class_is_refused() -> None:
    """An object's type has one state: what a parameter stands for would be in no id and no fingerprint."""
    with pytest.raises(ConfigurationError, match=r"Box: an Object cannot be generic: declare the types of its fields"):

        class Box(Object, Generic[TypeVar("T")]):
            content: int = 0


def test_bases_that_are_fine() -> None:
    """A mix-in without attributes and another default with its type are no problem."""

    class Dog(Clean, Animal):
        sound: str = "woof"

    assert (Dog().sound, Dog().most()) == ("woof", 5)
    assert "most" in Registry(Dog).types["Dog"].methods


def test_defaults_of_every_kind_are_copied() -> None:
    """No two objects share a default that a method can change, whatever it is made of."""

    @dataclasses.dataclass
    class Note:
        words: list[str] = dataclasses.field(default_factory=list)

    for declared, default in ((Note, Note()), (tuple[Note, int], (Note(), 1)), (dict[str, Note], {"a": Note()})):
        sample = create(__annotations__={"value": declared}, value=default)
        one, other = sample(), sample()
        assert one.value == other.value
        assert one.value is not other.value


def test_forward_references_are_checked_at_registration() -> None:
    """A type that does not exist yet is no error of the class, but of registering it too early."""
    sample = create(__annotations__={"item": "list[Later]"}, item=[])
    with pytest.raises(ConfigurationError, match="Later"):
        Registry(sample)


def test_replacing_a_method_without_marking_it_is_refused() -> None:
    """A subclass cannot silently take a query or update away, nor turn one into the other."""
    with pytest.raises(ConfigurationError, match=r"replaces a update|replaces a query"):
        type(Object)("Sample", (Counter,), {"get": lambda self: 1})
    with pytest.raises(ConfigurationError, match="mark it with @query too"):

        class Wrong(Counter):
            @update
            def get(self) -> int:
                return 1


async def coroutine(counter: Counter) -> None: ...


def generator(counter: Counter) -> Any:
    yield 1


def _hidden(counter: Counter) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (coroutine, "must be a plain function"),
        (generator, "must be a plain function"),
        (_hidden, "_hidden cannot be a query: give it a name that does not start with an underscore"),
        (lambda counter: 1, "does not start with an underscore"),
        (Counter.increment, "is marked twice"),
        (len, "must be put directly on a function"),
        (staticmethod(coroutine), "must be put directly on a function"),
    ],
)
def test_what_cannot_be_a_method_is_refused(function: Any, problem: str) -> None:
    """A server runs plain functions only."""
    with pytest.raises(ConfigurationError, match=problem):
        query(function)


def test_static_methods_are_refused() -> None:
    """A query or update needs its object."""
    with pytest.raises(ConfigurationError, match="a query or update is a plain method"):

        class Wrong(Object):
            @staticmethod
            @query
            def get() -> int:
                return 1


def test_objects_do_not_share_state() -> None:
    """Two instances of a ready-made type with a mutable field do not share it."""
    one = Map()
    one.put("a", 1)
    assert Map().size() == 0


def test_classes_have_no_state() -> None:
    """Setting a class attribute would be state that is lost with the process: it is refused."""
    with pytest.raises(AttributeError, match=r"Counter\.total cannot be set on the class"):
        Counter.total = 1  # type: ignore[attr-defined]
