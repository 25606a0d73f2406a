"""The registry: registration, execution as a server does it, arguments and answers as a client sees them."""

import asyncio
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from fivefold.errors import (
    CallerError,
    ConfigurationError,
    InvalidArguments,
    ObjectError,
    Rejected,
    TooLarge,
    UnknownMethod,
    UnknownType,
)
from fivefold.objects import Account, Counter, Map, Object, Overdrawn, Registry, Value, query, standard_registry, update
from fivefold.objects.answers import encode_rejection
from fivefold.protocol.limits import ANSWER_BYTES_MAX, ARGUMENTS_BYTES_MAX, OPERATION_OBJECTS_MAX, STATE_BYTES_MAX
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, STOPPED, VALUE, Call, Executed, ObjectId

encode = msgspec.msgpack.encode


class Refusal(Rejected):
    """Carries more than a text."""

    def __init__(self, needed: int, names: list[str]) -> None:
        super().__init__(f"needs {needed}")
        self.needed = needed
        self.names = names


class Unsendable(Rejected):
    """Its argument is no plain value."""


class Sample(Object):
    """An object that does everything wrong."""

    number: int = 0
    numbers: list[int] = []  # noqa: RUF012
    text: str = ""

    @query
    def peek(self) -> int:
        self.number += 1
        return self.number

    @update
    def fail(self, message: str) -> None:
        self.number = 7
        raise ValueError(message)

    @update
    def refuse(self) -> None:
        self.number = 7
        raise Refusal(3, ["a"])

    @update
    def refuse_badly(self) -> None:
        raise Unsendable(object())

    @update
    def invent(self) -> None:
        self.cache = 1  # type: ignore[attr-defined]

    @update
    def mistype(self) -> None:
        self.numbers.append("x")  # type: ignore[arg-type]

    @update
    def mislead(self) -> int:
        return "x"  # type: ignore[return-value]

    @update
    def leak(self) -> Value:
        return object()  # type: ignore[return-value]

    @update
    def recurse(self) -> None:
        self.recurse()

    @update
    def leave(self) -> None:
        sys.exit(3)

    @update
    def cancel(self) -> None:
        raise asyncio.CancelledError

    @update
    def exhaust(self) -> None:
        raise MemoryError

    @update
    def address(self) -> None:
        raise ValueError(object())

    @update
    def shout(self) -> None:
        raise BadStr

    @update
    def grow(self, size: int) -> None:
        self.text = "x" * size

    @update
    def tell(self, size: int) -> str:
        return "x" * size

    @update
    def collect(self, item: int, into: list[int] = []) -> list[int]:  # noqa: B006 - what the test is about
        into.append(item)
        return into

    @update
    def named(self, first: int, *, second: int = 2, third: int) -> list[int]:
        return [first, second, third]

    @update
    def unannotated(self, value):  # type: ignore[no-untyped-def]
        return value


# A parameter without a type cannot be registered; the tests register the class without it.
unannotated = Sample.__fivefold_methods__.pop("unannotated")


class BadStr(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError


@update
def mixed(amount: int, source: Account, *, target: Account, note: str = "") -> list[Value]:
    """Objects and plain arguments in any order."""
    source.withdraw(amount)
    target.deposit(amount)
    return [amount, note]


@update
def spread(source: Account, amount: int, *targets: Account) -> None:
    """One object, a plain argument, then any number of objects."""
    for target in targets:
        source.withdraw(amount)
        target.deposit(amount)


registry = standard_registry()
registry.register(Sample, mixed, spread)


def ids(*texts: str) -> tuple[ObjectId, ...]:
    return tuple(ObjectId(text) for text in texts)


def run(
    objects: tuple[ObjectId, ...], method: str, *args: Any, states: tuple[bytes, ...] = (), **kwargs: Any
) -> Executed:
    arguments = registry.encode_arguments(objects, method, args, kwargs)
    before = states or tuple(registry.initial(item) or b"" for item in objects)
    return registry.execute(objects, Call(b"i" * 16, 0, method, arguments), before)


def run_bytes(objects: tuple[ObjectId, ...], method: str, arguments: bytes) -> Executed:
    states = tuple(registry.initial(item) or b"" for item in objects)
    return registry.execute(objects, Call(b"i" * 16, 0, method, arguments), states)


def answer(objects: tuple[ObjectId, ...], method: str, *args: Any, **kwargs: Any) -> Any:
    return registry.decode_answer(objects, method, run(objects, method, *args, **kwargs).answer)


SAMPLE = ids("Sample/a")
TWO = ids("Account/a", "Account/b")


# --- registration ---------------------------------------------------------------------------------------------------


def test_initial_state() -> None:
    """An object that nobody has written has no state yet, whatever its code; an unknown type has no objects."""
    assert registry.initial(ObjectId("Counter/a")) == b""
    assert registry.execute(ids("Counter/a"), Call(b"i" * 16, 0, "get", b"\x80"), (b"",)).answer == b"v" + encode(0)
    assert registry.initial(ObjectId("Nothing/a")) is None


@pytest.mark.parametrize(
    ("objects", "method", "expected"),
    [
        (("Counter/a",), "increment", True),
        (("Counter/a",), "get", False),
        (("Counter/a",), "nothing", None),
        (("Counter",), "get", None),
        (("Nothing/a",), "get", None),
        (("Counter/a", "Counter/b"), "get", None),
        (("Account/a", "Account/b"), "transfers.transfer", True),
        (("Account/a", "Account/b"), "transfers.total", False),
        (("Account/a", "Account/a"), "transfers.transfer", None),
        (("Account/a", "Counter/b"), "transfers.transfer", None),
        (("Account/a",), "transfers.transfer", None),
        ((), "transfers.total", None),
        ((), "", None),
    ],
)
def test_is_update(objects: tuple[str, ...], method: str, expected: bool | None) -> None:
    """Whether a call changes anything, None if there is no such call on these objects."""
    assert registry.is_update(ids(*objects), method) is expected


def test_functions_have_dotted_names() -> None:
    """A function can never be taken for a method: its name has a dot."""
    assert all("." in name for name in registry.functions)
    assert "test_objects_registry.mixed" in registry.functions


def test_registering_twice_does_nothing() -> None:
    """The same class again is no duplicate."""
    again = Registry(Sample, Sample)
    again.register(Sample)
    assert list(again.types) == ["Sample"]


def test_ready_made_types_give_way_with_a_word() -> None:
    """Your own Counter replaces the ready-made one, and a warning names both: never in silence."""
    own = type(Object)("Counter", (Object,), {"__module__": __name__, "__annotations__": {"x": str}, "x": ""})
    own_registry = standard_registry()
    with pytest.warns(UserWarning, match=r"your Counter replaces .*fivefold\.objects\.counter\.Counter and tests\."):
        own_registry.register(own)
    assert own_registry.types["Counter"].encode(own()) == encode([""])


def test_a_ready_made_type_does_not_replace_your_own() -> None:
    """Whoever names the ready-made Counter after their own is told that these are two."""
    own = type(Object)("Counter", (Object,), {"__module__": __name__})
    own_registry = Registry(own)
    with pytest.raises(ConfigurationError, match="two different Counter"):
        own_registry.register(Counter)


def test_two_types_of_one_name_are_refused() -> None:
    """Two classes of your own with one name are a mistake, and the text names both in full."""
    other = type(Object)("Sample", (Object,), {"__module__": "shop.models"})
    with pytest.raises(ConfigurationError) as caught:
        Registry(Sample, other)
    both = "tests.unit.test_objects_registry.Sample and shop.models.Sample"
    assert str(caught.value) == f"there are two different Sample, {both}: rename one of them"


def made_in(module: str) -> type[Rejected]:
    """A Rejected class called Taken that is defined in this module."""
    return type("Taken", (Rejected,), {"__module__": module})


def rejection_of(cls: type[Rejected], *known: type[Rejected]) -> BaseException:
    """What a client that knows these classes gets when a server's method raises one."""
    answered = encode_rejection(cls("x"))
    with pytest.raises(Rejected) as caught:
        Registry(Counter, *known).decode_answer(ids("Counter/a"), "get", answered)
    return caught.value


def test_rejections_of_one_name_are_told_apart() -> None:
    """Two Rejected classes of one name in modules of one name come back as what they are."""
    one, other = made_in("shop.errors"), made_in("bank.errors")
    assert [type(rejection_of(cls, one, other)) for cls in (one, other)] == [one, other]


def test_rejections_by_another_path() -> None:
    """A class that the client imports by another path is found by its name, unless two are meant or none."""
    one, other, sent = made_in("shop.errors"), made_in("bank.errors"), made_in("errors")
    assert type(rejection_of(sent, one)) is one
    found = rejection_of(sent, one, other)
    assert (type(found), str(found)) == (Rejected, "errors.Taken: x")


def test_rejections_with_slots() -> None:
    """What a Rejected class keeps in slots travels, too."""

    class Short(Rejected):
        __slots__ = ("missing",)

    short = Short("no")
    short.missing = 3
    with pytest.raises(Short) as caught:
        Registry(Counter, Short).decode_answer(ids("Counter/a"), "get", encode_rejection(short))
    assert (caught.value.missing, str(caught.value)) == (3, "no")


@pytest.mark.parametrize("thing", [3, object, Object, len, lambda: None])
def test_other_things_are_refused(thing: object) -> None:
    """Only Object classes, marked functions, Rejected classes and modules can be registered."""
    with pytest.raises(ConfigurationError, match="is no Object class"):
        Registry(thing)


def test_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module is imported by name, and gives its types, functions and Rejected classes."""
    monkeypatch.delitem(sys.modules, "shop", raising=False)  # other tests have a shop, too
    (tmp_path / "shop.py").write_text(
        "from __future__ import annotations\n"
        "from fivefold import Object, Rejected, update\n"
        "class SoldOut(Rejected): ...\n"
        "class Shop(Object):\n"
        "    stock: int = 0\n"
        "    @update\n"
        "    def sell(self) -> None:\n"
        "        raise SoldOut('nothing left')\n"
        "@update\n"
        "def move(a: Shop, b: Shop) -> None: ...\n"
        "class _Hidden(Object): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = Registry()
    loaded.load("shop")
    assert (list(loaded.types), list(loaded.functions)) == (["Shop"], ["shop.move"])
    call = Call(b"i" * 16, 0, "sell", loaded.encode_arguments(ids("Shop/a"), "sell"))
    executed = loaded.execute(ids("Shop/a"), call, (encode([0]),))
    with pytest.raises(sys.modules["shop"].SoldOut, match="nothing left"):
        loaded.decode_answer(ids("Shop/a"), "sell", executed.answer)


@pytest.mark.parametrize(
    ("module", "problem"), [("no.such", "cannot be imported: ModuleNotFoundError"), ("json", "holds no Object class")]
)
def test_load_refuses(module: str, problem: str) -> None:
    """A module that is missing or has nothing to offer is a mistake in the configuration."""
    with pytest.raises(ConfigurationError, match=problem):
        Registry().load(module)


def one_parameter(annotation: Any, default: Any = None) -> types.FunctionType:
    def sample(account: Account, value: int = default) -> None: ...

    sample.__annotations__["value"] = annotation
    sample.__defaults__ = None if default is None else (default,)
    return update(sample)


@update
def no_object(value: int) -> None: ...


@update
def any_number(account: Account, *values: int) -> None: ...


@update
def any_names(account: Account, **values: int) -> None: ...


@update
def after_many(*accounts: Account, counter: Counter) -> None: ...


@update
def gives_object(account: Account) -> Account:
    return account


@update
def default_object(account: Account = Account()) -> None: ...  # noqa: B008


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_object, "annotate at least one parameter with an Object type"),
        (any_number, "use a list or a dict instead"),
        (any_names, "use a list or a dict instead"),
        (after_many, "must come before"),
        (gives_object, "its answer: Account is an Object"),
        (default_object, "cannot have a default"),
        (one_parameter(complex), "parameter value: complex is not supported"),
        (one_parameter("Missing"), "cannot be resolved"),
        (one_parameter(int, "x"), "the default of value does not fit its type: expected int, got str"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(function: types.FunctionType, problem: str) -> None:
    """What could not be sent or told apart is refused at registration."""
    with pytest.raises(ConfigurationError, match=problem):
        Registry(function)


def test_parameters_need_types() -> None:
    """A parameter without an annotation could be anything."""
    bare = type(Object)("Bare", (Object,), {"__module__": __name__, "unannotated": unannotated})
    with pytest.raises(ConfigurationError, match="parameter value has no type"):
        Registry(bare)


def test_methods_over_other_objects_are_refused() -> None:
    """A second object takes a function: a method has one."""

    class Wrong(Object):
        @update
        def swap(self, other: Account) -> None: ...

    with pytest.raises(ConfigurationError, match="write a function over both objects"):
        Registry(Wrong)


# --- execution ------------------------------------------------------------------------------------------------------


def test_update() -> None:
    """An update answers and leaves a new state; the old bytes are untouched."""
    state = encode([5])
    assert run(ids("Counter/a"), "increment", 2, states=(state,)) == Executed(VALUE + encode(7), (encode([7]),))
    assert state == encode([5])


def test_query_writes_nothing() -> None:
    """What a query does to the state is thrown away."""
    assert run(SAMPLE, "peek") == Executed(VALUE + encode(1), None)


def test_rejection_is_typed() -> None:
    """The caller gets the method's own exception class with its text, arguments and attributes; nothing changes."""
    executed = run(SAMPLE, "refuse")
    assert (executed.answer[:1], executed.states) == (REJECTED, None)
    with pytest.raises(Refusal, match="needs 3") as caught:
        registry.decode_answer(SAMPLE, "refuse", executed.answer)
    assert (caught.value.needed, caught.value.names, caught.value.args) == (3, ["a"], ("needs 3",))


def test_unknown_rejection() -> None:
    """A client that does not know the class still gets a Rejected that names it."""
    with pytest.raises(Rejected, match=r"^tests\.unit\.test_objects_registry\.Refusal: needs 3$") as caught:
        Registry(Counter).decode_answer(SAMPLE, "refuse", run(SAMPLE, "refuse").answer)
    assert type(caught.value) is Rejected


@pytest.mark.parametrize(
    ("method", "args", "text"),
    [
        ("fail", ("no",), "ValueError: no"),
        ("fail", ("at 0x7f00deadbeef!",), "ValueError: at 0x…!"),
        ("fail", ("\x00é",), "ValueError: \x00é"),
        ("fail", ("x" * 1000,), "ValueError: " + "x" * 488),
        ("address", (), "ValueError: <object object at 0x…>"),
        ("refuse_badly", (), "Unsendable cannot be sent to the caller: encoding objects of type object is unsupported"),
        (
            "invent",
            (),
            "AttributeError: 'Sample' object has no attribute 'cache': state is only what the class declares",
        ),
        (
            "mistype",
            (),
            "Sample.mistype: it left a state that does not fit its fields: numbers[0]: expected int, got str",
        ),
        ("mislead", (), "Sample.mislead: its answer does not fit its annotation: expected int, got str"),
        ("leak", (), "Sample.leak: its answer does not fit its annotation: encoding objects of type object"),
        ("leave", (), "SystemExit: 3"),
        ("cancel", (), "CancelledError"),
        ("shout", (), "BadStr"),
    ],
)
def test_failures(method: str, args: tuple[Any, ...], text: str) -> None:
    """Any bug in a method is answered as FAILED with a text that is the same everywhere, and nothing changes."""
    executed = run(SAMPLE, method, *args)
    assert executed.states is None
    assert executed.answer[:1] == FAILED
    assert executed.answer[1:].decode().startswith(text)
    with pytest.raises(ObjectError, match="nothing was changed"):
        registry.decode_answer(SAMPLE, method, executed.answer)


@pytest.mark.parametrize(
    ("method", "text"),
    [("recurse", "RecursionError: the method calls itself too deep"), ("exhaust", "MemoryError")],
)
def test_what_depends_on_the_server_is_told_apart(method: str, text: str) -> None:
    """A lack of memory or stack, which other servers need not share, is STOPPED: it says nothing of the call."""
    executed = run(SAMPLE, method)
    assert (executed.answer, executed.states) == (STOPPED + text.encode(), None)
    with pytest.raises(ObjectError, match="nothing was changed"):
        registry.decode_answer(SAMPLE, method, executed.answer)


@pytest.mark.parametrize(
    ("objects", "method", "arguments", "error", "text"),
    [
        (("Nothing/a",), "get", b"\x80", UnknownType, "there is no object type Nothing"),
        (("Counter",), "get", b"\x80", UnknownType, "there is no object type Counter"),
        (("Counter/a",), "nothing", b"\x80", UnknownMethod, "Counter has no query or update nothing: it has add, "),
        (("Counter/a",), "a.b", b"\x80", UnknownMethod, "there is no function a.b"),
        (("Counter/a",), "__init__", b"\x80", UnknownMethod, "Counter has no query or update __init__"),
        (("Counter/a",), "increment", b"", InvalidArguments, "Counter.increment: argument"),
        (("Counter/a",), "increment", b"\x81\xa2by\xa1x", InvalidArguments, "argument by: expected int, got str"),
        (("Counter/a",), "increment", b"\x81\xa2no\x01", InvalidArguments, "unknown field"),
        (("Counter/a",), "add", b"\x80", InvalidArguments, "missing required field"),
        (("Account/a", "Account/a"), "transfers.transfer", b"\x80", InvalidArguments, "must be another one"),
        (("Account/a",), "transfers.transfer", b"\x80", InvalidArguments, "cannot be called on (Account)"),
        (("Map/a",), "put", b"\x82\xa3key\xa1k\xa5value\xd4\x05\x00", InvalidArguments, "Ext is not a plain value"),
        (
            ("Map/a",),
            "put",
            b"\x82\xa3key\xa1k\xa5value" + b"\x91" * 9999 + b"\x90",
            InvalidArguments,
            "deeper than 64",
        ),
        (("Map/a",), "put", bytes(ARGUMENTS_BYTES_MAX + 1), TooLarge, "the arguments are over"),
    ],
)
def test_refusals(objects: tuple[str, ...], method: str, arguments: bytes, error: type[CallerError], text: str) -> None:
    """A call that a correct client would not have sent is refused by name; it neither runs nor raises."""
    executed = run_bytes(ids(*objects), method, arguments)
    assert (executed.answer[:1], executed.states) == (REFUSED, None)
    with pytest.raises(error) as caught:
        registry.decode_answer(ids(*objects), method, executed.answer)
    assert text in str(caught.value)


def test_state_that_does_not_fit_the_class() -> None:
    """A stored state of another shape cannot be run by this version of the code; another server may have another."""
    executed = run(ids("Counter/a"), "get", states=(encode(["x"]),))
    assert executed.answer == STOPPED + (
        b"Counter.get: the stored state does not fit the class, did its fields change? value: expected int, got str"
    )


def test_fields_may_be_added_at_the_end() -> None:
    """A state written before a field was added is read with the field's default."""
    assert run(SAMPLE, "peek", states=(encode([4]),)).answer == VALUE + encode(5)


def test_state_limit() -> None:
    """A state at the limit is stored, one byte more is refused."""
    fits = STATE_BYTES_MAX - len(encode([0, [], "x" * 2**16])) + 2**16
    assert len(run(SAMPLE, "grow", fits).states[0]) == STATE_BYTES_MAX  # type: ignore[index]
    executed = run(SAMPLE, "grow", fits + 1)
    assert (executed.answer[:1], executed.states) == (REFUSED, None)
    with pytest.raises(TooLarge, match=f"would take {STATE_BYTES_MAX + 1} bytes"):
        registry.decode_answer(SAMPLE, "grow", executed.answer)


def test_answer_limit() -> None:
    """An answer at the limit is sent, tag included, one byte more is refused."""
    fits = ANSWER_BYTES_MAX - 1 - len(encode("x" * 2**16)) + 2**16
    assert len(run(SAMPLE, "tell", fits).answer) == ANSWER_BYTES_MAX
    with pytest.raises(TooLarge, match="the answer takes"):
        answer(SAMPLE, "tell", fits + 1)


def test_mutable_default_of_a_parameter() -> None:
    """A list that is a parameter's default starts empty in every call."""
    assert [answer(SAMPLE, "collect", 1), answer(SAMPLE, "collect", 2)] == [[1], [2]]


def test_keyword_only_parameters() -> None:
    """Keyword-only parameters reach the method by name, their defaults filled in by the server."""
    assert answer(SAMPLE, "named", 1, third=3) == [1, 2, 3]


# --- several objects ------------------------------------------------------------------------------------------------


def test_objects_in_parameter_order() -> None:
    """Objects and plain arguments find their parameters in whatever order these are declared."""
    name = "test_objects_registry.mixed"
    executed = run(TWO, name, amount=5, note="n", states=(encode([7]), encode([1])))
    assert executed == Executed(VALUE + encode([5, "n"]), (encode([2]), encode([6])))


def test_variadic_objects() -> None:
    """``*targets: Account`` takes the rest of the objects, plain arguments before it included."""
    objects = ids("Account/a", "Account/b", "Account/c")
    executed = run(objects, "test_objects_registry.spread", 2, states=(encode([9]), encode([0]), encode([1])))
    assert executed.states == (encode([5]), encode([2]), encode([3]))


def test_all_or_nothing() -> None:
    """A rejection in the middle of a function changes none of the objects."""
    objects = ids("Account/a", "Account/b", "Account/c")
    executed = run(objects, "test_objects_registry.spread", 2, states=(encode([3]), encode([0]), encode([0])))
    assert executed.states is None
    with pytest.raises(Overdrawn, match="the account holds 1, which is less than 2"):
        registry.decode_answer(objects, "test_objects_registry.spread", executed.answer)


@pytest.mark.parametrize(("count", "is_known"), [(OPERATION_OBJECTS_MAX, True), (OPERATION_OBJECTS_MAX + 1, False)])
def test_number_of_objects(count: int, is_known: bool) -> None:
    """Sixteen objects can take part in one call, seventeen cannot."""
    objects = ids(*(f"Account/{index}" for index in range(count)))
    assert (registry.is_update(objects, "transfers.total") is not None) == is_known


def test_bind_splits_objects_from_arguments() -> None:
    """A client's mixed arguments are split into objects in parameter order and plain ones by name."""
    method = registry.function(mixed)
    assert method.bind((5, "A"), {"target": "B"}) == (["A", "B"], {"amount": 5})
    assert registry.function(spread).bind(("A", 5, "B", "C"), {}) == (["A", "B", "C"], {"amount": 5})
    with pytest.raises(InvalidArguments, match="missing a required"):
        method.bind((5,), {})


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "method", "args", "kwargs", "text"),
    [
        (("Counter/a",), "increment", ("x",), {}, "Counter.increment: argument by: expected int, got str"),
        (("Counter/a",), "increment", (1, 2), {}, "got 2 arguments by position: it takes (by: int = 1) -> int"),
        (("Counter/a",), "increment", (1,), {"by": 2}, "argument by is given twice"),
        (("Counter/a",), "increment", (), {"to": 2}, "argument to is unexpected: it takes (by: int = 1) -> int"),
        (("Counter/a",), "add", (), {}, "Counter.add: argument amount is missing: it takes (amount: int) -> None"),
        (("Account/a",), "deposit", (0,), {}, "Account.deposit: argument amount: expected int >= 1"),
        (
            ("Map/a",),
            "put",
            ("k", {"a": [1, object()]}),
            {},
            "Map.put: argument value: encoding objects of type object",
        ),
        (("Map/a",), "put", (1, 2), {}, "Map.put: argument key: expected str, got int"),
    ],
)
def test_wrong_arguments(
    objects: tuple[str, ...], method: str, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    """Wrong arguments are refused before anything is sent, with the argument and what was expected."""
    with pytest.raises(InvalidArguments) as caught:
        registry.encode_arguments(ids(*objects), method, args, kwargs)
    assert text in str(caught.value)


def test_arguments_are_canonical() -> None:
    """By position or by name, in whatever order: the same call has the same bytes, and only what was given is sent."""
    objects = ids("Map/a")
    one = registry.encode_arguments(objects, "put", ("k", {"b": 1, "a": 2}))
    other = registry.encode_arguments(objects, "put", (), {"value": {"a": 2, "b": 1}, "key": "k"})
    assert one == other == b"\x82\xa3key\xa1k\xa5value\x82\xa1a\x02\xa1b\x01"
    assert registry.encode_arguments(ids("Counter/a"), "increment") == b"\x80"


def test_arguments_limit() -> None:
    """Arguments at the limit are sent, one byte more is refused."""
    objects, extra = ids("Register/a"), len(b"\x81\xa5value") + 5
    assert (
        len(registry.encode_arguments(objects, "write", ("x" * (ARGUMENTS_BYTES_MAX - extra),))) == ARGUMENTS_BYTES_MAX
    )
    with pytest.raises(TooLarge, match=f"the arguments take {ARGUMENTS_BYTES_MAX + 1} bytes"):
        registry.encode_arguments(objects, "write", ("x" * (ARGUMENTS_BYTES_MAX - extra + 1),))


def test_answer_of_another_version() -> None:
    """An answer that does not fit the client's annotation says that the versions differ."""
    with pytest.raises(ObjectError, match="do the servers run another version"):
        registry.decode_answer(ids("Counter/a"), "get", VALUE + b"\xa1x")


def test_unreadable_rejection() -> None:
    """A rejection that is not one, as only another version would write it, is still an error."""
    with pytest.raises(ObjectError, match="in a way this version cannot read"):
        registry.decode_answer(SAMPLE, "refuse", REJECTED + b"\x01")


def test_rejections_of_base_classes_are_known() -> None:
    """A subclass in another module brings the Rejected classes of its base's module."""

    class Purse(Account):
        pass

    purse = Registry(Purse)
    call = Call(b"i" * 16, 0, "withdraw", purse.encode_arguments(ids("Purse/a"), "withdraw", (1,)))
    executed = purse.execute(ids("Purse/a"), call, (encode([0]),))
    with pytest.raises(Overdrawn):
        purse.decode_answer(ids("Purse/a"), "withdraw", executed.answer)


def test_unknown_refusal() -> None:
    """A refusal by a name this client does not know is still an error."""
    with pytest.raises(ObjectError, match="KeyboardInterrupt: x"):
        registry.decode_answer(ids("Counter/a"), "get", REFUSED + b"KeyboardInterrupt: x")


def test_map_survives_a_round_trip() -> None:
    """States are canonical: whatever order keys were put in, the bytes are equal."""
    objects = ids("Map/a")
    one = run(objects, "put", "a", 1, states=run(objects, "put", "b", 2).states or ())
    other = run(objects, "put", "b", 2, states=run(objects, "put", "a", 1).states or ())
    assert one.states == other.states == (encode([{"a": 1, "b": 2}]),)
    assert Map(entries={}).size() == 0


def test_a_type_may_keep_its_calls_to_itself() -> None:
    """Servers are told of no query that others might have a right to, and show nobody what was announced."""

    class Bids(Object):
        highest: int = 0
        keeps_calls_private: ClassVar[bool] = True

        @query
        def best(self) -> int:
            return self.highest

        @update
        def bid(self, amount: int) -> None:
            self.highest = max(self.highest, amount)

    private = Registry(Bids, Counter)
    assert private.open_queries(ObjectId("Bids/a")) == ()
    assert private.open_queries(ObjectId("Counter/a")) == ("get",)
    assert private.open_queries(ObjectId("Nothing/a")) == ()
