"""Each bound on what one peer may use is needed: with it left out, its test fails."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.planted_limits import LIMIT_BUGS
from tests.transport_rig import Rig, small_cluster
from tests.unit import test_node_throttle as throttles
from tests.unit import test_transport_streams as streams
from tests.unit.protocol import test_cache as caches
from tests.unit.protocol import test_server_waits as waits
from tests.unit.protocol import test_synchronise as syncs

PURE = [
    ("the_cache_counts_objects_alone", caches.test_large_objects_fill_the_cache_by_their_bytes),
    ("other_servers_may_ask_without_end", waits.test_a_server_that_floods_object_sync_turns_no_client_away),
    ("copies_of_one_server_add_up", syncs.test_a_server_that_floods_syncs_with_copies_fills_no_memory),
    ("a_client_may_let_any_number_wait", waits.test_a_client_whose_requests_wait_leaves_room_for_others),
    ("a_client_may_let_any_bytes_wait", waits.test_what_a_client_lets_wait_is_bounded_in_bytes),
    ("a_request_counts_once", throttles.test_a_request_that_takes_long_counts_for_more),
    ("what_has_waited_is_free", throttles.test_time_for_a_request_that_waited_counts_for_its_client),
    ("other_servers_have_all_the_time", throttles.test_another_server_has_a_share_of_the_time),
]
WITH_SOCKETS = [
    ("a_budget_for_each_connection", streams.test_connections_of_one_peer_share_a_budget),
    ("no_budget_for_all_together", streams.test_all_peers_share_a_budget),
    ("begun_frames_are_free", streams.test_begun_frames_of_one_peer_are_bounded),
    ("begun_frames_have_no_deadline", streams.test_a_frame_that_never_ends_ends_the_connection),
]


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run the body with the bug in place."""
    with pytest.MonkeyPatch.context() as patch:
        for where, attribute, instead in LIMIT_BUGS[name]():
            assert hasattr(where, attribute), f"the bug {name} patches nothing: {where} has no {attribute}"
            patch.setattr(where, attribute, instead)
        yield


@pytest.fixture
async def clear(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(small_cluster(tmp_path), "clear")
    yield rig
    await rig.close()


@pytest.mark.parametrize(("bug", "test"), PURE)
def test_without_its_bound_a_test_fails(bug: str, test: object) -> None:
    """And with it, it passes: that is the test itself, elsewhere."""
    with planted(bug), pytest.raises((AssertionError, KeyError)):
        test()  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(("bug", "test"), WITH_SOCKETS)
async def test_without_its_bound_a_test_of_connections_fails(bug: str, test: object, clear: Rig) -> None:
    """Some wait for what never comes then: not for long."""
    with planted(bug), pytest.MonkeyPatch.context() as patch, pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(1.0):
            await test(clear, patch)  # type: ignore[operator]
    gc.collect()  # it has not come to closing its connections


def test_each_planted_bug_has_its_test() -> None:
    """None is left out here."""
    assert {name for name, _ in (*PURE, *WITH_SOCKETS)} == set(LIMIT_BUGS)
