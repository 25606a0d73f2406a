"""Items of encoded values: what decoding costs is bounded, whatever the bytes are."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.errors import TooLarge
from fivefold.objects import Map, Object, Registry, query, update
from fivefold.objects.items import has_more_items
from fivefold.protocol.limits import ITEMS_MAX
from fivefold.protocol.operations import REFUSED, VALUE, Call, ObjectId

NAME = ObjectId("Map/x")


def count(value: object) -> int:
    """The same in the most obvious way, of a decoded value."""
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(count(key) + count(item) for key, item in value.items())
    return 1


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(values, st.integers(1, 40))
def test_items_are_counted_as_the_naive_counter_does(value: object, most: int) -> None:
    """Of any value: more than that many, or not."""
    assert has_more_items(msgspec.msgpack.encode(value), most) is (count(value) > most)


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_long_texts_and_bytes_are_one_item(size: int) -> None:
    """Whatever their head looks like, and whatever is in them."""
    extension = msgspec.msgpack.Ext(3, b"\x90" * size)
    for value in ("a" * size, b"\x90" * size, extension):
        assert not has_more_items(msgspec.msgpack.encode([value, value]), 3)
        assert has_more_items(msgspec.msgpack.encode([value, value, 0]), 3)


@given(st.binary(max_size=200), st.integers(1, 40))
def test_bytes_that_are_no_messagepack_are_counted_in_bounded_time(data: bytes, most: int) -> None:
    """Nothing is raised for what a peer sends: decoding refuses it."""
    has_more_items(data, most)


class Box(Object):
    """Holds what it is given."""

    content: list[list[int]] = []  # noqa: RUF012 (each object has its own)

    @update
    def put(self, content: list[list[int]]) -> None:
        """Add it."""
        self.content += content

    @update
    def drop(self) -> None:
        """Throw the half away."""
        del self.content[::2]

    @query
    def size(self) -> int:
        """How many lists it holds."""
        return len(self.content)


BOX = ObjectId("Box/x")


def run(registry: Registry, method: str, state: bytes, arguments: bytes = b"\x80") -> tuple[bytes, bytes | None]:
    done = registry.execute((BOX,), Call(bytes(16), 0, method, arguments), (state,))
    return done.answer, None if done.states is None else done.states[0]


def test_arguments_of_too_many_items_are_refused_before_they_are_decoded() -> None:
    """The client refuses to send them, and a server to look at them; as many as allowed are taken."""
    registry = Registry(Box)
    state = registry.initial(BOX)
    lists = [[]] * (ITEMS_MAX - 3)  # with the map of arguments, the name, and the list itself: as many as allowed
    assert run(registry, "put", state, registry.encode_arguments((BOX,), "put", (lists,)))[1] is not None
    with pytest.raises(TooLarge, match="pass them in several calls"):
        registry.encode_arguments((BOX,), "put", ([[], *lists],))
    answer, made = run(registry, "put", state, msgspec.msgpack.encode({"content": [[], *lists]}))
    assert answer.startswith(REFUSED + b"TooLarge: Box.put: the arguments hold more than")
    assert made is None


def test_a_state_of_too_many_items_is_refused() -> None:
    """An update that would leave one changes nothing and says what to do; queries of it, and smaller ones, go on."""
    registry = Registry(Box)
    half = registry.encode_arguments((BOX,), "put", ([[]] * (ITEMS_MAX // 2),))
    _, state = run(registry, "put", registry.initial(BOX), half)
    answer, made = run(registry, "put", state, half)
    assert answer.startswith(REFUSED + b"TooLarge: Box.put: the new Box would hold more than")
    assert made is None
    assert run(registry, "size", state)[0] == VALUE + msgspec.msgpack.encode(ITEMS_MAX // 2)


def test_a_state_that_is_too_large_already_can_be_read_and_made_smaller() -> None:
    """One that was stored before the limit was: nothing is lost."""
    registry = Registry(Box)
    state = msgspec.msgpack.encode([[[]] * (ITEMS_MAX + 10)])
    assert run(registry, "size", state)[0] == VALUE + msgspec.msgpack.encode(ITEMS_MAX + 10)
    answer, made = run(registry, "drop", state)
    assert (answer[:1], run(registry, "size", made)[0]) == (VALUE, VALUE + msgspec.msgpack.encode(ITEMS_MAX // 2 + 5))


def test_a_hostile_megabyte_takes_no_longer_than_an_honest_one() -> None:
    """Story: a million empty lists in the arguments of one call; decoding them took a quarter of a second."""
    registry = Registry(Map)
    hostile = msgspec.msgpack.encode({"key": "k", "value": [[]] * 1_000_000})
    began = time.thread_time()
    answer = registry.execute((NAME,), Call(bytes(16), 0, "put", hostile), (registry.initial(NAME),)).answer
    assert answer.startswith(REFUSED + b"TooLarge")
    assert time.thread_time() - began < 0.1
