"""H8 of helping: a refused update hears what an established version has recorded of it (server/settled.py)."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from msgspec.structs import replace

from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import INITIAL_TIMESTAMP, initial_entry
from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX
from fivefold.protocol.messages import FAIL, SETTLED, SUCCESS, UNCHANGED
from fivefold.protocol.operations import CANCELLED, DIGEST, NOT_RUN, REJECTED, ClientId, Operation, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Vote
from fivefold.protocol.steps import Kind
from fivefold.simulation.chains import Chains, Violation
from fivefold.simulation.rack import Letter
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, Z, altered, cancel, candidate, newest, now, op, send

METHOD = Kind.METHOD
ID = b"a call of X's 16"


def stale(rack: WatchedRack, client: ClientId, operation: Operation, *servers: int) -> list[Vote]:
    """What servers say of a further attempt that is conditioned on nothing, as a client sends it that knows nothing."""
    again = replace(operation, attempt=1)
    return list(Letter(rack, client, now(rack, [], *operation.objects), operation=again).to(servers).values())


def low(rack: WatchedRack) -> list[int]:
    """The quorum that A's clients ask first."""
    return list(rack.quorums.preference(A))[: rack.quorums.q]


def advance(rack: WatchedRack, *servers: int, argument: bytes = b".") -> None:
    """Z updates A at these servers, which are q and agree."""
    send(rack, Z, now(rack, servers), servers, kind=METHOD, operation=op("add", argument))


# --- what a server calls settled --------------------------------------------------------------------------------------


def test_what_the_base_of_the_newest_method_has_recorded_is_settled() -> None:
    """X's add is on all of q servers, and Z's rests on it: each says so, and names the version that X's add made."""
    rack = WatchedRack()
    add = op("add", b"+", call_id=ID)
    send(rack, X, now(rack, []), low(rack), kind=METHOD, operation=add)
    made = newest(rack, low(rack)[0]).timestamp
    advance(rack, *low(rack))
    for vote in stale(rack, X, op("add", b"+", call_id=ID), *low(rack)):
        assert (vote.status, vote.candidate, vote.answers, vote.version_digest) == (SETTLED, made, (b"v",), b"")
    advance(rack, *low(rack))
    assert {vote.status for vote in stale(rack, X, op("add", b"+", call_id=ID), *low(rack))} == {SETTLED}


def test_what_the_newest_method_has_recorded_itself_is_not_settled() -> None:
    """D4: X's add is accepted by METHOD at two servers, more than b, and established nowhere: a barrier may pass over
    it.
    """
    rack = WatchedRack()
    advance(rack, *low(rack))
    two = low(rack)[:2]
    send(rack, X, now(rack, low(rack)), two, kind=METHOD, operation=op("add", b"+", call_id=ID))
    votes = stale(rack, X, op("add", b"+", call_id=ID), *two)
    assert {(vote.status, vote.answers) for vote in votes} == {(FAIL, (b"v.",))}


def test_a_client_whose_call_two_servers_hold_goes_on_until_it_is_established() -> None:
    """D4 to its end: the two that hold X's add are cut off, the others copy over it, and X's call is done once."""
    rack = WatchedRack()
    advance(rack, *low(rack))
    two = low(rack)[:2]
    send(rack, X, now(rack, low(rack)), two, kind=METHOD, operation=op("add", b"+", call_id=ID))
    desk, reader = Desk(rack, X), Desk(rack, Y)
    ticket = desk.start(op("add", b"+", call_id=ID))
    while desk.pending and ticket not in desk.finished:
        desk.step()
    reader.down = {two[0]}
    assert reader.call("get") == Answered((b"v.",))
    assert desk.finish(ticket) == Answered((b"v.",))
    assert reader.call("get") == Answered((b"v.+",))


def test_where_a_version_was_fetched_its_method_stands_alone_and_settles_nothing_of_its_own() -> None:
    """D4 after a sync: the sixth server fetches what it builds X's add upon, and holds nothing but X's add.

    What stands first in its history is no proof: only what the add rests on is established. That it knows, too.
    """
    rack = WatchedRack()
    base = op("add", b".", call_id=ID)
    send(rack, Z, now(rack, []), low(rack), kind=METHOD, operation=base)
    sixth = rack.quorums.preference(A)[5]
    send(rack, X, now(rack, low(rack)), [sixth], kind=METHOD, operation=op("add", b"+", call_id=ID))
    assert [entry.candidate for entry in rack.entries(sixth, A)] == [newest(rack, sixth)]
    (vote,) = stale(rack, X, op("add", b"+", call_id=ID), sixth)
    assert (vote.status, vote.answers) == (FAIL, (b"v.",))
    (vote,) = stale(rack, Z, op("add", b".", call_id=ID), sixth)
    assert (vote.status, vote.candidate, vote.answers) == (SETTLED, newest(rack, low(rack)[0]).timestamp, (b"v",))


def test_neither_a_barrier_nor_a_copy_settles_anything() -> None:
    """A barrier above X's add, and a copy of it, which may be of what nobody has established: still not settled."""
    rack = WatchedRack()
    advance(rack, *low(rack))
    send(rack, X, now(rack, low(rack)), low(rack)[:3], kind=METHOD, operation=op("add", b"+", call_id=ID))
    everybody = range(6)
    view = now(rack, [s for s in everybody if s not in low(rack)[:1]])
    send(rack, Y, view, everybody, kind=Kind.BARRIER, target=A)
    assert {vote.status for vote in stale(rack, X, op("add", b"+", call_id=ID), *everybody)} == {FAIL}
    send(rack, Y, now(rack, everybody), everybody, kind=Kind.COPY, target=A)
    assert rack.state(0, A) == b".+"
    assert {vote.status for vote in stale(rack, X, op("add", b"+", call_id=ID), *everybody)} == {FAIL}
    advance(rack, *everybody)
    assert {vote.status for vote in stale(rack, X, op("add", b"+", call_id=ID), *everybody)} == {SETTLED}


def test_a_call_that_nobody_has_recorded_is_not_settled() -> None:
    """The servers say NOT_RUN, as before; and nothing is settled where nobody has written."""
    rack = WatchedRack()
    advance(rack, *low(rack))
    advance(rack, *low(rack))
    for client, call_id in ((X, ID), (Z, ID)):
        votes = stale(rack, client, op("add", b"+", call_id=call_id), *low(rack))
        assert {(vote.status, vote.answers) for vote in votes} == {(FAIL, (NOT_RUN,))}
    assert initial_entry(A).candidate.timestamp == INITIAL_TIMESTAMP
    assert not initial_entry(A).candidate.is_method


def test_calls_that_travel_together_are_settled_together() -> None:
    """A rejection that was recorded with an update is settled, too; with a call that is not, none of them is."""
    rack = WatchedRack()
    refused, added = op("refuse").calls[0], op("add", b"+").calls[0]
    together = Operation((A,), (refused, added))
    send(rack, X, now(rack, []), low(rack), kind=METHOD, operation=together)
    advance(rack, *low(rack))
    for vote in stale(rack, X, together, *low(rack)):
        assert (vote.status, vote.answers) == (SETTLED, (REJECTED + b"no", b"v"))
    another = Operation((A,), (refused, added, op("add", b"-").calls[0]))
    assert {vote.status for vote in stale(rack, X, another, *low(rack))} == {FAIL}


def test_a_cancellation_is_settled_with_what_became_of_the_call() -> None:
    """A resolve that lags behind hears the lost call's answer, or that the call was cancelled."""
    rack = WatchedRack()
    send(rack, X, now(rack, []), low(rack), kind=METHOD, operation=op("add", b"+", call_id=ID))
    other = bytes(15) + b"x"
    send(rack, X, now(rack, low(rack)), low(rack), kind=METHOD, operation=cancel(other, 0))
    advance(rack, *low(rack))
    for lost, answer in ((ID, b"v"), (other, CANCELLED)):
        votes = stale(rack, X, cancel(lost, 0), *low(rack))
        assert {(vote.status, vote.answers) for vote in votes} == {(SETTLED, (answer,))}


def test_joint_updates_and_queries_are_never_called_settled() -> None:
    """The model that the rule was checked with has no operations on several objects."""
    rack = WatchedRack()
    joint = op("add", b"+", A, B, call_id=ID)
    everybody = range(6)
    send(rack, X, now(rack, [], A, B), everybody, kind=METHOD, operation=joint)
    for _ in range(2):
        send(rack, Z, now(rack, everybody, A, B), everybody, kind=METHOD, operation=op("add", b".", A, B))
    assert {vote.status for vote in stale(rack, X, joint, *everybody)} == {FAIL}
    assert {vote.status for vote in stale(rack, X, op("get", call_id=ID), *everybody)} <= {FAIL, SUCCESS}


def test_a_long_answer_is_settled_whole_where_its_version_is_held() -> None:
    """A server that has fetched the version, or has let it go since, gives the digest; a client takes the whole."""
    rack = WatchedRack()
    text = b"t" * 2 * RING_ANSWER_BYTES_MAX
    advance(rack, *low(rack), argument=text)
    send(rack, X, now(rack, low(rack)), low(rack), kind=METHOD, operation=op("add", b"+", call_id=ID))
    sixth = rack.quorums.preference(A)[5]
    advance(rack, *low(rack))
    votes = stale(rack, X, op("add", b"+", call_id=ID), *low(rack))
    assert {(vote.status, vote.answers) for vote in votes} == {(SETTLED, (b"v" + text,))}
    send(rack, Z, now(rack, low(rack)), [*low(rack), sixth], kind=METHOD, operation=op("add", b"."))
    brief = DIGEST + digest(b"v" + text)
    votes = stale(rack, X, op("add", b"+", call_id=ID), sixth)
    assert {(vote.status, vote.answers) for vote in votes} == {(SETTLED, (brief,))}


def test_a_run_fails_whose_methods_rest_on_what_is_not_established() -> None:
    """What makes it true that something is settled is looked at in every run of the simulator and of the explorer."""
    base = candidate(1, A)
    method = candidate(2, (A, base.timestamp))
    for acceptors, is_wrong in ((3, True), (4, False)):
        chains = Chains(QuorumSystem(6, 1, 1), 1)
        for server in range(acceptors):
            chains.accept(server, A, base)
        with pytest.raises(Violation, match="2 of Reg/a is built upon 1") if is_wrong else nullcontext():
            chains.accept(5, A, method)


# --- what a client makes of it ----------------------------------------------------------------------------------------


def racing(rack: WatchedRack, desk: Desk) -> Desk:
    """Before each frame of the desk's arrives, somebody else updates the object: no q servers answer alike."""
    near = Desk(rack, Z)

    def cut(server: int, frame: bytes) -> bool:
        assert isinstance(near.call("add", b"."), Answered)
        return True

    desk.cuts = cut
    return near


def test_a_client_that_others_always_outrun_hears_that_its_call_was_applied() -> None:
    """X's add reaches r servers, a near client completes it and never rests: X is done in its next round, once."""
    rack = WatchedRack()
    advance(rack, *low(rack))
    send(rack, X, now(rack, low(rack)), low(rack)[:3], kind=METHOD, operation=op("add", b"+", call_id=ID))
    desk = Desk(rack, X)
    near = racing(rack, desk)
    ticket = desk.start(op("add", b"+", call_id=ID))
    for _ in range(rack.quorums.q):
        desk.step()
    assert desk.finished.get(ticket) == Answered((b"v.",))
    found = near.call("get")
    assert isinstance(found, Answered)
    assert found.answers[0].count(b"+") == 1


def claiming(desk: Desk, candidate: bytes, *liars: int) -> None:
    """Liars call every update of the desk's settled, with an answer of their own."""
    desk.rack.liars = frozenset(liars)
    for server in liars:
        desk.lies[server] = altered(status=SETTLED, candidate=candidate, answers=(b"vlie",), version_digest=b"")


def test_b_servers_that_lie_settle_nothing() -> None:
    """One liar calls X's add settled before anybody has it: X goes on, and its add is applied with the true answer."""
    rack = WatchedRack()
    advance(rack, *low(rack))
    desk = Desk(rack, X)
    claiming(desk, newest(rack, low(rack)[0]).timestamp, low(rack)[0])
    assert desk.call("add", b"+") == Answered((b"v.",))
    assert Desk(rack, Y).call("get") == Answered((b"v.+",))


def test_a_liar_and_an_honest_server_settle_nothing_unless_they_say_the_same() -> None:
    """B + 1 call it settled, with different answers: the client does not choose between them."""
    rack = WatchedRack()
    send(rack, X, now(rack, []), low(rack), kind=METHOD, operation=op("add", b"+", call_id=ID))
    advance(rack, *low(rack))
    desk = Desk(rack, X)
    racing(rack, desk)
    liar, honest = low(rack)[:2]
    claiming(desk, newest(rack, honest).timestamp, liar)
    for server in low(rack)[2:]:
        desk.lies[server] = altered(status=FAIL, candidate=b"", answers=(NOT_RUN,), version_digest=b"")
    ticket = desk.start(op("add", b"+", call_id=ID))
    while desk.pending:
        desk.step()
    assert ticket not in desk.finished
    desk.cuts = lambda server, frame: True
    for server in low(rack)[2:]:
        desk.lies.pop(server)
    assert desk.finish(ticket) == Answered((b"v",))


def test_no_server_claims_by_it_what_it_could_not_have_recorded() -> None:
    """NOT_RUN and FORGOTTEN are no answers that are settled, and a repair has none: such a vote is not read."""
    for changes in ({"answers": (NOT_RUN,)}, {"candidate": b""}, {"answers": ()}):
        rack = WatchedRack()
        advance(rack, *low(rack))
        desk = Desk(rack, X)
        claiming(desk, newest(rack, low(rack)[0]).timestamp, low(rack)[0])
        lie = desk.lies[low(rack)[0]]
        desk.lies[low(rack)[0]] = lambda frame, lie=lie, changes=changes: altered(**changes)(lie(frame))
        assert desk.call("add", b"+") == Answered((b"v.",))
        (evidence,) = [each for each in desk.session.knowledge.evidence() if each.server == low(rack)[0]]
        assert evidence.strikes == {"malformed": len(evidence.strikes)}


def test_an_attempt_that_is_called_settled_is_refused_like_any_other() -> None:
    """No server that says SETTLED has accepted that very frame: it changes nothing."""
    rack = WatchedRack()
    send(rack, X, now(rack, []), low(rack), kind=METHOD, operation=op("add", b"+", call_id=ID))
    advance(rack, *low(rack))
    before = rack.shown()
    stale(rack, X, op("add", b"+", call_id=ID), *low(rack))
    current = Letter(rack, X, now(rack, low(rack)), operation=op("add", b"+", call_id=ID)).to(low(rack))
    assert {vote.status for vote in current.values()} == {UNCHANGED}
    assert rack.shown() == before
