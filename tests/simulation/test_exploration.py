"""Exhaustive exploration: nothing is wrong in small cases, and a rule left out is noticed."""

from __future__ import annotations

import pytest

from fivefold.simulation import (
    SCHEDULES,
    Budget,
    Case,
    Explorer,
    explore_announcement,
    explore_near,
    explore_replacement,
    is_with_liar,
)
from tests.planted import BUGS, planted

SMALL = [
    Case(objects_count=1, requests_max=3),
    Case(objects_count=2, requests_max=2),
    Case(objects_count=3, requests_max=2),
    Case(n=6, t=1, b=1, objects_count=1, requests_max=2),
    Case(n=6, t=1, b=1, objects_count=2, requests_max=2),
    Case(objects_count=2, requests_max=2, is_hostile=True, is_mixed=True),
]


def near(name: str, requests_max: int = 0) -> Case:
    n, b = (6, 1) if is_with_liar(name) else (4, 0)
    return Case(n=n, t=1, b=b, objects_count=2, requests_max=requests_max)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_small_cases_are_sound(case: Case) -> None:
    """All orders of a few requests: established versions form chains, joint ones are whole, repairs come to an end."""
    result = Explorer(case, Budget(seconds_max=60)).run()
    assert result.is_exhausted
    assert result.violations == []
    assert result.merged > 0 < result.probed


@pytest.mark.parametrize("name", SCHEDULES)
def test_all_orders_of_the_directed_requests_are_sound(name: str) -> None:
    """Whatever else the requests of a directed schedule reach, nothing is wrong."""
    result = explore_near(near(name), name)
    assert result.is_exhausted
    assert result.violations == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCHEDULES)
def test_one_more_request_near_a_directed_schedule_is_sound(name: str) -> None:
    """One request more than in the schedule, sent anywhere along it."""
    result = explore_near(near(name, requests_max=1), name, Budget(5_000_000, 300))
    assert result.is_exhausted
    assert result.violations == []


FREE = [
    ("repeated_requests_executed", Case(objects_count=1, requests_max=2), "answered again"),
    ("currency_unchecked", Case(objects_count=1, requests_max=2), "not-ordered|fork|newer than all"),
    ("repairing_clients_operation_run", Case(objects_count=1, requests_max=3), "enough servers hold"),
    ("conditioned_on_pruned", Case(objects_count=1, requests_max=3), "not live"),
    ("copies_without_barrier", Case(objects_count=1, requests_max=3), "fork|rival"),
    ("quorums_smaller", Case(objects_count=1, requests_max=3), "fork"),
    ("repairable_from_fewer", Case(objects_count=1, requests_max=3), "rival"),
    ("repairable_from_more", Case(objects_count=1, requests_max=3), "not live|fork"),
]
"""A bug, the case in which it is found from the start, and as what."""


@pytest.mark.parametrize(("bug", "case", "what"), FREE, ids=lambda value: value if isinstance(value, str) else "")
def test_an_omission_is_found_from_the_start(bug: str, case: Case, what: str) -> None:
    """A few requests in all orders show that the rule is needed."""
    with planted(bug):
        violations = Explorer(case, Budget(seconds_max=60)).run().violations
    assert violations
    assert any(word in violations[0].what for word in what.split("|"))
    assert violations[0].schedule


NEAR = [
    ("copies_alone", "D1", "split"),
    ("never_flagged", "D2", "fork"),
    ("flags_only_in_memory", "D2", "fork"),
    ("no_bases", "D4", "fork"),
    ("barriers_may_differ", "D5", "fork"),
    ("barriers_not_asked_for", "D5", "fork"),
    ("joint_copies_are_others", "D6", "fork"),
    ("joint_barriers_finished_alone_and_less_evidence", "D7", "fork"),
    ("inline_alone", "D8", "split"),
    ("copies_without_agreement", "agreement", "split"),
    ("kept_by_default", "agreement", "split"),
    ("b_flags_enough", "flags", "split"),
    ("copies_prune", "copies", "fork"),
    ("superseded_copies_not_counted", "superseded", "fork"),
    ("superseded_joint_copies_not_counted", "joint", "fork"),
]
"""A bug, the schedule near which it is found, and as what."""


@pytest.mark.parametrize(("bug", "name", "what"), NEAR)
def test_an_omission_is_found_near_a_directed_schedule(bug: str, name: str, what: str) -> None:
    """The schedule's requests in all orders show that the rule is needed."""
    with planted(bug):
        violations = explore_near(near(name), name).violations
    assert violations
    assert what in violations[0].what


ANNOUNCED = ["carried_calls_need_not_be_held", "carried_calls_are_the_carriers", "withdrawals_confirmed_by_holders"]
"""Bugs that are found with one announced call and one request."""


@pytest.mark.parametrize("bug", ANNOUNCED)
def test_an_omission_is_found_with_an_announced_call(bug: str) -> None:
    """O's call is applied, or applied again, though q servers have confirmed that it is withdrawn."""
    with planted(bug):
        violations = explore_announcement(1, Budget(seconds_max=60)).violations
    assert violations
    assert "confirmed the withdrawal" in violations[0].what


def test_an_announced_call_with_two_requests_is_sound() -> None:
    """All orders of an announcement, its withdrawal, restarts, and two requests that carry the call or do not."""
    result = explore_announcement(2, Budget(seconds_max=60))
    assert result.is_exhausted
    assert result.violations == []
    assert result.states > 10_000


NOT_REACHED = {
    # No schedule is known on which it does harm: docs/concepts/multi-object.md.
    "joint_barriers_finished_alone",
    # Authenticators, culling and the digest in a timestamp: histories are authentic here, and equal steps are one.
    "macs_unchecked",
    "macs_not_bound_to_the_object",
    "one_key_for_both_directions",
    "leaders_culled",
    "times_unbounded",
    "clocks_carried_by_barriers",
    "clocks_carried_by_updates",
    "partners_not_carried",
    "only_what_a_quorum_reaches_is_followed",
    "late_times_always_culled",
    "digest_without_culling",
    "digest_of_the_targets_set_alone",
    "digest_without_the_target",
    # Disks, waits and object syncs: what is accepted is durable, and every version is there at once.
    "not_checked_again_after_a_wait",
    "replies_before_durable",
    "only_success_waits",
    "first_sync_answer_taken",
    "sync_copy_unchecked",
    # Queries, rejections, answers, rights and the client's own conduct.
    "no_optimistic_answers",
    "rejections_written",
    "ring_forgotten",
    "ring_always_trusted",
    "anybody_drives_out_anybody",
    "answers_counted_with_candidates",
    "any_answer_believed",
    "nobody_else_asked",
    "culls_not_remembered",
    "inventors_forgiven",
    "cut_authenticators_passed_on",
    "copies_hold_no_version",
    "doubted_only_while_told",
    "rings_kept_silent",
    "any_ring_believed",
    "attempts_buried_alive",
    "only_a_quorum_buries",
    "pauses_without_looking",
    "versions_not_compared",
    "partners_need_rights",
    "any_client_may_freeze_anything",
    # Refusals, exceptions, rights, bytes, and what a client makes of several attempts and several servers' words.
    "attempts_of_equal_bytes",
    "barriers_add_up",
    "calls_of_a_batch_counted_one_by_one",
    "declines_end_a_call",
    "every_report_counts",
    "exceptions_come_through",
    "excluded_for_good",
    # What only many more requests show: histories that grow.
    "copies_of_a_version_add_up",
    "copies_of_copies_are_others",
    # A liar that shows a barrier and nothing else of what was accepted.
    "joint_copies_are_bases",
    "excluded_over_every_connection",
    "exceptions_come_through_the_client",
    "fellow_travellers_forget",
    "half_changed_objects_served",
    "histories_without_bound",
    "long_histories_read",
    "no_floor",
    "own_disk_read_like_a_peers",
    "readers_may_cancel",
    "rejections_count_as_acceptances",
    "sets_smuggled_in",
    "stopped_calls_fail_alone",
    "stopped_counts_as_done",
    "switch_keeps_old_keys",
    "two_equal_results_are_enough",
    "who_stands_alone_is_suspected",
    "breaks_make_up_for_inventions",
    "down_until_connected",
    "contradictions_not_seen",
    # Nobody is replaced from the start or near these schedules; the exploration of a replacement is not so deep.
    "answers_of_newer_editions_count",
    "culls_across_editions_count",
    "editions_go_back",
    "newcomer_leaves_repairs_out",
    "one_servers_edition_is_taken",
    "cut_not_durable",
    "newcomer_adopts_copies",
    "newcomer_adopts_half",
    "newcomer_answers_early",
    "newcomer_ignores_what_is_newer",
    "newcomer_reads_one_fewer",
    "newcomer_reads_who_was_not_told",
    "no_cut",
    "no_cut_and_no_wait",
    "parked_requests_keep_their_judgement",
    "standing_before_durable",
    # No cluster moves here.
    "anybody_repairs_what_is_sealed",
    "b_plus_one_have_moved",
    "calls_are_carried_without_their_doubt",
    "lists_from_before_the_seal",
    "moved_servers_answer_queries",
    "sealed_servers_accept",
    # What servers verify in the background, and what clients make of settled answers and of all servers' silence.
    "barriers_are_established",
    "nobody_waits_for_all",
    "settled_by_copies",
    "settled_by_liars",
    "settled_by_what_may_be_passed_over",
    "settled_kept_silent",
    "unverified_work_unbounded",
    "verification_believes_one_server",
    "servers_believe_inventors",
    "brought_up_to_what_is_older",
    "verification_repairs_without_proof",
    "versions_waited_for_in_silence",
    "what_is_left_costs_nothing",
    # What clients make of others' calls, and what servers list and push.
    "announced_calls_kept_silent",
    "announcements_end_when_accepted",
    "carried_twice",
    "carriers_rights_unchecked",
    "dead_while_its_operation_goes_on",
    "forgotten_calls_are_listed",
    "nobody_carries_without_own_calls",
    "nobody_follows",
    "one_confirmation_is_enough",
    "others_answers_take_all_the_room",
    "owners_are_not_told",
    "owners_rights_unchecked",
    "pending_means_dead",
    "pushes_of_any_candidate_count",
    "refused_calls_are_plain",
    "rejections_of_carried_calls_not_recorded",
    "updates_under_way_are_repaired",
    "what_b_plus_one_list_is_carried",
    "what_is_announced_twice_is_carried_twice",
    "withdrawals_pass_what_waits",
    # A cluster's thresholds are checked before it is explored.
    "quorums_of_any_size",
}
"""What the exploration does not see; tests/scenarios/test_mutations.py names the directed test of each."""


def test_every_planted_bug_is_found_or_said_not_to_be() -> None:
    """A new rule is either within reach of the exploration, or on the list of those that are not."""
    found = {bug for bug, _, _ in (*FREE, *NEAR)} | set(ANNOUNCED)
    assert found | NOT_REACHED == set(BUGS)
    assert not found & NOT_REACHED


@pytest.mark.parametrize("is_twin", [False, True], ids=["crashed", "twin"])
def test_a_replacement_with_one_request_is_sound(is_twin: bool) -> None:
    """All orders of one update, a replacement of server 0, telling the others, reading them and taking over."""
    result = explore_replacement(1, Budget(seconds_max=60), is_twin=is_twin)
    assert result.is_exhausted
    assert result.violations == []
    assert result.states > 1000
    assert result.merged > result.states


def test_a_newcomer_that_answers_early_is_found() -> None:
    """R4: as soon as it says that the object is initial, an established version is held by two servers alone."""
    with planted("newcomer_answers_early"):
        result = explore_replacement(1, Budget(seconds_max=60), is_twin=False)
    assert result.violations_count > 0
    assert "is established, and servers" in result.violations[0].what
    assert result.violations[0].schedule[-1] == "server 0 is replaced"


def test_what_was_not_done_in_time_is_not_said_to_be_done() -> None:
    """A budget ends the exploration of a replacement, too."""
    result = explore_replacement(2, Budget(states_max=20_000, seconds_max=60), is_twin=False)
    assert not result.is_exhausted
    assert result.requests_done == 1


def test_a_budget_ends_an_exploration() -> None:
    """It stops in time, and does not claim to have seen everything."""
    result = Explorer(Case(requests_max=4), Budget(states_max=500)).run()
    assert result.states == 500
    assert not result.is_exhausted
    assert result.requests_done < 4
