"""Properties of the canonical encoding and of execution."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.objects import Value, standard_registry
from fivefold.objects.values import BadValue, Codec
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, VALUE, Call, ObjectId

ROOT = Path(__file__).parents[2]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé", max_size=3), inner, max_size=4)
)
numbers = st.integers(-100, 100)
texts = st.text("abcé", max_size=3)


class Row(msgspec.Struct, frozen=True):
    """Nested containers of every supported kind."""

    by_number: dict[int, set[str]]
    by_pair: dict[tuple[int, str], list[float]]
    by_bytes: dict[bytes, Value]
    frozen: frozenset[tuple[int, ...]] | None


rows = st.builds(
    Row,
    by_number=st.dictionaries(numbers, st.sets(texts, max_size=4), max_size=4),
    by_pair=st.dictionaries(st.tuples(numbers, texts), st.lists(st.floats(allow_nan=False), max_size=2), max_size=4),
    by_bytes=st.dictionaries(st.binary(max_size=2), values, max_size=3),
    frozen=st.none() | st.frozensets(st.lists(numbers, max_size=3).map(tuple), max_size=4),
)


def reversed_maps(value: Any) -> Any:
    """The same value with every map built in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_maps(item) for key, item in reversed(value.items())}
    if isinstance(value, list):
        return [reversed_maps(item) for item in value]
    return value


@given(values)
def test_values_come_back(value: Any) -> None:
    """A plain value comes back equal, and its bytes are those of what came back."""
    codec = Codec(Value)
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert codec.encode(codec.decode(data)) == data


@given(values)
def test_insertion_order_does_not_matter(value: Any) -> None:
    """Maps that were built in another order have the same bytes, at every depth."""
    assert Codec(Value).encode(value) == Codec(Value).encode(reversed_maps(value))


@given(rows)
def test_typed_values_come_back(row: Row) -> None:
    """Maps with keys that are no text, sets and Structs come back equal, with the same bytes."""
    codec = Codec(Row)
    data = codec.encode(row)
    assert codec.decode(data) == row
    assert codec.encode(codec.decode(data)) == data


@given(rows)
def test_typed_maps_are_canonical(row: Row) -> None:
    """The order in which typed maps were built does not show in the bytes."""
    other = Row(
        dict(reversed(row.by_number.items())),
        dict(reversed(row.by_pair.items())),
        reversed_maps(row.by_bytes),
        row.frozen,
    )
    assert Codec(Row).encode(other) == Codec(Row).encode(row)


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """Bytes from a peer either decode to a value or raise BadValue."""
    for declared in (Value, Row, dict[str, int]):
        try:
            Codec(declared).decode(data)
        except BadValue:
            continue


registry = standard_registry()
methods = sorted((name, method) for name, known in registry.types.items() for method in known.methods)


names = ["value", "expected", "key", "by", "amount", "owner", "now_ms", "ttl_ms", "prefix", "limit", "default"]
arguments = st.binary(max_size=40) | st.dictionaries(st.sampled_from(names), values).map(msgspec.msgpack.encode)


@given(st.sampled_from([*methods, *(("Map", name) for name in registry.functions)]), arguments)
def test_execute_never_raises(method: tuple[str, str], arguments: bytes) -> None:
    """Whatever bytes a client sends as arguments, execute answers; and it answers the same again."""
    objects = (ObjectId(f"{method[0]}/a"),)
    states = (registry.initial(objects[0]) or b"",)
    call = Call(b"i" * 16, 0, method[1], arguments)
    executed = registry.execute(objects, call, states)
    assert executed.answer[:1] in (VALUE, REJECTED, FAILED, REFUSED)
    assert registry.execute(objects, call, states) == executed


SCRIPT = """
import hashlib, json, sys
from fivefold.objects import Object, Registry, Value, standard_registry, update
from fivefold.protocol.operations import Call

class Tags(Object):
    tags: set[str] = set()
    by_number: dict[int, list[str]] = {}
    anything: Value = None

    @update
    def tag(self, names: list[str]) -> set[str]:
        self.tags |= set(names)
        self.by_number = {len(name): sorted(self.tags) for name in self.tags}
        self.anything = {name: {name: 1} for name in self.tags}
        if len(names) > 3:
            raise ValueError(object())
        return self.tags

registry = Registry(Tags)
state = registry.initial("Tags/a")
trace = hashlib.sha256()
for names in json.load(sys.stdin):
    call = Call(b"i" * 16, 0, "tag", registry.encode_arguments(("Tags/a",), "tag", (names,)))
    executed = registry.execute(("Tags/a",), call, (state,))
    state = executed.states[0] if executed.states else state
    trace.update(call.arguments + executed.answer + state)
print(trace.hexdigest())
"""


def trace(calls: list[list[str]], hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(calls),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(st.lists(st.text("abcdef", min_size=1, max_size=5), max_size=5), min_size=3, max_size=20))
def test_processes_with_other_hash_seeds_agree(calls: list[list[str]]) -> None:
    """Arguments, answers and states are the same bytes in processes whose sets iterate in different orders."""
    assert len({trace(calls, seed) for seed in ("0", "1", "12345")}) == 1
