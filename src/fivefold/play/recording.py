"""A recording: what happened in a run of the production machines, with what a page needs to tell it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ClientId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation import (
    Called,
    Happened,
    Healed,
    Kept,
    Plan,
    Report,
    Violated,
    client_id,
    describe,
)

Tells = Callable[[str, Mapping[str, object]], str]
"""Of a method and its arguments, what a version that it makes is worth; nothing if that is not to be shown."""

EVENTS_MAX = 20_000
"""A page shows this many events; a longer run is cut."""


class Note(Struct, frozen=True):
    """A text that goes along with a run.

    Attributes:
        at: where it belongs: the number of a request (a row of the table), or a time in ns.
        heading: a few words.
        text: a few sentences.
        is_time: whether ``at`` is a time.
    """

    at: int
    heading: str
    text: str
    is_time: bool = False


class Recording(Struct, frozen=True):
    """A run to be shown.

    Attributes:
        name: as on the command line.
        title: a few words.
        summary: a sentence or two.
        command: what makes this page again.
        quorums: the cluster.
        clients: for each client in the order of machine numbers, its name and its id.
        villains: how many of the last of them are malevolent.
        liars: servers that lie.
        events: what happened.
        notes: texts that go along.
        value_of: what to show of versions.
        before: what servers kept when the recording begins, if it is part of a longer one ...
        earlier: ... and what happened until then.
        cut: what is left out, in a sentence; empty if nothing is.
    """

    name: str
    title: str
    summary: str
    command: str
    quorums: QuorumSystem
    clients: tuple[tuple[str, ClientId], ...]
    events: tuple[Happened, ...]
    villains: int = 0
    liars: frozenset[int] = frozenset()
    notes: tuple[Note, ...] = ()
    value_of: Tells | None = None
    before: tuple[Kept, ...] = ()
    earlier: tuple[Happened, ...] = ()
    cut: str = ""


def of_report(report: Report, *, name: str, title: str, summary: str, command: str) -> Recording:
    """The recording of a simulated run that kept its events."""
    plan = report.plan
    clients = [(f"c{index}", client_id(f"c{index}")) for index in range(plan.clients + 1)]
    clients += [(f"v{index}", client_id(f"v{index}")) for index in range(len(plan.villains))]
    return Recording(
        name=name,
        title=title,
        summary=summary,
        command=command,
        quorums=QuorumSystem(plan.n, plan.t, plan.b),
        clients=tuple(clients),
        villains=len(plan.villains),
        liars=frozenset(index for index, _ in plan.liars),
        events=report.events,
        notes=_failure_notes(report.events),
    )


def _failure_notes(events: Sequence[Happened]) -> tuple[Note, ...]:
    return tuple(
        Note(each.at_ns, "Violation", f"{each.event.text}.", is_time=True)
        for each in events
        if isinstance(each.event, Violated)
    )


def summary_of(plan: Plan) -> str:
    """A drawn plan in a sentence: its first two lines."""
    return ". ".join(describe(plan)[:2]) + "."


def until_healed(events: Sequence[Happened]) -> tuple[Happened, ...]:
    """The part of a run before everything is healed: what follows there is only proof that it is alive."""
    for index, each in enumerate(events):
        if isinstance(each.event, Healed):
            return tuple(events[:index])
    return tuple(events)


def part_of(recording: Recording, first: int, last: int) -> Recording:
    """The events from one index up to another one; what servers kept before is carried along."""
    kept: dict[tuple[int, str], Kept] = {}
    for each in recording.events[:first]:
        if isinstance(each.event, Kept):
            kept[each.event.server, each.event.object_id] = each.event
    events = recording.events
    return msgspec.structs.replace(
        recording, events=events[first:last], before=tuple(kept.values()), earlier=events[:first]
    )


def cut(recording: Recording, *, object_id: str = "", events_max: int = EVENTS_MAX) -> Recording:
    """At most ``events_max`` events: those around the first failure, or the first call of an object.

    Raises:
        ConfigurationError: nobody calls the object.
    """
    events = recording.events
    total = len(events)
    middle, what = _middle(events, object_id)
    if total <= events_max:
        return recording
    first = max(0, min(middle - events_max * 3 // 4 if what.startswith("the failure") else middle, total - events_max))
    first = bisect_left(events, events[first].at_ns, key=lambda each: each.at_ns)
    last = min(total, first + events_max)
    told = f"This page shows {last - first:,} of {total:,} events, around {what}; nothing else was left out."
    return msgspec.structs.replace(part_of(recording, first, last), cut=told)


def _middle(events: Sequence[Happened], object_id: str) -> tuple[int, str]:
    if object_id:
        for index, each in enumerate(events):
            if isinstance(each.event, Called) and object_id in each.event.objects:
                return index, f"the first call of {object_id}"
        raise ConfigurationError(f"no client calls {object_id} in this run: name an object that one of them calls")
    for index, each in enumerate(events):
        if isinstance(each.event, Violated):
            return index, "the failure"
    return 0, "the start"
