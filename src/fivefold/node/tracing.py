"""Traces of calls for OpenTelemetry: a client's span for each call and each of its rounds, a server's for each request.

Nothing is added to a message. A call's random id, which is part of its operation, is the id of its trace: a client and
the servers know it all alike. Where the caller has a span, the call's span is its child and links to that trace. A
repair is nobody's call: its trace has the beginning of its request's digest for an id, and the client's round links to
it. Whether a trace is sampled follows from its id, so all of them decide alike.

What is made here must never end a call: an exception of a tracer is logged, and that span is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec

from opentelemetry import trace

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask, Channel, Reply
from fivefold.protocol.classify import plan_repair, views_of
from fivefold.protocol.client import Answered, Disagreed, Outcome, Refused, TimedOut
from fivefold.protocol.history import check_histories
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    FAIL,
    REPLY,
    REQUEST,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    decode_operation,
    decode_request,
    decode_vote,
    split,
)
from fivefold.protocol.operations import ClientId, Operation, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from fivefold.protocol.steps import Plan

OPEN_MAX: Final = 4096
"""Spans of requests that a server keeps open; beyond that the oldest ends without its answer."""

_STATUS: Final = {
    SUCCESS: "success",
    FAIL: "fail",
    DECLINED: "declined",
    BUSY: "busy",
    UNCHANGED: "unchanged",
    UNABLE: "unable",
}

log = logging.getLogger("fivefold.tracing")

P = ParamSpec("P")


def _never_raises(act: Callable[P, None]) -> Callable[P, None]:
    @wraps(act)
    def careful(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            act(*arguments, **named)
        except Exception:
            log.exception("a trace is missing: its tracer raised")

    return careful


def _root(trace_id: bytes) -> Any:  # noqa: ANN401 - of a library without types here
    """The context that all spans of a trace have in common."""
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(
        int.from_bytes(trace_id[:16], "big") or 1, int.from_bytes(trace_id[8:16], "big") or 1, True, flags
    )


def _in_trace(trace_id: bytes) -> Any:  # noqa: ANN401
    return trace.set_span_in_context(trace.NonRecordingSpan(_root(trace_id)))


def _described(operation: Operation) -> dict[str, Any]:
    return {
        "fivefold.method": operation.calls[0].method,
        "fivefold.objects": list(operation.objects),
        "fivefold.call_ids": [call.id.hex() for call in operation.calls],
    }


class _Open:
    """A call under way: its span, and the round that it is in."""

    def __init__(self, operation: Operation, span: Any) -> None:  # noqa: ANN401
        self.operation, self.span = operation, span
        self.body = b""
        self.round: Any = None

    def end_round(self) -> None:
        if self.round is not None:
            self.round.end()
            self.round = None


class ClientTracer:
    """Spans of one client's calls."""

    def __init__(self, tracer: Any, quorums: QuorumSystem) -> None:  # noqa: ANN401
        """``tracer`` is one of OpenTelemetry's."""
        self._tracer, self._quorums = tracer, quorums
        self._calls: dict[int, _Open] = {}

    @_never_raises
    def called(self, ticket: int, operation: Operation, *, is_query: bool) -> None:
        """A call begins."""
        own = operation.calls[0].id
        links = [trace.Link(_root(own))]
        has_parent = trace.get_current_span().get_span_context().is_valid
        span = self._tracer.start_span(
            f"fivefold {operation.calls[0].method}",
            context=None if has_parent else _in_trace(own),
            kind=trace.SpanKind.CLIENT,
            attributes={**_described(operation), "fivefold.is_query": is_query},
            links=links if has_parent else None,
        )
        self._calls[ticket] = _Open(operation, span)

    @_never_raises
    def sent(self, asks: Sequence[Ask]) -> None:
        """Frames go to servers: a new round of some call, or the same one to further servers."""
        servers: dict[bytes, list[int]] = {}
        bodies: dict[bytes, bytes] = {}
        for ask in asks:
            if ask.frame[0] == REQUEST and self._calls:
                key = ask.frame[1:9]
                servers.setdefault(key, []).append(ask.server)
                bodies.setdefault(key, ask.frame)
        for key, frame in bodies.items():
            body = split(frame, REQUEST)[1]
            request = decode_request(body, self._quorums.n)
            operation = decode_operation(request) if request.operation else None
            for each in self._calls_of(request, operation):
                self._round(each, request, operation, body, servers[key])

    def _calls_of(self, request: Request, operation: Operation | None) -> list[_Open]:
        """The calls that a round is for: those in it, or those on whose objects something is repaired."""
        if operation is not None:
            ids = {call.id for call in operation.calls}
            return [each for each in self._calls.values() if each.operation.calls[0].id in ids]
        names = {each.object_id for each in request.sets}
        return [each for each in self._calls.values() if names.intersection(each.operation.objects)]

    def _round(
        self, each: _Open, request: Request, operation: Operation | None, body: bytes, servers: Sequence[int]
    ) -> None:
        if each.round is not None and each.body == body:
            each.round.add_event("further servers are asked", {"fivefold.servers": list(servers)})
            return
        each.end_round()
        each.body = body
        attributes: dict[str, Any] = {"fivefold.servers": list(servers)}
        if operation is None:
            plan = plan_repair(self._quorums, request.target, views_of(self._quorums, request.sets))
            attributes["fivefold.repairs"] = request.target
            attributes["fivefold.step"] = plan.kind.value if isinstance(plan, Plan) else "none"
        each.round = self._tracer.start_span(
            "fivefold attempt" if operation is not None else "fivefold repair",
            context=trace.set_span_in_context(each.span),
            attributes=attributes,
            links=None if operation is not None else [trace.Link(_root(digest(body)))],
        )

    @_never_raises
    def finished(self, ticket: int, outcome: Outcome) -> None:
        """A call has ended."""
        each = self._calls.pop(ticket, None)
        if each is None:
            return
        each.end_round()
        each.span.set_attribute("fivefold.outcome", type(outcome).__name__)
        if not isinstance(outcome, Answered):
            each.span.set_status(trace.Status(trace.StatusCode.ERROR, _why(outcome)))
        each.span.end()


def _why(outcome: Outcome) -> str:
    match outcome:
        case Refused():
            return outcome.reason
        case TimedOut():
            return f"{outcome.delay.value}: {outcome.reason}" if outcome.reason else outcome.delay.value
        case Disagreed():
            return "honest servers computed different results"
        case _:
            return ""


class ServerTracer:
    """Spans of the requests of one server."""

    def __init__(self, tracer: Any, index: int, quorums: QuorumSystem) -> None:  # noqa: ANN401
        """``tracer`` is one of OpenTelemetry's."""
        self._tracer, self._index, self._quorums = tracer, index, quorums
        self._open: dict[tuple[Channel, bytes], Any] = {}

    @_never_raises
    def received(self, client: ClientId, channel: Channel, frames: Sequence[bytes]) -> None:
        """Requests of a client, before they are worked on."""
        for frame in frames:
            if frame[:1] == bytes((REQUEST,)):
                self._begin(client, channel, frame)

    def _begin(self, client: ClientId, channel: Channel, frame: bytes) -> None:
        try:
            body = split(frame, REQUEST)[1]
            request = decode_request(body, self._quorums.n)
            for each in request.sets:
                check_histories(each, self._quorums.n)
            operation = decode_operation(request) if request.operation else None
        except PeerViolation:
            return  # the machine refuses and counts it
        attributes: dict[str, Any] = {"fivefold.server": self._index, "fivefold.client": client.hex()}
        if operation is not None:
            name, trace_id = f"fivefold {operation.calls[0].method}", operation.calls[0].id
            attributes.update(_described(operation))
        else:
            name, trace_id = "fivefold repair", digest(body)
            attributes["fivefold.repairs"] = request.target
        span = self._tracer.start_span(
            name, context=_in_trace(trace_id), kind=trace.SpanKind.SERVER, attributes=attributes
        )
        while len(self._open) >= OPEN_MAX:
            self._open.pop(next(iter(self._open))).end()
        self._open[channel, frame[1:9]] = span

    @_never_raises
    def sent(self, reply: Reply) -> None:
        """A reply leaves: the request that it answers is done."""
        span = self._open.pop((reply.channel, reply.frame[1:9]), None) if reply.frame[0] == REPLY else None
        if span is not None:
            vote = decode_vote(split(reply.frame, REPLY)[1])
            span.set_attribute("fivefold.status", _STATUS.get(vote.status, str(vote.status)))
            if vote.culled:
                span.set_attribute("fivefold.culled", list(vote.culled))
            span.end()

    @_never_raises
    def closed(self, channel: Channel) -> None:
        """A connection has ended: what it asked for is not answered."""
        for key in [key for key in self._open if key[0] == channel]:
            self._open.pop(key).end()
