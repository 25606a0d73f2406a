"""Helping, the servers' part (H1-H4, H9): announced calls, who may carry them, who is told, when they are gone."""

from __future__ import annotations

import pytest

from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.limits import ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX, RING_ENTRIES
from fivefold.protocol.messages import DECLINED, FAIL, LACKING, PENDING, SETTLED, SUCCESS, UNCHANGED, encode
from fivefold.protocol.operations import (
    CANCELLED,
    NOT_RUN,
    REJECTED,
    VALUE,
    Call,
    ClientId,
    Executed,
    ObjectId,
    Operation,
    key_of,
)
from fivefold.protocol.records import Result
from fivefold.protocol.server.carrying import execute_carrying
from fivefold.protocol.server.versions import find_answer, initial_version
from fivefold.protocol.steps import Kind
from tests.helping_rig import HelpingRack, Line, announcement, carrying, pooled, with_since
from tests.protocol_rig import A, B, X, Y, Z, cancel, newest, now, op, send

METHOD = Kind.METHOD
ID = b"a call of X's 16"
OTHER = b"a call of Y's 16"


def low(rack: HelpingRack) -> list[int]:
    """The quorum that A's clients ask first."""
    return list(rack.quorums.preference(A))[: rack.quorums.q]


def begun(n: int = 6, b: int = 1) -> tuple[HelpingRack, list[int]]:
    """A rack where Z has written A on a quorum."""
    rack = HelpingRack(n=n, t=1, b=b)
    send(rack, Z, now(rack, []), low(rack), kind=METHOD, operation=op("add", b"."))
    return rack, low(rack)


def advance(rack: HelpingRack, servers: list[int]) -> None:
    """Z updates A at these servers, which are q and agree."""
    send(rack, Z, now(rack, servers), servers, kind=METHOD, operation=op("add", b"."))


def statuses(heard: dict) -> set[int]:
    """What the servers say."""
    return {each.vote.status for each in heard.values()}


# --- H1, H2: announcing and listing -----------------------------------------------------------------------------------


def test_an_announced_call_waits_and_is_listed_to_others_alone() -> None:
    """X's call is PENDING; Y is shown it, byte for byte, in any reply about the object; X is not, nor with another."""
    rack, servers = begun()
    add, line, other = op("add", b"+", call_id=ID), Line(rack, X), Line(rack, Y)
    heard = line.announce(add, servers)
    assert {(each.vote.status, each.vote.answers) for each in heard.values()} == {(PENDING, (NOT_RUN,))}
    assert all(each.help.listed == () for each in heard.values())
    for each in other.send(now(rack, [], A), servers, target=A).values():
        assert each.help.listed == (announcement(X, add),)
    for each in other.send(now(rack, [], B), range(5), target=B).values():
        assert each.help.listed == ()


def test_d12_where_nobody_has_announced_anything_no_byte_is_added() -> None:
    """D12: replies end with the authenticators, and an operation without carried calls has the bytes that it had."""
    rack, servers = begun()
    line = Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    assert encode(add) == encode((add.objects, add.calls, add.code, add.attempt))
    for server, each in line.send(now(rack, servers), servers, add).items():
        histories = sum(map(len, each.vote.histories))
        assert histories
        assert each.frame.endswith(rack.authenticator(server, A, rack.history(server, A)))


def test_a_newer_announcement_replaces_the_older_and_keeps_no_place() -> None:
    """One announcement for each connection and object; a late older one changes nothing."""
    rack, servers = begun()
    line = Line(rack, X)
    line.announce(op("add", b"+", call_id=ID), servers)
    Line(rack, Y).announce(op("add", b"-", call_id=OTHER), servers)
    newer = op("add", b"*")
    line.announce(newer, servers)
    assert pooled(rack)[servers[0]] == [OTHER, newer.calls[0].id]


def test_what_the_ring_knows_is_not_announced_but_answered() -> None:
    """X's call was applied: to announce it again is refused like a stale attempt, with its answer."""
    rack, servers = begun()
    line = Line(rack, X)
    line.send(now(rack, servers), servers, op("add", b"+", call_id=ID))
    heard = line.announce(op("add", b"+", call_id=ID), servers)
    assert {(each.vote.status, each.vote.answers) for each in heard.values()} == {(FAIL, (b"v.",))}
    advance(rack, servers)
    assert statuses(line.announce(op("add", b"+", call_id=ID), servers)) == {SETTLED}
    assert pooled(rack) == [[]] * 6


def test_d13_a_forgotten_call_is_neither_taken_up_nor_listed() -> None:
    """D13: rings have forgotten so much that they cannot tell: who carried it would carry it for ever."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    assert statuses(line.announce(op("add", b"+", call_id=ID), servers)) == {PENDING}
    for number in range(RING_ENTRIES + 20):
        client = ClientId(number.to_bytes(16, "big"))
        send(rack, client, now(rack, servers), servers, kind=METHOD, operation=op("add", b".", since=1000))
    for each in other.send(now(rack, [], A), servers, target=A).values():
        assert each.help.listed == ()
    assert statuses(line.announce(op("add", b"+", call_id=ID), servers)) == {FAIL}


def test_a_refused_operation_is_announced_where_its_client_has_announced_before() -> None:
    """Not before: a client that knows nothing of helping is told FAIL; and not what is conditioned on nothing."""
    rack, servers = begun()
    line, view = Line(rack, X), now(rack, servers)
    advance(rack, servers)
    assert statuses(line.send(view, servers, op("add", b"+"))) == {FAIL}
    line.announce(op("add", b"+"), servers)
    add = op("add", b"+", call_id=ID)
    assert statuses(line.send(view, servers, add)) == {PENDING}
    assert pooled(rack)[servers[0]] == [ID]
    assert statuses(line.send(now(rack, []), servers, op("add", b"+"))) == {FAIL}
    assert statuses(line.send(view, servers, op("get"))) <= {FAIL, SUCCESS}
    assert pooled(rack)[servers[0]] == [ID]


def test_announcements_end_with_their_connection_and_with_a_restart() -> None:
    """Nothing of the pool is durable."""
    rack, servers = begun()
    line = Line(rack, X)
    line.announce(op("add", b"+", call_id=ID), servers)
    rack.hang_up(line, servers[0])
    rack.restart(servers[1])
    assert [bool(each) for each in pooled(rack)] == [s in servers[2:] for s in range(6)]
    assert rack.servers[servers[0]].pool.size == 0


# --- H3: carrying -----------------------------------------------------------------------------------------------------


def test_a_carried_call_is_applied_first_and_its_owner_is_told() -> None:
    """D8: Y carries X's call with its own; X hears of it from each server, under the number of its announcement."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    heard = other.send(now(rack, servers), servers, carrying(op("add", b"y"), carried=[(X, add)]))
    assert {(each.vote.status, each.vote.answers) for each in heard.values()} == {(SUCCESS, (b"v.+",))}
    assert rack.state(servers[0], A) == b".+y"
    pushes = line.take()
    for server in servers:
        (push,) = pushes[server]
        assert (push.number, push.vote.status, push.vote.answers) == (1, SUCCESS, (b"v.",))
        assert push.vote.candidate == heard[server].vote.candidate
        assert push.vote.version_digest == heard[server].vote.version_digest


def test_d1_what_nobody_has_announced_is_accepted_nowhere() -> None:
    """D1: Z's call is forged: each server lacks it, also after it has waited for the version to build upon."""
    rack, servers = begun()
    line = Line(rack, Y)
    forged = carrying(op("add", b"y"), carried=[(X, op("add", b"+", call_id=ID))])
    before = rack.shown()
    heard = line.send(now(rack, servers), range(6), forged)
    assert statuses(heard) == {LACKING}  # the sixth has fetched the version first
    assert all(each.help.lacking == (X,) for each in heard.values())
    assert rack.shown() == before


def test_d1_what_is_withdrawn_while_its_carrier_waits_is_not_applied() -> None:
    """D1: the sixth server has X's call, and fetches the version; X withdraws meanwhile: checked after the wait."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    (sixth,) = set(range(6)) - set(servers)
    line.announce(with_since(add, 0), [sixth])
    rack.holds_syncs = True
    operation = carrying(op("add", b"y"), carried=[(X, add)])
    assert other.send(now(rack, servers), [sixth], operation) == {}
    assert statuses(line.withdraw(add, [sixth])) == {SUCCESS}
    rack.release_syncs()
    ((heard,),) = other.take().values()
    assert (heard.vote.status, heard.help.lacking) == (LACKING, (X,))


def test_d10_a_call_with_another_since_is_another_call() -> None:
    """D10: what is carried must be what was announced, byte for byte."""
    rack, servers = begun()
    add = op("add", b"+", call_id=ID)
    Line(rack, X).announce(with_since(add, 1), servers)
    line = Line(rack, Y)
    assert statuses(line.send(now(rack, servers), servers, carrying(carried=[(X, add)]))) == {LACKING}
    exact = carrying(carried=[(X, with_since(add, 1))])
    assert statuses(line.send(now(rack, servers), servers, exact)) == {SUCCESS}


class Rules:
    """An access policy that can be changed: pairs of client and method that are denied."""

    def __init__(self) -> None:
        self.denied: set[tuple[ClientId, str]] = set()

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        return (client, method) not in self.denied

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        return True


def test_d11_rights_are_those_of_the_owner_when_it_is_run_and_of_the_carrier() -> None:
    """D11: X loses its right between announcing and carrying: lacking; one who may not call it may not carry it."""
    rules = Rules()
    rack = HelpingRack(access=rules)
    servers = low(rack)
    add = op("add", b"+", call_id=ID)
    assert statuses(Line(rack, X).announce(add, servers)) == {PENDING}
    rules.denied = {(X, "add")}
    line = Line(rack, Y)
    heard = line.send(now(rack, []), servers, carrying(op("set", b"y"), carried=[(X, add)]))
    assert statuses(heard) == {LACKING}
    rules.denied = {(Y, "add")}
    assert line.send(now(rack, []), servers, target=A)[servers[0]].help.listed == ()
    heard = line.send(now(rack, []), servers, carrying(op("set", b"y"), carried=[(X, add)]))
    assert {(each.vote.status, each.help.lacking) for each in heard.values()} == {(LACKING, (X,))}
    assert statuses(line.send(now(rack, []), servers, op("set", b"y"))) == {SUCCESS}


class Talkative:
    """Every call answers with so many bytes, and leaves its id as the state."""

    def __init__(self, sizes: dict[bytes, int]) -> None:
        self.sizes = sizes

    def begin(self) -> None:
        pass

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        return Executed(VALUE + bytes(self.sizes[call.id] - 1), (call.id,))


def test_what_others_answer_takes_no_room_from_the_carriers_own_call() -> None:
    """X's calls answer with a MiB each: the second waits for another operation, and Y's own MiB has room."""
    first, second, own = (op("add", b"+", call_id=bytes((k,)) * 16) for k in range(3))
    sizes = {each.calls[0].id: ANSWER_BYTES_MAX for each in (first, second, own)}
    operation = carrying(own, carried=[(X, first), (X, second)])
    result = execute_carrying(Talkative(sizes), Y, operation, initial_version(b""), time=1)
    assert isinstance(result, Result)
    assert [len(answer) for answer in result.answers] == [ANSWER_BYTES_MAX]
    assert result.versions is not None
    (made,) = result.versions
    assert [each.key for each in made.outcomes] == [key_of(X, first.calls[0]), key_of(Y, own.calls[0])]
    assert sum(len(each.answer) for each in made.outcomes) <= ANSWERS_BYTES_MAX


def test_nobody_carries_a_call_twice_or_its_own() -> None:
    """A call that stands twice in an operation would be applied twice: the frame is refused as a whole."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    twice = carrying(carried=[(X, add), (X, add)])
    assert other.send(now(rack, servers), servers, twice) == {}
    assert other.send(now(rack, servers), servers, carrying(carried=[(X, add), (X, cancel(ID, 0))])) == {}
    assert statuses(line.send(now(rack, servers), servers, carrying(carried=[(X, add)]))) == {DECLINED}
    joint = carrying(op("add", b"y"), carried=[(X, add)])
    joint = type(joint)((A, B), joint.calls, b"", 0, joint.carried)
    assert other.send(now(rack, servers, A, B), servers, joint) == {}
    assert rack.state(servers[0], A) == b"."


def test_a_call_that_was_applied_is_answered_from_the_ring() -> None:
    """D2: X's call reaches two servers by A's operation, the others copy over it, B carries it again: applied once."""
    rack, servers = begun()
    line, first, second = Line(rack, X), Line(rack, Y), Line(rack, Z)
    add = op("add", b"+", call_id=ID)
    line.announce(add, range(6))
    view, two = now(rack, servers), servers[:2]
    operation = carrying(op("add", b"a"), carried=[(X, add)])
    assert statuses(first.send(view, two, operation)) == {SUCCESS}
    others = [s for s in range(6) if s != two[0]]
    assert statuses(second.send(now(rack, others), others, target=A)) == {SUCCESS}  # a barrier
    heard = second.send(now(rack, others), range(6), target=A)  # a copy of what Z wrote first
    assert heard[others[-1]].listed == [ID]
    assert rack.state(others[-1], A) == b"."
    holders = others
    heard = second.send(now(rack, holders), holders, carrying(op("add", b"b"), carried=[(X, add)]))
    assert statuses(heard) == {SUCCESS}
    assert rack.state(holders[0], A) == b".+b"
    again = first.send(view, two, operation)
    assert statuses(again) <= {SUCCESS, PENDING, FAIL}
    assert rack.state(holders[-1], A) == b".+b"
    heard = first.send(now(rack, holders), holders, carrying(op("add", b"c"), carried=[(X, add)]))
    assert statuses(heard) == {SUCCESS}
    assert rack.state(holders[0], A) == b".+bc"


def test_d9_rejections_are_recorded_pushed_and_gone() -> None:
    """D9: all that is carried is rejected: still it makes a version, its owner hears, and nobody lists it again."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    refuse = op("refuse", call_id=ID)
    line.announce(refuse, servers)
    heard = other.send(now(rack, servers), servers, carrying(carried=[(X, refuse)]))
    assert {(each.vote.status, each.vote.answers) for each in heard.values()} == {(SUCCESS, ())}
    assert {push.vote.answers for each in line.take().values() for push in each} == {(REJECTED + b"no",)}
    assert other.send(now(rack, [], A), servers, target=A)[servers[0]].help.listed == ()
    advance(rack, servers)
    assert pooled(rack) == [[]] * 6


def test_a_rejection_of_an_announced_call_of_ones_own_is_recorded() -> None:
    """Otherwise somebody could carry the call later and have it applied, after its caller was told that it was not."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    refuse = op("refuse", call_id=ID)
    line.announce(refuse, servers)
    assert statuses(line.send(now(rack, servers), servers, carrying(refuse))) == {SUCCESS}
    found = rack.disks[servers[0]].versions(A)
    assert find_answer(found[max(found)], key_of(X, refuse.calls[0])) == REJECTED + b"no"
    heard = other.send(now(rack, servers), servers, carrying(carried=[(X, refuse)]))
    assert statuses(heard) == {UNCHANGED}


def test_a_cancellation_can_be_carried() -> None:
    """X's call is cancelled by an announcement: carried, and answered CANCELLED; it never runs."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    line.announce(cancel(ID, 0), servers)
    cancelling = line.rack.servers[servers[0]].pool.objects[A]
    (entry,) = cancelling.values()
    heard = other.send(now(rack, servers), servers, carrying(carried=[(X, Operation((A,), entry.calls))]))
    assert statuses(heard) == {SUCCESS}
    assert {push.vote.answers for each in line.take().values() for push in each} == {(CANCELLED,)}
    assert statuses(line.announce(op("add", b"+", call_id=ID), servers)) == {FAIL}


# --- H4: when it is gone, and who is told -----------------------------------------------------------------------------


def test_d3_what_a_barrier_passes_over_is_pending_again() -> None:
    """D3: two servers have X by one operation, three by another; a copy passes over both, and X is listed again."""
    rack, servers = begun()
    line, first, second = Line(rack, X), Line(rack, Y), Line(rack, Z)
    add = op("add", b"+", call_id=ID)
    line.announce(add, range(6))
    view = now(rack, servers)
    assert statuses(first.send(view, servers[:2], carrying(op("add", b"a"), carried=[(X, add)]))) == {SUCCESS}
    assert statuses(second.send(view, servers[2:4], carrying(op("add", b"b"), carried=[(X, add)]))) == {SUCCESS}
    pushed = [push for each in line.take().values() for push in each]
    assert len(pushed) == 4
    assert len({push.vote.candidate for push in pushed}) == 2
    assert all(pooled(rack))
    everybody = range(6)
    second.send(now(rack, everybody), everybody, target=A)
    heard = second.send(now(rack, everybody), everybody, target=A)
    assert statuses(heard) == {SUCCESS}
    assert {tuple(each.listed) for each in heard.values()} == {(ID,)}


def test_d4_what_is_carried_is_settled_like_any_other_call() -> None:
    """D4: C with X is accepted by METHOD at two servers and established nowhere: X is not settled there."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    other.send(now(rack, servers), servers[:2], carrying(carried=[(X, add)]))
    assert statuses(line.announce(add, servers[:2])) == {FAIL}
    other.send(now(rack, servers), servers[2:], carrying(carried=[(X, add)]))
    assert statuses(line.announce(add, servers[2:])) <= {FAIL, PENDING}


def test_an_entry_goes_when_what_has_recorded_it_is_built_upon() -> None:
    """Not on acceptance: then a barrier may still pass over it."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    other.send(now(rack, servers), servers, carrying(carried=[(X, add)]))
    assert pooled(rack)[servers[0]] == [ID]
    advance(rack, servers)
    assert pooled(rack)[servers[0]] == []


def test_owners_are_told_only_what_is_durable() -> None:
    """A push waits for the disk like any reply."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add, slow = op("add", b"+", call_id=ID), servers[0]
    line.announce(add, servers)
    rack.slow = {slow}
    other.send(now(rack, servers), servers, carrying(carried=[(X, add)]))
    assert sorted(line.take()) == sorted(servers[1:])
    rack.settle(slow)
    assert list(line.take()) == [slow]


def test_whoever_completes_a_version_inline_pushes_too() -> None:
    """X's call is carried to r servers; a repair brings the version to the others, which tell X."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    other.send(now(rack, servers), servers[:3], carrying(carried=[(X, add)]))
    assert sorted(line.take()) == sorted(servers[:3])
    other.send(now(rack, servers), servers, target=A)
    assert sorted(line.take()) == sorted(servers[3:])


# --- H9: withdrawing --------------------------------------------------------------------------------------------------


def test_what_is_withdrawn_is_forgotten_and_confirmed() -> None:
    """Each server that holds no version with the call says SUCCESS; nobody can carry it there any more."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    assert statuses(line.withdraw(add, servers)) == {SUCCESS}
    assert pooled(rack) == [[]] * 6
    assert statuses(other.send(now(rack, servers), servers, carrying(carried=[(X, add)]))) == {LACKING}


def test_a_server_whose_history_has_the_call_does_not_confirm() -> None:
    """X was carried to one server: that one says FAIL, however often."""
    rack, servers = begun()
    line, other = Line(rack, X), Line(rack, Y)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers)
    other.send(now(rack, servers), servers[:1], carrying(carried=[(X, add)]))
    heard = line.withdraw(add, servers)
    assert {server: each.vote.status for server, each in heard.items()} == {
        server: FAIL if server == servers[0] else SUCCESS for server in servers
    }


def test_an_attempt_that_waits_while_it_is_withdrawn_is_refused() -> None:
    """D5: X's own attempt waits for a sync at the sixth server when the withdrawal passes it: refused, not applied."""
    rack, servers = begun()
    line = Line(rack, X)
    add = op("add", b"+", call_id=ID)
    (sixth,) = set(range(6)) - set(servers)
    rack.holds_syncs = True
    assert line.send(now(rack, servers), [sixth], add) == {}
    assert statuses(line.withdraw(add, [sixth])) == {SUCCESS}
    rack.release_syncs()
    ((heard,),) = line.take().values()
    assert heard.vote.status == FAIL
    assert newest(rack, sixth).timestamp == INITIAL_TIMESTAMP


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_the_pool_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By announcements of an object, of a client there, and by bytes of a client and of all: beyond that FAIL."""
    for name, most in (
        ("POOL_PER_OBJECT_MAX", 2),
        ("POOL_CLIENT_BYTES_MAX", 2500),
        ("POOL_BYTES_MAX", 2500),
        ("POOL_PER_CLIENT_MAX", 2),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"fivefold.protocol.limits.{name}", most)
            rack, servers = begun()
            is_of_all = name in ("POOL_PER_OBJECT_MAX", "POOL_BYTES_MAX")
            clients = [ClientId(bytes(15) + bytes((k,))) if is_of_all else X for k in range(3)]
            lines = [Line(rack, client) for client in clients]
            heard = [statuses(line.announce(op("add", b"+"), servers)) for line in lines]
            assert heard == [{PENDING}, {PENDING}, {FAIL}], name
            assert rack.servers[servers[0]].counters["helping.no-room"] == 1
            lines[0].announce(op("add", b"-"), servers)
            assert len(pooled(rack)[servers[0]]) == 2


def test_too_many_or_too_large_calls_are_not_announced() -> None:
    """Beyond ANNOUNCED_CALLS_MAX and ANNOUNCED_BYTES_MAX a client does without helping."""
    rack, servers = begun()
    line = Line(rack, X)
    calls = tuple(op("add", b"+").calls[0] for _ in range(9))
    assert statuses(line.announce(Operation((A,), calls), servers)) == {FAIL}
    assert statuses(line.announce(Operation((A,), calls[:8]), servers)) == {PENDING}
    assert statuses(line.announce(op("add", bytes(16 * 1024 + 1)), servers)) == {FAIL}


def test_frames_that_are_no_announcements_are_refused() -> None:
    """Of several objects, repeated, of another shape: counted, and nothing changes."""
    rack, servers = begun()
    line, server = Line(rack, X), servers[0]
    assert line.announce(op("add", b"+", A, B), [server]) == {}
    line.number -= 1
    assert line.announce(op("add", b"+"), [server])
    line.number -= 1
    assert line.announce(op("add", b"+"), [server]) == {}
    line.give(server, b"\x17" + bytes(3))
    line.give(server, b"\x17" + bytes(12) + b"x")
    counted = {name: count for name, count in rack.servers[server].counters.items() if name.startswith("rejected")}
    assert counted == {
        "rejected.announcement-objects": 1,
        "rejected.replayed": 1,
        "rejected.frame-malformed": 1,
        "rejected.announcement-malformed": 1,
    }


def test_calls_that_need_rights_or_only_read_are_declined() -> None:
    """An announcement is judged like an operation."""
    rules = Rules()
    rules.denied = {(X, "add")}
    rack = HelpingRack(access=rules)
    line = Line(rack, X)
    assert statuses(line.announce(op("add", b"+"), low(rack))) == {DECLINED}
    assert statuses(line.announce(op("get"), low(rack))) == {FAIL}
    assert pooled(rack) == [[]] * 6


def test_pending_calls_are_shown_only_to_clients_that_may_call_a_query() -> None:
    """Y may make the call, not read the object: nothing is listed. Of a type without open queries nothing is kept."""
    rules = Rules()
    rules.denied = {(Y, "get")}
    rack = HelpingRack(access=rules)
    servers = low(rack)
    for server in rack.servers:
        server.pool._queries = lambda name: ("get",)
    line, reader, other = Line(rack, X), Line(rack, Y), Line(rack, Z)
    assert statuses(line.announce(op("add", b"+", call_id=ID), servers)) == {PENDING}
    assert reader.send(now(rack, [], A), servers, target=A)[servers[0]].help.listed == ()
    assert other.send(now(rack, [], A), servers, target=A)[servers[0]].listed == [ID]
    for server in rack.servers:
        server.pool._queries = lambda name: ()
    assert statuses(line.announce(op("add", b"-"), servers)) == {FAIL}


def test_an_operation_from_before_the_first_announcement_is_not_announced_by_its_refusal() -> None:
    """It waits for a sync meanwhile. Its client counts a refusal as one: kept, and carried, it would be applied."""
    rack, servers = begun()
    line, view = Line(rack, X), now(rack, servers)
    (sixth,) = set(range(6)) - set(servers)
    rack.holds_syncs = True
    assert line.send(view, [sixth], op("add", b"+", call_id=ID)) == {}
    line.announce(op("add", b"-"), servers)
    line.number += 1
    rack.servers[sixth].pool.opened(line.channels[sixth], line.number)
    advance(rack, servers)
    send(rack, Z, now(rack, servers), [sixth], kind=METHOD, operation=op("add", b"."), accepts=[])
    rack.release_syncs()
    assert all(heard.vote.status != PENDING for each in line.take().values() for heard in each)
    assert pooled(rack)[sixth] == []
