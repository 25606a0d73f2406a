"""What the codec accepts comes back as it was: checked by a naive twin that compares two values part by part."""

import collections
import dataclasses
import datetime as dt
import enum
import typing
import uuid
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fivefold.objects import Value
from fivefold.objects.values import BadValue, Codec


class Item(msgspec.Struct):
    name: Any = ""


class Text(msgspec.Struct):
    name: str = ""


class Heavy(Text):
    grams: int = 0


class Colour(enum.Enum):
    RED = "a"


class Level(enum.StrEnum):
    LOW = "a"


class Rank(enum.IntEnum):
    FIRST = 1


class Names(list):  # type: ignore[type-arg]
    """A list with attributes."""


class Pair(typing.NamedTuple):
    one: Any = 0
    two: Any = ""


@dataclasses.dataclass
class Note:
    text: Any = ""
    hidden: str = dataclasses.field(default="", compare=False)


class Options(typing.TypedDict, total=False):
    depth: int
    label: str


def noted(note: Note, name: str) -> Note:
    vars(note)[name] = 1
    return note


leaves = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2**53 + 1, 1.0, 0.5, -0.0, float("inf"), float("nan"), "", "a", "1", b"a"),
        *(bytearray(b"a"), memoryview(b"a"), Colour.RED, Level.LOW, Rank.FIRST, uuid.UUID(int=1), Decimal("1.0")),
        *(Decimal("NaN"), dt.date(2026, 1, 1), dt.timedelta(1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        *(dt.datetime(2026, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.time(1), Text("a"), Heavy("a")),
        *(collections.Counter("a"), collections.OrderedDict(a=1), collections.deque([1])),
    ]
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["a", "name", "text", "depth", "label", 1, True, Level.LOW, b"a", uuid.UUID(int=1)])
    lists = st.lists(inner, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(Names),
        st.dictionaries(keys, inner, max_size=3),
        st.sets(st.sampled_from([1, 2, "a", Rank.FIRST, Level.LOW]), max_size=2),
        st.frozensets(st.sampled_from([1, "a", (1, "a")]), max_size=2),
        st.builds(Item, inner),
        st.builds(Text, inner),
        st.builds(Pair, inner, inner),
        st.builds(Note, inner, inner),
        st.builds(noted, st.builds(Note), st.sampled_from(["text", "more"])),
    )


things = st.recursive(leaves, containers, max_leaves=6)
DECLARED: list[Any] = [
    *(int, float, str, bytes, bool, None, Decimal, uuid.UUID, dt.date, dt.datetime, dt.time, dt.timedelta, Value),
    *(Colour, Level, Rank, Literal["a", "b"], Literal[1], int | float, int | str | None, float | None),
    *(list[int], list[str], list[float], list[Value], tuple[int, str], tuple[str, ...], set[int], frozenset[str]),
    *(dict[str, int], dict[str, str], dict[str, Value], dict[int, str], dict[uuid.UUID, Value], dict[bytes, float]),
    *(Item, Text, Heavy, Pair, Note, Options, list[Text], list[Text] | None, dict[str, Text | None], list[Note]),
    *(tuple[Text, Pair], list[list[str]], dict[str, list[float]], list[Options], list[Colour], list[dt.datetime]),
]
CODECS = [(declared, Codec(declared)) for declared in DECLARED]
KIN: dict[type, tuple[type, ...]] = {
    bytes: (bytearray, memoryview),
    float: (int,),
    set: (frozenset,),
    frozenset: (set,),
    dict: (collections.Counter, collections.OrderedDict, collections.defaultdict),
}


def is_same(fresh: Any, value: Any) -> bool:
    """The naive twin: of one kind (or close kin, or a member that equals it) and the same in every part."""
    kind, given_kind = type(fresh), type(value)
    if kind is not given_kind:
        is_member = isinstance(value, enum.Enum) and isinstance(value, (int, str)) and kind in (int, str, float)
        return (given_kind in KIN.get(kind, ()) or is_member) and bool(fresh == value) and not odd_attributes(value)
    if isinstance(value, (list, tuple)):
        return len(fresh) == len(value) and all(map(is_same, fresh, value))
    if isinstance(value, dict):
        return len(fresh) == len(value) and all(key in fresh and is_same(fresh[key], value[key]) for key in value)
    if isinstance(value, msgspec.Struct):
        return all(is_same(getattr(fresh, name), getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, Note):
        return is_same(vars(fresh), vars(value))
    is_written_alike = isinstance(value, (set, frozenset)) or repr(fresh) == repr(value)
    return bool(fresh == value) and is_written_alike


def odd_attributes(value: Any) -> bool:
    return not isinstance(value, enum.Enum) and bool(getattr(value, "__dict__", None))


@given(st.sampled_from(range(len(CODECS))), things)
def test_what_is_accepted_comes_back_as_it_was(at: int, value: Any) -> None:
    """Whatever is given for whatever type: it is refused, or it comes back the same in every part, with equal bytes."""
    declared, codec = CODECS[at]
    try:
        data = codec.encode(value)
    except BadValue:
        return
    for decode in (codec.decode, codec.decode_trusted):
        fresh = decode(data)
        assert is_same(fresh, value), (declared, value, fresh)
        assert codec.encode(fresh) == data


@given(things)
def test_nothing_else_is_raised(value: Any) -> None:
    """Encoding raises BadValue and nothing else, so that a method's odd state can never end a server."""
    for _, codec in CODECS:
        with suppress(BadValue):
            codec.encode(value)
