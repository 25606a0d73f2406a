"""Planted bugs that leave out a bound on what one peer may use: memory, waiting requests, time.

Random seeds cannot see these: the simulator has no sockets, no buffers, and time that costs nothing. Each has a test of
its own, which tests/unit/test_limits_are_needed.py runs with the bug in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fivefold.node.server import throttle
from fivefold.protocol.server import cache, shares, synchronise
from fivefold.transport import listeners, wire
from fivefold.transport.budget import Budget

Patch = tuple[object, str, Any]
"""Where, which attribute, what instead."""

LIMIT_BUGS: dict[str, Callable[[], list[Patch]]] = {}
"""The planted bugs by name; each makes its patches anew."""

ENDLESS = 10**18


def bug(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    """Register a bug under its function's name."""
    LIMIT_BUGS[make.__name__] = make
    return make


@bug
def a_budget_for_each_connection() -> list[Patch]:
    """Each connection of an identity has a budget of its own, so that 32 of them hold 32 times as much."""
    honest = listeners.StreamListener.opened

    def opened(self: Any, connection: Any) -> Budget:
        honest(self, connection)
        return Budget(listeners.limits.PEER_BYTES_MAX, self._budget)

    return [(listeners.StreamListener, "opened", opened)]


@bug
def no_budget_for_all_together() -> list[Patch]:
    """Each identity has its budget, however many identities there are."""
    return [(Budget, "__init__", _init_alone)]


def _init_alone(self: Any, size: int, whole: Budget | None = None) -> None:
    self.left_bytes, self._whole = size, None


@bug
def begun_frames_are_free() -> list[Patch]:
    """Frames that begin and do not end are not counted."""
    return [(wire.Wire, "_make_input_room", lambda self, partial: None)]


@bug
def begun_frames_have_no_deadline() -> list[Patch]:
    """A frame may take for ever."""
    return [(wire.Wire, "sweep", lambda self, passed_s: None)]


@bug
def the_cache_counts_objects_alone() -> list[Patch]:
    """A server keeps a number of objects in memory, however large each of them is."""
    return [(cache.Cache, "measure", lambda self, replica: None)]


@bug
def other_servers_may_ask_without_end() -> list[Patch]:
    """Any number of another server's questions may wait for loads."""
    return [(shares, "SYNCS_MAX", ENDLESS)]


@bug
def copies_of_one_server_add_up() -> list[Patch]:
    """Each object sync keeps a copy of one server, however many there are."""
    return [(synchronise, "SYNC_COPIES_BYTES_MAX", ENDLESS)]


@bug
def a_client_may_let_any_number_wait() -> list[Patch]:
    """A client's requests that wait for loads are not counted apart from the others'."""
    return [(shares, "WAITING_REQUESTS_PER_CLIENT_MAX", ENDLESS)]


@bug
def a_client_may_let_any_bytes_wait() -> list[Patch]:
    """A client's requests that wait for loads are counted, however large they are."""
    return [(shares, "WAITING_BYTES_PER_CLIENT_MAX", ENDLESS)]


@bug
def a_request_counts_once() -> list[Patch]:
    """A rate counts requests, however long each takes."""
    honest = throttle.Bucket.spend
    return [(throttle.Bucket, "spend", lambda self, now_ns, size, used_ns=0: honest(self, now_ns, size))]


@bug
def what_has_waited_is_free() -> list[Patch]:
    """Time for a request that had waited is charged to nobody."""
    return [(throttle.Bucket, "charge", lambda self, now_ns, used_ns: None)]


@bug
def other_servers_have_all_the_time() -> list[Patch]:
    """Another server's frames count alike, however long each takes."""
    return [(throttle, "SERVER_FRAME_NS", ENDLESS)]
