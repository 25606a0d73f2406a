"""Turns a recording into the story that a page shows: events become steps, arrows, marks, rows and sentences."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import msgspec

from fivefold.play.frames import Frames
from fivefold.play.recording import Recording
from fivefold.play.scenes import Scene
from fivefold.play.story import NOBODY, Lane, Row, Step, Story, Told
from fivefold.simulation import (
    Accepted,
    Began,
    Called,
    Classified,
    CommitFailed,
    Crashed,
    Culled,
    Delivered,
    Derived,
    Died,
    Disconnected,
    Ended,
    Event,
    Followed,
    Forgot,
    Happened,
    Judged,
    Kept,
    Late,
    Lied,
    Lost,
    Over,
    Plotted,
    Raised,
    Repaired,
    Replaced,
    Reset,
    Resolving,
    Restarted,
    Sent,
    Switched,
    Voted,
)

GAP: Final = 0.6
"""Between two steps on the time line ..."""
STRETCH: Final = 1.1
"""... and so much more for each doubling of the time between them ..."""
UNIT_NS: Final = 200_000
"""... beyond this ..."""
GAP_MAX: Final = 7.0
"""... up to this: long pauses are drawn short."""

STEPS_BEFORE_TEXT: Final = 5
"""A first text that comes so early is there from the start."""

BEGINS = (
    Delivered | Called | Resolving | Crashed | Restarted | Died | Began | Over | Disconnected | Reset | Plotted | Lied
)
"""Events with which a step begins, even if the machine acted at the same time before."""


def tell(recording: Recording) -> Story:
    """The story of a recording."""
    frames = Frames(recording)
    scene = Scene(recording, frames)
    groups = _groups(recording.events, frames, recording.quorums.n)
    xs = _places([group[0].at_ns for group in groups])
    steps = []
    for index, group in enumerate(groups):
        drawn = scene.play(index, group)
        at_ms = round(group[0].at_ns / 1e6, 4)
        place = (xs[index], at_ms, drawn.lane, drawn.flags)
        steps.append(Step(*place, drawn.text, drawn.why, drawn.row, drawn.content, drawn.rule))
    scene.finish(len(steps))
    quorums = recording.quorums
    return Story(
        name=recording.name,
        title=recording.title,
        summary=recording.summary,
        command=recording.command,
        cut=recording.cut,
        n=quorums.n,
        t=quorums.t,
        b=quorums.b,
        q=quorums.q,
        r=quorums.r,
        lanes=_lanes(recording, frames),
        objects=tuple(frames.objects),
        histories=scene.histories,
        steps=tuple(steps),
        arrows=tuple(scene.arrows),
        marks=tuple(scene.marks),
        spans=tuple(scene.spans),
        rows=tuple(scene.rows),
        changes=tuple(scene.changes),
        made=scene.made,
        whys=scene.whys,
        contents=frames.contents,
        notes=_notes(recording, scene.rows, [group[0].at_ns for group in groups]),
    )


def encode_story(story: Story) -> bytes:
    """As JSON."""
    return msgspec.json.encode(story)


def decode_story(data: bytes) -> Story:
    """What :func:`encode_story` wrote."""
    return msgspec.json.decode(data, type=Story)


def _lanes(recording: Recording, frames: Frames) -> tuple[Lane, ...]:
    n, count = recording.quorums.n, len(recording.clients)
    lanes = []
    for machine in frames.lanes:
        if machine < n:
            lanes.append(Lane(f"s{machine}", "liar" if machine in recording.liars else "server"))
        else:
            index = machine - n
            lanes.append(
                Lane(recording.clients[index][0], "villain" if index >= count - recording.villains else "client")
            )
    return tuple(lanes)


def _groups(events: Sequence[Happened], frames: Frames, n: int) -> list[list[Happened]]:
    """Events that are one step: of one machine, at one time, from one input on."""
    groups: list[list[Happened]] = []
    last: tuple[int, int] | None = None
    for each in events:
        key = (each.at_ns, _machine(each.event, frames, n))
        if key != last or (isinstance(each.event, BEGINS) and not _goes_with(each.event, groups[-1])):
            groups.append([])
        groups[-1].append(each)
        last = key
    return groups


def _goes_with(event: Event | Derived, group: Sequence[Happened]) -> bool:
    """A server lies in what it sends after an input: that is one step, and so is a call with the end of the last."""
    return isinstance(event, Lied) and isinstance(group[0].event, Delivered | Accepted | Kept)


def _machine(event: Event | Derived, frames: Frames, n: int) -> int:
    """Who acts in an event; nobody in those of the run itself."""
    match event:
        case Sent(sender=machine) | Classified(machine=machine) | Plotted(villain=machine):
            return machine
        case Delivered(frame=frame) | Reset(frame=frame):
            return frames.sent[frame].receiver if frame in frames.sent else NOBODY
        case Late(frame=frame):
            return frames.sent[frame].sender if frame in frames.sent else NOBODY
        case Lost(frame=frame, why=why):
            if frame not in frames.sent:
                return NOBODY
            return frames.sent[frame].receiver if why == "closed" else frames.sent[frame].sender
        case (
            Accepted(server=machine)
            | Kept(server=machine)
            | CommitFailed(server=machine)
            | Crashed(server=machine)
            | Restarted(server=machine)
            | Switched(server=machine)
            | Replaced(server=machine)
            | Lied(server=machine)
            | Raised(server=machine)
            | Forgot(server=machine)
            | Culled(server=machine)
            | Repaired(server=machine)
            | Voted(server=machine)
        ):
            return machine
        case (
            Called(client=client)
            | Resolving(client=client)
            | Ended(client=client)
            | Died(client=client)
            | Followed(client=client)
            | Disconnected(client=client)
            | Judged(client=client)
        ):
            return n + client
        case _:
            return NOBODY


def _places(times_ns: Sequence[int]) -> list[float]:
    """Where steps stand on the time line."""
    places: list[float] = []
    for index, at_ns in enumerate(times_ns):
        if index:
            apart_ns = at_ns - times_ns[index - 1]
            places.append(round(places[-1] + min(GAP_MAX, GAP + STRETCH * math.log2(1 + apart_ns / UNIT_NS)), 2))
        else:
            places.append(1.0)
    return places


def _notes(recording: Recording, rows: Sequence[Row], times_ns: Sequence[int]) -> tuple[Told, ...]:
    told = []
    for note in recording.notes:
        if note.is_time:
            step = min(bisect_left(times_ns, note.at), len(times_ns) - 1)
            if not times_ns or note.at < times_ns[0]:
                continue
        elif note.at < len(rows):
            step = rows[note.at].first
        else:
            continue
        told.append(Told(max(0, step), note.heading, note.text))
    told.sort(key=lambda each: each.step)
    if told and told[0].step <= STEPS_BEFORE_TEXT:
        told[0] = Told(0, told[0].heading, told[0].text)
    return tuple(told)
