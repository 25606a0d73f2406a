"""Single objects as JSON: what is exported comes back as it was, and nothing is overwritten unless asked."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold import (
    Counter,
    InvalidArguments,
    Map,
    NonDeterministicObject,
    Object,
    Register,
    UnknownType,
    Value,
    query,
    update,
)
from fivefold.api import Imported, export_object, import_object
from fivefold.cli.export import _documents
from fivefold.objects import Registry, standard_registry, state_from_json, state_to_json
from fivefold.protocol.operations import ObjectId
from fivefold.testing import local_cluster
from tests.unit.test_rescue import Loose, diverged

HITS = '{"fivefold": 1, "object": "Counter/hits", "version": 1, "state": {"value": 5}}'


class Rich(Object):
    """A field of each kind that JSON lacks."""

    by_number: dict[int, str] = {}  # noqa: RUF012 - each object gets its own
    tags: set[str] = set()  # noqa: RUF012
    blob: bytes = b""
    pair: tuple[int, bool] = (0, False)
    ratio: float = 0.0
    anything: Value = None

    @query
    def get(self) -> int:
        return len(self.tags)

    @update
    def fill(self, anything: Value, ratio: float) -> None:
        self.by_number, self.tags, self.blob = {7: "seven", -1: "x"}, {"b", "a"}, b"\x00\xff"
        self.pair, self.anything, self.ratio = (3, True), anything, ratio


class Newer(Object, version=2):
    """Of a second version."""

    value: int = 0

    @query
    def get(self) -> int:
        return self.value


def rich_state(anything: object, ratio: float) -> tuple[Registry, bytes]:
    registry = Registry(Rich)
    rich = Rich()
    rich.fill(anything, ratio)
    return registry, registry.types["Rich"].encode(rich)


def test_fields_are_shown_by_name() -> None:
    """People can read and edit the JSON of an object."""
    registry, state = rich_state({"a": [1, None]}, 0.5)
    shown = json.loads(state_to_json(registry, ObjectId("Rich/a"), state))
    assert shown["state"]["tags"] == ["a", "b"]
    assert shown["state"]["pair"] == [3, True]
    assert shown["state"]["by_number"] == {"7": "seven", "-1": "x"}
    assert "bytes" not in shown


@pytest.mark.parametrize(
    ("anything", "ratio"), [(None, 1.5), ({"a": [1, 2.0]}, -0.0), (b"raw", 1.0), (1, float("inf")), ([b""], 2.0)]
)
def test_what_is_exported_comes_back(anything: object, ratio: float) -> None:
    """Also what JSON has no form for: it is exported as bytes."""
    registry, state = rich_state(anything, ratio)
    text = state_to_json(registry, ObjectId("Rich/a"), state)
    assert state_from_json(registry, text) == ("Rich/a", state)
    is_plain = ratio != float("inf") and not (isinstance(anything, (bytes, list)))
    assert ("state" in json.loads(text)) is is_plain


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_like)
def test_any_value_comes_back(value: object) -> None:
    """An object that holds whatever a Value can be is the same after export and import."""
    registry = standard_registry()
    known = registry.types["Map"]
    state = known.encode(msgspec.convert([{"a": value}], Map))
    text = state_to_json(registry, ObjectId("Map/m"), state)
    assert text.isascii()
    assert text.isprintable()
    assert state_from_json(registry, text) == ("Map/m", state)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no exported object"),
        ("[" * 5000, "no exported object"),
        ('{"fivefold": 2, "object": "Counter/a", "version": 1, "state": {}}', "no exported object"),
        ('{"fivefold": 1, "object": "Counter/a", "version": 1, "stat": {}}', "no exported object"),
        ('{"fivefold": 1, "object": "Counter/a", "version": 1}', 'either "state" or "bytes"'),
        (HITS[:-1] + ', "bytes": "kQU="}', 'either "state" or "bytes"'),
        (HITS.replace("value", "valu"), "has no field 'valu', it has value"),
        (HITS.replace('"value": 5', ""), "the field 'value' is missing"),
        (HITS.replace("5", '"five"'), "expected int"),
        (HITS.replace('"state": {"value": 5}', '"bytes": "wQ=="'), "no state of Counter/hits"),
        (HITS.replace('"version": 1', '"version": 2'), "exported from version 2 of Counter, and this is version 1"),
        (HITS.replace("hits", "h" * 300), "at most 256 bytes"),
    ],
)
def test_what_is_no_object_is_refused(text: str, says: str) -> None:
    """Each with one sentence that says what is wrong."""
    with pytest.raises(InvalidArguments, match=says) as caught:
        state_from_json(standard_registry(), text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Nobody/a", "Counter", ""])
def test_an_unknown_type_is_named(name: str) -> None:
    """Without its class a state cannot be read."""
    with pytest.raises(UnknownType, match="--objects"):
        state_from_json(standard_registry(), HITS.replace("Counter/hits", name))


def test_a_later_version_has_its_number() -> None:
    """The version stands in the JSON, and the stored state has its tag."""
    registry = Registry(Newer)
    state = registry.types["Newer"].encode(Newer(4))
    text = state_to_json(registry, ObjectId("Newer/a"), state)
    assert json.loads(text)["version"] == 2
    assert state_from_json(registry, text) == ("Newer/a", state)


@pytest.mark.parametrize(
    "text", [HITS + "\n" + HITS, json.dumps(json.loads(HITS), indent=2) + HITS, f"\n {HITS}\t{HITS}\n"]
)
def test_a_file_holds_one_object_after_the_other(text: str) -> None:
    """One a line, or as an editor has formatted them."""
    assert [json.loads(each) for each in _documents(text)] == [json.loads(HITS)] * 2


def test_a_file_that_breaks_off_is_refused() -> None:
    """The message names the line where the broken object begins."""
    with pytest.raises(InvalidArguments, match="line 2 is no JSON"):
        list(_documents(HITS + "\n" + HITS[:-9]))
    with pytest.raises(InvalidArguments, match="line 1 is no JSON"):
        list(_documents("[" * 100_000))


async def test_an_object_moves_from_one_cluster_to_another() -> None:
    """Export here, import there: the methods see the same object."""
    async with local_cluster() as here, local_cluster() as there:
        await here.object(Map, "m").put("a", {"rgb": [1, 2, 3], "raw": b"x"})
        text = await export_object(here.cluster, "Map/m")
        assert await import_object(there.cluster, text) == ("Map/m", Imported.WRITTEN)
        assert await there.object(Map, "m").get("a") == {"rgb": [1, 2, 3], "raw": b"x"}
        assert await import_object(there.cluster, text) == ("Map/m", Imported.UNCHANGED)


async def test_an_object_that_exists_is_left_as_it_is() -> None:
    """Unless the caller says to overwrite it."""
    async with local_cluster() as cluster:
        register = cluster.object(Register, "r")
        await register.write("old")
        text = (await export_object(cluster.cluster, "Register/r")).replace('"old"', '"new"')
        with pytest.raises(InvalidArguments, match="has been written already"):
            await import_object(cluster.cluster, text)
        assert await register.read() == "old"
        assert await import_object(cluster.cluster, text, overwrites=True) == ("Register/r", Imported.WRITTEN)
        assert await register.read() == "new"


async def test_what_was_never_written_is_not_exported() -> None:
    """A misspelt id gives no empty object."""
    async with local_cluster() as cluster:
        with pytest.raises(InvalidArguments, match="never been written"):
            await export_object(cluster.cluster, "Counter/nobody")
        with pytest.raises(UnknownType):
            await export_object(cluster.cluster, "Nothing/a")


async def test_a_diverged_object_is_not_exported() -> None:
    """Nobody can say which of its states is right; the message says what to run."""
    async with local_cluster(Loose) as cluster:
        await diverged(cluster, [7, 7, 7, 1, 2])
        with pytest.raises(NonDeterministicObject, match="fivefold rescue Loose/a"):
            await export_object(cluster.cluster, "Loose/a")


async def test_an_update_meanwhile_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that changes between look and write keeps its new state."""
    async with local_cluster() as cluster:
        counter = cluster.object(Counter, "hits")
        await counter.increment(1)
        from fivefold.api import exporting

        show = exporting.show_state

        async def shown_then_changed(*arguments):
            found = await show(*arguments)
            await counter.increment(1)
            return found

        monkeypatch.setattr(exporting, "show_state", shown_then_changed)
        with pytest.raises(InvalidArguments, match="has changed since"):
            await import_object(cluster.cluster, HITS, overwrites=True)
        assert await counter.get() == 2
