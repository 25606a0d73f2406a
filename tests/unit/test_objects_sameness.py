"""A value is accepted only if it comes back equal, and stored bytes only if they hold the fields of the class."""

import dataclasses
import datetime as dt
import enum
import math
import re
import typing
import uuid
from collections import Counter as Tally
from collections import OrderedDict, defaultdict, deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fivefold.errors import ConfigurationError, InvalidArguments, ObjectError
from fivefold.objects import Object, Registry, Value, query, update
from fivefold.objects.values import BadType, BadValue, Codec
from fivefold.protocol.operations import FAILED, REFUSED, STOPPED, VALUE, Call, Executed, ObjectId

encode = msgspec.msgpack.encode
T = typing.TypeVar("T")


class Item(msgspec.Struct):
    name: str = ""


class Heavy(Item):
    grams: int = 0


class Page(msgspec.Struct, typing.Generic[T]):
    items: list[T] = []


class Colour(enum.Enum):
    RED = "red"


class Level(enum.StrEnum):
    LOW = "low"


class Rank(enum.IntEnum):
    FIRST = 1


class Names(list[str]):
    """A list that may have attributes."""


class Table(dict[str, int]):
    """A map that may have attributes."""


class Pair(typing.NamedTuple):
    one: int
    two: str = ""


class Options(typing.TypedDict):
    depth: int
    label: typing.NotRequired[str]


@dataclasses.dataclass
class Note:
    text: str = ""
    hidden: str = dataclasses.field(default="", compare=False)


class LongNote(Note):
    """The same fields, another class."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    weights: dict[int, float] = dataclasses.field(default_factory=dict)


def noted(**attributes: Any) -> Note:
    note = Note("x")
    vars(note).update(attributes)
    return note


SOME = uuid.UUID(int=7)
PARIS = dt.timezone(dt.timedelta(hours=2))


# --- what is refused, because it would come back as something else ----------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        (str, SOME, "expected str, got UUID"),
        (str, dt.date(2026, 1, 2), "expected str, got date"),
        (str, dt.timedelta(1), "expected str, got timedelta"),
        (str, Decimal("1.5"), "expected str, got Decimal"),
        (str, Colour.RED, "expected str, got Colour"),
        (int, Colour.RED, "expected int, got str"),
        (bool, 1, "expected bool, got int"),
        (int, True, "expected int, got bool"),
        (int, 1.0, "expected int, got float"),
        (float, 2**53 + 1, "9007199254740993 is no float exactly"),
        (list[float], [1.5, 2**63 + 1], "[…]: the whole number"),
        (float, math.nan, "NaN would not come back equal"),
        (Decimal, Decimal("NaN"), "NaN"),
        (Decimal, Decimal("sNaN"), "NaN"),
        (Decimal, 3, "expected Decimal, got int"),
        (list[str], Names(["a"]), "expected list, got Names"),
        (list[int], (1,), "expected list, got tuple"),
        (list[int], {1}, "expected list, got set"),
        (list[int], deque([1]), "is unsupported"),
        (tuple[int, ...], [1], "expected tuple, got list"),
        (tuple[int, str], Pair(1, "a"), "expected tuple, got Pair"),
        (Pair, (1, "a"), "expected Pair, got tuple"),
        (Pair, Pair(1, SOME), "two: expected str, got UUID"),  # type: ignore[arg-type]
        (set[int], [1], "expected set, got list"),
        (dict[str, int], Table(a=1), "expected dict, got Table"),
        (dict[str, str], {"a": SOME}, "[…]: expected str, got UUID"),
        (dict[str, str], {SOME: "a"}, "str"),
        (dict[str, int], Item("x"), "expected int, got str"),
        (dict[str, str], Item("x"), "expected dict, got Item"),
        (Item, Heavy("anvil", 5000), "expected Item, got Heavy"),
        (list[Item], [Item(), Heavy()], "[…]: expected Item, got Heavy"),
        (dict[str, Item | None], {"a": Heavy()}, "[…]: expected Item or None, got Heavy"),
        (tuple[int, Item], (1, Heavy()), "[1]: expected Item, got Heavy"),
        (Page[Item], Page([Heavy()]), "items[…]: expected Item, got Heavy"),
        (Page[str], Page([SOME]), "items[…]: expected str, got UUID"),
        (Item, Item(SOME), "name: expected str, got UUID"),  # type: ignore[arg-type]
        (Note, LongNote(), "expected Note, got LongNote"),
        (Note, noted(colour="red"), "colour: the attribute is not declared as a field"),
        (Note, noted(hidden=SOME), "hidden: expected str, got UUID"),
        (Options, {"depth": 1, "colour": "red"}, "colour: the key is not declared as a field"),
        (Options, {"depth": 1, "label": SOME}, "label: expected str, got UUID"),
        (dt.datetime, dt.datetime(2026, 1, 2, tzinfo=PARIS), "must be in UTC: write .astimezone(UTC)"),
        (dt.datetime, dt.datetime(2026, 1, 2, fold=1), "the fold"),  # noqa: DTZ001
        (dt.date, dt.datetime(2026, 1, 2), "date"),  # noqa: DTZ001
        (uuid.UUID, str(SOME), "expected UUID, got str"),
        (Value, (1,), "tuple is not a plain value"),
        (Value, [{"a": Names()}], "Names is not a plain value"),
        (Value, Table(a=1), "Table is not a plain value"),
        (Value, {"a": SOME}, "UUID is not a plain value"),
        (Value, Colour.RED, "Colour is not a plain value"),
        (Value, frozenset(), "frozenset is not a plain value"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(declared: Any, value: Any, problem: str) -> None:
    """What the codec would turn into another value is refused, with its place and what was expected there."""
    with pytest.raises(BadValue) as caught:
        Codec(declared).encode(value)
    assert problem in str(caught.value)


def test_attributes_of_a_standard_dictionary() -> None:
    """A dictionary of the standard library is taken for a dict, but not with attributes of its own."""
    tally = Tally("a")
    assert Codec(dict[str, int]).encode(tally) == encode({"a": 1})
    tally.label = "x"  # type: ignore[attr-defined]
    for declared in (dict[str, int], Value):
        with pytest.raises(BadValue, match="Counter"):
            Codec(declared).encode(tally)


def test_a_field_that_was_deleted() -> None:
    """A field that a method deleted is an error of the value, not of the codec."""
    item, note = Item("x"), Note("x")
    del item.name
    with pytest.raises(BadValue, match="unset"):
        Codec(Item).encode(item)
    del note.text  # its default would be read in its place, and nothing stored
    with pytest.raises(BadValue, match="text was deleted"):
        Codec(Note).encode(note)


@pytest.mark.parametrize(
    ("declared", "value", "comes_back"),
    [
        (str, Level.LOW, "low"),
        (int, Rank.FIRST, 1),
        (Value, [Rank.FIRST, {Level.LOW: Level.LOW}], [1, {"low": "low"}]),
        (float, 10**18, 1e18),
        (float, -0.0, -0.0),
        (float, math.inf, math.inf),
        (bytes, bytearray(b"x"), b"x"),
        (bytes, memoryview(b"x"), b"x"),
        (set[int], frozenset([1]), {1}),
        (dict[str, int], OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        (dict[str, int], defaultdict(int, a=1), {"a": 1}),
        (int | float, 2**53 + 1, 2**53 + 1),
    ],
)
def test_what_comes_back_equal_is_accepted(declared: Any, value: Any, comes_back: Any) -> None:
    """Members of an IntEnum or StrEnum, and close kin of the declared type, come back as the declared type, equal."""
    codec = Codec(declared)
    found = codec.decode(codec.encode(value))
    assert (found, type(found)) == (comes_back, type(comes_back))
    assert found == value
    assert repr(found) == repr(comes_back)  # also the sign of a zero


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Page[Item], Page([Item("a")])),
        (Page[int], Page([1])),
        (Page, Page([1, "a", None])),
        (Note, Note("a", "b")),
        (Grid, Grid({2: 1.5, 1: 0.5})),
        (Pair, Pair(1, "a")),
        (Options, {"depth": 1}),
        (list[Options], [{"depth": 1, "label": "x"}, {"depth": 2}]),
        (Decimal, Decimal("-1.500")),
        (Decimal, Decimal("Infinity")),
        (uuid.UUID, SOME),
        (dt.date, dt.date.min),
        (dt.time, dt.time(1, 2, 3, 4)),
        (dt.datetime, dt.datetime.max),  # noqa: DTZ901
        (dt.datetime, dt.datetime.max.replace(tzinfo=dt.UTC)),
        (dt.datetime, dt.datetime.min.replace(tzinfo=dt.UTC)),
        (dt.timedelta, dt.timedelta.min),
        (dt.timedelta, dt.timedelta(days=-3, microseconds=7)),
        (dict[uuid.UUID, Item], {uuid.UUID(int=2): Item(), uuid.UUID(int=1): Item("x")}),
        (dict[Colour, int], {Colour.RED: 1}),
        (dict[dt.date, Pair], {dt.date.max: Pair(1), dt.date.min: Pair(2)}),
        (set[dt.date], {dt.date.max, dt.date.min}),
        (frozenset[uuid.UUID], frozenset([SOME, uuid.UUID(int=1)])),
        (dict[int, Options], {2: {"label": "x", "depth": 1}, 1: {"depth": 3}}),
    ],
)
def test_more_types(declared: Any, value: Any) -> None:
    """Dataclasses, named tuples, typed dictionaries, generic Structs, dates and UUIDs come back as they were."""
    codec = Codec(declared)
    data = codec.encode(value)
    found = codec.decode(data)
    assert (found, type(found)) == (value, type(value))
    assert codec.decode_trusted(data) == value
    assert codec.encode(found) == data
    assert str(found) == str(value) or isinstance(value, (dict, set, frozenset, Grid))


def test_keys_of_new_kinds_are_sorted() -> None:
    """Maps and sets of dates, UUIDs and members of an Enum have equal bytes in whatever order they were built."""

    class Size(enum.Enum):
        SMALL = "s"
        LARGE = "l"

    one, other = {Size.SMALL: 1, Size.LARGE: 2}, {Size.LARGE: 2, Size.SMALL: 1}
    assert Codec(dict[Size, int]).encode(one) == Codec(dict[Size, int]).encode(other) == encode({"l": 2, "s": 1})
    days = [dt.date(2026, 1, day) for day in range(1, 29)]
    assert Codec(set[dt.date]).encode(set(days)) == encode([str(day) for day in days])


# --- types that are refused -------------------------------------------------------------------------------------------


class Plain:
    """A mix-in that gives its subclasses' instances a __dict__."""


class Mixed(Plain, msgspec.Struct):
    size: int = 0


class Open(msgspec.Struct, dict=True):
    size: int = 0


class Hiding(Item):
    name = "woof"


class Unset(msgspec.Struct):
    size: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass
class Busy:
    size: int = 0

    def __post_init__(self) -> None:
        raise KeyError


@dataclasses.dataclass
class Fixed:
    size: int = dataclasses.field(default=3, init=False)


class OddPair(Pair):
    """A named tuple whose instances have a __dict__."""


class Strange(enum.Enum):
    ONE = 1

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = enum.Enum.__hash__


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (Mixed, "Mixed may have attributes that are no fields and would be lost: give Plain `__slots__ = ()`"),
        (Open, "Open may have attributes that are no fields and would be lost: remove dict=True"),
        (Hiding, "Hiding.name is a field that another name hides"),
        (Unset, "Unset has a field that may be UNSET"),
        (Busy, "Busy has a __post_init__"),
        (Fixed, "Fixed.size is a field with init=False"),
        (OddPair, "OddPair is a subclass of a NamedTuple"),
        (Strange, "Strange has an __eq__ of its own"),
        (dict[Decimal, int], "a map with keys of decimal cannot be put in order"),
        (set[dt.datetime], "a set of datetime cannot be put in order"),
        (dict[tuple[int, Colour], int], "tuples with Colour cannot be put in order"),
        (deque[int], "deque is not supported"),
    ],
)
def test_types_that_cannot_keep_their_values_are_refused(declared: Any, problem: str) -> None:
    """A type whose values could hold what is not stored is refused, inside of others as well."""
    for outer in (declared, list[declared], dict[str, declared] | None):  # type: ignore[valid-type]
        with pytest.raises(BadType) as caught:
            Codec(outer)
        assert problem in str(caught.value)


# --- stored fields ----------------------------------------------------------------------------------------------------


class Old(msgspec.Struct):
    owner: str = ""
    size: int = 0


class Row(msgspec.Struct, array_like=True):
    owner: str = ""
    size: int = 0


@dataclasses.dataclass
class Old2:
    owner: str = ""


class Cat(msgspec.Struct, tag=True):
    lives: int = 9


class Dog(msgspec.Struct, tag=True, rename="camel"):
    bark_volume: int = 0


@pytest.mark.parametrize(
    ("declared", "stored", "problem"),
    [
        (Old, {"owner": "a", "size": 1, "colour": "red"}, "unknown field colour"),
        (Old, {"owner": "a"}, "missing required field size"),
        (Old, {"ownr": "a", "size": 1}, "unknown field ownr"),
        (list[Old], [{"owner": "a", "size": 1}, {"owner": "a"}], "[1]: object missing required field size"),
        (dict[int, Old], {3: {"owner": "a"}}, "missing required field size"),
        (Old | None, {"owner": "a"}, "missing required field size"),
        (Row, ["a"], "expected array of at least length 2, got 1"),
        (Row, ["a", 1, 2], "expected array of at most length 2, got 3"),
        (Old2, {}, "missing required field owner"),
        (Old2, {"owner": "", "size": 1}, "unknown field size"),
        (Options, {"depth": 1, "size": 1}, "unknown field size"),
        (Pair, [1], "expected array of length 2"),
        (Page[Old], {"items": [{"owner": ""}]}, "items[0]: object missing required field size"),
        (Cat | Dog, {"type": "Cat", "livs": 1}, "unknown field livs"),
        (Cat | Dog, {"type": "Dog"}, "missing required field barkVolume"),
    ],
)
def test_stored_fields_that_the_class_does_not_have(declared: Any, stored: Any, problem: str) -> None:
    """A field that was removed, added or renamed inside of a value is an error that names it, never a default."""
    codec = Codec(declared)
    for decode in (codec.decode, codec.decode_trusted):
        with pytest.raises(BadValue) as caught:
            decode(encode(stored))
        assert problem in str(caught.value)


@pytest.mark.parametrize("value", [Cat(3), Dog(4)])
def test_fields_under_other_names(value: Any) -> None:
    """Tags and renamed fields are read as they are written."""
    codec = Codec(Cat | Dog)
    assert codec.decode_trusted(codec.encode(value)) == value


# --- the same for objects: state, arguments, answers ------------------------------------------------------------------


class Shelf(Object):
    item: Item = Item()
    by_name: dict[str, Item] = {}  # noqa: RUF012
    text: str = ""

    @update
    def put(self, item: Item) -> None:
        self.by_name[item.name] = item

    @update
    def put_heavy(self) -> None:
        self.item = Heavy("anvil", 5000)

    @update
    def put_heavy_by_name(self) -> None:
        self.by_name["anvil"] = Heavy("anvil", 5000)

    @update
    def name(self, name: uuid.UUID) -> None:
        self.text = name  # type: ignore[assignment]

    @update
    def forget(self) -> None:
        del self.text

    @update
    def make(self) -> Item:
        return Heavy("anvil", 5000)

    @query
    def first(self) -> Item:
        return self.item


SHELF = (ObjectId("Shelf/a"),)
registry = Registry(Shelf)


def run(method: str, *args: Any, state: bytes | None = None, arguments: bytes | None = None) -> Executed:
    sent = registry.encode_arguments(SHELF, method, args) if arguments is None else arguments
    before = registry.initial(SHELF[0]) if state is None else state
    assert before is not None
    return registry.execute(SHELF, Call(b"i" * 16, 0, method, sent), (before,))


@pytest.mark.parametrize(
    ("method", "args", "problem"),
    [
        ("put_heavy", (), "item: expected Item, got Heavy"),
        ("put_heavy_by_name", (), "by_name[…]: expected Item, got Heavy"),
        ("name", (SOME,), "text: expected str, got UUID"),
        ("forget", (), "unset"),
        ("make", (), "its answer does not fit its annotation: expected Item, got Heavy"),
    ],
)
def test_updates_that_would_lose_something_fail(method: str, args: tuple[Any, ...], problem: str) -> None:
    """An update whose state or answer would not come back equal is an ObjectError; nothing is written."""
    executed = run(method, *args)
    assert (executed.answer[:1], executed.states) == (FAILED, None)
    assert problem in executed.answer.decode()


def test_arguments_that_would_lose_something_are_refused() -> None:
    """An argument that would not come back equal is refused before anything is sent."""
    with pytest.raises(InvalidArguments, match=r"Shelf.put: argument item: expected Item, got Heavy"):
        run("put", Heavy("anvil", 5000))


def test_arguments_of_another_version_are_refused() -> None:
    """A server refuses an argument with fields that it does not know, and does not read it as something else."""
    executed = run("put", arguments=encode({"item": {"name": "a", "grams": 1}}))
    assert (executed.answer[:1], executed.states) == (REFUSED, None)
    assert "unknown field grams" in executed.answer.decode()


def test_answers_of_another_version_are_errors() -> None:
    """A client does not read an answer whose fields it does not know as something else."""
    with pytest.raises(ObjectError, match="unknown field grams"):
        registry.decode_answer(SHELF, "first", VALUE + encode({"name": "a", "grams": 1}))


@pytest.mark.parametrize("method", ["first", "make"])
def test_a_state_of_another_version_is_left_alone(method: str) -> None:
    """A renamed field inside a stored state is an ObjectError that names it, for queries and updates alike."""
    executed = run(method, state=encode([{"nam": "anvil"}, {}, ""]))
    assert (executed.answer[:1], executed.states) == (STOPPED, None)
    assert "item: object contains unknown field nam" in executed.answer.decode()


def test_objects_still_gain_fields() -> None:
    """A state written before the class gained its last fields is read with their defaults."""
    executed = run("first", state=encode([{"name": "a"}]))
    assert executed.answer == VALUE + encode({"name": "a"})


def test_a_type_over_several_bases() -> None:
    """What a field of an Object may hold is checked when the class is made, through every container."""
    with pytest.raises(ConfigurationError, match="Open may have attributes"):
        type(Object)("Wrong", (Object,), {"__annotations__": {"tiles": dict[str, list[Open]]}, "tiles": {}})


# --- the page that lists the types ------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs/how-to/own-objects.md"
NAMES = {
    "Decimal": Decimal,
    "UUID": uuid.UUID,
    "date": dt.date,
    "time": dt.time,
    "datetime": dt.datetime,
    "UTC": dt.UTC,
    "timedelta": dt.timedelta,
    "Literal": typing.Literal,
    "Value": Value,
    "Page": Page,
    "Note": Note,
    "Colour": Colour,
    "Point": typing.NamedTuple("Point", [("x", int), ("y", int)]),
}
IN_WORDS = {
    "an `Enum`": Colour,
    "a `msgspec.Struct`, also a generic one": Page[str],
    "a dataclass": Note,
    "a `NamedTuple`": NAMES["Point"],
    "a `TypedDict`": Options,
}


def listed_types() -> list[tuple[str, str]]:
    """The rows of the page's table: a type, and a value of it."""
    table = (
        PAGE.read_text(encoding="utf-8").partition("<!-- read by test_objects_sameness -->\n")[2].partition("\n\n")[0]
    )
    rows = [re.split(r"(?<!\\)\|", line)[1:3] for line in table.splitlines()[2:]]
    return [(name.strip().replace("\\|", "|"), value.strip().strip("`")) for name, value in rows]


@pytest.mark.parametrize(("name", "example"), listed_types())
def test_every_listed_type_may_be_a_field(name: str, example: str) -> None:
    """Each type that the page lists may be a field, and its example comes back equal, of the same class."""
    declared = IN_WORDS.get(name) or eval(name.strip("`"), NAMES)
    value = eval(example, NAMES)
    sample = type(Object)("Sample", (Object,), {"__annotations__": {"field": declared}, "field": value})
    known = Registry(sample).types["Sample"]
    found = known.codec.decode_trusted(known.codec.encode(sample(field=value))).field
    assert (found, type(found)) == (value, type(value))


def test_the_page_lists_types() -> None:
    """The table is there: a changed way of writing it would make the test above pass by finding none."""
    assert len(listed_types()) > 20


@pytest.mark.parametrize(
    ("number", "is_fine"), [(-(2**63) - 1, False), (-(2**63), True), (2**64 - 1, True), (2**64, False)]
)
def test_range_of_whole_numbers(number: int, is_fine: bool) -> None:
    """Whole numbers go as far as the page says."""
    if is_fine:
        assert Codec(int).decode(Codec(int).encode(number)) == number
    else:
        with pytest.raises(BadValue, match=r"below -2\*\*63 or above 2\*\*64 - 1"):
            Codec(int).encode(number)
