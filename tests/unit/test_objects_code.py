"""Which code a class is, and several codes of one type side by side."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fivefold import Counter, Object, Rejected, migrate, query, update
from fivefold.errors import ConfigurationError, UnknownMethod, UnknownType
from fivefold.objects import Adoption, Registry, standard_registry
from fivefold.objects.code import fingerprint
from fivefold.objects.watchdog import TimeLimit
from fivefold.protocol.operations import ADOPT, CODE_BYTES, STOPPED, VALUE, Call, Executor, ObjectId, digest

SOURCE = '''
from enum import Enum
import msgspec
from fivefold import Object, query, update
import helpers_of_code

LIMIT = 5

class Colour(Enum):
    RED = "red"

class Item(msgspec.Struct):
    name: str = "x"

def helper(by: int) -> int:
    return inner(by)

def inner(by: int) -> int:
    return by + LIMIT

class Base(Object):
    n: int = 0

    @query
    def get(self) -> int:
        return self.n

class Tally(Base):
    """What it counts."""

    items: list[Item] = []

    @update
    def add(self, by: int = 1) -> int:
        # how much
        self.n += helper(by) + helpers_of_code.extra()
        return self.n

    @property
    def twice(self) -> int:
        return 2 * self.n
'''
HELPERS = "def extra() -> int:\n    return 0\n"


def load(folder: Path, source: str, name: str = "tally_of_code", helpers: str = HELPERS) -> ModuleType:
    """The source as a module of that name, with its helpers."""
    for each, text in (("helpers_of_code", helpers), (name, source)):
        path = folder / f"{each}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(each, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[each] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def code(folder: Path, source: str = SOURCE, **named: str) -> bytes:
    folder.mkdir(exist_ok=True)
    return fingerprint(load(folder, source, **named).Tally, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# how much", "# how little"),
        ('"""What it counts."""', '"""Something else."""'),
        ("self.n += helper(by)", "self.n  +=  helper( by )"),
    ],
)
def test_words_and_layout_are_no_code(tmp_path: Path, old: str, new: str) -> None:
    """A comment, a docstring or a space more leaves the code the same."""
    assert old in SOURCE
    assert code(tmp_path / "a") == code(tmp_path / "b", SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("by: int = 1", "by: int = 2"),
        ("self.n += helper(by)", "self.n -= helper(by)"),
        ("return inner(by)", "return inner(by) + 1"),
        ("return by + LIMIT", "return by - LIMIT"),
        ("LIMIT = 5", "LIMIT = 6"),
        ("items: list[Item] = []", "items: list[Item] = []\n    more: int = 0"),
        ('name: str = "x"', 'name: str = "y"'),
        ("return self.n\n", "return self.n + 1\n"),
        ("return 2 * self.n", "return 3 * self.n"),
    ],
)
def test_whatever_a_method_reaches_is_code(tmp_path: Path, old: str, new: str) -> None:
    """A field, a default, a base class, a Struct, a helper of a helper, a constant: each changes the code."""
    assert old in SOURCE
    assert code(tmp_path / "a") != code(tmp_path / "b", SOURCE.replace(old, new, 1))


def test_another_module_of_yours_is_code(tmp_path: Path) -> None:
    """What a method calls through a module that it imports."""
    changed = HELPERS.replace("return 0", "return 1")
    assert code(tmp_path / "a") != code(tmp_path / "b", helpers=changed)


def test_the_modules_name_is_no_code(tmp_path: Path) -> None:
    """New code lies in a module of another name until the old one is gone."""
    assert code(tmp_path / "a") == code(tmp_path / "b", name="tally_of_new_code")


def test_a_version_is_code() -> None:
    """Two versions of one text are told apart."""
    assert fingerprint(Counter, 1) != fingerprint(Counter, 2)
    assert len(fingerprint(Counter, 1)) == CODE_BYTES


def test_every_process_finds_the_same_code() -> None:
    """Whatever the seed of its hashes is."""
    program = "from fivefold import *; from fivefold.objects.code import fingerprint as f; print(f(Map, 1).hex())"
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1


def test_without_source_the_compiled_code_counts() -> None:
    """A class made by ``exec`` has no source to read."""
    made = []
    for text in ("return self.n", "return self.n + 1", "return self.n"):
        names: dict[str, object] = {"__name__": "nowhere"}
        source = f"class Tally(Object):\n  n: int = 0\n  @query\n  def get(self) -> int:\n    {text}"
        exec("from fivefold import Object, query\n" + source, names)
        made.append(fingerprint(names["Tally"], 1))
    assert made[0] == made[2] != made[1]


# --- several versions ---------------------------------------------------------------------------------------------


class Names(Object):
    whole: str = ""

    @query
    def get(self) -> str:
        return self.whole

    @update
    def put(self, whole: str) -> None:
        self.whole = whole


def second() -> type[Object]:
    """The second version, which keeps the parts of a name apart."""

    class Names(Object, version=2):
        given: str = ""
        family: str = ""

        @query
        def get(self) -> str:
            return f"{self.family}, {self.given}"

        @update
        def put(self, whole: str) -> None:
            self.given, _, self.family = whole.partition(" ")

        @migrate(from_version=1)
        def split(self, old: tuple[str]) -> None:
            self.given, _, self.family = old[0].partition(" ")

    return Names


ONE = (ObjectId("Names/a"),)


def run(executor: Executor, method: str, states: tuple[bytes, ...] = (b"",), **arguments: object):
    data = Registry(Names).encode_arguments(ONE, method, (), arguments)
    return executor.execute(ONE, Call(b"i" * 16, 0, method, data), states)


def both() -> tuple[Registry, bytes, bytes]:
    """A registry with both versions, and what names each."""
    registry = Registry(Names, second())
    old, new = registry.shelf.types()
    assert (old.version, new.version) == (1, 2)
    return registry, old.code, new.code


def running(registry: Registry, code: bytes) -> Executor:
    found = registry.shelf.running(ONE, code)
    assert not isinstance(found, str), found
    return found


def test_each_call_runs_by_the_code_that_it_names() -> None:
    """Old and new side by side, on states of their own."""
    registry, old, new = both()
    registry.shelf.active = {"Names": 2}
    stored = run(running(registry, old), "put", whole="Ada Lovelace").states
    assert run(running(registry, old), "get", stored).answer == VALUE + b"\xacAda Lovelace"
    assert run(running(registry, new), "get", stored).answer == VALUE + b"\xadLovelace, Ada"


def test_what_the_new_code_has_stored_is_refused_by_the_old() -> None:
    """It names the version; nothing is read as what it is not."""
    registry, old, new = both()
    registry.shelf.active = {"Names": 2}
    stored = run(running(registry, new), "put", whole="Ada Lovelace").states
    assert run(running(registry, new), "get", stored).answer == VALUE + b"\xadLovelace, Ada"
    failed = run(running(registry, old), "get", stored).answer
    assert failed[:1] == STOPPED
    assert b"version 2 of Names has stored it" in failed


def test_new_code_lies_ready_until_it_is_active() -> None:
    """Without a word in the cluster file the lowest version runs."""
    registry, old, new = both()
    running(registry, old)
    declined = registry.shelf.running(ONE, new)
    assert isinstance(declined, str)
    assert declined.startswith("Upgrading: Names 2 is not active")
    registry.shelf.active = {"Names": 2}
    running(registry, new)


@pytest.mark.parametrize("named", [b"", b"x" * 16, b"x" * 15, b"x" * 32])
def test_other_code_is_declined(named: bytes) -> None:
    """No code, code that nobody has, and half a code."""
    declined = Registry(Names).shelf.running(ONE, named)
    assert isinstance(declined, str)
    assert declined.startswith("Upgrading: ")


READY_MADE = {
    # A change of one of these is a new version of the type: servers of two releases must not differ in silence.
    "Account": "aaff67081de0b4211295c90bdef937b7",
    "Counter": "5025e0f80a7c8ab9bc731a1403a1093f",
    "Lock": "20376f1b19e00084fd6a7f42b88d90f2",
    "Map": "dc53499faaf945f99ca9da75b71352c1",
    "Queue": "c86f1e8d310b0fd9f6bad1f4d192d41b",
    "Register": "af1faca46f6dfe99798cdccc5dda96f5",
}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="how Python writes a syntax tree may differ")
def test_ready_made_types_keep_their_code() -> None:
    """Operations on them need not name their code: what it is stands here."""
    assert {each.name: each.code.hex() for each in standard_registry().shelf.held()} == READY_MADE


def test_calls_of_ready_made_types_may_name_no_code() -> None:
    """A type of your own always has to be named, also in the place of a ready-made one."""
    registry = standard_registry()
    assert not isinstance(registry.shelf.running((ObjectId("Counter/a"),), b""), str)
    own = type(Object)("Counter", (Object,), {"__module__": __name__})
    with pytest.warns(UserWarning, match="replaces the ready-made one"):
        registry.register(own)
    assert isinstance(registry.shelf.running((ObjectId("Counter/a"),), b""), str)


def test_code_of_another_type_is_declined() -> None:
    """Code that is held here, but is not that of the object."""
    registry = Registry(Names, Counter)
    declined = registry.shelf.running(ONE, registry.shelf.code_of((ObjectId("Counter/a"),), "get"))
    assert isinstance(declined, str)
    assert declined.startswith("Upgrading: ")


def test_unknown_types_are_declined_as_such() -> None:
    """A server that never heard of the type is not being upgraded."""
    declined = Registry(Counter).shelf.running(ONE, b"x" * 16)
    assert isinstance(declined, str)
    assert declined.startswith("UnknownType: ")


def test_a_call_names_what_is_registered() -> None:
    """The newest version, and for a function its own code too."""
    registry, _, new = both()
    assert registry.shelf.code_of(ONE, "get") == new
    with pytest.raises(UnknownType):
        registry.shelf.code_of((ObjectId("Nothing/a"),), "get")
    with pytest.raises(UnknownMethod):
        registry.shelf.code_of(ONE, "some.function")


@update
def swap(one: Names, two: Names) -> None:
    """Exchange two names."""
    one.whole, two.whole = two.whole, one.whole


def test_a_function_names_its_types_too() -> None:
    """The function's code alone, or with another type's, is declined."""
    registry = Registry(Names, Counter, swap)
    objects = (ObjectId("Names/a"), ObjectId("Names/b"))
    name = "test_objects_code.swap"
    name = next(each for each in registry.functions if each.endswith("swap"))
    named = registry.shelf.code_of(objects, name)
    found = registry.shelf.running(objects, named)
    assert not isinstance(found, str)
    assert found.is_update(objects, name)
    assert isinstance(registry.shelf.running(objects, named[:16]), str)
    counters = registry.shelf.code_of((ObjectId("Counter/a"),), "get")
    assert isinstance(registry.shelf.running(objects, named[:16] + counters), str)


def test_two_functions_of_one_text_are_two(tmp_path: Path) -> None:
    """In two modules: each is found under its own name."""
    text = "from fivefold import Counter, update\n\n@update\ndef swap(one: Counter, two: Counter) -> None:\n    pass\n"
    modules = [load(tmp_path, text, name=name) for name in ("left_of_code", "right_of_code")]
    registry = Registry(Counter, *[each.swap for each in modules])
    objects = (ObjectId("Counter/a"), ObjectId("Counter/b"))
    for name in ("left_of_code.swap", "right_of_code.swap"):
        found = registry.shelf.running(objects, registry.shelf.code_of(objects, name))
        assert not isinstance(found, str)
        assert found.is_update(objects, name)


# --- migrations -----------------------------------------------------------------------------------------------------


def test_added_fields_need_no_migration() -> None:
    """Fields with defaults at the end read as the defaults."""

    class Names(Object, version=2):
        whole: str = ""
        title: str = "none"

        @query
        def get(self) -> str:
            return f"{self.title} {self.whole}"

    registry = Registry(Names)
    old = run(Registry(globals()["Names"]), "put", whole="Ada").states
    assert run(running_of(registry), "get", old).answer == VALUE + b"\xa8none Ada"


def running_of(registry: Registry) -> Executor:
    registry.shelf.active = {"Names": 9}
    return running(registry, registry.shelf.code_of(ONE, "get"))


def test_an_old_class_may_say_what_the_old_state_was() -> None:
    """The annotation of a migration's parameter: the class as it was, under another name."""

    class Newer(Object, version=3):
        letters: int = 0

        @query
        def get(self) -> int:
            return self.letters

        @migrate(from_version=1)
        def count(self, old: Names) -> None:
            self.letters = len(old.whole)

    old = run(Registry(Names), "put", whole="Ada").states
    assert Registry(Newer).types["Newer"].decode(old[0]).letters == 3


def failing(*, by: object) -> Registry:
    """A second version whose migration does the wrong thing."""

    class Names(Object, version=2):
        letters: int = 0

        @query
        def get(self) -> int:
            return self.letters

        @update
        def add(self) -> int:
            self.letters += 1
            return self.letters

        @migrate(from_version=1)
        def split(self, old: tuple[str]) -> None:
            if callable(by):
                by()
            self.letters = by

    registry = Registry(Names, limit=TimeLimit(100))
    registry.shelf.active = {"Names": 2}
    return registry


class Odd(BaseException):
    pass


def raising(error: BaseException):
    def go() -> None:
        raise error

    return go


def adoption(state: bytes) -> bytes:
    return msgspec.msgpack.encode(Adoption(state, (digest(b""),)))


def endless() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("by", "text"),
    [
        (raising(ValueError("odd")), "ValueError: odd"),
        (raising(Rejected("no")), "no"),
        (raising(Odd()), "Odd"),
        (raising(SystemExit(3)), "SystemExit"),
        (endless, "ran longer than 100 ms"),
        ("text", "int"),
    ],
)
@pytest.mark.parametrize("method", ["get", "add"])
def test_a_migration_that_fails_ends_its_call_alone(by: object, text: str, method: str) -> None:
    """It raises anything, does not end, or leaves what does not fit: for queries and updates; nothing is stored."""
    registry = failing(by=by)
    old = run(Registry(Names), "put", whole="Ada").states
    call = Call(b"i" * 16, 0, method, b"\x80")
    executed = running(registry, registry.shelf.code_of(ONE, method)).execute(ONE, call, old)
    assert executed.answer[:1] == STOPPED
    assert b"its migration split failed: " in executed.answer
    assert text.encode() in executed.answer
    assert executed.states is None
    adopted = registry.execute(ONE, Call(b"i" * 16, 0, ADOPT, adoption(old[0])), (b"",))
    assert adopted.states is None


def test_a_query_stores_no_migrated_state() -> None:
    """Only an update does."""
    registry = failing(by=3)
    old = run(Registry(Names), "put", whole="Ada").states
    code = registry.shelf.code_of(ONE, "get")
    found = running(registry, code).execute(ONE, Call(b"i" * 16, 0, "get", b"\x80"), old)
    assert (found.answer, found.states) == (VALUE + b"\x03", None)
    found = running(registry, code).execute(ONE, Call(b"i" * 16, 0, "add", b"\x80"), old)
    assert found.states == (b"\xc1\x00\x00\x00\x02\x91\x04",)


def test_a_state_to_adopt_is_bounded() -> None:
    """By what an update may leave."""
    many = b"\x91\xdd" + (2**20).to_bytes(4, "big") + b"\x01" * 2**20
    executed = Registry(Names).execute(ONE, Call(b"i" * 16, 0, ADOPT, adoption(many)), (b"",))
    assert executed.answer.startswith(b"xTooLarge: ")


@pytest.mark.parametrize("version", [0, -1, 2**31, True, "2"])
def test_versions_are_whole_numbers(version: object) -> None:
    """From 1 to 2^31 - 1."""
    with pytest.raises(ConfigurationError, match="whole number"):
        type(Object)("Bad", (Object,), {}, version=version)
    if version != 2**31:
        with pytest.raises(ConfigurationError, match="whole number"):
            migrate(from_version=version)


def test_migrations_that_cannot_be_are_refused() -> None:
    """Twice from one version, from the class's own, without the old state, or without its type."""

    def first(self: object, old: tuple[str]) -> None: ...
    def again(self: object, old: tuple[str]) -> None: ...
    def alone(self: object) -> None: ...
    def bare(self: object, old) -> None: ...

    one = migrate(from_version=1)
    two = {"__module__": __name__, "first": one(first), "again": one(again)}
    with pytest.raises(ConfigurationError, match="migrates twice from version 1"):
        type(Object)("Bad", (Object,), two, version=2)
    with pytest.raises(ConfigurationError, match="which the class itself is"):
        type(Object)("Bad", (Object,), {"first": first}, version=1)
    with pytest.raises(ConfigurationError, match="the old state"):
        type(Object)("Bad", (Object,), {"alone": one(alone)}, version=2)
    with pytest.raises(ConfigurationError, match="annotate old"):
        Registry(type(Object)("Bad", (Object,), {"bare": one(bare)}, version=2))
