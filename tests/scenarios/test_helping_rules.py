"""Every rule of helping is needed: with one left out, its scenario fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from fivefold.errors import PeerViolation
from tests.planted import planted
from tests.planted_helping import HELPING_BUGS
from tests.scenarios import test_helping as servers
from tests.scenarios import test_helping_client as clients

FAILURES = (AssertionError, KeyError, PeerViolation, pytest.fail.Exception)

MUTATIONS: list[tuple[str, Callable[[], None]]] = [
    ("announced_calls_kept_silent", servers.test_an_announced_call_waits_and_is_listed_to_others_alone),
    ("forgotten_calls_are_listed", servers.test_d13_a_forgotten_call_is_neither_taken_up_nor_listed),
    ("carried_calls_need_not_be_held", servers.test_d1_what_nobody_has_announced_is_accepted_nowhere),
    ("carried_calls_need_not_be_held", servers.test_d1_what_is_withdrawn_while_its_carrier_waits_is_not_applied),
    ("carried_calls_need_not_be_held", servers.test_d10_a_call_with_another_since_is_another_call),
    ("carried_calls_are_the_carriers", servers.test_a_call_that_was_applied_is_answered_from_the_ring),
    ("carriers_rights_unchecked", servers.test_d11_rights_are_those_of_the_owner_when_it_is_run_and_of_the_carrier),
    ("others_answers_take_all_the_room", servers.test_what_others_answer_takes_no_room_from_the_carriers_own_call),
    (
        "what_is_announced_twice_is_carried_twice",
        partial(clients.test_a_call_that_is_announced_twice_is_carried_once, "add"),
    ),
    ("carried_twice", servers.test_nobody_carries_a_call_twice_or_its_own),
    ("owners_rights_unchecked", servers.test_d11_rights_are_those_of_the_owner_when_it_is_run_and_of_the_carrier),
    ("rejections_of_carried_calls_not_recorded", servers.test_d9_rejections_are_recorded_pushed_and_gone),
    ("rejections_of_carried_calls_not_recorded", servers.test_a_rejection_of_an_announced_call_of_ones_own_is_recorded),
    ("announcements_end_when_accepted", servers.test_d3_what_a_barrier_passes_over_is_pending_again),
    ("owners_are_not_told", servers.test_a_carried_call_is_applied_first_and_its_owner_is_told),
    ("pushes_of_any_candidate_count", clients.test_pushes_of_different_candidates_do_not_add_up),
    ("what_b_plus_one_list_is_carried", clients.test_only_what_q_minus_b_servers_list_alike_is_carried),
    ("nobody_carries_without_own_calls", clients.test_a_client_that_others_outrun_is_carried_by_the_next_of_them),
    ("nobody_follows", clients.test_a_client_that_was_carried_only_announces_its_next_calls),
    ("updates_under_way_are_repaired", clients.test_d7_an_update_under_way_is_not_repaired_at_first_sight),
    (
        "pending_means_dead",
        partial(clients.test_d5_an_announced_call_is_certainly_dead_only_when_q_servers_say_so, False),
    ),
    ("refused_calls_are_plain", clients.test_a_rejection_is_recorded_where_a_refusal_has_announced_the_call),
    (
        "dead_while_its_operation_goes_on",
        clients.test_a_call_that_is_given_up_while_its_operation_goes_on_may_be_applied,
    ),
    ("one_confirmation_is_enough", clients.test_a_withdrawal_that_q_servers_have_not_confirmed_proves_nothing),
    ("withdrawals_pass_what_waits", servers.test_an_attempt_that_waits_while_it_is_withdrawn_is_refused),
    ("withdrawals_confirmed_by_holders", servers.test_a_server_whose_history_has_the_call_does_not_confirm),
]
"""The bug, and the scenario that shows it."""


@pytest.mark.parametrize(("bug", "scenario"), MUTATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_rule_is_needed(bug: str, scenario: Callable[[], None]) -> None:
    """With the rule left out the scenario fails; with all rules in place it runs in the default suite."""
    with (
        planted(bug, bugs=HELPING_BUGS),
        pytest.raises((AssertionError, KeyError, PeerViolation, pytest.fail.Exception)),
    ):
        scenario()


def test_every_planted_bug_is_caught() -> None:
    """No bug is planted that no scenario of the list is meant to catch."""
    assert set(HELPING_BUGS) == {bug for bug, _ in MUTATIONS}
