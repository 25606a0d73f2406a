"""The modes that attack use their alphabets, and what they judge is noticed when it happens."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.protocol.actions import Write
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    Candidate,
    Entry,
    Part,
    decode_history,
    encode_history,
    initial_entry,
    make_timestamp,
    time_of,
)
from fivefold.protocol.limits import (
    CALLS_MAX,
    LONG_HISTORY_BYTES,
    OBJECT_ID_BYTES_MAX,
    REPAIR_OBJECTS_MAX,
    TIME_LEAD_MAX,
    TIME_MAX,
)
from fivefold.protocol.messages import (
    BUSY,
    FAIL,
    SUCCESS,
    Vote,
    decode_operation,
    decode_request,
    encode,
    reply_frame,
    request_frame,
)
from fivefold.protocol.operations import CANCEL, FORGOTTEN, REFUSED, VALUE, Call, ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY
from fivefold.protocol.server import ring_key
from fivefold.protocol.server.execution import execute_alone
from fivefold.protocol.server.versions import initial_version
from fivefold.protocol.times import TIME_BYTES
from fivefold.simulation import Died, Switched, draw, moving, run_plan
from fivefold.simulation.alphabets import ATTACKS
from fivefold.simulation.chains import Violation
from fivefold.simulation.clients import Task
from fivefold.simulation.cunning import CUNNING
from fivefold.simulation.executors import OUT_OF_TIME, TroubledExecutor
from fivefold.simulation.faults import CAMP, TURNING
from fivefold.simulation.hostile import CARRYING, HOSTILITIES, LEAVINGS, right_of
from fivefold.simulation.injection import SERVER, Injected, Injector
from fivefold.simulation.judges import HISTORY_BYTES_JUDGED, LONG_READ_MAX, Judges
from fivefold.simulation.leads import APART_MAX
from fivefold.simulation.moving import Move
from fivefold.simulation.plan import SECOND, Fault, Lead
from fivefold.simulation.rack import client_id
from fivefold.simulation.replacement import Book
from fivefold.simulation.rights import Rules
from fivefold.simulation.run import Run
from fivefold.simulation.shrink import describe
from fivefold.simulation.watch import Watch
from fivefold.simulation.workload import Toys, encode_arguments
from tests.planted import BUGS

A, B, OWN = ObjectId("Counter/a"), ObjectId("Counter/b"), ObjectId("Counter/v0")
SECRET = ObjectId("Register/a")


# --- alphabets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ATTACKS)
def test_a_seed_of_an_attack_is_the_same_run_twice(profile: str) -> None:
    """Plans, and what comes of them, depend on the seed alone; the plan can be told in lines."""
    assert draw(7, profile) == draw(7, profile)
    assert draw(7, profile) != draw(8, profile)
    short = replace(draw(7, profile), n=6, t=1, b=1, liars=(), calls=draw(7, profile).calls[:6], safety_ns=SECOND // 4)
    short = replace(short, faults=tuple(fault for fault in short.faults if max(fault.targets) < 2))
    assert run_plan(short).digest == run_plan(short, is_traced=True).digest
    assert describe(short)[0].startswith(f"seed 7 ({profile})")


def test_every_letter_of_the_alphabets_is_drawn() -> None:
    """In a few hundred plans there is every hostility, every cunning lie, and every kind of change."""
    plans = {profile: [draw(seed, profile) for seed in range(200)] for profile in ATTACKS}
    everything = [plan for found in plans.values() for plan in found]
    assert {strategy for plan in plans["hostile"] for strategy in plan.villains} == set(HOSTILITIES)
    assert {strategy for plan in everything for _, strategy in plan.liars} >= {*CUNNING, "forgetting", "twins"}
    assert {strategy for plan in plans["leaving"] for strategy in plan.villains} == set(LEAVINGS)
    kinds = {profile: {fault.kind for plan in found for fault in plan.faults} for profile, found in plans.items()}
    assert {strategy for plan in plans["clocks"] for strategy in plan.villains} == {CARRYING, "leading"}
    leads = [(plan, lead) for plan in plans["clocks"] for lead in plan.leads]
    assert any(lead.time > TIME_MAX for _, lead in leads)
    assert any(len(lead.servers) < plan.n for plan, lead in leads)
    assert any(lead.time < APART_MAX * TIME_LEAD_MAX for _, lead in leads)
    assert max(lead.time for _, lead in leads) < 2 ** (8 * TIME_BYTES)
    assert CAMP in kinds["camps"]
    assert kinds["rolling"] >= {"other rules", "older code", "stopped methods", "other results"}
    assert "flood of syncs" in kinds["hostile"]
    assert any(plan.weather.resets for plan in plans["camps"])
    assert any(plan.far_ns for plan in plans["camps"])
    assert all(plan.injected for plan in plans["injected"])
    assert all(len(plan.liars) <= plan.b for plan in everything)
    assert all(plan.is_judged for plan in everything)
    assert kinds["replaced"] >= {"replacement", "replacement of a running server", "telling", "crash", CAMP, TURNING}
    assert {plan.is_handed_on for plan in plans["replaced"]} == {True, False}
    assert kinds["moved"] >= {"sealing", "opening", "death of mover", "telling", "crash"}
    assert any(plan.liars for plan in plans["moved"])


def test_a_camp_cannot_reach_the_servers_of_the_other() -> None:
    """A client whose camp leaves it fewer than q servers ends nothing while that lasts."""
    plan = replace(draw(3, "calm"), n=4, t=1, b=0, clients=1, liars=(), dead=())
    calls = tuple(replace(call, client=0, at_ns=2, patience_ns=SECOND // 10) for call in plan.calls[:3])
    plan = replace(plan, calls=calls, safety_ns=SECOND, faults=(Fault(CAMP, 1, SECOND, (0, 0, 1)),))
    report = run_plan(plan)
    assert report.failure is None
    assert report.counters["frame.partitioned"] > 0
    during = [seen for seen in report.history if seen.process.startswith("c0.") and seen.invoke_ns == 2]
    assert len(during) == 3
    assert not any(seen.outcome is Seen.OK and (seen.return_ns or 0) < SECOND for seen in during)


def test_far_clients_wait_longer() -> None:
    """The same plan with all clients 50 ms away takes each call at least 100 ms."""
    plan = replace(draw(3, "calm"), clients=2, far_ns=(50_000_000, 50_000_000))
    calls = [replace(call, client=call.client % 2, patience_ns=5 * SECOND) for call in plan.calls]
    report = run_plan(replace(plan, calls=tuple(calls)))
    took_ns = [(seen.return_ns or 0) - seen.invoke_ns for seen in report.history if seen.process[:2] in ("c0", "c1")]
    assert min(took_ns) >= 100_000_000


def test_rules_and_code_differ_from_server_to_server() -> None:
    """A server with other rules denies what others allow; one with older code lacks a method."""
    x = client_id("c0")
    rules, executor = Rules({}), TroubledExecutor(Toys(), Random(1), 3)
    assert rules.allows(x, A, "increment")
    rules.denied = frozenset({(x, "increment")})
    assert not rules.allows(x, A, "increment")
    assert rules.allows(client_id("c1"), A, "increment")
    assert executor.is_update((A,), "increment") is True
    executor.unknown = frozenset({"increment"})
    assert executor.is_update((A,), "increment") is None


def test_methods_are_stopped_and_results_differ() -> None:
    """A stopped method changes nothing; a noisy server's state is one that no other server computes."""
    states: set[bytes] = set()
    for index in range(3):
        executor = TroubledExecutor(Toys(), Random(1), index)
        call = Call(b"i" * 16, 0, "increment", encode_arguments({"by": 2}))
        executor.stopped = 1.0
        assert executor.execute((A,), call, (b"\x03",)) == (done := executor.execute((A,), call, (b"\x03",)))
        assert (done.answer, done.states) == (OUT_OF_TIME, None)
        executor.stopped, executor.is_noisy = 0.0, True
        changed = executor.execute((A,), call, (b"\x03",)).states
        assert changed is not None
        states |= set(changed)
    assert len(states) == 3


# --- injection ----------------------------------------------------------------------------------------------------


def test_an_injected_exception_comes_out_of_the_servers_code() -> None:
    """It is raised at a line of the server's wing, each time at another one, and tracing is as it was before."""
    where: list[str] = []
    injector = Injector(Random(5), 1.0, SERVER, where.append)
    call = Call(b"i" * 16, 0, "increment", encode_arguments({"by": 2}))
    version, executor, before = initial_version(b"\x03"), Toys(), sys.gettrace()

    def act() -> object:
        operation = Operation((A,), (call,))
        return execute_alone(executor, ClientId(b"c" * 16), operation, version, is_query=False, time=1)

    raised = 0
    for _ in range(60):
        try:
            injector.run(act)
        except Injected:
            raised += 1
    assert raised == len(where)
    assert len(set(where)) > 5
    assert sys.gettrace() is before
    injector.share = 0.0
    assert injector.run(act) == act()


# --- rights -------------------------------------------------------------------------------------------------------


def candidate(client: str, *names: ObjectId, is_barrier: bool, time: int = 3) -> Candidate:
    timestamp = make_timestamp(
        time,
        is_barrier=is_barrier,
        client=client_id(client),
        operation_digest=bytes(32) if is_barrier else b"o" * 32,
        history_set_digest=bytes(32),
    )
    return Candidate(timestamp, tuple(Part(name, INITIAL_TIMESTAMP, None) for name in names))


def test_a_reader_may_repair_what_it_reads_and_write_what_is_its_own() -> None:
    """And a barrier may reach what a candidate names beside an object that it knows."""
    right = right_of(0, "crowding")
    assert right.allows(OWN, "increment")
    assert right.allows(A, "get")
    assert not right.allows(A, "increment")
    assert not right.allows(SECRET, "get")
    assert right.covers(candidate("v0", A, is_barrier=True), A)
    assert right.covers(candidate("v0", OWN, is_barrier=False), OWN)
    assert not right.covers(candidate("v0", A, is_barrier=False), A)
    assert not right.covers(candidate("v0", SECRET, is_barrier=True), SECRET)
    assert right.covers(candidate("v0", A, SECRET, is_barrier=True), SECRET)


# --- judges -------------------------------------------------------------------------------------------------------


def hosted() -> Run:
    """A run that has not begun, of six servers without a liar."""
    return Run(replace(draw(1, "hostile"), n=6, t=1, b=1, liars=(), villains=(), faults=(), is_judged=True))


def seen(outcome: Seen, answer: object = 7) -> Observation:
    return Observation(
        process="c0.1", method="increment", objects=(A,), invoke_ns=0, outcome=outcome, return_ns=1, answer=answer
    )


def vote(status: int, *, digest: bytes = b"", answer: bytes = VALUE) -> bytes:
    made = candidate("c0", A, is_barrier=False).timestamp if digest else b""
    return reply_frame(1, encode(Vote(status, made, (answer,), digest, (INITIAL_HISTORY,), ())), ())


@pytest.mark.parametrize(("others", "is_proof"), [(1, False), (2, True)])
def test_an_answer_beside_which_more_than_b_results_differ_is_divergence(others: int, is_proof: bool) -> None:
    """With b = 1: one other result may be a liar's, two are not."""
    run = hosted()
    client, key = run.clients[0], ring_key(run.clients[0].id, b"i" * 16)
    run.watch._made_by[A, key] = [candidate("c0", A, is_barrier=False).timestamp]
    for server in range(5):
        run.judges.heard(client, server, vote(SUCCESS, digest=bytes([max(0, server - 4 + others)])))
    if is_proof:
        with pytest.raises(Violation, match="2 servers computed something else"):
            run.judges.ended(client.id, b"i" * 16, seen(Seen.OK))
    else:
        run.judges.ended(client.id, b"i" * 16, seen(Seen.OK))
    run.judges.ended(client.id, b"i" * 16, seen(Seen.UNKNOWN))
    run.judges.ended(client.id, b"i" * 16, seen(Seen.OK, UNSET))  # its caller heard of the divergence


def test_a_client_that_is_crowded_out_is_a_violation_unless_by_a_liar() -> None:
    """BUSY for want of room in an honest server's queue; a full disk is another matter."""
    run = hosted()
    judges = Judges(run.watch, run.quorums, liars=[2], faulty=[])
    judges.heard(run.clients[0], 2, vote(BUSY, answer=REFUSED + b"overloaded"))
    judges.heard(run.clients[0], 1, vote(BUSY, answer=REFUSED + b"the disk is full"))
    with pytest.raises(Violation, match="server 1 is too busy for c0"):
        judges.heard(run.clients[0], 1, vote(BUSY, answer=REFUSED + b"overloaded"))


def test_suspecting_a_server_that_did_nothing_is_a_violation() -> None:
    """Of a server that crashed, or lies, anything may be thought."""
    run = hosted()
    judges = Judges(run.watch, run.quorums, liars=[], faulty=[4])
    for _ in range(9):
        run.clients[0].session.standing.strike(4, "malformed")
    judges.look_at_clients(run.clients)
    for _ in range(9):
        run.clients[0].session.standing.strike(3, "malformed")
    with pytest.raises(Violation, match="c0 suspects server 3, which did nothing"):
        judges.look_at_clients(run.clients)


def test_a_server_that_keeps_what_nobody_waits_for_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of a run has been answered or given up when it is over."""
    run = hosted()
    run.judges.look_at_servers(run.servers)
    server = run.servers[2]
    monkeypatch.setattr(type(server.machine), "pending_requests", property(lambda self: int(self is server.machine)))
    with pytest.raises(Violation, match="server 2 keeps 1 requests"):
        run.judges.look_at_servers(run.servers)


def test_what_another_server_has_just_asked_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers look after what clients have left when no client asks any more (leaving, seed 10075)."""
    run = hosted()
    server, since_ns = run.servers[2], run.world.now_ns
    kept = property(lambda self: int(self is server.machine and run.world.now_ns == since_ns))
    monkeypatch.setattr(type(server.machine), "pending_requests", kept)
    run.world.after(SECOND, lambda: None)
    run.judges.look_at_servers(run.servers)


def test_a_call_that_is_not_over_at_its_deadline_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that never wakes is noticed one millisecond after the deadline."""
    run = hosted()
    client, call = run.clients[0], replace(run.plan.calls[0], patience_ns=SECOND, at_ns=0)
    for other in run.servers:
        other.pause()
    monkeypatch.setattr(client._alarm, "_ring", lambda: None)
    client.start(call)
    with pytest.raises(Violation, match="is not over at its deadline"):
        run.world.run(2 * SECOND)
    assert run.world.now_ns == SECOND + 1_000_000


MINE, RIVAL, OTHER = b"i" * 16, b"r" * 16, b"o" * 16


@pytest.mark.parametrize(
    ("is_newest", "applied", "is_broken"),
    [
        (False, {}, False),
        (True, {}, True),
        (True, {RIVAL: 3}, False),
        (True, {RIVAL: 3, MINE: 4}, True),
        (True, {RIVAL: 4, MINE: 3}, False),
        (True, {OTHER: 4}, True),
    ],
)
def test_a_last_call_that_is_forgotten_is_a_violation(
    is_newest: bool, applied: dict[bytes, int], is_broken: bool
) -> None:
    """A client may lose track of what it called before, or what was applied before a rival of its own: of no other."""
    run = hosted()
    client, update = run.clients[0], next(call for call in run.plan.calls if not call.is_query)
    name = ObjectId(min(update.objects))
    for call_id, time in applied.items():
        made = candidate("c0", name, is_barrier=False, time=time).timestamp
        run.watch.chains.of(name).members[made] = time
        run.watch._made_by[name, ring_key(client.id, call_id)] = [made]
    client._newest = dict.fromkeys(update.objects, update.number + (not is_newest))
    client.unfinished[update.number] = task = Task(update, MINE, 0, rivals=(RIVAL,))
    if is_broken:
        with pytest.raises(Violation, match=r"the last call of c0 on .* is forgotten"):
            client._answered(task, FORGOTTEN)
    else:
        client._answered(task, FORGOTTEN)


def test_the_rivals_of_a_call_are_earlier_updates_that_may_still_be_applied() -> None:
    """Those under way, and those whose outcome nobody knows; not what has ended."""
    run = hosted()
    client = run.clients[0]
    first, second, third = [replace(call, client=0) for call in run.plan.calls if not call.is_query][:3]
    client.start(first)
    client.start(second)
    mine, rival = client.unfinished[first.number], client.unfinished[second.number]
    assert rival.rivals == (mine.call_id,)
    client._end(mine, Seen.FAILED)
    client._end(rival, Seen.UNKNOWN)
    client.start(third)
    assert client.unfinished[third.number].rivals == (rival.call_id,)


@pytest.mark.parametrize("why", ["", "silent", "doubted", "a liar", "asked last"])
def test_a_client_may_read_long_histories_of_a_liar_only_where_it_needs_it(why: str) -> None:
    """With q others at hand nine are too many; where one of them is silent, doubted or a liar, too, it is needed.

    So it is after the first q have been asked: one of them has fallen silent.
    """
    run = hosted()
    client, standing = run.clients[0], run.clients[0].session.standing
    judges = Judges(run.watch, run.quorums, liars=[2, 3] if why == "a liar" else [2], faulty=[])
    if why == "silent":
        standing.note_silent(4, 0)
    elif why == "doubted":
        for _ in range(9):
            standing.note_alone([4], [])
    long = Vote(FAIL, b"", (), b"", (bytes(LONG_HISTORY_BYTES + 1),), ())
    order = [0, 1, 3, 4, 5, 2] if why == "asked last" else [2, 0, 1, 3, 4]
    for number in range(LONG_READ_MAX + 1):
        judges.look_at_clients(run.clients)
        for server in order:
            judges.asked(client, server, request_frame(number, bytes((number,)), b""))
        judges.heard(client, 2, reply_frame(number, encode(long), ()))
        judges.heard(client, 1, reply_frame(number, encode(long), ()))
    if why:
        judges.look_at_clients(run.clients)
    else:
        with pytest.raises(Violation, match="read 9 long histories of the liar 2, with q others at hand"):
            judges.look_at_clients(run.clients)


def test_a_history_that_has_grown_fat_is_a_violation() -> None:
    """A few repairs need some kilobytes; what an attacker makes of them must stay near that."""
    watch = Watch(QuorumSystem(6, 1, 1), 0, lambda event: None)
    watch.history_bytes_max = 10
    name, made = A, candidate("c0", A, is_barrier=True)
    history = encode_history((initial_entry(name), Entry(made, False)))
    disk = hosted().servers[0].disk
    disk.records[name] = (history, {})
    with pytest.raises(Violation, match="server 0's history of Counter/a has"):
        watch.committed(0, disk, [Write(name, history)])
    assert hosted().watch.history_bytes_max <= HISTORY_BYTES_JUDGED


def test_hostile_clients_ask_for_all_that_a_request_may_carry() -> None:
    """A crowd of the most objects with the longest ids, sets beside an operation's, cancels, full batches, leads."""
    villains = ("leading", "crowding", "smuggling", "cancelling", "batching")
    run = Run(replace(draw(1, "hostile"), n=6, t=1, b=1, liars=((0, "anything"),), villains=villains, faults=()))
    requests = [[decode_request(villain._letter().body, run.quorums.n) for _ in range(30)] for villain in run.villains]
    leading, crowding, smuggling, cancelling, batching = requests
    assert max(len(each.sets) for each in crowding) == REPAIR_OBJECTS_MAX
    assert max(len(histories.object_id) for each in crowding for histories in each.sets) == OBJECT_ID_BYTES_MAX
    operations = [msgspec.msgpack.decode(each.operation, type=Operation) for each in smuggling]
    assert any(len(each.sets) > len(operation.objects) for each, operation in zip(smuggling, operations, strict=True))
    assert {decode_operation(each).method for each in cancelling} == {CANCEL}
    assert {len(decode_operation(each).calls) for each in batching} == {CALLS_MAX}
    times = [time_of(decode_history(OWN, each.sets[0].of(0))[-1].candidate.timestamp) for each in leading]
    assert min(times) >= TIME_LEAD_MAX


def test_a_client_follows_the_servers_to_a_newer_edition() -> None:
    """It learns of it from b + 1 servers, fetches it from one, and works on in the same life."""
    plan = replace(draw(3, "calm"), n=6, t=1, b=1, clients=1, liars=(), dead=())
    calls = tuple(replace(call, client=0) for call in plan.calls)
    told = [Fault("telling", SECOND // 2 + 1, 0, (server,)) for server in (1, 2, 3, 4)]
    plan = replace(plan, calls=calls, safety_ns=SECOND, faults=(Fault("replacement", SECOND // 2, 0, (0,)), *told))
    report = run_plan(plan, is_traced=True)
    assert report.failure is None
    assert report.counters["followed"] == 2  # it, and the client that comes last
    assert not any(isinstance(each.event, Died) for each in report.events)
    # One of six is not told: the others hand it on.
    assert {each.event.server for each in report.events if isinstance(each.event, Switched)} == {1, 2, 3, 4, 5}


def test_an_edition_that_nobody_made_is_a_violation() -> None:
    """The simulator's book knows what operators have made, and what a liar has invented."""
    book = Book(4)
    book.replace(0)
    assert book.number_of(book.contents(book.edition(2).name)) == 2
    with pytest.raises(Violation, match="no operator has made"):
        book.number_of(book.contents(book.invent()))


def test_a_server_that_turned_lies_from_its_edition_on() -> None:
    """Clients of an older edition may count what it accepted before, and nothing that it only claims."""
    book = Book(6)
    book.lies_since[3] = 2
    assert not book.lies(3, 1)
    assert book.lies(3, 2)
    assert not book.lies(4, 2)


def test_a_client_carries_the_clock_of_its_own_object_to_others_by_barriers_and_updates() -> None:
    """Its object leads by more than anybody catches up with; so much of it as is established it may use in updates."""
    leads = (Lead(OWN, 2**20 * TIME_LEAD_MAX, tuple(range(6))),)
    plan = replace(draw(1, "clocks"), n=6, t=1, b=1, liars=(), faults=(), villains=(CARRYING,), leads=leads)
    run = Run(plan)
    villain = run.villains[0]
    requests = [decode_request(villain._letter().body, 6) for _ in range(30)]
    assert {len(each.sets) for each in requests} == {1, 2}, "barriers of both, and copies of its own"
    assert not any(each.operation for each in requests)
    run = Run(replace(plan, leads=()))
    requests = [decode_request(run.villains[0]._letter().body, 6) for _ in range(30)]
    operations = [decode_operation(each) for each in requests if each.operation]
    assert {operation.method for operation in operations} == {"bump"}
    assert all(OWN in operation.objects for operation in operations)


@pytest.mark.long
@pytest.mark.ci
def test_replaced_servers_end_in_standing() -> None:
    """In each run newcomers adopt, some after repairs; a second slot, and the same again, are among them.

    Clients follow; the old identity ends, runs on, or lies on, and in its place another server begins to lie.
    """
    counters: Counter[str] = Counter()
    for seed in range(24):
        report = run_plan(draw(seed, "replaced"))
        assert report.failure is None
        counters.update(report.counters)
    assert counters["replaced.crashed"] + counters["replaced.twin"] + counters["replaced.lying"] > 24
    assert counters["replaced.lying"] > 0
    assert counters["server.adopted"] > 12
    assert counters["server.repair.COPY"] > 0
    assert counters["followed"] > 24
    assert counters["lie.lying about editions"] > 0
    assert sum(count for name, count in counters.items() if name.startswith("turned.")) > 0


@pytest.mark.long
@pytest.mark.ci
def test_a_sealed_cluster_is_copied() -> None:
    """In each run what is copied is the newest established version of every object, beside liars and crashes.

    Movers die and begin anew, moves are given up and made again. At the end the cluster is open and answers, or another
    one has taken its place, and clients have followed with calls that were under way.
    """
    counters: Counter[str] = Counter()
    for seed in range(16):
        report = run_plan(draw(seed, "moved"))
        assert report.failure is None
        counters.update(report.counters)
    assert counters["move.copied"] >= 14
    assert counters["move.sealed"] == counters["move.opened"] + counters["move.handed over"] > 16
    assert counters["move.handed over"] >= 6
    assert counters["moved.client"] > 12
    assert counters["moved.call"] > 12
    assert counters["move.mover died"] > 0
    assert counters["move.repair"] > 16


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize(
    "bug", ["sealed servers accept", "unsealed servers count", "r servers are enough", "old lists count"]
)
def test_seeds_find_what_a_move_needs(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """M1, M2: without any one of these rules a copy misses an update, or has one that is not established."""
    where, name, instead = {
        "sealed servers accept": BUGS["sealed_servers_accept"]()[0],
        "unsealed servers count": (Move, "_may_count", lambda self, host: True),
        "r servers are enough": (moving, "agreeing", lambda quorums: quorums.r),
        "old lists count": (Move, "_begin", _begin_with_the_last_copy),
    }[bug]
    monkeypatch.setattr(where, name, instead)
    rules = (run_plan(draw(seed, "moved")).rule for seed in range(60))
    assert next(filter(None, rules)) == "copy"


@pytest.mark.long
@pytest.mark.ci
def test_a_seed_finds_a_call_that_leaves_without_its_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """M4: told that it failed, a call is applied all the same, because it was half applied before the move."""
    for where, name, instead in BUGS["calls_are_carried_without_their_doubt"]():
        monkeypatch.setattr(where, name, instead)
    rules = (run_plan(draw(seed, "moved")).rule for seed in range(160, 460))
    assert next(filter(None, rules)) == "applied after all"


def _begin_with_the_last_copy(self: Move) -> None:
    """What was copied under an earlier seal is not read again."""
    copy = self.copy
    honest_begin(self)
    self.copy = copy
    names = sorted(copy)
    self._copy_next = lambda found: honest_next(self, [name for name in found if name not in names])  # type: ignore[method-assign]


honest_begin, honest_next = Move._begin, Move._copy_next
