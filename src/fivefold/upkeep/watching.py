"""Watches a cluster: looks at it again and again, and tells what has happened between the looks.

``fivefold top`` and the dashboard show what is put together here, and nothing else. A server may say anything of
itself, so what is kept of an answer is cut to size, and a number that cannot be is left out.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Final

from msgspec import Struct

from fivefold.api import Cluster, ClusterStatus
from fivefold.node import ServerStatus
from fivefold.protocol.activity import Lately
from fivefold.protocol.durations import BOUNDS_NS, quantile
from fivefold.upkeep.condition import (
    BAD,
    GOOD,
    WARN,
    Headline,
    Remark,
    accused,
    headline_of,
    program_text,
    remarks_of,
    state_of,
)

POINTS_MAX: Final = 450
"""Moments that are remembered: a quarter of an hour of looks each two seconds."""

SHOWN_MAX: Final = 12
"""Objects, and clients, that are shown."""

TEXT_MAX: Final = 200
"""Characters of a text of a server's that are shown."""

RATES: Final[Mapping[str, tuple[str, ...]]] = {
    "updates": ("accepted.METHOD",),
    "repairs": ("accepted.INLINE_METHOD", "accepted.COPY", "accepted.BARRIER", "accepted.INLINE_BARRIER"),
    "stale": ("stale",),
    "culls": ("culled.",),
    "syncs": ("sync.",),
    "rejected": ("rejected.", "turned-away.", "faults"),
}
"""What servers count, and the counters that each adds up; a name that ends in a dot stands for all that begin so."""

_SERVER: Final = b"fivefold-server".hex()
_BOUNDS_S: Final = tuple(bound / 1e9 for bound in BOUNDS_NS)


class Look(Struct, frozen=True):
    """The cluster at one moment of this machine's clock.

    Attributes:
        at_s: the moment, on a clock that only grows.
        status: what the servers said.
        addresses: of the servers.
        names: of clients, by their ids in hexadecimal.
    """

    at_s: float
    status: ClusterStatus
    addresses: tuple[str, ...]
    names: Mapping[str, str] = {}


class ServerView(Struct, frozen=True):
    """One server: how it is, since when, and what it has done each second since the last look.

    Attributes:
        index: its index.
        address: where it listens.
        state: a word.
        level: good, warn or bad.
        since_s: for how long it has been in that state; None if that is not known.
        is_longer: whether it was in that state already when watching began.
        rates: what it did each second; empty if that cannot be told.
        answered_s: how long its status took.
        reply_s: within which it answered 99 % of the requests since the last look.
        commit_s: within which 99 % of its commits were durable.
        version: of the program.
        edition: of the cluster file.
        uptime_s: since its start.
        objects: that it holds.
        cached_objects: of these in memory.
        memory_bytes: of its process.
        connections: identified ones.
        free_bytes: left on its disk.
        disk_bytes: size of its disk.
        waiting: requests and replies that wait.
    """

    index: int
    address: str
    state: str
    level: str
    since_s: float | None
    is_longer: bool
    rates: dict[str, float]
    answered_s: float | None = None
    reply_s: float | None = None
    commit_s: float | None = None
    version: str = ""
    edition: int | None = None
    uptime_s: float | None = None
    objects: int | None = None
    cached_objects: int | None = None
    memory_bytes: int | None = None
    connections: int | None = None
    free_bytes: int | None = None
    disk_bytes: int | None = None
    waiting: int | None = None


class Point(Struct, frozen=True, array_like=True):
    """The cluster between two looks.

    Attributes:
        at: the later one, in seconds since 1970.
        updates: accepted each second.
        requests: answered each second, by a quorum.
        p50_s: within which half of the requests were answered; None if there were none.
        p99_s: within which 99 % were.
        repairs: accepted each second, by all servers.
        stale: requests each second that another update had overtaken.
        errors: messages rejected, requests turned away and faults each second.
        up: servers that answered and can store.
    """

    at: float
    updates: float
    requests: float
    p50_s: float | None
    p99_s: float | None
    repairs: float
    stale: float
    errors: float
    up: int


class HotView(Struct, frozen=True):
    """An object: how often it is asked for each second, by all servers, and how often in vain."""

    object_id: str
    requests: float
    stale: float


class LoudView(Struct, frozen=True):
    """A client: how often it asks each server in a second, how often it had to wait, and the rate it is held to."""

    client: str
    name: str
    requests: float
    throttled: int
    rate: int | None


class ClusterView(Struct, frozen=True):
    """All that ``fivefold top`` and the dashboard show of a cluster.

    Attributes:
        at: when it was looked at, in seconds since 1970.
        headline: what is asked first.
        n: servers.
        t: of them may fail ...
        b: ... and of those may lie.
        q: make a quorum.
        up: servers that answer and can store.
        servers: one after the other.
        remarks: what is to be said of them, and who says so.
        point: what has happened since the last look; None at first.
        hot: objects that are asked for most, or in vain.
        loud: clients that ask most, or had to wait.
    """

    at: float
    headline: Headline
    n: int
    t: int
    b: int
    q: int
    up: int
    servers: tuple[ServerView, ...]
    remarks: tuple[Remark, ...]
    point: Point | None
    hot: tuple[HotView, ...]
    loud: tuple[LoudView, ...]


async def look(cluster: Cluster, timeout_s: float) -> Look:
    """Ask the servers of the newest edition, which may have others than the file at hand."""
    old = cluster.configuration
    status = await cluster.status(timeout=timeout_s)
    await cluster.until_followed(timeout_s)
    if cluster.configuration is not old:
        status = await cluster.status(timeout=timeout_s)
    file = cluster.configuration
    if file is None:  # a cluster inside a test
        return Look(time.monotonic(), status, ("",) * status.quorums.n)
    names = {client.id.hex(): client.name for client in file.clients}
    return Look(time.monotonic(), status, tuple(server.address for server in file.servers), names)


class Watch:
    """What was seen, and since when it is so.

    Attributes:
        points: what happened between looks, the oldest first.
    """

    def __init__(self) -> None:
        """Nothing was seen."""
        self.points: deque[Point] = deque(maxlen=POINTS_MAX)
        self._before: Look | None = None
        self._since: dict[int, tuple[str, float, bool]] = {}

    def note(self, found: Look, now: float) -> ClusterView:
        """Take in a look; ``now`` is the time in seconds since 1970."""
        before, status = self._before, found.status
        lying = accused(status)
        pairs = [
            (before.status.servers[index] if before and index < len(before.status.servers) else None, server)
            for index, server in enumerate(status.servers)
        ]
        elapsed_s = found.at_s - before.at_s if before else 0.0
        servers = tuple(
            self._server(found, index, pair, elapsed_s, is_accused=index in lying) for index, pair in enumerate(pairs)
        )
        point = _point(now, status, servers, pairs, elapsed_s) if before else None
        if point is not None:
            self.points.append(point)
        self._before = found
        quorums, headline = status.quorums, headline_of(status)
        return ClusterView(
            now,
            headline,
            quorums.n,
            quorums.t,
            quorums.b,
            quorums.q,
            sum(each.state not in ("down", "silent", "no disk", "newborn") for each in servers),
            servers,
            tuple(remarks_of(status, found.names)),
            point,
            _hot(status),
            _loud(status, found.names),
        )

    def _server(
        self,
        found: Look,
        index: int,
        pair: tuple[ServerStatus | None, ServerStatus | None],
        elapsed_s: float,
        *,
        is_accused: bool,
    ) -> ServerView:
        before, after = pair
        status, slow = found.status, {each.server for each in remarks_of(found.status) if " is slow: " in each.text}
        state, level = state_of(after, status.failures.get(index))
        proven = any(each.server == index and each.is_excluded for each in status.evidence)
        if proven or is_accused:
            state, level = ("LIES", BAD) if proven else ("accused", WARN)
        elif level == GOOD and index in slow:
            state, level = "slow", WARN
        elif level == GOOD and after is not None and after.place is not None and after.place.behind:
            state, level = "behind", WARN
        since_s, is_longer = self._age(found.at_s, index, state)
        if state == "up" and after is not None and _is_number(after.uptime_s):
            since_s, is_longer = (after.uptime_s, False) if is_longer else (since_s, False)
        address = found.addresses[index] if index < len(found.addresses) else ""
        made = ServerView(index, address, state, level, since_s, is_longer, dict(rates(before, after, elapsed_s) or {}))
        return made if after is None else _told(made, before, after, status.took_s[index] if status.took_s else None)

    def _age(self, at_s: float, index: int, state: str) -> tuple[float, bool]:
        """For how long a server has been in a state, and whether it was so when watching began."""
        known = self._since.get(index)
        if known is None or known[0] != state:
            known = self._since[index] = (state, at_s, known is None)
        return at_s - known[1], known[2]


def _told(made: ServerView, before: ServerStatus | None, after: ServerStatus, took_s: float | None) -> ServerView:
    """The view with what the server says of itself."""
    room, place = after.room, after.place
    return ServerView(
        **{name: getattr(made, name) for name in ServerView.__struct_fields__[:7]},
        answered_s=took_s,
        reply_s=_quantile(_grown(before, after, "reply"), 0.99),
        commit_s=_quantile(_grown(before, after, "commit"), 0.99),
        version=program_text(after)[:TEXT_MAX],
        edition=None if place is None else place.edition,
        uptime_s=after.uptime_s if _is_number(after.uptime_s) else None,
        objects=room.objects if room is not None else after.cached_objects if after.storage == "memory" else None,
        cached_objects=after.cached_objects,
        memory_bytes=after.memory_bytes,
        connections=after.connections,
        free_bytes=None if room is None else room.free_bytes,
        disk_bytes=None if room is None else room.disk_bytes,
        waiting=sum(count for name, count in after.queues.items() if name != "staged_bytes"),
    )


def _point(
    now: float,
    status: ClusterStatus,
    servers: Sequence[ServerView],
    pairs: Sequence[tuple[ServerStatus | None, ServerStatus | None]],
    elapsed_s: float,
) -> Point:
    """What all servers did; an update of the good case is accepted, and a request answered, by q of them."""
    trusted = [pair for view, pair in zip(servers, pairs, strict=True) if view.state not in ("LIES", "accused")]
    replies = [sum(each) for each in zip(*(_grown(*pair, "reply") for pair in trusted), strict=True)]
    total = {name: sum(view.rates.get(name, 0.0) for view in servers) for name in RATES}
    q = status.quorums.q
    return Point(
        now,
        total["updates"] / q,
        sum(replies) / elapsed_s / q if elapsed_s > 0 else 0.0,
        _quantile(replies, 0.5),
        _quantile(replies, 0.99),
        total["repairs"],
        total["stale"],
        total["rejected"],
        sum(view.state not in ("down", "silent", "no disk", "newborn") for view in servers),
    )


def rates(before: ServerStatus | None, after: ServerStatus | None, elapsed_s: float) -> Mapping[str, float] | None:
    """What a server did each second between two looks; None if it was not there, or started anew, between them."""
    if before is None or after is None or elapsed_s <= 0 or after.uptime_s < before.uptime_s:
        return None
    return {
        name: max(0, _sum(after.counters, counters) - _sum(before.counters, counters)) / elapsed_s
        for name, counters in RATES.items()
    }


def _sum(counted: Mapping[str, int], names: Sequence[str]) -> int:
    return sum(
        count
        for key, count in counted.items()
        if any(key.startswith(name) if name.endswith(".") else key == name for name in names)
    )


def _grown(before: ServerStatus | None, after: ServerStatus | None, name: str) -> list[int]:
    """By how much each class of a histogram has grown; nothing if it is another one, or began anew."""
    none = [0] * (len(_BOUNDS_S) + 1)
    if before is None or after is None or name not in before.durations or name not in after.durations:
        return none
    old, new = before.durations[name], after.durations[name]
    if new.bounds_s != _BOUNDS_S or not len(new.counts) == len(old.counts) == len(none):
        return none
    return (
        none
        if sum(new.counts) < sum(old.counts)
        else [max(0, b - a) for a, b in zip(old.counts, new.counts, strict=True)]
    )


def _quantile(counts: Sequence[int], share: float) -> float | None:
    return quantile(_BOUNDS_S, counts, share)


def _hot(status: ClusterStatus) -> tuple[HotView, ...]:
    requests: dict[str, float] = defaultdict(float)
    stale: dict[str, float] = defaultdict(float)
    for lately in _lately(status):
        for each in lately.objects[:SHOWN_MAX]:
            requests[each.object_id[:TEXT_MAX]] += each.requests / lately.seconds
            stale[each.object_id[:TEXT_MAX]] += each.stale / lately.seconds
    hottest = dict.fromkeys((*_greatest(requests, SHOWN_MAX), *_greatest(stale, 3)))
    return tuple(HotView(name, requests[name], stale[name]) for name in hottest)


def _loud(status: ClusterStatus, names: Mapping[str, str]) -> tuple[LoudView, ...]:
    requests: dict[str, float] = defaultdict(float)
    throttled: dict[str, float] = defaultdict(float)
    limits: dict[str, int] = {}
    for lately in _lately(status):
        for each in lately.clients[: 2 * SHOWN_MAX]:
            requests[each.client[:TEXT_MAX]] += each.requests / lately.seconds / status.quorums.q
            throttled[each.client[:TEXT_MAX]] += each.throttled
            limits[each.client[:TEXT_MAX]] = each.rate
    loudest = dict.fromkeys((*_greatest(requests, SHOWN_MAX), *_greatest(throttled, 3)))
    return tuple(
        LoudView(client, _client_name(client, names), requests[client], int(throttled[client]), limits[client] or None)
        for client in loudest
    )


def _greatest(counted: Mapping[str, float], count: int) -> list[str]:
    return nlargest(count, (name for name in counted if counted[name] > 0), key=counted.__getitem__)


def _client_name(client: str, names: Mapping[str, str]) -> str:
    if client.startswith(_SERVER):
        return f"server {int(client[len(_SERVER) :][:2] or '0', 16)}, comparing"
    return names.get(client, client[:8])


def _lately(status: ClusterStatus) -> Iterable[Lately]:
    """What servers were asked, of those that tell it in numbers one can divide by."""
    for server in status.servers:
        if server is not None and server.lately is not None and server.lately.seconds > 0:
            yield server.lately


def _is_number(value: float) -> bool:
    return math.isfinite(value)
