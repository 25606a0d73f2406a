"""The checker's models against the objects themselves: two descriptions of one thing, written apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fivefold
from fivefold.checker import READY_MADE, Function, Invocation, Refused, freeze
from fivefold.errors import Rejected
from fivefold.objects import Account, Counter, Lock, Map, Queue, Register
from fivefold.objects.standard import standard_registry
from fivefold.objects.transfers import acquire_all, move_key, release_all, total, transfer

values = st.sampled_from([None, 0, 1, 1.0, True, "a", [1, {"k": None}]])
small = st.integers(1, 4)
key = st.sampled_from(["", "a", "ab", "b"])
owner = st.sampled_from(["x", "y"])
now = st.integers(0, 8)


def call(method, **arguments):
    """The name of a method, and the strategy for its arguments."""
    return method, st.fixed_dictionaries(arguments)


def any_of(*calls):
    """One of these calls, as the name of its method and its arguments."""
    return st.one_of([st.tuples(st.just(method), arguments) for method, arguments in calls])


CALLS = {
    Counter: [call("get"), call("increment", by=small), call("decrement"), call("add", amount=st.integers(-3, 3))],
    Register: [call("read"), call("write", value=values), call("compare_and_set", expected=values, value=values)],
    Map: [
        call("get", key=key),
        call("get", key=key, default=values),
        call("contains", key=key),
        call("size"),
        call("keys", prefix=key, after=key, limit=small),
        call("put", key=key, value=values),
        call("put_if_absent", key=key, value=values),
        call("compare_and_set", key=key, expected=values, value=values),
        call("delete", key=key),
    ],
    Queue: [call("size"), call("peek"), call("put", value=values), call("take"), call("set_capacity", capacity=small)],
    Lock: [
        call("holder", now_ms=now),
        call("acquire", owner=owner, now_ms=now, ttl_ms=small),
        call("renew", owner=owner, token=small, now_ms=now, ttl_ms=small),
        call("release", owner=owner, token=small),
    ],
    Account: [call("balance"), call("deposit", amount=small), call("withdraw", amount=small)],
}
FUNCTIONS = {
    transfer: (Account, call("transfer", amount=small)),
    total: (Account, call("total")),
    move_key: (Map, call("move_key", key=key)),
    acquire_all: (Lock, call("acquire_all", owner=owner, now_ms=now, ttl_ms=small)),
    release_all: (Lock, call("release_all", owner=owner, tokens=st.lists(small, min_size=2, max_size=2))),
}


def answer_of(function, arguments):
    """What the object answers, a rejection as the models put it."""
    try:
        return function(**arguments)
    except Rejected as rejection:
        return Refused(type(rejection).__name__)


def agree(answer, expected):
    """Equal in value and in type, as histories compare them."""
    return repr(freeze(answer)) == repr(freeze(expected))


@pytest.mark.parametrize("ready_made", standard_registry().types.values(), ids=lambda each: each.name)
def test_every_ready_made_type_has_a_model(ready_made):
    """Each ready-made type is public, has a model with the same queries, and all its methods are called below."""
    assert getattr(fivefold, ready_made.name) is ready_made.cls
    methods = ready_made.methods
    queries = {name for name, method in methods.items() if not method.is_update}
    assert READY_MADE[ready_made.name].queries == queries
    assert {method for method, _ in CALLS[ready_made.cls]} == set(methods)


@pytest.mark.parametrize("function", standard_registry().functions.values(), ids=lambda each: each.name)
def test_every_ready_made_function_has_a_model(function):
    """Each ready-made function over several objects is public, has a model of its kind, and is called below."""
    name = function.function.__name__
    assert getattr(fivefold, name) is function.function
    assert READY_MADE[name].is_query == (not function.is_update)
    assert function.function in FUNCTIONS


@pytest.mark.parametrize("cls", CALLS, ids=lambda cls: cls.__name__)
@given(st.data())
def test_models_answer_as_the_objects_do(cls, data):
    """Any sequence of calls gets the same answers from a ready-made object and from its model."""
    model, subject = READY_MADE[cls.__name__], cls()
    state = model.init()
    for method, arguments in data.draw(st.lists(any_of(*CALLS[cls]), max_size=12)):
        invocation = Invocation(method, ("T/x",), {name: freeze(value) for name, value in arguments.items()})
        expected, after = model.step(state, invocation)
        assert agree(answer_of(getattr(subject, method), arguments), expected), (method, arguments, state)
        assert after == state or method not in model.queries
        state = state if isinstance(expected, Refused) else after


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@given(st.data())
def test_function_models_answer_as_the_functions_do(function, data):
    """Any calls on two objects, then the function, get the same answers from both."""
    cls, calls = FUNCTIONS[function]
    model, joint = READY_MADE[cls.__name__], READY_MADE[function.__name__]
    assert isinstance(joint, Function)
    subjects, states = [cls(), cls()], [model.init(), model.init()]
    for place, (method, arguments) in data.draw(
        st.lists(st.tuples(st.integers(0, 1), any_of(*CALLS[cls])), max_size=6)
    ):
        invocation = Invocation(method, ("T/x",), {name: freeze(value) for name, value in arguments.items()})
        answer, after = model.step(states[place], invocation)
        answer_of(getattr(subjects[place], method), arguments)
        states[place] = states[place] if isinstance(answer, Refused) else after
    method, arguments = data.draw(any_of(calls))
    invocation = Invocation(method, ("T/x", "T/y"), {name: freeze(value) for name, value in arguments.items()})
    expected, after = joint.step(tuple(states), invocation)
    assert agree(answer_of(lambda **given: function(*subjects, **given), arguments), expected)
    if not isinstance(expected, Refused):
        finals = zip(after, subjects, strict=True)
        query, extra = {Account: ("balance", {}), Map: ("keys", {}), Lock: ("holder", {"now_ms": 0})}[cls]
        for state, subject in finals:
            seen = model.step(state, Invocation(query, ("T/x",), extra))[0]
            assert agree(getattr(subject, query)(**extra), seen)
