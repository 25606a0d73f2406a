"""Histories over several objects, with version numbers and without: each anomaly by its name."""

import pytest

from fivefold.checker import Kind, Observation, Outcome, Verdict, check

X, Y, A, B = "Thing/x", "Thing/y", "Account/a", "Account/b"


def touch(process, when, read=None, written=None, *, outcome=Outcome.OK):
    """An operation of which only the versions are recorded, under a method that has no model."""
    read, written = read or {}, written or {}
    return Observation(
        process=process,
        method="touch",
        objects=tuple(sorted(read.keys() | written.keys())),
        invoke_ns=when[0],
        return_ns=when[1],
        outcome=outcome,
        read=read,
        written=written,
    )


def transfer(process, when, amount, *, source=A, target=B, outcome=Outcome.OK):
    answer = {} if outcome == Outcome.UNKNOWN else {"answer": "Overdrawn" if outcome == Outcome.REJECTED else None}
    return Observation(
        process=process,
        method="transfer",
        objects=(source, target),
        arguments={"amount": amount},
        invoke_ns=when[0],
        return_ns=when[1],
        outcome=outcome,
        **answer,
    )


def account(process, method, when, answer=None, *, object_id=A, **arguments):
    return Observation(
        process=process,
        method=method,
        objects=(object_id,),
        arguments=arguments,
        invoke_ns=when[0],
        return_ns=when[1],
        outcome=Outcome.OK,
        answer=answer,
    )


def kinds(result):
    return sorted(edge.kind for edge in result.cycle)


def test_versions_in_order_are_accepted():
    """Writers and readers whose versions follow each other are strictly serializable, with no model at all."""
    result = check(
        [
            touch("a", (0, 10), {X: 0}, {X: 1}),
            touch("b", (5, 20), {X: 1, Y: 0}, {X: 2, Y: 1}),
            touch("c", (6, 30), {X: 1}),
            touch("d", (21, 30), {X: 2, Y: 1}),
        ]
    )
    assert result.verdict is Verdict.LINEARIZABLE
    assert result.unmodelled == (X, Y)


def test_write_skew():
    """Two operations that each read what the other overwrites have no order."""
    result = check([touch("a", (0, 10), {X: 0, Y: 0}, {X: 1}), touch("b", (0, 10), {X: 0, Y: 0}, {Y: 1})])
    assert result.message.startswith("write skew")
    assert kinds(result) == [Kind.READ_WRITE] * 2
    assert result.objects == (X, Y)


def test_long_fork():
    """Two readers that see two writes in opposite orders."""
    result = check(
        [
            touch("w", (0, 50), {}, {X: 1}),
            touch("v", (0, 50), {}, {Y: 1}),
            touch("r", (0, 50), {X: 1, Y: 0}),
            touch("s", (0, 50), {X: 0, Y: 1}),
        ]
    )
    assert result.message.startswith("long fork")
    assert kinds(result) == [Kind.READ_WRITE] * 2 + [Kind.WRITE_READ] * 2


def test_lost_update():
    """Two updates that ran on the same version: the second overwrote the first."""
    result = check([touch("a", (0, 10), {X: 0}, {X: 1}), touch("b", (0, 10), {X: 0}, {X: 2})])
    assert result.message.startswith("lost update")
    assert kinds(result) == [Kind.READ_WRITE, Kind.WRITE_WRITE]


def test_read_skew():
    """A reader that sees half of an update of two objects."""
    result = check([touch("a", (0, 10), {}, {X: 1, Y: 1}), touch("b", (0, 10), {X: 1, Y: 0})])
    assert result.message.startswith("read skew")


def test_write_cycle():
    """Two updates applied in opposite orders on two objects: what broken repair does."""
    result = check([touch("a", (0, 10), {}, {X: 1, Y: 2}), touch("b", (0, 10), {}, {X: 2, Y: 1})])
    assert result.message.startswith("write cycle")


def test_circular_information_flow():
    """Each of two operations saw what the other wrote."""
    result = check([touch("a", (0, 10), {Y: 1}, {X: 1}), touch("b", (0, 10), {X: 1}, {Y: 1})])
    assert result.message.startswith("circular information flow")


def test_split_brain():
    """Two operations that wrote the same version: the object forked."""
    result = check([touch("a", (0, 10), {X: 0}, {X: 1}), touch("b", (0, 10), {X: 0}, {X: 1})])
    assert "split brain" in result.message
    assert len(result.offending) == 2


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REJECTED, Outcome.FAILED])
def test_effect_of_what_had_none(outcome):
    """An operation that was refused or cancelled wrote a version."""
    assert f"effect of a {outcome}" in check([touch("a", (0, 10), {}, {X: 1}, outcome=outcome)]).message


def test_version_not_newer():
    """An update cannot write a version older than the one it ran on."""
    assert check([touch("a", (0, 10), {X: 5}, {X: 5})]).verdict is Verdict.VIOLATION


def test_stale_read():
    """A read that starts after an update has returned, and misses it, breaks real time only."""
    history = [touch("a", (0, 10), {X: 0}, {X: 1}), touch("b", (11, 20), {X: 0})]
    result = check(history)
    assert result.message.startswith("stale read")
    assert kinds(result) == [Kind.REAL_TIME, Kind.READ_WRITE]
    assert check([history[0], touch("b", (10, 20), {X: 0})]).verdict is Verdict.LINEARIZABLE


def test_real_time_across_objects():
    """Nobody's clock sees two objects at once, but a third operation between them does."""
    result = check(
        [
            touch("a", (0, 10), {X: 0}, {X: 1}),
            touch("b", (11, 20), {Y: 0}, {Y: 1}),
            touch("c", (0, 50), {Y: 1, X: 0}),
        ]
    )
    assert result.message.startswith("real-time violation")
    assert len(result.cycle) == 3


def test_the_shortest_cycle_is_reported():
    """Of a long and a short cycle the short one is shown."""
    names = [f"Thing/{i}" for i in range(6)]
    ring = [touch(f"p{i}", (0, 10), {name: 0}, {names[i - 1]: 1}) for i, name in enumerate(names)]
    assert len(check(ring).cycle) == 6
    short = [touch("a", (0, 10), {X: 0, Y: 0}, {X: 1}), touch("b", (0, 10), {X: 0, Y: 0}, {Y: 1})]
    assert len(check([*ring, *short]).cycle) == 2


def test_order_holds_across_versions_nobody_recorded():
    """An update of unknown outcome leaves a gap in the numbers; what lies on its two sides stays in order."""
    result = check(
        [touch("a", (0, 10), {X: 0}, {X: 1}), touch("b", (20, 30), {X: 2}, {X: 3}), touch("c", (40, 50), {X: 2})]
    )
    assert result.message.startswith("stale read")


def test_answers_are_checked_in_the_order_of_versions():
    """Versions in order do not excuse a wrong answer."""
    get = Observation(
        process="a",
        method="get",
        objects=("Counter/c",),
        invoke_ns=0,
        return_ns=9,
        outcome=Outcome.OK,
        answer=1,
        read={"Counter/c": 0},
    )
    assert "answer 0" in check([get]).message


def test_versions_decide_where_answers_allow_anything():
    """Two concurrent writes may end either way, but not against their versions."""

    def write(value, number):
        return Observation(
            process=str(value),
            method="write",
            objects=("Register/x",),
            arguments={"value": value},
            invoke_ns=0,
            return_ns=10,
            outcome=Outcome.OK,
            answer=None,
            written={"Register/x": number},
        )

    read = Observation(
        process="r", method="read", objects=("Register/x",), invoke_ns=20, return_ns=30, outcome=Outcome.OK, answer=1
    )
    assert check([write(1, 1), write(2, 2), read]).verdict is Verdict.VIOLATION
    assert check([write(1, 2), write(2, 1), read]).verdict is Verdict.LINEARIZABLE


def test_transfers_are_atomic():
    """Without versions the joint state is searched: money seen in neither account was never between them."""
    history = [
        account("a", "deposit", (0, 10), 10, amount=10),
        transfer("a", (11, 100), 10),
        account("b", "balance", (20, 30), 0),
        account("b", "balance", (40, 50), 0, object_id=B),
    ]
    result = check(history)
    assert result.verdict is Verdict.VIOLATION
    assert result.objects == (A, B)
    assert check(history[:3]).verdict is Verdict.LINEARIZABLE


def test_unknown_transfer_takes_effect_wholly_or_not_at_all():
    """A transfer of unknown outcome that one account shows must show in the other."""
    history = [account("a", "deposit", (0, 10), 10, amount=10), transfer("a", (11, None), 10, outcome=Outcome.UNKNOWN)]
    for first, second, expected in ((0, 10, "linearizable"), (10, 0, "linearizable"), (0, 0, "violation")):
        seen = [
            account("b", "balance", (20, 30), first),
            account("b", "balance", (40, 50), second, object_id=B),
        ]
        assert check([*history, *seen]).verdict == expected


def test_rejected_transfer_changes_nothing():
    """An overdraft is rejected and both balances stay."""
    history = [account("a", "deposit", (0, 10), 10, amount=10), transfer("a", (11, 20), 11, outcome=Outcome.REJECTED)]
    assert check([*history, account("a", "balance", (21, 30), 10)]).verdict is Verdict.LINEARIZABLE
    assert check([*history, account("a", "balance", (21, 30), 0)]).verdict is Verdict.VIOLATION
