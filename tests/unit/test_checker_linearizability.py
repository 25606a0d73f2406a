"""Textbook histories of one object: what the checker accepts and what it refuses."""

import re

import pytest

from fivefold.checker import Function, HistoryError, Invocation, Model, Observation, Outcome, Refused, Verdict, check

OK, REJECTED, FAILED, UNKNOWN, CANCELLED = Outcome


def seen(process, method, when, answer=None, *, outcome=OK, objects="Register/x", **arguments):
    """An observation; ``when`` is (invoke, return)."""
    invoke_ns, return_ns = when
    extra = {} if outcome in (UNKNOWN, CANCELLED, FAILED) else {"answer": answer}
    return Observation(
        process=process,
        method=method,
        objects=tuple(objects.split()),
        arguments=arguments,
        invoke_ns=invoke_ns,
        return_ns=return_ns,
        outcome=outcome,
        **extra,
    )


def verdict(*history, **options):
    return check(history, **options).verdict


def test_nothing_is_linearizable():
    """An empty history is correct."""
    assert verdict() is Verdict.LINEARIZABLE


def test_concurrent_write_may_be_read_before_it_returns():
    """Wing and Gong's example: a read sees a write that is still under way."""
    assert (
        verdict(
            seen("a", "write", (0, 100), value=1),
            seen("b", "read", (10, 20), 1),
            seen("c", "read", (5, 8), None),
        )
        is Verdict.LINEARIZABLE
    )


def test_new_then_old_is_refused():
    """Once one read has seen a write, a later one cannot miss it, although the write is still under way."""
    result = check(
        [
            seen("a", "write", (0, 100), value=1),
            seen("b", "read", (10, 20), 1),
            seen("c", "read", (30, 40), None),
        ]
    )
    assert result.verdict is Verdict.VIOLATION
    assert [observation.process for observation in result.prefix] == ["a", "b"]
    assert [observation.process for observation in result.offending] == ["c"]
    assert result.fits_after == 0


def test_stale_read_is_refused():
    """A read that starts after a write has returned sees it."""
    result = check([seen("a", "write", (0, 10), value=1), seen("b", "read", (11, 20), None)])
    assert result.verdict is Verdict.VIOLATION
    assert result.objects == ("Register/x",)


def test_equal_times_are_concurrent():
    """A read invoked in the nanosecond in which another process's write returned may miss it."""
    assert verdict(seen("a", "write", (0, 10), value=1), seen("b", "read", (10, 20), None)) is Verdict.LINEARIZABLE


def test_equal_times_of_one_process_are_in_order():
    """In virtual time a process goes on in the nanosecond in which its call returned, and must see its own write."""
    assert verdict(seen("a", "write", (0, 10), value=1), seen("a", "read", (10, 20), None)) is Verdict.VIOLATION


def test_lost_update_is_refused():
    """Two increments that both answer 1 are not a counter."""
    history = [seen("ab"[i], "increment", (i, 10 + i), 1, objects="Counter/hits") for i in range(2)]
    assert verdict(*history) is Verdict.VIOLATION


def test_double_application_of_a_retried_call_is_refused():
    """A retried increment that was applied twice shows in the next read."""
    history = [
        seen("a", "increment", (0, 50), 1, objects="Counter/hits"),
        seen("b", "get", (60, 70), 2, objects="Counter/hits"),
    ]
    assert verdict(*history) is Verdict.VIOLATION


def test_split_brain_is_refused():
    """Two halves that each serve their own writes are not one register."""
    assert (
        verdict(
            seen("a", "write", (0, 10), value="left"),
            seen("b", "write", (0, 10), value="right"),
            seen("a", "read", (20, 30), "left"),
            seen("b", "read", (20, 30), "right"),
            seen("a", "read", (40, 50), "left"),
        )
        is Verdict.VIOLATION
    )


@pytest.mark.parametrize("applied", [True, False])
def test_an_unknown_outcome_may_be_either(applied):
    """A write whose outcome is unknown may be seen later, or never."""
    read = seen("b", "read", (100, 110), 1 if applied else None)
    assert verdict(seen("a", "write", (0, None), outcome=UNKNOWN, value=1), read) is Verdict.LINEARIZABLE


def test_an_unknown_outcome_takes_effect_only_once():
    """An unknown write that was overwritten does not come back."""
    assert (
        verdict(
            seen("a", "write", (0, None), outcome=UNKNOWN, value=1),
            seen("b", "read", (10, 20), 1),
            seen("b", "write", (30, 40), value=2),
            seen("b", "read", (50, 60), 1),
        )
        is Verdict.VIOLATION
    )


def test_an_unknown_outcome_takes_no_effect_before_its_invocation():
    """A read that returned before the unknown write was invoked cannot have seen it."""
    read = seen("b", "read", (0, 10), 1)
    assert verdict(read, seen("a", "write", (11, None), outcome=UNKNOWN, value=1)) is Verdict.VIOLATION


@pytest.mark.parametrize(("answer", "expected"), [(21, "linearizable"), (22, "violation")])
def test_equal_unknown_outcomes_are_counted(answer, expected):
    """Of twenty unknown increments at most twenty are seen, and the search does not try every subset."""
    history = [seen("a", "increment", (i, None), outcome=UNKNOWN, objects="Counter/hits", by=1) for i in range(20)]
    history.append(seen("b", "increment", (30, 40), answer, objects="Counter/hits"))
    result = check(history)
    assert result.verdict == expected
    assert result.steps_count < 100


def test_many_unknown_writes_do_not_multiply():
    """Of thirty unknown writes of a register only the last matters: no two to the power of thirty."""
    history = [seen("a", "write", (i, None), outcome=UNKNOWN, value=i) for i in range(30)]
    history.append(seen("b", "read", (100, 110), "nobody's"))
    result = check(history)
    assert result.verdict is Verdict.VIOLATION
    assert result.steps_count < 2_000


@pytest.mark.parametrize("outcome", [CANCELLED, FAILED])
def test_dirty_read_is_refused(outcome):
    """A write that was cancelled, or failed, is never seen."""
    write = seen("a", "write", (0, 50), outcome=outcome, value=1)
    assert verdict(write, seen("b", "read", (10, 20), 1)) is Verdict.VIOLATION
    assert verdict(write, seen("b", "read", (10, 20), None)) is Verdict.LINEARIZABLE


def test_rejections_are_checked():
    """An account rejects a withdrawal exactly if it holds less at that moment."""
    deposit = seen("a", "deposit", (0, 10), 5, objects="Account/a", amount=5)
    refused = {"outcome": REJECTED, "objects": "Account/a"}
    assert verdict(deposit, seen("b", "withdraw", (20, 30), "Overdrawn", amount=6, **refused)) is Verdict.LINEARIZABLE
    assert verdict(deposit, seen("b", "withdraw", (20, 30), "Overdrawn", amount=5, **refused)) is Verdict.VIOLATION
    assert verdict(deposit, seen("b", "withdraw", (5, 30), "Overdrawn", amount=5, **refused)) is Verdict.LINEARIZABLE
    assert verdict(deposit, seen("b", "withdraw", (20, 30), objects="Account/a", amount=6)) is Verdict.VIOLATION


def test_objects_are_judged_apart():
    """What is wrong with one object does not depend on another, and the object is named."""
    result = check(
        [
            seen("a", "write", (0, 10), value=1),
            seen("a", "write", (11, 20), objects="Register/y", value=1),
            seen("b", "read", (30, 40), None),
            seen("b", "read", (41, 50), 1, objects="Register/y"),
        ]
    )
    assert (result.verdict, result.objects) == (Verdict.VIOLATION, ("Register/x",))


def test_a_map_is_judged_key_by_key():
    """Calls on single keys are searched apart; the wrong key's operations alone are reported."""
    history = [seen("a", "put", (i, 1000), objects="Map/m", key=f"k{i}", value=i) for i in range(200)]
    history.append(seen("b", "get", (2000, 2010), 7, objects="Map/m", key="k6"))
    result = check(history)
    assert result.verdict is Verdict.VIOLATION
    assert [observation.arguments["key"] for observation in result.prefix] == ["k6"]


def test_answer_not_recorded_agrees_with_anything():
    """An operation without a recorded answer still takes effect."""
    write = Observation(process="a", method="increment", objects=("Counter/c",), invoke_ns=0, return_ns=9, outcome=OK)
    assert verdict(write, seen("b", "get", (10, 20), 1, objects="Counter/c")) is Verdict.LINEARIZABLE
    assert verdict(write, seen("b", "get", (10, 20), 0, objects="Counter/c")) is Verdict.VIOLATION


@pytest.mark.slow
def test_too_much_work_is_undecided():
    """A search that reaches its bound says so, and does not guess."""
    history = [seen(f"p{i}", "write", (i, 1000), value=i) for i in range(12)]
    history += [seen("r", "read", (2000 + 10 * i, 2005 + 10 * i), i) for i in range(2)]
    assert verdict(*history, steps_count_max=50) is Verdict.UNDECIDED
    assert verdict(*history) is Verdict.VIOLATION


def test_no_model_is_undecided():
    """Without a model and without versions nothing is known about an object, and the result says so."""
    result = check([seen("a", "get", (0, 1), 1, objects="Strange/x")])
    assert (result.verdict, result.unmodelled) == (Verdict.UNDECIDED, ("Strange/x",))


def step_of_maximum(state: int, call: Invocation) -> tuple[object, int]:
    value = call.arguments["value"]
    assert isinstance(value, int)
    return max(state, value), max(state, value)


def test_own_models_are_used():
    """A user's model comes from outside, and may take the place of a ready-made one."""
    history = [seen("a", "raise", (0, 1), 5, objects="Maximum/x", value=5)]
    history.append(seen("b", "raise", (2, 3), 3, objects="Maximum/x", value=3))
    models = {"Maximum": Model(init=int, step=step_of_maximum)}
    assert verdict(*history, models=models) is Verdict.VIOLATION
    assert verdict(history[0], models=models) is Verdict.LINEARIZABLE


def test_own_functions_are_used():
    """A function over several objects is given all their states."""
    swap = Function(step=lambda states, call: (None, (states[1], states[0])))
    history = [
        seen("a", "write", (0, 1), value=1),
        seen("a", "app.swap", (2, 3), objects="Register/x Register/y"),
    ]
    for answer, expected in ((1, Verdict.LINEARIZABLE), (None, Verdict.VIOLATION)):
        assert (
            verdict(*history, seen("b", "read", (4, 5), answer, objects="Register/y"), models={"swap": swap})
            is expected
        )


def test_a_call_the_model_cannot_run_is_the_callers_mistake():
    """A method that the model does not have names the operation."""
    with pytest.raises(HistoryError, match=r"Counter/c\.explode.*no method"):
        check([seen("a", "explode", (0, 1), objects="Counter/c")])


def test_a_state_that_cannot_be_compared_is_the_callers_mistake():
    """A model with a list as its state is refused, with what to do."""
    model = Model(init=list, step=lambda state, call: (None, [*state, 1]))
    with pytest.raises(HistoryError, match="cannot be hashed"):
        check([seen("a", "add", (0, 1), objects="List/c")], models={"List": model})


def test_a_refusing_model_changes_nothing():
    """What a refusing step returns as its state is not used."""
    model = Model(init=int, step=lambda state, call: (Refused(), 7) if call.method == "no" else (state, state))
    history = [
        seen("a", "no", (0, 1), "No", outcome=REJECTED, objects="T/c"),
        seen("a", "get", (2, 3), 0, objects="T/c"),
    ]
    assert verdict(*history, models={"T": model}) is Verdict.LINEARIZABLE


def test_values_of_different_types_are_different():
    """1, 1.0 and True are equal in Python and three values in a register."""
    write = seen("a", "write", (0, 10), value=1)
    for answer, expected in ((1, "linearizable"), (1.0, "violation"), (True, "violation")):
        assert verdict(write, seen("b", "read", (20, 30), answer)) == expected


def test_a_dotted_name_is_a_function_or_a_rejection_of_that_name():
    """Functions and rejections travel with their module's name; the model knows the last part."""
    history = [
        seen("a", "transfers.total", (0, 10), 0, objects="Account/a"),
        seen("a", "withdraw", (20, 30), "account.Overdrawn", outcome=REJECTED, objects="Account/a", amount=1),
    ]
    assert verdict(*history) is Verdict.LINEARIZABLE


# --- the steps are shared ---------------------------------------------------------------------------------------
def costly(name, writes):
    """A correct history whose search takes exponentially many steps: the read that returns last saw the first write."""
    history = [seen(f"w{at}", "write", (at, 1000), objects=name, value=at) for at in range(writes)]
    return [*history, seen("r", "read", (1001, 1002), -1, objects=name)]


STALE = [
    seen("p", "write", (10, 20), objects="Register/stale", value=1),
    seen("q", "read", (30, 40), objects="Register/stale"),
]


@pytest.mark.parametrize("hard", ["Register/a", "Register/z"])
def test_a_hard_object_hides_no_violation_of_another(hard):
    """Whatever the order of names: the hard one uses up all steps if it is alone, and the stale read is found."""
    history = costly(hard, 14)
    assert verdict(*history, steps_count_max=3000) is Verdict.UNDECIDED
    result = check([*history, *STALE], steps_count_max=3000)
    assert (result.verdict, result.objects) == (Verdict.VIOLATION, ("Register/stale",))


def test_a_violation_in_a_longer_history_than_the_hard_ones_is_found():
    """Three hard objects leave a quarter of the steps at least to the fourth."""
    reads = [seen("r", "read", (at, at + 1), objects="Register/long") for at in range(0, 200, 2)]
    wrong = seen("r", "read", (400, 401), 9, objects="Register/long")
    history = [each for name in "abc" for each in costly(f"Register/{name}", 14)]
    result = check([*history, *reads, wrong], steps_count_max=4 * 110)
    assert (result.verdict, result.objects) == (Verdict.VIOLATION, ("Register/long",))


def test_what_easy_objects_leave_goes_to_the_hard_ones():
    """A hundred objects with one call each do not cost a hard one its steps."""
    easy = [seen("e", "read", (at, at), objects=f"Register/z{at}") for at in range(100)]
    alone = check(costly("Register/hard", 10))
    assert alone.verdict is Verdict.VIOLATION
    result = check([*easy, *costly("Register/hard", 10)], steps_count_max=alone.steps_count + 110)
    assert (result.verdict, result.objects) == (Verdict.VIOLATION, ("Register/hard",))


def test_what_longer_objects_leave_goes_to_the_hard_ones_too():
    """A short history that is hard comes before nine long easy ones, and is searched again with what they left."""
    alone = check(costly("Register/hard", 10))
    easy = [seen("e", "read", (at, at), objects=f"Register/{name}") for name in range(9) for at in range(0, 200, 2)]
    steps = 2 * alone.steps_count + 2000
    assert steps // 10 < alone.steps_count
    result = check([*easy, *costly("Register/hard", 10)], steps_count_max=steps)
    assert (result.verdict, result.objects) == (Verdict.VIOLATION, ("Register/hard",))


def test_the_steps_allowed_are_not_exceeded():
    """Also when parts are searched a second time with what the others left."""
    names = [f"Register/{at}" for at in range(5)]
    result = check([each for name in names for each in costly(name, 14)], steps_count_max=2000)
    assert result.verdict is Verdict.UNDECIDED
    assert result.objects == tuple(names)
    assert result.steps_count <= 2000


# --- models that fail ---------------------------------------------------------------------------------------------
def broken(*_):
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Model(init=broken, step=broken), "Box/x: the model cannot make its first state: 'oops'"),
        (Model(init=list, step=lambda *_: (7, [])), "a model's state cannot be hashed"),
        (Model(init=int, step=broken), "the model cannot run this: 'oops'"),
        (Model(init=int, step=lambda *_: 7), "the model cannot run this: "),
        (Model(init=int, step=lambda *_: (7, 0), part=broken), "the model cannot name its part: 'oops'"),
        (Model(init=int, step=lambda *_: (7, 0), part=lambda _: []), "the model cannot name its part: unhashable"),
        (Model(init=int, step=lambda *_: (7, [])), "a model's state cannot be hashed"),
    ],
)
def test_a_model_that_fails_is_told_in_a_sentence(model, says):
    """A user's model is a mistake of the caller's, wherever it fails."""
    with pytest.raises(HistoryError, match=re.escape(says)):
        check([seen("a", "look", (0, 1), 7, objects="Box/x")], {"Box": model})
