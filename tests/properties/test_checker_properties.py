"""The checker against a naive twin that tries every order, and on histories that are correct by construction."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.checker import READY_MADE, Function, Invocation, Observation, Outcome, Refused, Verdict, check, freeze

OBJECTS = ("Register/x", "Account/a", "Account/b")
THINGS = ("Thing/a", "Thing/b")


def naive(history):
    """Whether any order of any subset that leaves out only unknown outcomes is correct: all permutations."""
    possible = [seen for seen in history if seen.outcome not in (Outcome.FAILED, Outcome.CANCELLED)]
    certain = [seen for seen in possible if seen.outcome != Outcome.UNKNOWN]
    unknown = [seen for seen in possible if seen.outcome == Outcome.UNKNOWN]
    return any(
        is_correct(order)
        for count in range(len(unknown) + 1)
        for chosen in itertools.combinations(unknown, count)
        for order in itertools.permutations((*certain, *chosen))
    )


def is_correct(order):
    for later, earlier in itertools.combinations(order, 2):  # in `order` the first of the two comes first
        if earlier.outcome != Outcome.UNKNOWN and earlier.return_ns < later.invoke_ns:
            return False
    states = {name: READY_MADE[name.partition("/")[0]].init() for name in OBJECTS}
    return all(applies(seen, states) for seen in order) and versions_follow(order)


def applies(seen, states):
    call = Invocation(seen.method, seen.objects, {name: freeze(value) for name, value in seen.arguments.items()})
    function = READY_MADE.get(seen.method)
    if isinstance(function, Function):
        answer, after = function.step(tuple(states[name] for name in seen.objects), call)
    else:
        answer, state = READY_MADE[seen.objects[0].partition("/")[0]].step(states[seen.objects[0]], call)
        after = (state,)
    if not isinstance(answer, Refused):
        states.update(zip(seen.objects, after, strict=True))
    match seen.outcome:
        case Outcome.OK:
            return not isinstance(answer, Refused) and freeze(answer) == freeze(seen.answer)
        case Outcome.REJECTED:
            return isinstance(answer, Refused)
        case _:
            return True


def versions_follow(order):
    """Per object, every operation runs on the newest version written before it, or on a later one nobody recorded."""
    for name in {name for seen in order for name in seen.objects}:
        newest = 0
        later = sorted(seen.written[name] for seen in order if name in seen.written)
        for seen in order:
            number = seen.read.get(name)
            if number is not None and (number < newest or any(newest < other <= number for other in later)):
                return False
            if name in seen.written:
                if seen.written[name] <= newest:
                    return False
                newest = seen.written[name]
    return True


@st.composite
def observations(draw):
    """Any call on a few objects with any answer, at small times."""
    method, objects, arguments, answers = draw(
        st.sampled_from(
            [
                ("read", OBJECTS[:1], {}, [None, 1, 2]),
                ("write", OBJECTS[:1], {"value": draw(st.integers(1, 2))}, [None]),
                ("balance", OBJECTS[1:2], {}, [0, 1, 2]),
                ("balance", OBJECTS[2:3], {}, [0, 1, 2]),
                ("deposit", OBJECTS[1:2], {"amount": draw(st.integers(1, 2))}, [1, 2, 3]),
                ("transfer", OBJECTS[1:3], {"amount": draw(st.integers(1, 2))}, [None]),
            ]
        )
    )
    outcomes = [Outcome.OK] * 4 + [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.REJECTED]
    outcome = draw(st.sampled_from(outcomes))
    invoke_ns = draw(st.integers(0, 12))
    is_ended = outcome in (Outcome.OK, Outcome.REJECTED)
    extra = {"answer": draw(st.sampled_from(answers))} if outcome == Outcome.OK else {}
    return {
        "method": method,
        "objects": objects,
        "arguments": arguments,
        "outcome": outcome,
        "invoke_ns": invoke_ns,
        "return_ns": invoke_ns + draw(st.integers(0, 8)) if is_ended else None,
        **extra,
    }


def as_history(fields):
    return [Observation(process=f"p{at}", **each) for at, each in enumerate(fields)]


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(observations(), max_size=6).map(as_history))
def test_checker_agrees_with_trying_every_order(history):
    """The verdict on any small history is that of the twin that tries all permutations."""
    assert (check(history).verdict is Verdict.LINEARIZABLE) == naive(history)


@st.composite
def versioned(draw):
    """Operations on two objects with any versions, answers not recorded."""
    numbers = st.integers(0, 3)
    read = draw(st.dictionaries(st.sampled_from(THINGS), numbers, max_size=2))
    written = {name: read.get(name, -1) + 1 + draw(numbers) for name in draw(st.sets(st.sampled_from(THINGS)))}
    written = {name: max(1, number) for name, number in written.items()}
    invoke_ns = draw(st.integers(0, 12))
    return {
        "method": "touch",
        "objects": tuple(sorted(read.keys() | written.keys())) or THINGS[:1],
        "outcome": Outcome.OK,
        "invoke_ns": invoke_ns,
        "return_ns": invoke_ns + draw(st.integers(0, 8)),
        "read": read,
        "written": written,
    }


def naive_of_versions(history):
    def in_time(order):
        return all(later.return_ns >= earlier.invoke_ns for earlier, later in itertools.combinations(order, 2))

    return any(in_time(order) and versions_follow(order) for order in itertools.permutations(history))


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(versioned(), max_size=5).map(as_history))
def test_cycles_agree_with_trying_every_order(history):
    """There is a cycle (or a version written twice) exactly if no order fits versions and real time."""
    result = check(history)
    assert (result.verdict is not Verdict.VIOLATION) == naive_of_versions(history)
    for edge, following in zip(result.cycle, (*result.cycle[1:], *result.cycle[:1]), strict=True):
        assert edge.after is following.before


CALLS = [
    ("Register", "read", lambda rng: {}),
    ("Register", "write", lambda rng: {"value": rng.randrange(5)}),
    ("Counter", "increment", lambda rng: {"by": rng.randrange(3)}),
    ("Counter", "get", lambda rng: {}),
    ("Account", "deposit", lambda rng: {"amount": rng.randrange(5)}),
    ("Account", "withdraw", lambda rng: {"amount": rng.randrange(9)}),
    ("transfer", "transfer", lambda rng: {"amount": rng.randrange(9)}),
]


def generated(seed, count, *, with_versions):
    """A history of one correct sequential execution, each operation stretched at random around its moment."""
    rng = random.Random(seed)
    states, numbers, history = {}, {}, []
    for moment in range(0, count * 10, 10):
        kind, method, arguments = rng.choice(CALLS)
        objects = ("Account/0", "Account/1") if kind == "transfer" else (f"{kind}/{rng.randrange(2)}",)
        objects = tuple(rng.sample(objects, len(objects)))
        call = Invocation(method, objects, arguments(rng))
        before = tuple(states.setdefault(name, READY_MADE[name.partition("/")[0]].init()) for name in objects)
        if kind == "transfer":
            answer, after = READY_MADE[kind].step(before, call)
        else:
            answer, state = READY_MADE[kind].step(before[0], call)
            after = (state,)
        read = {name: numbers.setdefault(name, 0) for name in objects}
        is_refused = isinstance(answer, Refused)
        is_unknown = rng.random() < 0.05
        is_applied = not is_refused and not (is_unknown and rng.random() < 0.5)
        written = {name: number + 1 for name, number in read.items()} if is_applied and after != before else {}
        if is_applied:
            states.update(zip(objects, after, strict=True))
            numbers.update(written)
        outcome = Outcome.UNKNOWN if is_unknown else Outcome.REJECTED if is_refused else Outcome.OK
        history.append(
            Observation(
                process=f"p{moment}",
                method=method,
                objects=objects,
                arguments=dict(call.arguments),
                invoke_ns=max(0, moment - rng.randrange(40)),
                return_ns=None if is_unknown else moment + rng.randrange(40),
                outcome=outcome,
                **({} if is_unknown else {"answer": "Overdrawn" if is_refused else answer}),
                **({"read": read, "written": written} if with_versions and not is_unknown else {}),
            )
        )
    rng.shuffle(history)
    return history


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 120), st.booleans())
def test_correct_executions_are_accepted(seed, count, with_versions):
    """Stretching the operations of a correct sequential execution never makes a violation."""
    result = check(generated(seed, count, with_versions=with_versions))
    assert result.verdict is Verdict.LINEARIZABLE, result.message


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(5, 60))
def test_the_prefix_reported_is_itself_correct(seed, count):
    """After one answer is falsified, the prefix is linearizable and ends where the offending operation is stuck."""
    history = generated(seed, count, with_versions=False)
    answered = [at for at, seen in enumerate(history) if seen.outcome == Outcome.OK and type(seen.answer) is int]
    if not answered:
        return
    wrong = random.Random(seed).choice(answered)
    fields = {name: getattr(history[wrong], name) for name in history[wrong].__struct_fields__}
    history[wrong] = Observation(**fields | {"answer": -7})
    result = check(history)
    assert result.verdict is Verdict.VIOLATION
    assert check(result.prefix).verdict is Verdict.LINEARIZABLE
    assert not set(map(id, result.offending)) & set(map(id, result.prefix))
