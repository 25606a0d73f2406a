"""Planted bugs: each leaves out one rule of PROTOCOL.md, so that a test can show that the rule is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import msgspec
import pytest

from fivefold.protocol import authenticators, classify, editions, history, limits, messages, quorums
from fivefold.protocol.authenticators import Culled
from fivefold.protocol.client import following, invocation, knowledge, rounds, session, standing, verdict
from fivefold.protocol.history import Candidate, Part, history_digest
from fivefold.protocol.limits import TIME_LEAD_MAX
from fivefold.protocol.operations import NOT_RUN
from fivefold.protocol.records import TIMESTAMP_BYTES
from fivefold.protocol.server import (
    acceptance,
    admission,
    adoption,
    catchup,
    examination,
    execution,
    fetching,
    inquiry,
    listing,
    loading,
    machine,
    membership,
    ordinary,
    outbox,
    replica,
    replies,
    scrub,
    settled,
    synchronise,
    unverified,
    verification,
    versions,
)
from fivefold.protocol.steps import Kind, Plan
from fivefold.simulation import rack as rack_module
from fivefold.simulation import servers as simulated
from fivefold.simulation.exhaustive import moves
from tests import protocol_rig, replacement_rig
from tests.planted_helping import HELPING_BUGS, Patch

BUGS: dict[str, Callable[[], list[Patch]]] = {}
"""The planted bugs by name; each makes its patches anew."""


def bug(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    """Register a bug under its function's name."""
    BUGS[make.__name__] = make
    return make


@contextmanager
def planted(name: str, *, step_by_step: bool = True) -> Iterator[None]:
    """Run the body with the bug in place.

    Most rules stand in the examination step by step, and what goes the short way meets none of them: so that way is
    closed, unless told otherwise.
    """
    with pytest.MonkeyPatch.context() as patch:
        for where, attribute, instead in BUGS[name]():
            assert hasattr(where, attribute), f"the bug {name} patches nothing: {where} has no {attribute}"
            patch.setattr(where, attribute, instead)
        patch.setattr(protocol_rig, "is_lenient", True)
        patch.setattr(session, "native", None)  # clients' rounds; bugs of native code are in the crate
        if step_by_step:
            patch.setattr(machine.Server, "_take_natively", lambda self, *request: False)
            patch.setattr(machine.Server, "_take_ordinary", lambda self, *request: False)
        yield


# --- §1 -----------------------------------------------------------------------------------------------------------


@bug
def quorums_of_any_size() -> list[Patch]:
    """The constraints (2)-(4) are not checked."""
    return [(quorums.QuorumSystem, "_check_constraints", lambda self: None)]


def _resized(*, q: int = 0, r: int = 0) -> list[Patch]:
    """Quorums of q more servers than they need, and repair from r more."""
    honest = quorums.QuorumSystem.__init__

    def init(self: Any, *numbers: int, **sizes: int | None) -> None:
        honest(self, *numbers, **sizes)
        self.q, self.r = self.q + q, self.r + r

    return [(quorums.QuorumSystem, "__init__", init)]


@bug
def quorums_smaller() -> list[Patch]:
    """§1: a quorum is one server smaller."""
    return _resized(q=-1)


@bug
def repairable_from_fewer() -> list[Patch]:
    """§1: a candidate is repairable from one server fewer."""
    return _resized(r=-1)


@bug
def repairable_from_more() -> list[Patch]:
    """§1: a candidate is repairable only from one server more."""
    return _resized(r=1)


# --- §3 -----------------------------------------------------------------------------------------------------------


@bug
def copies_without_barrier() -> list[Patch]:
    """§3: where a barrier is due, the newest repairable candidate is copied at once."""
    honest = classify.plan_repair

    def plan(quorums: Any, target: Any, views: Any) -> Any:
        made = honest(quorums, target, views)
        if isinstance(made, Plan) and made.kind is Kind.BARRIER:
            return classify._plan_copy_alone(quorums, target, views[target].repairable[0], views)
        return made

    return [(module, "plan_repair", plan) for module in (admission, invocation, rack_module)]


# --- §4 -----------------------------------------------------------------------------------------------------------


@bug
def macs_unchecked() -> list[Patch]:
    """§4.1: every history is believed."""

    def cull(keys: Any, quorums: Any, target: Any, sets: Any, proof: bytes) -> Culled:
        return Culled(target, sets, ())

    return [(admission, "cull", cull)]


@bug
def macs_not_bound_to_the_object() -> list[Patch]:
    """§2: authenticators are over the history alone, not over the object's id."""

    def unbound(object_id: Any, data: bytes) -> bytes:
        return history.digest(data)

    return [(module, "history_digest", unbound) for module in (history, replies, rack_module)]


@bug
def one_key_for_both_directions() -> list[Patch]:
    """§2: k(s→s') = k(s'→s), so what one server made for another can be shown as the other's own."""
    honest = rack_module.pair_key
    return [(rack_module, "pair_key", lambda a, b, seed=b"": honest(min(a, b), max(a, b), seed))]


@bug
def times_unbounded() -> list[Patch]:
    """§4.1: a barrier exceeds whatever anybody shows."""
    return [(classify.View, "leap", lambda self, quorums: self.latest)]


@bug
def leaders_culled() -> list[Patch]:
    """§4.1 as it once was: a history that leads what r histories reach by more than 2^40 is culled."""

    def absurd(quorums: Any, histories: Any) -> set[int]:
        times = {0: 0}
        for index, data in enumerate(histories.histories, 1):
            newest = history.decode_history(histories.object_id, data)[-1].candidate
            times[index] = history.time_of(newest.timestamp)
        reached = sorted((times[index] for index in histories.holders), reverse=True)[quorums.r - 1]
        return {s for s, index in enumerate(histories.holders) if index and times[index] > reached + TIME_LEAD_MAX}

    return [(authenticators, "_absurd", absurd), (classify.View, "leap", lambda self, quorums: self.latest)]


@bug
def clocks_carried_by_barriers() -> list[Patch]:
    """§4.1: a joint barrier takes its time from the object that is furthest on, however far behind another one is."""

    def plan(quorums: Any, views: Any) -> Plan:
        parts = tuple(Part(name, view.repairable[0].timestamp, None) for name, view in views.items())
        return Plan(Kind.BARRIER, parts, tuple(view.leap(quorums) for view in views.values()))

    return [(classify, "_plan_barrier", plan)]


@bug
def clocks_carried_by_updates() -> list[Patch]:
    """§4.1: an update of several objects takes its time from the one that is furthest on."""
    honest = classify.plan_operation

    def plan(quorums: Any, views: Any, *, is_query: bool = False) -> Any:
        return honest(quorums, views, is_query=True)

    return [(module, "plan_operation", plan) for module in (admission, rack_module, moves)]


@bug
def partners_not_carried() -> list[Patch]:
    """§4.1: a client does not show the servers which object is ahead of the one that it repairs."""
    return [(knowledge.Knowledge, "carried_with", lambda self, target, objects: ())]


@bug
def only_what_a_quorum_reaches_is_followed() -> list[Patch]:
    """§4.1: a barrier goes one lead above what q histories reach, however far r are ahead."""

    def until(self: Any, quorums: Any) -> int:
        return int(self.reached_by(quorums.q) + TIME_LEAD_MAX)

    def leap(self: Any, quorums: Any) -> Any:
        bound, newest = until(self, quorums), self._counted.newest
        followed = [each for each, _ in newest if history.time_of(each) <= bound]
        return max(self.repairable[0].timestamp, history.at_start_of(bound), *followed)

    return [(classify.View, "followed_until", until), (classify.View, "leap", leap)]


@bug
def nobody_waits_for_all() -> list[Patch]:
    """§4.1: however often repairs of a call fail, each of them rests on the q servers that answer first."""
    return [(limits, "REPAIRS_UNTIL_ALL_ASKED", 2**62)]


@bug
def late_times_always_culled() -> list[Patch]:
    """§4.1: a history is culled for its time although r histories show one as late."""
    honest = authenticators._absurd

    def absurd(quorums: Any, histories: Any) -> Any:
        if len(histories.histories) == 1:
            late = history.decode_history(histories.object_id, histories.histories[0])[-1].candidate.timestamp
            if history.time_of(late) > limits.TIME_MAX:
                return {server for server, index in enumerate(histories.holders) if index}
        return honest(quorums, histories)

    return [(authenticators, "_absurd", absurd)]


@bug
def digest_without_culling() -> list[Patch]:
    """§4.1: the history-set digest is over the histories sent, culled ones included."""
    honest = authenticators.cull

    def cull(keys: Any, quorums: Any, target: Any, sets: Any, proof: bytes) -> Culled:
        found = honest(keys, quorums, target, sets, proof)
        found.digest = Culled(target, sets, found.servers).digest
        return found

    return [(admission, "cull", cull)]


@bug
def digest_of_the_targets_set_alone() -> list[Patch]:
    """S1: the digest leaves out evidence objects and their flags."""
    honest = Culled.__init__

    def init(self: Culled, target: Any, sets: Any, servers: Any) -> None:
        honest(self, target, sets, servers)
        only = [each for each in sets if each.object_id == target]
        self.digest = history.digest(b"".join(history_digest(target, h) for each in only for h in each.histories))

    return [(Culled, "__init__", init)]


@bug
def digest_without_the_target() -> list[Patch]:
    """S1: two repairs that differ in their target alone get one timestamp."""
    honest = Culled.__init__

    def init(self: Culled, target: Any, sets: Any, servers: Any) -> None:
        honest(self, "", sets, servers)

    return [(Culled, "__init__", init)]


@bug
def repeated_requests_executed() -> list[Patch]:
    """§4.3: a candidate already accepted is not recognised."""
    return [(examination.Examination, "_answer_again", lambda self, work, step, replicas: False)]


@bug
def currency_unchecked() -> list[Patch]:
    """§4.4: a server builds on older versions than its latest."""
    honest = admission.set_up

    def set_up(*args: Any, **named: Any) -> Any:
        step = honest(*args, **named)
        return msgspec.structs.replace(step, bounds=(b"\xff" * TIMESTAMP_BYTES,) * len(step.bounds))

    return [(admission, "set_up", set_up)]


@bug
def not_checked_again_after_a_wait() -> list[Patch]:
    """§4.7: a request that waited for a version is not examined again."""

    def receive(self: Any, now_ns: int, index: int, reply: Any) -> None:
        asks, sync = self._syncs.receive(index, reply)
        self._outbox.send += asks
        if sync is None:
            return
        for work in self._syncs.end(sync):
            work.fetched[sync.key] = sync.version
            work.step = msgspec.structs.replace(work.step, bounds=(b"\xff" * TIMESTAMP_BYTES,) * len(work.step.bounds))
            self._resume(now_ns, work)

    return [(fetching.Fetching, "receive", receive)]


@bug
def repairing_clients_operation_run() -> list[Patch]:
    """§4.2: an operation sent with histories that call for a repair is run all the same."""

    def plan(quorums: Any, views: Any, **named: Any) -> Plan:
        parts = tuple(Part(name, view.repairable[0].timestamp, None) for name, view in views.items())
        return Plan(Kind.METHOD, parts, tuple(view.latest for view in views.values()))

    return [(module, "plan_operation", plan) for module in (admission, rack_module, moves)]


@bug
def no_optimistic_answers() -> list[Patch]:
    """§4.4: a stale query is refused without an answer."""
    return [(examination.Examination, "_fail", lambda self, work: self._reply(work, messages.FAIL))]


@bug
def rejections_written() -> list[Patch]:
    """§4.6: what a method rejected makes a version all the same."""
    honest = execution.execute

    def execute(executor: Any, client_id: Any, operation: Any, versions: Any, *, is_query: bool, time: int) -> Any:
        result = honest(executor, client_id, operation, versions, is_query=is_query, time=time)
        if result.versions is None and not is_query:
            return msgspec.structs.replace(result, versions=tuple(versions.values()))
        return result

    return [(examination, "execute", execute)]


@bug
def replies_before_durable() -> list[Patch]:
    """§4.8: replies leave at once."""
    return [(outbox.Outbox, "promise", lambda self, reply, sequence: self.send.append(reply))]


@bug
def only_success_waits() -> list[Patch]:
    """§4.8: only the reply to the accepting request waits; others show what is not yet durable."""
    honest = outbox.Outbox.promise

    def promise(self: Any, reply: Any, sequence: int) -> None:
        status = messages.decode_vote(messages.split(reply.frame, messages.REPLY)[1]).status
        honest(self, reply, sequence if status == messages.SUCCESS else 0)

    return [(outbox.Outbox, "promise", promise)]


@bug
def conditioned_on_pruned() -> list[Patch]:
    """§4 Pruning: the base itself goes as well: of a method what it is conditioned on."""
    honest = replica.first_kept

    def first_kept(object_id: Any, candidate: Candidate) -> Any:
        first = honest(object_id, candidate)
        return None if first is None else first + b"\0"

    return [(replica, "first_kept", first_kept)]


@bug
def copies_prune() -> list[Patch]:
    """§4 Pruning: a copy prunes what is older than what it copies, not what is older than its base."""

    def first_kept(object_id: Any, candidate: Candidate) -> Any:
        return None if candidate.is_barrier else candidate.part(object_id).conditioned_on

    return [(replica, "first_kept", first_kept)]


@bug
def barriers_add_up() -> list[Patch]:
    """§4.7: barriers stay in a history until a method prunes them."""

    def prune(entries: Any, first: Any, new: Candidate) -> Any:
        kept = (entry for entry in entries if first is None or entry.candidate.timestamp >= first)
        return tuple(entry for entry in kept if not new.supersedes(entry.candidate))

    return [(module, "prune", prune) for module in (replica, acceptance)]


@bug
def histories_without_bound() -> list[Patch]:
    """§4.7: a history has room for every copy."""
    return [(acceptance.Acceptance, "has_room", lambda self, step: True)]


@bug
def copies_of_a_version_add_up() -> list[Patch]:
    """§4 Copies of one version: each stays in a history until a method prunes it."""
    return [(Candidate, "supersedes", lambda self, older: False)]


@bug
def superseded_copies_not_counted() -> list[Patch]:
    """§4 Copies of one version: a history that has dropped a copy for a newer one is not counted as having it."""
    return [(classify._Counts, "newest_copies", lambda self, r: [])]


@bug
def superseded_joint_copies_not_counted() -> list[Patch]:
    """§4 Copies of one version: that is so for copies over several objects."""
    honest = classify._Counts.newest_copies

    def newest(self: Any, r: int) -> list[Candidate]:
        return [each for each in honest(self, r) if not each.is_multi]

    return [(classify._Counts, "newest_copies", newest)]


@bug
def copies_of_copies_are_others() -> list[Patch]:
    """§4 Copies of one version: a copy of a copy is conditioned on the copy."""

    def plan(quorums: Any, target: Any, candidate: Candidate, views: Any) -> Any:
        view, part = views[target], candidate.part(target)
        is_proven = candidate.is_multi or view.order(candidate) >= quorums.q
        base = candidate.timestamp if is_proven else part.base_or_conditioned_on
        part = classify._copy_part(part, candidate, base)
        return Plan(Kind.COPY, (part,), (view.latest,))

    return [(classify, "_plan_copy_alone", plan)]


@bug
def copies_hold_no_version() -> list[Patch]:
    """§4 Copies of one version: a server that has a copy of a version says that it does not have the version."""
    return [(replica.Replica, "version_at", lambda self, timestamp: self.versions.get(timestamp))]


@bug
def own_disk_read_like_a_peers() -> list[Patch]:
    """§4.7: a server refuses a history of its own that is longer than what it takes from others."""
    return [(replica, "own_history", history.decode_history)]


# --- §5 -----------------------------------------------------------------------------------------------------------


@bug
def first_sync_answer_taken() -> list[Patch]:
    """§5: one server's word is enough for a version."""
    honest = synchronise.Sync.__init__

    def init(self: Any, now_ns: int, number: int, key: Any, *, servers: Any, needed: int) -> None:
        honest(self, now_ns, number, key, servers=servers, needed=1)

    return [(synchronise.Sync, "__init__", init)]


@bug
def sync_copy_unchecked() -> list[Patch]:
    """§5: a copy need not match its digest."""
    honest = synchronise.Sync.receive

    def receive(self: Any, server: int, reply: Any) -> Any:
        if reply.version:
            self._copies[server] = (reply.digest, reply.version)
        return honest(self, server, msgspec.structs.replace(reply, version=b""))

    return [(synchronise.Sync, "receive", receive)]


# --- §6 -----------------------------------------------------------------------------------------------------------


@bug
def ring_forgotten() -> list[Patch]:
    """§6: an operation whose id is in the ring is applied again."""
    return [(versions, "find_answer", lambda version, key: None)]


@bug
def ring_always_trusted() -> list[Patch]:
    """§6: an id that is not in the ring counts as never applied, however much has passed."""
    return [(versions, "can_tell", lambda version, key, since: True)]


@bug
def anybody_drives_out_anybody() -> list[Patch]:
    """§6: the oldest call leaves a full ring, even if it is its client's last one."""

    def leaving(entries: bytes) -> tuple[list[int], list[int]]:
        surplus = max(len(entries) // versions._STRIDE - 64, 0)
        return [], [number * versions._STRIDE for number in range(surplus)]

    return [(versions, "_leaving", leaving)]


@bug
def calls_of_a_batch_counted_one_by_one() -> list[Patch]:
    """§6: each call counts towards the ring's size, so that four batches of 16 leave no room for anybody else."""

    def leaving(entries: bytes) -> tuple[list[int], list[int]]:
        places = range(0, len(entries), versions._STRIDE)
        superseded = [at for at in places if entries[at + 32 : at + versions._TIME_END] < _time_of_last(entries, at)]
        surplus = max(len(places) - 64, 0)
        others = [at for at in places if at not in superseded]
        return superseded[:surplus], others[: max(surplus - len(superseded), 0)]

    def _time_of_last(entries: bytes, at: int) -> bytes:
        return versions._newest(entries, entries[at : at + 16])

    return [(versions, "_leaving", leaving)]


@bug
def sets_smuggled_in() -> list[Patch]:
    """§4.0: an operation on one object may carry sets of others."""
    honest = messages.decode_operation

    def decode_operation(request: Any) -> Any:
        if len(request.sets) > 1:
            operation = messages._decode(messages._operation_decoder, request.operation, "operation")
            if len(operation.objects) == 1:
                return operation
        return honest(request)

    return [(machine, "decode_operation", decode_operation)]


@bug
def exceptions_come_through() -> list[Patch]:
    """§4.0: an exception of our own ends the whole input, and what others wait for with it."""

    def fault(self: Any, what: str, channel: Any, error: Exception) -> None:
        raise error

    return [(machine.Server, "_fault", fault)]


@bug
def exceptions_come_through_the_client() -> list[Patch]:
    """§4.0, in the client: an exception of our own while one operation is worked on comes out of the session."""

    def fail(self: Any, now_ns: int, invocation_: Any, error: Exception) -> None:
        raise error

    return [(session.Session, "_fail", fail)]


@bug
def half_changed_objects_served() -> list[Patch]:
    """§4.0: an object that an exception has left half changed is used as if nothing had happened."""
    return [(acceptance.Acceptance, "set_aside", lambda self, objects, error: None)]


@bug
def readers_may_cancel() -> list[Patch]:
    """§4.0: a client with any right on an object may write cancellations to its ring."""
    honest = admission.check_operation

    def check(executor: Any, access: Any, client: Any, operation: Any) -> bool:
        if all(call.method == "" for call in operation.calls):
            return False
        return honest(executor, access, client, operation)

    return [(module, "check_operation", check) for module in (admission, ordinary)]


@bug
def rings_kept_silent() -> list[Patch]:
    """§6: a refused update is not told what the ring says of it."""
    tell = examination.Examination._fail

    def fail(self: Any, work: Any) -> None:
        tell(self, work) if work.is_query else self._reply(work, messages.FAIL)

    return [(examination.Examination, "_fail", fail)]


@bug
def versions_waited_for_in_silence() -> list[Patch]:
    """§5: who needs a version that nobody has any more is told BUSY, and not what is held."""

    def turn_away(self: Any, work: Any) -> None:
        self._replies.turn_away(work, messages.BUSY, "no-version", "the version could not be fetched")

    return [(examination.Examination, "do_without_version", turn_away)]


@bug
def settled_kept_silent() -> list[Patch]:
    """§6: a refused update is not told what is settled."""
    return [(examination, "settled_answers", lambda replica, client, operation: None)]


@bug
def settled_by_what_may_be_passed_over() -> list[Patch]:
    """§6: what the newest method's candidate has recorded itself is called settled, not only what it rests on."""

    def recorded_by(version: Any, key: bytes, time: int) -> bytes | None:
        return versions.find_answer(version, key)

    return [(settled, "recorded_by", recorded_by)]


@bug
def settled_by_copies() -> list[Patch]:
    """§6: what a copy is conditioned on counts as established, like what a method is."""

    def newest_version(replica: Any) -> Candidate | None:
        return next((each.candidate for each in reversed(replica.entries) if not each.candidate.is_barrier), None)

    return [(settled, "newest_method", newest_version)]


@bug
def settled_by_liars() -> list[Patch]:
    """§6: b servers that call an update settled are believed."""
    honest = verdict._judge_settled

    def judge_settled(round_: Any, quorums: Any, newer: Any) -> Any:
        fewer = copy(quorums)
        fewer.q = quorums.b
        return honest(round_, fewer, newer)

    return [(verdict, "_judge_settled", judge_settled)]


@bug
def any_ring_believed() -> list[Patch]:
    """§6: the ring of a version that may not be established rules an update out up to that version."""

    def absent_until(round_: Any, b: int) -> int:
        shown = [vote.histories[0] for vote in round_.votes.values() if set(vote.answers) == {NOT_RUN}]
        latest = [history.decode_history(round_.objects[0], each)[-1].candidate.timestamp for each in shown]
        return max([history.time_of(each) for each in latest if latest.count(each) > b], default=0)

    return [(invocation, "absent_until", absent_until)]


@bug
def attempts_buried_alive() -> list[Patch]:
    """§6: an attempt counts as dead although r servers may show it."""
    return [(rounds.Round, "is_dead", lambda self, quorums: _showing(self, quorums) <= quorums.r)]


@bug
def only_a_quorum_buries() -> list[Patch]:
    """§6: an attempt counts as dead only once q servers have refused it, also where it was sent to no others."""

    def is_dead(self: Any, quorums: Any) -> bool:
        return len(self.sent) - _showing(self, quorums) + quorums.b >= quorums.q

    return [(rounds.Round, "is_dead", is_dead)]


def _showing(round_: Any, quorums: Any) -> int:
    """How many servers may ever show an attempt."""
    refusals = sum(bool(round_.refused.get(index)) and count == 1 for index, count in round_.sent.items())
    return len(round_.sent) - refusals + int(quorums.b)


@bug
def stopped_counts_as_done() -> list[Patch]:
    """§6: a server that could not run an update says SUCCESS, as one that accepted it."""

    def status_of(answers: Any, *, is_query: bool, is_made: bool) -> int:
        return messages.SUCCESS

    return [(execution, "status_of", status_of)]


@bug
def stopped_calls_fail_alone() -> list[Patch]:
    """§6: of an operation with a call that could not be run the others are accepted."""
    return [(execution, "STOPPED", b"no such tag")]


@bug
def rejections_count_as_acceptances() -> list[Patch]:
    """§6: rejections of an update count as acceptances of it."""
    honest = verdict.largest_group

    def largest_group(round_: Any, status: int) -> list[int]:
        found = honest(round_, status)
        return found + honest(round_, messages.UNCHANGED) if status == messages.SUCCESS else found

    return [(verdict, "largest_group", largest_group)]


@bug
def two_equal_results_are_enough() -> list[Patch]:
    """§6: b + 1 equal results count unless b + 1 others are equal, too."""

    def judge(round_: Any, quorums: Any, servers: list[int], *, is_applied: Any, is_unchanged: bool) -> Any:
        groups = verdict.agreement([(server, verdict.result_of(round_.votes[server])) for server in servers])
        if len(groups[0]) <= quorums.b or (len(groups) > 1 and len(groups[1]) > quorums.b):
            return verdict.Verdict(verdict.Next.DIVERGED, is_applied=is_applied)
        odd = tuple(server for server in servers if server not in groups[0])
        answers = round_.votes[groups[0][0]].answers
        return verdict.Verdict(verdict.Next.ANSWERED, answers, odd, is_unchanged=is_unchanged)

    return [(verdict, "_judge_results", judge)]


@bug
def declines_end_a_call() -> list[Patch]:
    """§6: b + 1 servers that decline end a call, accepted or not."""
    honest = verdict.judge

    def judge(round_: Any, quorums: Any, **named: Any) -> Any:
        reason = verdict.declined_reason(round_, quorums.b)
        if reason is not None and not named["may_be_applied"]:
            return verdict.Verdict(verdict.Next.DECLINED, reason=reason)
        return honest(round_, quorums, **named)

    return [(invocation, "judge", judge)]


@bug
def fellow_travellers_forget() -> list[Patch]:
    """§6: a call that is made again by itself does not know of the operation that it travelled in."""
    honest = invocation.share

    def share(calls: Any, outcome: Any, **named: Any) -> Any:
        finished, again = honest(calls, outcome, **named)
        for pending in again:
            pending.since = None
        return finished, again

    return [(invocation, "share", share)]


@bug
def attempts_of_equal_bytes() -> list[Patch]:
    """§6: the attempts at an operation are not told apart, and yet each is judged by itself."""
    honest = invocation.encode_operation
    return [(invocation, "encode_operation", lambda operation, since, attempt: honest(operation, since, 0))]


@bug
def pauses_without_looking() -> list[Patch]:
    """§6: in a long back-off a client does not look whether others have repaired meanwhile."""
    return [(limits, "LOOK_AFTER_ROUND_TRIPS", 10**9)]


@bug
def answers_counted_with_candidates() -> list[Patch]:
    """§6: q equal votes are needed, so that one lying answer spoils a round."""

    def largest_group(round_: Any, status: int) -> list[int]:
        groups: dict[Any, list[int]] = {}
        for index, vote in round_.votes.items():
            if vote.status == status:
                groups.setdefault((vote.candidate, vote.answers), []).append(index)
        return max(groups.values(), key=len) if groups else []

    return [(verdict, "largest_group", largest_group)]


@bug
def any_answer_believed() -> list[Patch]:
    """§6: the first answer is returned, not the one that b + 1 servers agree on."""
    honest = verdict.agreement
    return [(verdict, "agreement", lambda results: [[server for server, _ in results]] if results else honest(results))]


@bug
def nobody_else_asked() -> list[Patch]:
    """§6: a client does not turn to further servers."""
    return [(invocation.Invocation, "_ask_further", lambda self, now_ns, round_: self._sleep(now_ns + 50_000_000))]


@bug
def culls_not_remembered() -> list[Patch]:
    """§6: reported culls are ignored."""
    return [(standing.Standing, "note_cull", lambda self, culled, by: None)]


@bug
def inventors_forgiven() -> list[Patch]:
    """§6: whose newest candidate always stands alone is asked and believed like anybody else."""
    return [(invocation.Invocation, "_note_inventors", lambda self, round_: None)]


@bug
def every_report_counts() -> list[Patch]:
    """§6: a report of culls counts from any server, and against any number."""
    return [(standing.Standing, "_is_heard", lambda self, reporter: True)]


@bug
def who_stands_alone_is_suspected() -> list[Patch]:
    """§6: a server is suspected for candidates that may be a client's doing."""
    return [(standing.Standing, "is_suspected", lambda self, server: self._strikes[server].total() >= 1)]


@bug
def breaks_make_up_for_inventions() -> list[Patch]:
    """§6: a server that stood alone, and then does not, has made up for it, though nobody else has."""

    def note_alone(self: Any, servers: Any, answered: Any) -> None:
        for server in sorted({*servers, *answered}):
            if server in servers:
                self._count_alone(server, 1, standing.ALONE)
            else:
                self._alone[server] = max(0, self._alone[server] - self._weight)

    return [(standing.Standing, "note_alone", note_alone)]


@bug
def down_until_connected() -> list[Patch]:
    """§6: a server counts as down until its connection is reported, whatever it answers."""

    def note_answered(self: Any, servers: Any) -> None:
        for server in servers:
            self.slow.pop(server, None)

    return [(standing.Standing, "note_answered", note_answered)]


@bug
def contradictions_not_seen() -> list[Patch]:
    """§6: a server may say that it has accepted a candidate, and show a history that ends below it."""
    return [(rounds.Round, "contradicting", lambda self: [])]


@bug
def excluded_for_good() -> list[Patch]:
    """§6: an excluded server never counts again."""
    honest = standing.Standing.left_out

    def left_out(self: Any, told: Any) -> set[int]:
        return honest(self, told) | {server for server in range(self._n) if self.is_excluded(server)}

    return [(standing.Standing, "left_out", left_out)]


@bug
def excluded_over_every_connection() -> list[Patch]:
    """§6: what was said against a server is said against the next one, too."""

    def went(self: Any, server: int) -> None:
        self.down.add(server)
        self.returning.discard(server)

    return [(standing.Standing, "went", went)]


@bug
def long_histories_read() -> list[Patch]:
    """§6: a server may show histories of any length."""
    return [(knowledge.Knowledge, "note_long", lambda self, sizes: None)]


@bug
def cut_authenticators_passed_on() -> list[Patch]:
    """A vote like the others' is taken over with whatever stands behind it."""
    honest = knowledge.Knowledge.absorb

    def absorb(self: Any, objects: Any, vote: Any, tails: Any) -> list[int]:
        honest(self, objects, vote, tails)
        return list(tails)

    return [(knowledge.Knowledge, "absorb", absorb)]


@bug
def doubted_only_while_told() -> list[Patch]:
    """§6: a doubted history is left out although its server is among those asked (a bug that this repository had)."""

    def left_out(self: Any, told: Any) -> set[int]:
        found = {server for server in range(self._n) if self.is_excluded(server)}
        for index in range(self._n):
            others = sum(bool(h) for other, h in enumerate(told) if other not in found and other != index)
            if self.is_doubted(index) and told[index] and others >= self._q:
                found.add(index)
        return found

    return [(standing.Standing, "left_out", left_out)]


@bug
def partners_need_rights() -> list[Patch]:
    """§7 Limits: a repair needs rights on every object, named by a candidate or not."""

    def check(executor: Any, access: Any, work: Any) -> None:
        for name in work.names:
            if not access.knows(work.client, name):
                raise admission.Declined("NotAllowed: no")

    return [(admission, "_check_repair", check)]


@bug
def any_client_may_freeze_anything() -> list[Patch]:
    """§7 Limits: a repair needs no rights."""
    return [(admission, "_check_repair", lambda executor, access, work: None)]


@bug
def versions_not_compared() -> list[Patch]:
    """§6 Determinism: clients do not compare the digests of versions."""
    return [(verdict, "result_of", lambda vote: (vote.answers, b""))]


# --- §7 -----------------------------------------------------------------------------------------------------------


@bug
def never_flagged() -> list[Patch]:
    """S2: no settled flags."""
    return [(examination, "newly_settled", lambda step, replicas, views: [])]


@bug
def flags_only_in_memory() -> list[Patch]:
    """S2: flags are set, but not in the transaction of what set them."""
    honest = examination.Examination._accept

    def accept(self: Any, now_ns: int, step: Any, versions: Any, settled: Any) -> None:
        honest(self, now_ns, step, versions, [])
        for each in settled:
            for name in each.objects:
                self._replicas.hot[name].flag_settled(each)

    return [(examination.Examination, "_accept", accept)]


@bug
def b_flags_enough() -> list[Patch]:
    """S2: max(1, b) flags prove a candidate settled."""
    honest = classify.is_settled

    def is_settled(quorums: Any, candidate: Candidate, at: Any, views: Any) -> bool:
        return views[at].flags.get(candidate.original, 0) >= max(1, quorums.b) or honest(quorums, candidate, at, views)

    return [(classify, "is_settled", is_settled)]


@bug
def no_bases() -> list[Patch]:
    """S1: what a copy rests on is taken to be what it is conditioned on."""
    return [(Part, "base_or_conditioned_on", property(lambda part: part.conditioned_on))]


@bug
def barriers_may_differ() -> list[Patch]:
    """S5: each object judged by may show a barrier of its own."""

    def shows(quorums: Any, view: Any, barrier: Candidate) -> bool:
        found = view.barrier
        return found is not None and view.latest == found.timestamp and view.order(found) >= quorums.q

    return [(classify, "_shows_barrier", shows)]


@bug
def barriers_not_asked_for() -> list[Patch]:
    """S5: objects are judged without a barrier on each."""
    return [(classify, "_shows_barrier", lambda quorums, view, barrier: True)]


@bug
def joint_copies_are_others() -> list[Patch]:
    """S2, S5: what is known of a joint copy of a candidate says nothing of the candidate."""
    return [(Candidate, "original", property(lambda self: self.timestamp))]


@bug
def joint_copies_are_bases() -> list[Patch]:
    """S1: the base of a method on a joint copy is that copy."""
    return [(classify, "_base_above", lambda candidate: None)]


@bug
def joint_barriers_finished_alone() -> list[Patch]:
    """S4: INLINE_BARRIER finishes a joint barrier on one object."""
    honest = classify.plan_repair

    def plan(quorums: Any, target: Any, views: Any) -> Any:
        view = views[target]
        if classify.classify(quorums, view) is Kind.INLINE_BARRIER:
            part = view.barrier.part(target)
            return Plan(Kind.INLINE_BARRIER, (part,), (view.latest,), repaired=view.barrier)
        return honest(quorums, target, views)

    return [(module, "plan_repair", plan) for module in (admission, invocation, rack_module, moves)]


@bug
def joint_barriers_finished_alone_and_less_evidence() -> list[Patch]:
    """S4 and S2: besides, only the newest candidate of another object counts as evidence, as in the C++ model."""

    def is_settled(quorums: Any, candidate: Candidate, at: Any, views: Any) -> bool:
        if not candidate.is_multi or views[at].flags.get(candidate.original, 0) >= quorums.b + 1:
            return True
        others = [views[name] for name in candidate.objects if name in views]
        if any(view.order(candidate) >= quorums.q for view in others):
            return True
        newest = [(view.object_id, view.repairable[0]) for view in others if view.object_id != at]
        return any(each.part(name).base_or_conditioned_on == candidate.timestamp for name, each in newest)

    return [(classify, "is_settled", is_settled), *joint_barriers_finished_alone()]


@bug
def inline_alone() -> list[Patch]:
    """S3: INLINE_METHOD of an unsettled candidate covers the target alone."""

    def plan(quorums: Any, target: Any, views: Any) -> Plan:
        candidate = views[target].repairable[0]
        return Plan(Kind.INLINE_METHOD, (candidate.part(target),), (views[target].latest,), repaired=candidate)

    return [(classify, "_plan_inline_method", plan)]


@bug
def copies_without_agreement() -> list[Patch]:
    """S5: a copy takes the newest candidate, agreed or not."""
    return [(classify, "_is_agreed", lambda candidate, target, views: True)]


@bug
def copies_alone() -> list[Patch]:
    """S5: a copy of an unsettled candidate covers the target alone."""

    def plan(quorums: Any, target: Any, views: Any) -> Plan:
        return classify._plan_copy_alone(quorums, target, views[target].repairable[0], views)

    return [(classify, "_plan_copy", plan)]


@bug
def kept_by_default() -> list[Patch]:
    """S5: a candidate without evidence is kept, not passed over."""

    def is_agreed(candidate: Candidate, target: Any, views: Any) -> bool:
        for name in candidate.objects:
            if name == target:
                continue
            newest = next((c for c in views[name].repairable if c == candidate or not c.covers(target)), None)
            if newest != candidate and not (newest is not None and newest.timestamp > candidate.timestamp):
                return False
        return True

    return [(classify, "_is_agreed", is_agreed)]


# --- replacing a server -----------------------------------------------------------------------------------------


@bug
def one_servers_edition_is_taken() -> list[Patch]:
    """R1: an edition is taken over that one server announces, and not b + 1."""

    def wanted(self: Any) -> Any:
        return max([name for name in self.by if name is not None and name.number > self.own.number], default=None)

    return [(editions.Announced, "wanted", property(wanted))]


@bug
def editions_go_back() -> list[Patch]:
    """R1: what b + 1 servers announce is taken over although it is older than what is in use."""

    def wanted(self: Any) -> Any:
        names = {name for name in self.by if name is not None and name != self.own}
        return max([name for name in names if self.by.count(name) > self._b], default=None)

    return [(editions.Announced, "wanted", property(wanted))]


@bug
def answers_of_newer_editions_count() -> list[Patch]:
    """R7: a client counts every answer, however many servers use a newer edition than its own."""
    return [(verdict, "counted", lambda servers, newer, b: len(servers))]


@bug
def culls_across_editions_count() -> list[Patch]:
    """R7: what servers of different editions say of each other's MACs is evidence."""
    return [(following.Following, "may_testify", lambda self, culled, by: True)]


@bug
def newcomer_leaves_repairs_out() -> list[Patch]:
    """R8: a newcomer is in standing when the lists are through, without what has to be repaired first."""
    look_at = catchup.CatchUp._look_at

    def look(self: Any, now_ns: int, name: Any, shown: Any) -> None:
        is_new = name not in self._todo
        look_at(self, now_ns, name, shown)
        if is_new:
            self._todo.pop(name, None)

    return [(catchup.CatchUp, "_look_at", look)]


@bug
def newcomer_answers_early() -> list[Patch]:
    """R4: a newcomer answers at once, as if everything were initial."""
    return [(membership.Membership, "is_standing", property(lambda self: True))]


@bug
def newcomer_reads_who_was_not_told() -> list[Patch]:
    """R5: servers that still use the old edition are read, and let themselves be read."""
    return [
        (membership.Membership, "has_followed", lambda self, server: True),
        (replacement_rig.ReplacedRack, "knows", lambda self, node, other: True),
        (simulated.ServerHost, "knows", lambda self, other: True),
        (membership.Membership, "answer_to", lambda self, server: self.sequence),
    ]


@bug
def switch_keeps_old_keys() -> list[Patch]:
    """R2: a server that has switched still accepts the MACs of the replaced identity."""
    switch = machine.Server.switch
    return [(machine.Server, "switch", lambda self, now_ns, edition, keys: switch(self, now_ns, edition, self.keys))]


@bug
def newcomer_reads_one_fewer() -> list[Patch]:
    """R5: q - 1 others are enough for a newcomer."""
    return [(catchup, "others_needed", lambda quorums: quorums.q - 1)]


@bug
def newcomer_ignores_what_is_newer() -> list[Patch]:
    """R6: the newest candidate of order r is taken over although something newer is shown."""
    view_of = catchup.view_of

    def view(*arguments: Any) -> Any:
        found = view_of(*arguments)
        if found.repairable:
            found.latest = found.repairable[0].timestamp
        return found

    return [(catchup, "view_of", view)]


@bug
def newcomer_adopts_half() -> list[Patch]:
    """R6: an unsettled candidate over several objects is taken over on one of them alone."""
    return [(adoption, "is_settled", lambda *arguments: True)]


@bug
def newcomer_adopts_copies() -> list[Patch]:
    """R6: a copy is taken over, with every older candidate of order r."""
    plan = adoption.plan_adoption

    def plan_with_copies(quorums: Any, name: Any, views: Any, adopted: Any = ()) -> Any:
        found, view = plan(quorums, name, views, adopted), views[name]
        if found is not None or not view.repairable or view.repairable[0].timestamp != view.latest:
            return found
        entries = tuple(history.Entry(each, False) for each in reversed(view.repairable))
        return adoption.Adoption(((name, entries),))

    return [(catchup, "plan_adoption", plan_with_copies)]


@bug
def no_cut() -> list[Patch]:
    """R3: a server that has answered a newcomer still makes MACs for servers that were not told."""
    return [(membership.Membership, "answer_to", lambda self, server: self.sequence)]


@bug
def no_cut_and_no_wait() -> list[Patch]:
    """R3 and R5: nor does the newcomer wait until q others have followed."""
    return [*no_cut(), (catchup, "may_begin", lambda quorums, followers: True)]


@bug
def parked_requests_keep_their_judgement() -> list[Patch]:
    """R2: a request that waits while its server switches is not judged again."""
    return [(loading.Loads, "take_requests", lambda self: []), (synchronise.SyncTable, "end_all", lambda self: [])]


@bug
def standing_before_durable() -> list[Patch]:
    """R8: a newcomer is in standing as soon as it has decided so."""
    return [(membership.Membership, "is_standing", membership.Membership.will_stand)]


@bug
def cut_not_durable() -> list[Patch]:
    """R3: the answer to a newcomer leaves before the cut is durable."""
    answer_to = membership.Membership.answer_to

    def answer(self: Any, server: int) -> int:
        answer_to(self, server)
        self.sequence = 0
        return 0

    return [(membership.Membership, "answer_to", answer)]


# --- §8: what clients leave ---------------------------------------------------------------------------------------


@bug
def unverified_work_unbounded() -> list[Patch]:
    """§8: a client may leave as much as it likes."""
    return [(unverified.Unverified, "must_wait", lambda self, now_ns, client: False)]


@bug
def what_is_left_costs_nothing() -> list[Patch]:
    """§8: what others had to step over or repair is not charged to who left it."""
    return [(unverified.Unverified, "_blame", lambda self, now_ns, client: None)]


@bug
def verification_believes_one_server() -> list[Patch]:
    """§8: a candidate is taken for established because one other server says that it holds it."""
    return [(verification.Verification, "_needed", property(lambda self: 1))]


@bug
def servers_believe_inventors() -> list[Patch]:
    """§8: a server that repairs heeds what b others show alone."""
    return [(inquiry.Inquiry, "_believed", inquiry.Inquiry._usable)]


@bug
def brought_up_to_what_is_older() -> list[Patch]:
    """§8: a server that holds something newer brings itself up to what the others have, and refuses that as stale."""

    def is_behind(self: Any, plan: Any) -> bool:
        held = [self._replicas.hot.get(part.object_id) for part in plan.parts]
        return not any(each is not None and each.holds(plan.repaired) for each in held)

    return [(scrub.Scrub, "_is_behind", is_behind)]


@bug
def verification_repairs_without_proof() -> list[Patch]:
    """§8: what the others do not confirm is taken back, upon their word alone."""

    def take_back(self: Any, name: Any) -> None:
        held = self._replicas.hot.get(name)
        if held is not None and len(held.entries) > 1:
            held._show(held.entries[:-1], None)
            self.unverified.forget(name)
            if held.latest > history.INITIAL_TIMESTAMP:
                self._outbox.writes += self._outbox.write_of(held)

    return [(scrub.Scrub, "_look_at", take_back)]


@bug
def barriers_are_established() -> list[Patch]:
    """§8: a barrier that q servers hold counts as established, although nothing follows it."""
    return [(verification, "is_barrier", lambda timestamp: False), (unverified, "is_barrier", lambda timestamp: False)]


@bug
def no_floor() -> list[Patch]:
    """A damaged object is taken over again whatever the server had promised about it."""
    return [(adoption, "reaches", lambda timestamp, floor: True)]


# --- moving a cluster -------------------------------------------------------------------------------------------------


@bug
def sealed_servers_accept() -> list[Patch]:
    """M1: a sealed server accepts updates and repairs as before."""
    return [(membership.Membership, "is_sealed_for", lambda self, client, is_repair: False)]


@bug
def anybody_repairs_what_is_sealed() -> list[Patch]:
    """M1: repairs are accepted from every client, not from the mover alone."""
    return [(membership.Membership, "is_sealed_for", lambda self, client, is_repair: not is_repair)]


@bug
def lists_from_before_the_seal() -> list[Patch]:
    """M2: a list is read although what was accepted before the seal is not durable yet."""

    def go_on(self: Any) -> None:
        held, self._held = self._held, []
        for work in held:
            self._go_on(work)

    return [(listing.Lists, "go_on", go_on)]


@bug
def moved_servers_answer_queries() -> list[Patch]:
    """M4: the servers of a cluster that has moved go on to answer queries."""
    return [(membership.Membership, "has_moved", False)]


@bug
def b_plus_one_have_moved() -> list[Patch]:
    """M4: a client goes to the new cluster when b + 1 servers say so, as it takes over any edition."""
    return [(editions.Announced, "is_agreed", property(lambda self: self.by.count(self.own) > self._b))]


@bug
def calls_are_carried_without_their_doubt() -> list[Patch]:
    """M4: a call that goes to the new cluster forgets that it may have been applied in the old one."""
    return [(invocation.Invocation, "leave", lambda self: self.calls)]


BUGS.update(HELPING_BUGS)
