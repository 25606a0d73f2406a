"""A server's numbers for Prometheus at ``/metrics``; whether it is well at ``/healthz``, alive, and ready.

Served from the event loop itself: the numbers are those of one moment, and no second thread looks into the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fivefold.cluster import join_address
from fivefold.errors import ConfigurationError
from fivefold.node.server.driver import ServerNode
from fivefold.node.status import Place, ServerStatus
from fivefold.protocol.steps import Kind

REQUEST_BYTES_MAX: Final = 8192
"""Head of a request; Prometheus sends a few hundred bytes."""

REQUEST_S_MAX: Final = 5.0
"""A caller that has not said what it wants by then is sent away."""

DURATIONS: Final[Mapping[str, str]] = {
    "reply": "From a request to its reply, the wait for a rate left out.",
    "commit": "From the moment a transaction is staged until it is durable.",
    "sync": "To fetch a version from other servers.",
}
"""Histograms of a status, and what they tell."""

LABELLED: Final[Mapping[str, tuple[str, str, str]]] = {
    "accepted": ("accepted_steps", "kind", "Steps accepted; all but METHOD repair something."),
    "rejected": ("rejected_messages", "reason", "Messages that no honest peer sends, or that came too often."),
    "turned-away": ("turned_away_requests", "reason", "Requests answered BUSY or declined."),
    "culled": ("culled_histories", "server", "Histories with wrong MACs, by the server whose they are said to be."),
    "seen": ("seen_of_servers", "server_and_what", "What other servers did that no honest one does, as seen here."),
    "fault": ("caught_errors", "error", "Errors of this server's own, each of which ended one input."),
    "repair": ("newcomer_repairs", "kind", "Repairs that a newcomer made to catch up."),
    "helping": ("helping_events", "event", "Calls announced, carried, pushed to their owners, lacking, withdrawn."),
    "scrub": ("scrub_steps", "step", "What the comparison with the other servers has led to."),
}
"""Counters of the machine whose names have two parts: the metric, its label, and what it tells."""

SINGLE: Final[Mapping[str, tuple[str, str]]] = {
    "stale": ("stale_requests", "Requests that another update had overtaken: contention."),
    "repeated": ("repeated_requests", "Requests for what was accepted before, answered again."),
    "sync.done": ("syncs", "Versions fetched from other servers."),
    "sync.failed": ("failed_syncs", "Versions that no other server could be made to send in time."),
    "adopted": ("adopted_objects", "Objects that a newcomer took over."),
    "upkeep-asks": ("upkeep_messages", "Messages to other servers, to catch up and to compare objects with them."),
    "adoptions-given-up": ("given_up_adoptions", "Adoptions that have to begin anew."),
}
"""The other ones: the metric, and what it tells."""

_KINDS: Final = tuple(f"accepted.{kind.value}" for kind in Kind)
"""Counted from the start, so that their rates are known from the start."""


class NodeCollector(Collector):
    """Reads a server's status whenever it is asked for metrics."""

    def __init__(self, node: ServerNode) -> None:
        """Of this server."""
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        status = self._node.status()
        yield from counted(self._node.machine.counters)
        refused = CounterMetricFamily("fivefold_refused_connections", "Connections refused.", None, ["reason"])
        for reason, count in sorted(self._node.refused_connections.items()):
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily(
            "fivefold_throttled_requests", "Requests that had to wait for their client's rate.", self._node.throttled
        )
        yield CounterMetricFamily("fivefold_faults", "Errors of its own; the log has them.", self._node.faults)
        yield from _durations(status)
        yield from _storage(status)
        yield GaugeMetricFamily("fivefold_connections", "Identified connections.", status.connections)
        yield GaugeMetricFamily("fivefold_clients", "Clients that are connected.", status.clients)
        yield GaugeMetricFamily("fivefold_resident_bytes", "Memory of the process.", status.memory_bytes)
        yield GaugeMetricFamily("fivefold_uptime_seconds", "Time since the start.", status.uptime_s)
        queues = GaugeMetricFamily("fivefold_queue_length", "What waits, and for what.", None, ["queue"])
        for queue, length in status.queues.items():
            if queue != "staged_bytes":
                queues.add_metric([queue], length)
        yield queues
        information = GaugeMetricFamily("fivefold_server", "Always 1.", None, ["index", "version", "storage"])
        information.add_metric([str(status.index), status.version, status.storage], 1)
        yield information
        if status.place is not None:
            yield from _place_metrics(status.place)
        types = GaugeMetricFamily(
            "fivefold_type",
            "1 for a version of a type that runs, 0 for one that lies ready.",
            None,
            ["type", "version", "code"],
        )
        for each in status.types:
            types.add_metric([each.name, str(each.version), each.code], int(each.is_active))
        yield types


def _durations(status: ServerStatus) -> Iterator[Metric]:
    for name, about in DURATIONS.items():
        found = status.durations[name]
        below, buckets = 0, []
        for bound, count in zip((*map(repr, found.bounds_s), "+Inf"), found.counts, strict=True):
            below += count
            buckets.append((bound, below))
        yield HistogramMetricFamily(f"fivefold_{name}_duration_seconds", about, buckets, found.sum_s)


def _storage(status: ServerStatus) -> Iterator[Metric]:
    staged, durable = status.transactions
    yield CounterMetricFamily("fivefold_staged_transactions", "Transactions handed to the store.", staged)
    yield CounterMetricFamily("fivefold_durable_transactions", "Transactions that reached the disk (commits).", durable)
    gauges = {
        "durable_lag": ("Transactions staged and not yet durable.", staged - durable),
        "staged_bytes": ("Bytes staged and not yet durable.", status.queues["staged_bytes"]),
        "storage_failing": ("1 while nothing can be made durable.", int(status.storage_failure is not None)),
        "damaged_objects": ("Objects that the disk has damaged, at most 100.", len(status.damaged)),
        "set_aside_objects": ("Objects out of use after an error of this server, at most 16.", len(status.set_aside)),
        "cached_objects": ("Objects in memory.", status.cached_objects),
        "cached_bytes": ("Memory that these take, about.", status.cached_bytes),
        "objects": ("Objects, as of the last count.", status.cached_objects),
    }
    if status.storage != "memory":
        room = status.room
        if room is None:
            del gauges["objects"]
        else:
            gauges["objects"] = (gauges["objects"][0], room.objects)
            gauges["database_bytes"] = ("Size of the database.", room.database_bytes)
            gauges["journal_bytes"] = ("Size of the journal, room for reuse included.", room.journal_bytes)
            gauges["disk_free_bytes"] = ("Room left on the file system of the data.", room.free_bytes)
            gauges["disk_size_bytes"] = ("Size of that file system.", room.disk_bytes)
    for name, (about, value) in gauges.items():
        yield GaugeMetricFamily(f"fivefold_{name}", about, value)


def counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    """The machine's counters as metrics: what has a reason or a kind in its name has it as a label."""
    families = {
        prefix: CounterMetricFamily(f"fivefold_{name}", about, None, [label])
        for prefix, (name, label, about) in LABELLED.items()
    }
    single = dict.fromkeys(SINGLE, 0)
    other = CounterMetricFamily("fivefold_other_events", "What has no metric of its own.", None, ["event"])
    for event, count in sorted({**dict.fromkeys(_KINDS, 0), **counters}.items()):
        prefix, dot, rest = event.partition(".")
        if event in single:
            single[event] = count
        elif dot and prefix in families:
            families[prefix].add_metric([rest], count)
        else:
            other.add_metric([event], count)
    yield from families.values()
    for event, count in single.items():
        yield CounterMetricFamily(f"fivefold_{SINGLE[event][0]}", SINGLE[event][1], count)
    yield other


def _place_metrics(place: Place) -> Iterator[Metric]:
    yield GaugeMetricFamily("fivefold_edition", "Edition of the cluster file in use.", place.edition)
    yield GaugeMetricFamily("fivefold_cut", "Servers that use an older edition get no MACs; 0 for none.", place.cut)
    yield GaugeMetricFamily("fivefold_born", "Edition in which this identity began.", place.born)
    yield GaugeMetricFamily("fivefold_in_standing", "0 while a newcomer catches up.", int(place.is_standing))
    is_sealed, has_moved = bool(place.mover and not place.moved_to), bool(place.moved_to)
    yield GaugeMetricFamily("fivefold_sealed", "1 while updates wait, because the cluster is moved.", int(is_sealed))
    yield GaugeMetricFamily("fivefold_moved", "1 when another cluster has taken this one's place.", int(has_moved))
    yield GaugeMetricFamily("fivefold_told_servers", "Other servers that use this edition.", len(place.told))
    yield GaugeMetricFamily("fivefold_behind_objects", "Objects in which it differs from others.", place.behind)
    yield CounterMetricFamily("fivefold_scrub_passes", "How often all objects were compared.", place.passes)
    objects = GaugeMetricFamily("fivefold_newcomer_objects", "How far a newcomer is.", None, ["state"])
    for state in ("listed", "adopted", "under_repair"):
        objects.add_metric([state], getattr(place, state))
    yield objects


class MetricsServer:
    """Answers HTTP GET, in clear text, so for loopback or a trusted network.

    ``/metrics`` has the numbers. ``/livez`` answers as long as the event loop does. ``/healthz`` says whether the
    server can store, ``/readyz`` whether it counts towards a quorum, too: a newcomer that still catches up does not.
    """

    def __init__(self, node: ServerNode) -> None:
        """Of this server; nothing is opened yet."""
        self._node = node
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(node))
        self._server: asyncio.Server | None = None
        self._pages: dict[bytes, Callable[[], tuple[str, str, bytes]]] = {
            b"/metrics": self._metrics,
            b"/healthz": self._health,
            b"/livez": lambda: _WELL,
            b"/readyz": self._ready,
        }

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(self._answer, host, port, limit=REQUEST_BYTES_MAX)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be served at {join_address(host, port)} ({error.strerror}): choose another --metrics"
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller that is gone, too slow, or speaks no HTTP
        finally:
            writer.close()

    def _response(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        page = self._pages.get(words[1].partition(b"?")[0]) if len(words) == 3 and words[0] == b"GET" else None
        status, kind, body = (
            page() if page else ("404 Not Found", "text/plain", b"/metrics, /healthz, /livez and /readyz are here\n")
        )
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _metrics(self) -> tuple[str, str, bytes]:
        return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def _health(self) -> tuple[str, str, bytes]:
        failure = self._node.status().storage_failure
        return _WELL if failure is None else _unwell(failure)

    def _ready(self) -> tuple[str, str, bytes]:
        status = self._node.status()
        if status.storage_failure is None and status.place is not None and not status.place.is_standing:
            return _unwell("this server is a newcomer, and still takes over what the others hold")
        return self._health()


_ELSEWHERE: Final = b"/metrics, /healthz, /livez and /readyz are here\n"
_WELL: Final = ("200 OK", "text/plain", b"ok\n")


def _unwell(why: str) -> tuple[str, str, bytes]:
    return "503 Service Unavailable", "text/plain", why.encode() + b"\n"
