"""A server's numbers for Prometheus at ``/metrics``; whether it is well at ``/healthz``, alive, and ready.

Served from the event loop itself: the numbers are those of one moment, and no second thread looks into the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fivefold.cluster import join_address
from fivefold.errors import ConfigurationError
from fivefold.node.server.driver import ServerNode
from fivefold.node.status import Place

REQUEST_BYTES_MAX: Final = 8192
"""Head of a request; Prometheus sends a few hundred bytes."""

REQUEST_S_MAX: Final = 5.0
"""A caller that has not said what it wants by then is sent away."""


class NodeCollector(Collector):
    """Reads a server's status whenever it is asked for metrics."""

    def __init__(self, node: ServerNode) -> None:
        """Of this server."""
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        status = self._node.status()
        staged, durable = status.transactions
        events = CounterMetricFamily(
            "fivefold_events", "Steps accepted, messages rejected, object syncs.", None, ["event"]
        )
        for event, count in sorted(self._node.machine.counters.items()):
            events.add_metric([event], count)
        refused = CounterMetricFamily("fivefold_refused_connections", "Connections refused.", None, ["reason"])
        for reason, count in sorted(self._node.refused_connections.items()):
            refused.add_metric([reason], count)
        yield events
        yield refused
        yield CounterMetricFamily(
            "fivefold_throttled_requests", "Requests that had to wait for their client's rate.", self._node.throttled
        )
        yield CounterMetricFamily("fivefold_transactions_staged", "Transactions handed to the store.", staged)
        yield CounterMetricFamily("fivefold_transactions_durable", "Transactions that reached the disk.", durable)
        yield GaugeMetricFamily("fivefold_durable_lag", "Transactions staged and not yet durable.", staged - durable)
        yield GaugeMetricFamily(
            "fivefold_storage_failing", "1 while nothing can be made durable.", int(status.storage_failure is not None)
        )
        yield GaugeMetricFamily(
            "fivefold_damaged_objects", "Objects that the disk has damaged, at most 100.", len(status.damaged)
        )
        yield GaugeMetricFamily("fivefold_cached_objects", "Objects in memory.", status.cached_objects)
        yield GaugeMetricFamily("fivefold_connections", "Identified connections.", status.connections)
        yield GaugeMetricFamily("fivefold_resident_bytes", "Memory of the process.", status.memory_bytes)
        yield GaugeMetricFamily("fivefold_uptime_seconds", "Time since the start.", status.uptime_s)
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


def _place_metrics(place: Place) -> Iterator[Metric]:
    yield GaugeMetricFamily("fivefold_edition", "Edition of the cluster file in use.", place.edition)
    yield GaugeMetricFamily("fivefold_cut", "Servers that use an older edition get no MACs; 0 for none.", place.cut)
    yield GaugeMetricFamily("fivefold_born", "Edition in which this identity began.", place.born)
    yield GaugeMetricFamily("fivefold_in_standing", "0 while a newcomer catches up.", int(place.is_standing))
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
