"""Executing calls on versions, and what a version remembers (PROTOCOL §4.6, §6)."""

from __future__ import annotations

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import ANSWERS_BYTES_MAX
from fivefold.protocol.operations import CANCEL, CANCELLED, FORGOTTEN, NOT_RUN, Call, Executed, Operation
from fivefold.protocol.server.execution import execute
from fivefold.protocol.server.versions import (
    Recorded,
    append_outcomes,
    decode_version,
    encode_version,
    find_answer,
    initial_version,
    ring_key,
    version_digest,
)
from tests.protocol_rig import A, B, Toy, X, Y

ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16


def call(method: str, arguments: bytes = b"", call_id: bytes = ONE, since: int = 0) -> Call:
    return Call(call_id, since, method, arguments)


def run(calls: list[Call], version=None, *, client=X, is_query: bool = False, time: int = 5):
    versions = {A: version or initial_version(b"")}
    return execute(Toy(), client, Operation((A,), tuple(calls)), versions, is_query=is_query, time=time)


def test_calls_run_in_order_each_on_what_the_one_before_left() -> None:
    """Two adds in one operation: the second answers what the first wrote."""
    result = run([call("add", b"a", ONE), call("add", b"b", TWO)])
    assert result.answers == (b"v", b"va")
    (version,) = result.versions
    assert (version.state, version.number) == (b"ab", 2)


def test_a_query_makes_no_version() -> None:
    """Its answer is all there is, and it is not recorded."""
    result = run([call("get")], initial_version(b"s"), is_query=True)
    assert (result.answers, result.versions) == ((b"vs",), None)


def test_a_rejected_call_alone_makes_no_version() -> None:
    """Nothing changed, so nothing is recorded: the same call may succeed later."""
    result = run([call("refuse")])
    assert (result.answers, result.versions) == ((b"rno",), None)


def test_a_rejected_call_beside_another_is_recorded() -> None:
    """The operation made a version: repeated, it must give the same answers."""
    result = run([call("refuse", b"", ONE), call("add", b"b", TWO)])
    assert result.answers == (b"rno", b"v")
    again = run([call("refuse", b"", ONE), call("add", b"b", TWO)], result.versions[0])
    assert (again.answers, again.versions) == (result.answers, None)


def test_a_call_found_in_the_ring_is_not_run() -> None:
    """The recorded answer comes back, as for a query; a new call beside it is run."""
    (first,) = run([call("add", b"a")]).versions
    again = run([call("add", b"a")], first)
    assert (again.answers, again.versions) == ((b"v",), None)
    mixed = run([call("add", b"a"), call("add", b"b", TWO)], first)
    assert mixed.answers == (b"v", b"va")
    assert mixed.versions[0].state == b"ab"


def test_ids_belong_to_clients() -> None:
    """Another client's call with the same id is another call."""
    (first,) = run([call("add", b"a")]).versions
    assert run([call("add", b"a")], first, client=Y).versions[0].state == b"aa"
    assert ring_key(X, ONE) != ring_key(Y, ONE)


def test_a_cancelled_call_is_never_applied() -> None:
    """CANCEL writes *cancelled* under the call's key: the call itself then finds that."""
    cancelled = run([call(CANCEL, ONE, TWO)])
    assert cancelled.answers == (CANCELLED,)
    assert cancelled.versions[0].state == b""
    late = run([call("add", b"a", ONE)], cancelled.versions[0])
    assert (late.answers, late.versions) == ((CANCELLED,), None)


def test_cancelling_what_was_applied_answers_what_it_answered() -> None:
    """The call came first: its answer is returned, and nothing is cancelled."""
    (first,) = run([call("add", b"a")]).versions
    result = run([call(CANCEL, ONE, TWO)], first)
    assert (result.answers, result.versions) == ((b"v",), None)


@pytest.mark.parametrize(("since", "answer"), [(0, FORGOTTEN), (19, FORGOTTEN), (20, b"v"), (21, b"v")])
def test_a_ring_that_lost_newer_calls_cannot_tell(since: int, answer: bytes) -> None:
    """The ring lost calls up to time 20: only a call conditioned then or later is certainly not among the lost."""
    version = initial_version(b"")
    for number in range(80):
        version = append_outcomes(version, 5 + number, b"", (Recorded(b"%016d%016d" % (number, 0), b"v"),))
    assert version.horizon == version.orphaned == 20
    assert run([call("add", b"a", since=since)], version, time=99).answers == (answer,)


class Telling(Toy):
    """Answers with as many bytes as the arguments say."""

    def execute(self, objects: tuple, call: Call, states: tuple) -> Executed:
        return Executed(bytes(int(call.arguments)), (states[0] + b"+",))


@pytest.mark.parametrize(
    ("sizes", "answered"),
    [
        ((ANSWERS_BYTES_MAX - 1, 1, 1), 2),
        ((ANSWERS_BYTES_MAX, 1), 1),
        ((ANSWERS_BYTES_MAX - 1, 2, 1), 1),
        ((ANSWERS_BYTES_MAX + 1, 1), 0),
    ],
)
def test_answers_have_a_largest_size_together(sizes: tuple, answered: int) -> None:
    """A call whose answer does not fit is not run, nor is any behind it: they keep their order."""
    calls = tuple(call("add", b"%d" % size, b"%016d" % number) for number, size in enumerate(sizes))
    versions = {A: initial_version(b"")}
    result = execute(Telling(), X, Operation((A,), calls), versions, is_query=False, time=1)
    lengths = [*sizes[:answered], *[len(NOT_RUN)] * (len(sizes) - answered)]
    assert [len(answer) for answer in result.answers] == lengths
    assert (result.versions[0].state if result.versions else b"") == b"+" * answered


def test_a_key_is_found_behind_bytes_that_look_like_it() -> None:
    """The answer before is one byte long: that 1 and 31 of the key's 32 are what is looked for, one place too early."""
    key = b"\x01" * 32
    version = append_outcomes(initial_version(b""), 1, b"", (Recorded(X + TWO, b"w"), Recorded(key, b"v")))
    version = append_outcomes(version, 2, b"", (Recorded(Y + TWO, b"u"),))
    assert version.recent.find(key) == len(version.recent) // 3 - 1
    assert find_answer(version, key) == b"v"


def test_objects_of_one_operation_record_it_together() -> None:
    """All new versions carry the call; the least object's ring decides whether it was applied."""
    operation = Operation((B, A), (call("add", b"+"),))
    versions = {A: initial_version(b"a"), B: initial_version(b"b")}
    result = execute(Toy(), X, operation, versions, is_query=False, time=1)
    assert result.answers == (b"vb|a",)
    new_a, new_b = result.versions
    assert (new_b.state, new_a.state) == (b"b+", b"a+")
    assert find_answer(new_a, ring_key(X, ONE)) == find_answer(new_b, ring_key(X, ONE)) == b"vb|a"
    again = execute(Toy(), X, operation, {A: new_a, B: versions[B]}, is_query=False, time=2)
    assert again.answers == (b"vb|a",)


def test_versions_survive_their_encoding() -> None:
    """And other bytes are refused."""
    (version,) = run([call("add", b"a")]).versions
    data = encode_version(version)
    assert decode_version(data) == version
    for bad in (data[:-1], data + b"\xc0", b"", b"\xc1"):
        with pytest.raises(PeerViolation):
            decode_version(bad)


def test_the_digest_of_a_version_covers_state_and_answers() -> None:
    """A method that computes another state, or another answer, on one server has another digest there."""
    version = append_outcomes(initial_version(b""), 1, b"s", (Recorded(ONE, b"v"),))
    others = [
        append_outcomes(initial_version(b""), 1, b"t", (Recorded(ONE, b"v"),)),
        append_outcomes(initial_version(b""), 1, b"s", (Recorded(ONE, b"w"),)),
        append_outcomes(version, 2, b"s", (Recorded(ONE, b"v"),)),
    ]
    assert len({version_digest(each) for each in (version, *others)}) == 4
