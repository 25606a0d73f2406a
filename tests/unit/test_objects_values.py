"""The canonical encoding of one declared type."""

import enum
import math
from typing import Annotated, Any, Literal

import msgspec
import pytest

from fivefold.objects.values import VALUE_DEPTH_MAX, BadValue, Codec, is_same_value


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


class Row(msgspec.Struct, array_like=True):
    name: str
    cells: dict[int, set[str]]


class Level(enum.StrEnum):
    LOW = "low"


class Square(msgspec.Struct, tag=True):
    sides: dict[int, int]


class Circle(msgspec.Struct, tag=True):
    radius: int


@pytest.mark.parametrize(
    ("declared", "value", "encoded"),
    [
        (int, 1, b"\x01"),
        (float, 1, b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        (dict[str, int], {"b": 1, "a": 2}, b"\x82\xa1a\x02\xa1b\x01"),
        (dict[int, str], {2: "x", 1: "y"}, b"\x82\x01\xa1y\x02\xa1x"),
        (dict[bytes, int], {b"b": 1, b"a": 2}, b"\x82\xc4\x01a\x02\xc4\x01b\x01"),
        (dict[tuple[int, str], int], {(2, "a"): 1, (1, "b"): 2}, b"\x82\x92\x01\xa1b\x02\x92\x02\xa1a\x01"),
        (set[int], {9, 3, 5}, b"\x93\x03\x05\x09"),
        (list[set[str]], [{"b", "a"}], b"\x91\x92\xa1a\xa1b"),
        (Point, Point(y=2, x=1), b"\x82\xa1x\x01\xa1y\x02"),
        (Row, Row("r", {2: {"b", "a"}, 1: set()}), b"\x92\xa1r\x82\x01\x90\x02\x92\xa1a\xa1b"),
        (Square | Circle, Square({2: 1, 1: 2}), b"\x82\xa4type\xa6Square\xa5sides\x82\x01\x02\x02\x01"),
        (dict[int, Any], {2: {"b": 1, "a": 2}, 1: None}, b"\x82\x01\xc0\x02\x82\xa1a\x02\xa1b\x01"),
        (dict[int, int] | None, None, b"\xc0"),
        (Level, Level.LOW, b"\xa3low"),
        (Literal["a", "b"], "b", b"\xa1b"),
        (object, [1, {"b": 1, "a": None}], b"\x92\x01\x82\xa1a\xc0\xa1b\x01"),
    ],
)
def test_encoding(declared: Any, value: Any, encoded: bytes) -> None:
    """Maps and sets are sorted, at every depth, and the value comes back as it was."""
    codec = Codec(declared)
    assert codec.encode(value) == encoded
    assert codec.decode(encoded) == value
    assert type(codec.decode(encoded)) in (type(value), float)


@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        (int, "1", "expected int, got str"),
        (int, True, "expected int, got bool"),
        (int, 1.0, "expected int, got float"),
        (int, 2**64, "above 2**64 - 1"),
        (str, b"x", "expected str, got bytes"),
        (str, "\ud800", "half of a surrogate pair"),
        (list[int], [1, "x"], "[1]: expected int, got str"),
        (Point, {"x": 1, "y": "2"}, "y: expected int, got str"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "expected int >= 1"),
        (set[int], [2, 1], "would not come back equal"),
        (float, math.nan, "would not come back equal"),
        (list[float], [math.nan], "would not come back equal"),
        (Any, math.nan, "NaN is not allowed"),
        (Any, (1, 2), "would not come back equal"),
        (Any, {1: 2}, "Only dicts with str keys"),
        (Any, msgspec.msgpack.Ext(1, b"x"), "Ext is not a plain value"),
        (Any, object(), "is unsupported"),
        (dict[int, Any], {1: {2: 3}}, "the keys of a map must be str"),
    ],
)
def test_refused_values(declared: Any, value: Any, problem: str) -> None:
    """Nothing is coerced, and what would not come back equal is refused."""
    with pytest.raises(BadValue) as caught:
        Codec(declared).encode(value)
    assert problem.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    ("declared", "data"),
    [
        (int, b""),
        (int, b"\xc1"),
        (int, b"\x01\x01"),
        (Any, b"\xd6\xff\x5e\x0b\xe1\x00"),
        (Any, b"\xd4\x05\x00"),
        (Any, b"\x81\x01\x02"),
        (Any, msgspec.msgpack.encode(math.nan)),
        (float, msgspec.msgpack.encode(math.nan)),
        (Any, b"\x91" * (VALUE_DEPTH_MAX + 1) + b"\x90"),
        (Any, b"\x91" * 100_000 + b"\x90"),
        (str, b"\xa3\xed\xa0\x80"),
    ],
)
def test_refused_bytes(declared: Any, data: bytes) -> None:
    """Bytes that no client of ours writes raise BadValue, never anything else."""
    with pytest.raises(BadValue):
        Codec(declared).decode(data)


@pytest.mark.parametrize(("depth", "is_allowed"), [(VALUE_DEPTH_MAX - 1, True), (VALUE_DEPTH_MAX, True), (65, False)])
def test_depth(depth: int, is_allowed: bool) -> None:
    """A Value may have 64 lists inside each other, and not 65, far from where Python stops."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    codec = Codec(Any)
    if is_allowed:
        assert codec.decode(codec.encode(value)) == value
    else:
        with pytest.raises(BadValue, match="nested deeper than 64"):
            codec.encode(value)


def test_a_list_that_contains_itself() -> None:
    """A cycle is too deep, not a crash."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadValue, match="nested deeper"):
        Codec(Any).encode(value)


def test_negative_zero_is_kept() -> None:
    """−0.0 is a value of its own: it comes back with its sign."""
    codec = Codec(float)
    assert math.copysign(1, codec.decode(codec.encode(-0.0))) == -1


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ([1], [1.0]), (0.0, -0.0), (None, False), ("a", b"a")])
def test_values_of_different_types_are_different(one: Any, other: Any) -> None:
    """Python's ``==`` is looser than the comparison of compare_and_set."""
    assert not is_same_value(one, other)
    assert is_same_value(one, one)


def test_half_a_character_and_numbers_beyond_64_bits_come_with_advice() -> None:
    """What Python's own errors say of them helps nobody."""
    for declared, value in ((str, "a\ud800"), (dict[str, int], {"\udfff": 1}), (object, ["\ud800"])):
        with pytest.raises(BadValue, match=r"half of a surrogate pair, which is no character: use bytes"):
            Codec(declared).encode(value)
    for declared, value in ((int, 2**64), (int, -(2**63) - 1), (list[int], [1, 2**70]), (object, {"a": 2**64})):
        with pytest.raises(BadValue, match=r"below -2\*\*63 or above 2\*\*64 - 1: use a Decimal or a text"):
            Codec(declared).encode(value)
    assert Codec(int).decode(Codec(int).encode(2**64 - 1)) == 2**64 - 1
