"""A run is a list of typed events: they are whole, they say why, and digest and trace are made of them."""

from __future__ import annotations

from collections import Counter

import pytest

from fivefold.simulation import PROFILES, Report, draw, run_plan
from fivefold.simulation.alphabets import ATTACKS
from fivefold.simulation.events import (
    Accepted,
    Called,
    Delivered,
    Derived,
    Ended,
    Kept,
    Late,
    Lied,
    Lost,
    Sent,
    Violated,
    decode_events,
    encode_event,
    encode_events,
)
from fivefold.simulation.meanings import Classified, Culled, Repaired
from fivefold.simulation.shrink import shrink
from fivefold.simulation.world import World
from tests.planted import planted


def kept(seed: int, profile: str) -> Report:
    return run_plan(draw(seed, profile), is_traced=True)


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile not in ATTACKS])
def test_keeping_events_changes_nothing(profile: str) -> None:
    """A run that is watched is the same run."""
    assert kept(2, profile).digest == run_plan(draw(2, profile)).digest


@pytest.mark.long
@pytest.mark.ci
def test_the_digest_is_over_the_events() -> None:
    """Whoever tells the recorded events of a run to an empty world gets the run's digest."""
    report = kept(4, "swarm")
    world = World(0)
    for happened in report.events:
        world.now_ns = happened.at_ns
        if not isinstance(happened.event, Derived):
            world.tell(happened.event)
    assert world.digest == report.digest
    assert all(report.counters[name] >= count for name, count in world.counters.items())


def test_any_difference_of_an_event_is_one_of_the_digest() -> None:
    """Two events of one kind differ in their bytes if they differ in a field; so do two kinds with equal fields."""
    events = [Delivered(1), Delivered(2), Late(1), Lost(1, "lost"), Lost(1, "closed"), Culled(1, 1, (), ())]
    assert len({encode_event(event) for event in events}) == len(events)


def test_every_frame_is_accounted_for() -> None:
    """What arrives or is lost was sent before, once; what is sent does one of both, or is under way at the end."""
    sent: dict[int, Sent] = {}
    ends: Counter[int] = Counter()
    for happened in kept(3, "byzantine").events:
        match happened.event:
            case Sent(frame=frame, original=original) as event:
                assert frame not in sent
                assert original is None or original in sent
                sent[frame] = event
            case Delivered(frame=frame) | Lost(frame=frame):
                assert frame in sent
                ends[frame] += 1
            case _:
                pass
    assert set(ends.values()) == {1}
    assert len(sent) - len(ends) < 50


def test_every_call_starts_and_ends() -> None:
    """Each planned call is a Called and an Ended of the same number, and so are the last client's."""
    events = [happened.event for happened in kept(1, "swarm").events]
    called = [event.number for event in events if isinstance(event, Called)]
    ended = [event.number for event in events if isinstance(event, Ended)]
    assert len(set(called)) == len(called)
    assert sorted(called) == sorted(ended)


def test_what_a_server_accepts_it_was_asked_for_and_keeps() -> None:
    """Each Accepted follows a Classified of that server with its timestamp, and a Kept of each of its objects."""
    report = kept(5, "joint")
    derived: set[tuple[int, bytes]] = set()
    shown: dict[tuple[int, str], bytes] = {}
    joint = 0
    for happened in report.events:
        match happened.event:
            case Classified(machine=machine, timestamp=timestamp, counts=counts, kind=kind):
                derived.add((machine, timestamp))
                assert counts or not kind
            case Kept(server=server, object_id=name, history=history):
                shown[server, name] = history
            case Accepted(server=server, timestamp=timestamp, parts=parts):
                assert (server, timestamp) in derived
                assert all(timestamp in shown[server, part.object_id] for part in parts)
                joint += len(parts) > 1
            case _:
                pass
    assert joint > 10


def test_repairs_and_their_reasons_are_events() -> None:
    """Under contention all five kinds are classified, each with its reason, and repairs are told by kind."""
    events = [happened.event for seed in range(3) for happened in kept(seed, "contended").events]
    kinds = {event.kind for event in events if isinstance(event, Classified)}
    assert kinds >= {"METHOD", "INLINE_METHOD", "COPY", "BARRIER"}
    assert all(event.rule for event in events if isinstance(event, Classified))
    assert {event.kind for event in events if isinstance(event, Repaired)} >= {"COPY", "BARRIER"}


@pytest.mark.long
@pytest.mark.ci
def test_lies_and_culls_are_events() -> None:
    """A liar that spoils MACs is culled by servers, which say whom they culled, and in which frame."""
    events = [happened.event for seed in range(8) for happened in kept(seed, "byzantine").events]
    assert any(isinstance(event, Lied) and event.lie == "breaking MACs" for event in events)
    culls = [event for event in events if isinstance(event, Culled)]
    assert culls
    assert all(event.culled for event in culls)


@pytest.mark.long
@pytest.mark.ci
def test_events_survive_a_file() -> None:
    """As JSON and back they are the same: what a page or another tool reads is what the run recorded."""
    events = kept(7, "byzantine").events
    assert decode_events(encode_events(events)) == events


def test_a_failure_is_an_event_with_the_name_of_its_rule() -> None:
    """Shrinking compares rules, so that a smaller run fails in the same way even if it names another object."""
    with planted("replies_before_durable"):
        report = kept(0, "swarm")
        smaller = run_plan(shrink(report.plan), is_traced=True)
    last = report.events[-1].event
    assert isinstance(last, Violated)
    assert (last.rule, last.text) == (report.rule, report.failure)
    assert report.rule == smaller.rule == "not durable"
    assert len(smaller.plan.calls) == 1
