"""Access rules: each form, and rules that follow no form."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.cluster import AccessRules, Rule
from fivefold.cluster import access as access_module
from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import CANCEL, ClientId, ObjectId

ALICE, BOB = ClientId(b"a" * 16), ClientId(b"b" * 16)

UPDATES = {"get": False, "increment": True, "bank.move": True, "bank.total": False}


def is_update(type_name, method):
    """What the registry would say of counters."""
    return UPDATES.get(method)


def allows(rule, object_id, method):
    return AccessRules({ALICE: [rule]}, is_update).allows(ALICE, ObjectId(object_id), method)


@pytest.mark.parametrize(
    ("rule", "object_id", "method", "expected"),
    [
        # every object
        ("*", "Counter/hits", "increment", True),
        ("*", "Map/a/b", "bank.move", True),
        ("*", "Counter/", "get", True),
        ("*/*", "Counter/hits", "get", True),
        # a type
        ("Counter", "Counter/hits", "increment", True),
        ("Counter", "Counter/a/b:c", "increment", True),
        ("Counter", "Counters/hits", "get", False),
        ("Counter", "Map/Counter/hits", "get", False),
        ("Count*", "Counters/hits", "get", True),
        ("shop.Counter", "shop.Counter/hits", "get", True),
        ("shop.Counter", "shopXCounter/hits", "get", False),
        # keys
        ("Counter/audit-*", "Counter/audit-1", "get", True),
        ("Counter/audit-*", "Counter/audit-", "get", True),
        ("Counter/audit-*", "Counter/audi", "get", False),
        ("Counter/audit-*", "Counter/xaudit-1", "get", False),
        ("Counter/hits", "Counter/hits", "get", True),
        ("Counter/hits", "Counter/hits2", "get", False),
        ("Counter/*-log", "Counter/a/b-log", "get", True),
        ("Counter/a*b*c", "Counter/a--b--c", "get", True),
        ("Counter/a*b*c", "Counter/a--c--b", "get", False),
        ("Counter/(a|b)+", "Counter/(a|b)+", "get", True),
        ("Counter/(a|b)+", "Counter/aaa", "get", False),
        ("Counter/line*end", "Counter/line\nend", "get", True),
        # methods
        ("Counter/*:get", "Counter/hits", "get", True),
        ("Counter/*:get", "Counter/hits", "increment", False),
        ("Counter:get", "Counter/hits", "get", True),
        ("Counter:inc*", "Counter/hits", "increment", True),
        ("*:get", "Map/x", "get", True),
        ("Map/a:b:*", "Map/a:b", "get", True),
        ("Map/a:b", "Map/a:b", "get", False),
        # classes of methods
        ("Counter:@query", "Counter/hits", "get", True),
        ("Counter:@query", "Counter/hits", "increment", False),
        ("Counter:@query", "Counter/hits", "unknown", False),
        ("Counter:@update", "Counter/hits", "increment", True),
        ("Counter:@update", "Counter/hits", "get", False),
        ("Counter:@update", "Counter/hits", "unknown", False),
        # functions over several objects
        ("Account:bank.move", "Account/a", "bank.move", True),
        ("Account:bank.*", "Account/a", "bank.move", True),
        ("Account:move", "Account/a", "bank.move", False),
        ("Account:@update", "Account/a", "bank.move", True),
        ("Account:@query", "Account/a", "bank.total", True),
        # finding out what became of an update needs the right to update
        ("Counter", "Counter/hits", CANCEL, True),
        ("Counter:@update", "Counter/hits", CANCEL, True),
        ("Counter:@query", "Counter/hits", CANCEL, False),
        ("Counter:increment", "Counter/hits", CANCEL, True),
        ("Counter:inc*", "Counter/hits", CANCEL, True),
        ("Counter:get", "Counter/hits", CANCEL, False),
        ("Counter:@update", "Map/x", CANCEL, False),
    ],
)
def test_what_a_rule_allows(rule, object_id, method, expected):
    """Each form of a rule allows what it names and nothing else."""
    assert allows(rule, object_id, method) is expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "names no type"),
        (":get", "names no type"),
        ("/key", "names no type"),
        ("Counter/", "has no key after the slash"),
        ("Counter:", "has no method after the colon"),
        ("Counter/a:", "has no method after the colon"),
        ("Counter:@all", "other than @query and @update"),
        ("Counter:@", "other than @query and @update"),
        ("Counter:get increment", "characters that no method name has"),
        ("Counter:get,increment", "characters that no method name has"),
        ("Coun ter", "characters that no type name has"),
        ("Counter/a\nb", "control characters"),
        ("Counter/" + "a" * 256, "is too long"),
        ("Counter:" + "a" * 129, "is too long"),
    ],
)
def test_rules_that_follow_no_form(rule, message):
    """Each mistake is refused with the rule and what is wrong with it."""
    with pytest.raises(ConfigurationError, match=message) as refusal:
        Rule.parse(rule)
    assert repr(rule) in str(refusal.value)


def test_one_of_several_rules_is_enough():
    """A client may do what any of its rules allows."""
    rules = AccessRules({ALICE: ["Counter/*:get", "Map/shared"]}, is_update)
    assert rules.allows(ALICE, ObjectId("Map/shared"), "put")
    assert rules.allows(ALICE, ObjectId("Counter/x"), "get")
    assert not rules.allows(ALICE, ObjectId("Counter/x"), "increment")
    assert not rules.allows(ALICE, ObjectId("Map/other"), "put")


def test_a_client_has_its_own_rules_only():
    """Another client's rules do not count, and a client without any may do nothing."""
    rules = AccessRules({ALICE: ["*"], BOB: []}, is_update)
    stranger = ClientId(b"c" * 16)
    for client in (BOB, stranger):
        assert not rules.allows(client, ObjectId("Counter/x"), "get")
        assert not rules.knows(client, ObjectId("Counter/x"))


def test_any_right_on_an_object_is_enough_to_repair_it():
    """`knows` asks for the object alone."""
    rules = AccessRules({ALICE: ["Counter/a*:get"]}, is_update)
    assert rules.knows(ALICE, ObjectId("Counter/abc"))
    assert not rules.knows(ALICE, ObjectId("Counter/b"))


def test_too_many_rules_are_refused():
    """One rule more than allowed is refused."""
    AccessRules({ALICE: ["*"] * access_module.RULES_MAX}, is_update)
    with pytest.raises(ConfigurationError, match="use patterns"):
        AccessRules({ALICE: ["*"] * (access_module.RULES_MAX + 1)}, is_update)


def test_the_cache_is_bounded_for_each_client(monkeypatch):
    """A flood of names neither grows the cache over its bound nor takes another client's answers away."""
    monkeypatch.setattr(access_module, "CACHED_ANSWERS_MAX", 8)
    rules = AccessRules({ALICE: ["*"], BOB: ["*"]}, is_update)
    rules.allows(BOB, ObjectId("Counter/mine"), "get")
    for number in range(100):
        assert rules.allows(ALICE, ObjectId(f"Counter/{number}"), "get")
        assert len(rules._answers[ALICE]) <= 8
    assert len(rules._answers[BOB]) == 1


def test_an_answer_is_looked_up_once():
    """The second question of the same kind asks nobody."""
    asked = []

    def note(type_name, method):
        asked.append((type_name, method))
        return True

    rules = AccessRules({ALICE: ["Counter:@update"]}, note)
    for _ in range(3):
        assert rules.allows(ALICE, ObjectId("Counter/x"), "increment")
    assert asked == [("Counter", "increment")]


def naive_match(pattern, text):
    """The same in the most obvious way."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_match(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] == text[0] and naive_match(pattern[1:], text[1:])


@given(st.text("ab*/", min_size=1, max_size=8), st.text("ab/", max_size=10))
def test_patterns_match_as_the_naive_matcher_does(pattern, key):
    """A key is covered exactly if the stars can be filled in."""
    assert Rule.parse(f"T/{pattern}").covers(ObjectId(f"T/{key}")) is naive_match(pattern, key)


@pytest.mark.parametrize("stars", [4, 120])
def test_a_name_made_for_a_rule_with_many_stars_is_decided_at_once(stars):
    """Each star costs one look at the name: no name makes a server try all places of all stars."""
    rule = Rule.parse("M/" + "*-" * stars + "x")
    began = time.perf_counter()
    assert not rule.covers(ObjectId("M/" + "-" * 250))
    assert rule.covers(ObjectId("M/" + "-" * 250 + "x"))
    assert time.perf_counter() - began < 0.1


@given(
    st.lists(
        st.sampled_from(["*", "Map", "Map/a", "Map/*", "M*", "*p:get", "Map:@update", "*/b", "Counter:@query"]),
        max_size=3,
    ),
    st.lists(st.sampled_from(["Map/a", "Map/b", "Map", "Mop/a", "Counter/a", "Counter/p/b", "a/Map/b"]), min_size=1),
)
def test_what_is_remembered_of_one_object_is_true_of_the_next(rules: list[str], asked: list[str]) -> None:
    """Answers remembered by type are those that the rules give for each object."""
    remembering = AccessRules({ALICE: rules}, is_update)
    for object_id in asked:
        for method in ("get", "increment", CANCEL):
            fresh = AccessRules({ALICE: rules}, is_update)
            assert remembering.allows(ALICE, object_id, method) is fresh.allows(ALICE, object_id, method)
