"""Every rule is needed: with one of them left out, its scenario forks, loses atomicity or fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.planted import planted
from tests.protocol_rig import Violation
from tests.scenarios import test_multi_object as multi
from tests.scenarios import test_pruning as pruning
from tests.scenarios import test_server_rules as rules

Scenario = Callable[[], None]

MUTATIONS: list[tuple[str, Scenario, str]] = [
    ("macs_unchecked", rules.test_forged_histories_do_not_resurrect_the_initial_version, "fork"),
    ("macs_not_bound_to_the_object", rules.test_a_history_of_another_object_is_culled, ""),
    ("one_key_for_both_directions", rules.test_a_mac_cannot_be_reflected, ""),
    ("times_unbounded", rules.test_one_liar_cannot_use_up_the_clock, ""),
    ("digest_without_culling", rules.test_the_digest_is_over_what_culling_left, "one timestamp"),
    ("repairing_clients_operation_run", rules.test_an_operation_on_histories_to_repair_does_nothing, ""),
    ("repeated_requests_executed", rules.test_a_repeated_request_is_executed_once, ""),
    ("currency_unchecked", rules.test_an_older_version_is_not_built_upon, "fork"),
    ("not_checked_again_after_a_wait", rules.test_what_waited_is_checked_again, "fork"),
    ("no_optimistic_answers", rules.test_a_stale_query_is_answered_on_the_latest_version, ""),
    ("rejections_written", rules.test_a_rejection_writes_nothing, ""),
    ("replies_before_durable", rules.test_a_reply_waits_for_the_disk, ""),
    ("only_success_waits", rules.test_no_reply_shows_what_the_disk_may_forget, ""),
    ("conditioned_on_pruned", pruning.test_what_a_method_is_conditioned_on_stays, "fork"),
    ("inline_copies_prune", pruning.test_a_copy_taken_inline_does_not_prune, "fork"),
    ("methods_told_by_their_time", pruning.test_a_copy_with_a_methods_time_does_not_prune, "fork"),
    ("copies_prune", pruning.test_a_copy_does_not_prune, "fork"),
    ("first_sync_answer_taken", rules.test_one_servers_word_is_not_enough_for_a_version, ""),
    ("sync_copy_unchecked", rules.test_a_copy_must_match_its_digest, ""),
    ("copies_alone", multi.test_d1_a_skip_two_steps_back_is_seen, "atomicity"),
    ("never_flagged", multi.test_d2_the_flag_outlives_everything_that_rests_on_the_candidate, "fork"),
    ("no_bases", multi.test_d4_copies_of_copies_still_name_what_they_rest_on, "fork"),
    ("barriers_may_differ", multi.test_d5_objects_are_judged_by_one_barrier, "fork"),
    ("later_copies_count", multi.test_d6_later_joint_copies_do_not_hide_the_candidate, "fork"),
    (
        "joint_barriers_finished_alone_and_less_evidence",
        multi.test_d7_a_joint_barrier_is_never_finished_on_one_object,
        "fork",
    ),
    ("inline_alone", multi.test_d8_inline_repair_covers_all_objects, "atomicity"),
    ("copies_alone", multi.test_a_copy_of_an_unproven_candidate_is_joint, ""),
    ("copies_alone", multi.test_a_candidate_without_evidence_is_passed_over, "atomicity"),
    ("copies_without_agreement", multi.test_a_candidate_without_evidence_is_passed_over, "fork"),
    ("kept_by_default", multi.test_a_candidate_without_evidence_is_passed_over, "atomicity|fork"),
    ("b_flags_enough", multi.test_one_flag_is_no_proof_where_one_server_may_lie, "atomicity"),
    ("digest_of_the_targets_set_alone", multi.test_one_timestamp_names_one_version_whoever_culls, "one timestamp"),
    ("digest_without_the_target", multi.test_one_timestamp_names_one_version_whatever_the_target, "one timestamp"),
    ("flags_only_in_memory", multi.test_a_settled_flag_survives_a_crash, ""),
    ("only_success_waits", multi.test_a_flag_that_was_not_durable_is_not_shown, ""),
]
"""The bug, the scenario that shows it, and what it shows: a fork, lost atomicity, or (empty) a failing assertion."""


@pytest.mark.parametrize(("bug", "scenario", "harm"), MUTATIONS, ids=lambda value: getattr(value, "__name__", value))
def test_the_rule_is_needed(bug: str, scenario: Scenario, harm: str) -> None:
    """With the rule left out the scenario shows the harm; with all rules in place it runs in the default suite."""
    with planted(bug), pytest.raises(Violation if harm else AssertionError, match=harm or None):
        scenario()
