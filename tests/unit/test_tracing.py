"""Traces of calls, by the SDK's exporter in memory: one trace for a call, over client, rounds and servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from fivefold import Counter
from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.history import empty_histories
from fivefold.protocol.messages import encode, reply_frame, request_frame
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request, Vote
from fivefold.testing import local_cluster

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry is not installed: pip install -e '.[dev]'")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from fivefold.node import tracing  # noqa: E402
from fivefold.node.tracing import ClientTracer, ServerTracer  # noqa: E402

SIX = QuorumSystem(6, 1, 1)


class Traced:
    """A cluster inside this test whose clients and servers are traced."""

    def __init__(self, cluster) -> None:
        self.cluster, self.exporter = cluster, InMemorySpanExporter()
        provider = sdk.TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.watch(cluster.cluster)
        for index in cluster.servers:
            self.trace_server(index)

    def trace_server(self, index: int) -> None:
        self.cluster.servers[index].tracer = ServerTracer(self.tracer, index, SIX)

    def watch(self, client) -> None:
        client._node._tracer = ClientTracer(self.tracer, SIX)

    def spans(self, name: str, kind: str = "") -> list:
        found = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return [span for span in found if not kind or span.kind.name == kind]


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    async with local_cluster(t=1, b=1) as cluster:
        yield Traced(cluster)


async def until_answered(traced: Traced, name: str, count: int) -> list:
    async with asyncio.timeout(10):
        while True:
            found = traced.spans(name, "SERVER")
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_a_call_is_one_trace_over_client_and_servers(traced: Traced) -> None:
    """The trace's id is the call's; below the client's span is one round, and each server of the quorum has a span."""
    await traced.cluster.object(Counter, "hits").increment(by=3)
    answered = await until_answered(traced, "fivefold increment", 5)
    (call,) = traced.spans("fivefold increment", "CLIENT")
    (attempt,) = traced.spans("fivefold attempt")
    assert attempt.parent.span_id == call.context.span_id
    assert len(attempt.attributes["fivefold.servers"]) == 5
    assert f"{call.context.trace_id:032x}" == call.attributes["fivefold.call_ids"][0]
    assert {span.context.trace_id for span in answered} == {call.context.trace_id}
    assert {span.attributes["fivefold.server"] for span in answered} == set(attempt.attributes["fivefold.servers"])
    assert {span.attributes["fivefold.status"] for span in answered} == {"success"}
    assert (call.attributes["fivefold.method"], call.attributes["fivefold.outcome"]) == ("increment", "Answered")
    assert call.attributes["fivefold.objects"] == ("Counter/hits",)
    assert "3" not in str({key: text for key, text in call.attributes.items() if "id" not in key})
    assert call.status.is_ok


async def test_a_caller_s_span_is_the_parent_and_the_call_links_to_its_trace(traced: Traced) -> None:
    """So a program's own trace has the call in it, and leads to what the servers did."""
    with traced.tracer.start_as_current_span("checkout") as outer:
        await traced.cluster.object(Counter, "hits").get()
    (call,) = traced.spans("fivefold get", "CLIENT")
    assert call.parent.span_id == outer.get_span_context().span_id
    (link,) = call.links
    answered = await until_answered(traced, "fivefold get", 5)
    assert {span.context.trace_id for span in answered} == {link.context.trace_id}


async def test_a_repair_is_a_round_of_the_call_that_needs_it(traced: Traced) -> None:
    """Four of the five servers that answer hold the newest candidate: the round names object and step, and links on."""
    other = await traced.cluster.client("other")
    traced.watch(other)
    await traced.cluster.crash(0)
    await traced.cluster.object(Counter, "hot").increment()
    await traced.cluster.restart(0)
    traced.trace_server(0)
    await traced.cluster.crash(1)
    assert await other.object(Counter, "hot").get() == 1
    repair = traced.spans("fivefold repair", "INTERNAL")[0]
    (call,) = traced.spans("fivefold get", "CLIENT")
    assert repair.parent.span_id == call.context.span_id
    assert (repair.attributes["fivefold.repairs"], repair.attributes["fivefold.step"]) == (
        "Counter/hot",
        "INLINE_METHOD",
    )
    answered = await until_answered(traced, "fivefold repair", 1)
    assert answered[0].context.trace_id == repair.links[0].context.trace_id
    assert answered[0].attributes["fivefold.repairs"] == "Counter/hot"


async def test_a_call_that_fails_says_why(traced: Traced) -> None:
    """No quorum in time: the span is an error, with what the call waited for."""
    for index in (1, 2, 3):
        await traced.cluster.crash(index)
    with pytest.raises(Exception, match="servers"):
        await traced.cluster.object(Counter, "hits", deadline=0.3).get()
    (call,) = traced.spans("fivefold get", "CLIENT")
    assert not call.status.is_ok
    assert call.status.description.startswith("silence")


async def test_a_tracer_that_raises_ends_no_call(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, on both sides, and the call has its answer."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more spans")

    traced.cluster.cluster._node._tracer = ClientTracer(SimpleNamespace(start_span=broken), SIX)
    for index, server in traced.cluster.servers.items():
        server.tracer = ServerTracer(SimpleNamespace(start_span=broken), index, SIX)
    with caplog.at_level(logging.ERROR, "fivefold.tracing"):
        assert await traced.cluster.object(Counter, "hits").increment() == 1
    assert "a trace is missing" in caplog.text


def test_a_server_keeps_only_so_many_spans_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are never answered end with their connection, or when there are too many of them."""
    monkeypatch.setattr(tracing, "OPEN_MAX", 3)
    ended: list[str] = []
    started = SimpleNamespace(end=lambda: ended.append("end"), set_attribute=lambda *_: None)
    tracer = ServerTracer(SimpleNamespace(start_span=lambda *_, **__: started), 0, SIX)
    name = ObjectId("Counter/x")
    body = encode(Request(name, (empty_histories(name, 6),), b""))
    frames = [request_frame(number, body, b"") for number in range(1, 6)]
    tracer.received(ClientId(bytes(16)), Channel(7), [*frames, b"", b"\x01 no request"])
    assert ended == ["end"] * 2
    tracer.sent(Reply(Channel(7), reply_frame(5, encode(Vote(0, b"", (), b"", (), ())), ())))
    assert len(ended) == 3
    tracer.closed(Channel(7))
    assert len(ended) == 5
