"""What the words of ``fivefold call`` mean."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from fivefold.cli.words import CallWords, Reference, parse_call, parse_value
from fivefold.errors import InvalidArguments, UnknownMethod, UnknownType
from fivefold.objects import Account, Counter, Lease, Map
from fivefold.objects.standard import standard_registry

REGISTRY = standard_registry()


def meant(text: str) -> CallWords:
    return parse_call(REGISTRY, text.split())


@pytest.mark.parametrize("words", ["Counter hits increment 5", "Counter/hits increment 5"])
def test_a_method_of_one_object(words: str) -> None:
    """TYPE KEY METHOD and TYPE/KEY METHOD are the same."""
    call = meant(words)
    assert call.target == Reference(Counter, "hits")
    assert (call.method.name, call.args, call.kwargs) == ("increment", (5,), {})


def test_a_key_may_contain_slashes() -> None:
    """Only the first slash separates type and key."""
    assert meant("Map/a/b size").target == Reference(Map, "a/b")


def test_arguments_by_name() -> None:
    """name=VALUE gives the argument of that name."""
    assert meant("Map m put value=1 key=k").args == ("k", 1)


def test_text_with_an_equals_sign_is_no_name() -> None:
    """A word whose part before = is no parameter is a value as a whole."""
    assert meant("Map m put k a=b").args == ("k", "a=b")


def test_a_misspelt_name_is_said_to_be_one() -> None:
    """Where no text belongs, name=VALUE with a name that no parameter has is a slip and not a value."""
    with pytest.raises(InvalidArguments, match=r"increment has no parameter wrong: it takes \(by: int = 1\) -> int"):
        meant("Counter hits increment wrong=2")


@pytest.mark.parametrize("name", ["transfer", "transfers.transfer"])
@pytest.mark.parametrize("objects", ["alice bob", "Account/alice Account/bob", "alice Account/bob"])
@pytest.mark.parametrize("amount", ["5", "amount=5"])
def test_a_function_over_several_objects(name: str, objects: str, amount: str) -> None:
    """A function's objects are named by key, or by type and key."""
    call = meant(f"{name} {objects} {amount}")
    assert call.target is None
    assert call.args == (Reference(Account, "alice"), Reference(Account, "bob"), 5)


def test_any_number_of_objects() -> None:
    """A variadic function takes all the words that are left."""
    assert meant("total a b c").args == tuple(Reference(Account, key) for key in "abc")


def test_an_object_of_the_wrong_type_is_refused() -> None:
    """A counter is no account."""
    with pytest.raises(InvalidArguments, match="Counter/a is no Account"):
        meant("transfer Counter/a b 5")


@pytest.mark.parametrize("words", ["Nope k get", "Nope/k get", "nope a b", "transfer Nope/a b 5"])
def test_unknown_names_are_told_what_is_known(words: str) -> None:
    """Who names what is not there is told what is, and how to add more."""
    with pytest.raises(UnknownType, match=r"known: Account, Counter"):
        meant(words)


def test_an_unknown_method_is_told_which_there_are() -> None:
    """The message lists the type's methods."""
    with pytest.raises(UnknownMethod, match="it has add, decrement, get, increment"):
        meant("Counter hits nope")


@pytest.mark.parametrize("words", ["Counter", "Counter hits", "Counter/hits"])
def test_too_few_words(words: str) -> None:
    """A call needs a key and a method."""
    with pytest.raises(InvalidArguments, match="fivefold call Counter KEY METHOD"):
        meant(words)


@pytest.mark.parametrize("words", ["Counter hits increment 1 2", "Counter hits increment 1 by=2", "Map m get"])
def test_wrong_number_of_arguments(words: str) -> None:
    """Arguments that do not fit the signature are refused, and the signature is shown."""
    with pytest.raises(InvalidArguments, match="it takes"):
        meant(words)


def test_an_argument_given_twice() -> None:
    """The same name cannot be given twice."""
    with pytest.raises(InvalidArguments, match="twice"):
        meant("Counter hits increment by=1 by=2")


@pytest.mark.parametrize(
    ("word", "annotation", "value"),
    [
        ("5", int, 5),
        ("5", str, "5"),
        ('"5"', str, "5"),
        ("red", str, "red"),
        ("red", Annotated[str, msgspec.Meta(min_length=1)], "red"),
        ("red", str | None, "red"),
        ("null", str | None, None),
        ("red", Any, "red"),
        ("5", Any, 5),
        ('{"a": [1]}', Any, {"a": [1]}),
        ("[1, 2]", list[int], [1, 2]),
        ("[1, 2]", tuple[int, int], (1, 2)),
        ('"aGk="', bytes, b"hi"),
        ('{"owner": "me", "token": 1, "expires_ms": 2}', Lease, Lease("me", 1, 2)),
        ("2026-02-03", dt.date, dt.date(2026, 2, 3)),
        ("1.50", Decimal, Decimal("1.50")),
        ("PT5S", dt.timedelta | None, dt.timedelta(seconds=5)),
        ("true", int, True),  # for the check of the arguments to complain about
        ("red", int, "red"),
    ],
)
def test_values(word: str, annotation: object, value: object) -> None:
    """A word is JSON of the expected type if it can be; else text, or whatever JSON it is."""
    assert parse_value(word, annotation) == value


@pytest.mark.parametrize("words", [["Map", "m", "put", "k\udce9", "1"], ["Map", "\udce9", "size"], ["caf\udce9"]])
def test_a_word_that_is_not_utf8_is_refused(words: list[str]) -> None:
    """Python hands such bytes on as lone surrogates, which neither JSON nor an object's key can hold."""
    with pytest.raises(InvalidArguments, match="is not UTF-8 text: convert it"):
        parse_call(REGISTRY, words)


@pytest.mark.parametrize(
    ("word", "annotation", "value"),
    [
        ("Infinity", float, float("inf")),
        ("-Infinity", float | None, float("-inf")),
        ("Infinity", Annotated[float, msgspec.Meta(description="x")], float("inf")),
        ("Infinity", str, "Infinity"),
        ("Infinity", Any, "Infinity"),
        ("Infinity", int, "Infinity"),
        ("Infinite", float, "Infinite"),
    ],
)
def test_infinity_is_a_number_where_a_number_is_expected(word: str, annotation: Any, value: object) -> None:
    """What `fivefold call` prints for a float can be given back to it; text stays text."""
    assert parse_value(word, annotation) == value


def test_deep_nesting_is_no_traceback() -> None:
    """JSON that is nested deeper than Python's stack is a word like any other that is no JSON."""
    word = "[" * 100_000
    assert parse_value(word, int) == word
