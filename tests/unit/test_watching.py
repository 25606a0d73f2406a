"""What is to be said of a cluster between two looks: the one source of `fivefold top` and the dashboard."""

from __future__ import annotations

import math

import msgspec
import pytest
from msgspec.structs import replace

from fivefold import ClusterStatus
from fivefold.node import Said, ServerStatus
from fivefold.node.status import Histogram, Place, Room, histogram_of
from fivefold.protocol.activity import Hot, Lately, Loud
from fivefold.protocol.client import Evidence
from fivefold.protocol.durations import Durations
from fivefold.protocol.quorums import QuorumSystem
from fivefold.upkeep import ClusterView, Look, Watch, compared_text, headline_of, remarks_of

SIX = QuorumSystem(6, 1, 1)
MS = 1_000_000
ADDRESSES = tuple(f"127.0.0.1:{7000 + index}" for index in range(6))


def server(index: int, **more: object) -> ServerStatus:
    counters = more.pop("counters", {})
    given = {"uptime_s": 100.0, "storage_failure": None, "version": "0.1.0", **more}
    return ServerStatus(
        index=index, storage="sqlite", cached_objects=3, transactions=(9, 9), connections=4, counters=counters,
        memory_bytes=50_000_000, **given,
    )  # fmt: skip


def cluster(*servers: ServerStatus | None, took_s: tuple[float | None, ...] = (), **more: object) -> ClusterStatus:
    filled = (*servers, *(server(index) for index in range(len(servers), 6)))
    failures = {index: "connection refused" for index, each in enumerate(filled) if each is None}
    return ClusterStatus(SIX, filled, more.get("evidence", ()), failures, took_s)


def seen(*looks: ClusterStatus, every_s: float = 2.0, names: dict[str, str] | None = None) -> ClusterView:
    watch = Watch()
    views = [
        watch.note(Look(10.0 + every_s * number, status, ADDRESSES, names or {}), 1000.0 + every_s * number)
        for number, status in enumerate(looks)
    ]
    return views[-1]


def with_replies(index: int, counts: dict[int, int], updates: int) -> ServerStatus:
    durations = Durations()
    for took_ms, count in counts.items():
        durations.add(took_ms * MS, count)
    return server(index, durations={"reply": histogram_of(durations)}, counters={"accepted.METHOD": updates})


def test_rates_and_quantiles_are_of_what_happened_between_the_looks() -> None:
    """Five of six servers accept 100 updates and answer 200 requests in 2 s: 50 updates and 100 requests a second."""
    before = cluster(*(with_replies(index, {4000: 7}, 5) for index in range(5)))
    after = cluster(*(with_replies(index, {4000: 7, 1: 196, 90: 4}, 105) for index in range(5)))
    point = seen(before, after).point
    assert (point.updates, point.requests, point.up) == (50.0, 100.0, 6)
    assert 0.0005 < point.p50_s <= 0.001
    assert 0.05 < point.p99_s <= 0.1


def test_times_that_an_accused_server_tells_do_not_count() -> None:
    """A liar says that it answers in no time, or in ages: it changes nothing."""
    said = (Said("ab" * 16, 3, "servers 1, 2 found its MACs wrong"),)
    honest = [(with_replies(index, {1: 5}, 5), with_replies(index, {1: 105}, 5)) for index in range(3)]
    before = cluster(*(replace(each, said=said) for each, _ in honest), with_replies(3, {1: 0}, 5))
    after = cluster(*(replace(each, said=said) for _, each in honest), with_replies(3, {9000: 9000}, 5))
    assert seen(before, after).point.p99_s <= 0.001


def test_a_server_that_began_anew_has_no_rates_and_no_quantiles() -> None:
    """Its counters began at 0 again: a difference would say nothing."""
    before = cluster(with_replies(0, {1: 50}, 50))
    after = cluster(replace(with_replies(0, {1: 5}, 5), uptime_s=1.0))
    assert seen(before, after).servers[0].rates == {}
    assert seen(before, after).point.p50_s is None


def test_states_tell_since_when() -> None:
    """A server is down since the look that saw it; one that was down from the start, for at least so long."""
    down = cluster(server(0), None)
    view = seen(cluster(None), down, cluster(None, None), cluster(None, None))
    assert [(each.state, each.since_s, each.is_longer) for each in view.servers[:3]] == [
        ("down", 2.0, False),
        ("down", 4.0, False),
        ("up", 100.0, False),
    ]
    assert seen(cluster(None), cluster(None)).servers[0].is_longer


def test_a_saying_accuses_and_names_who_says_it() -> None:
    """It warns, it counts against b under an if, and proof of our own counts in full."""
    said = Said("ab" * 16, 3, "servers 1, 2 found its MACs wrong", 7.0)
    status = cluster(server(0, said=(said,)), server(1, said=(replace(said, age_s=9.0),)))
    view = seen(status, names={"ab" * 16: "shop"})
    assert view.servers[3].state == "accused"
    assert view.headline.text == (
        "1 more of 6 servers may fail, and 1 more may lie; "
        "if what clients say of server 3 is true, 0 may fail and 0 may lie"
    )
    assert (view.headline.spare, view.headline.lying, view.headline.level) == (0, 0, "warn")
    [remark] = [each for each in view.remarks if each.server == 3]
    assert (remark.source, remark.since_s) == ("client shop", 9.0)
    assert remark.text.endswith("said by client shop of server 3: servers 1, 2 found its MACs wrong (told to 0, 1)")
    proven = cluster(server(0, said=(said,)), evidence=(Evidence(3, True, False, (1, 2), {}, False),))
    assert seen(proven).servers[3].state == "LIES"
    assert headline_of(proven).lying == 0


@pytest.mark.parametrize(("clients", "level"), [(1, "warn"), (2, "bad")])
def test_what_two_clients_say_is_an_alarm_if_no_call_would_complete(clients: int, level: str) -> None:
    """One server is down; if another lies, too, the five that are needed are not there. One client may make it up."""
    said = tuple(Said(f"{number:02d}" * 16, 3, "wrong MACs") for number in range(clients))
    headline = headline_of(cluster(server(0, said=said), None))
    assert (headline.word, headline.level) == ("UP", level)
    assert headline.text.endswith("no call is sure to complete: 4 servers are well and honest, and 5 are needed")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (cluster(server(0, version="0.2.0")), "server 0 runs version 0.2.0 of Fivefold, most run 0.1.0"),
        (cluster(took_s=(0.001, 0.001, 0.9, 0.002, 0.001, 0.001)), "server 2 is slow: its status took 0.9 s"),
        (cluster(server(0, room=Room(1, 1, 1, 9, 100))), "server 0 has a disk that is nearly full: 9 % is left"),
        (cluster(server(0, storage_failure="no space left")), "server 0 promises nothing: no space left"),
    ],
)
def test_what_is_wrong_is_said(status: ClusterStatus, says: str) -> None:
    """One sentence that names the server."""
    assert any(each.text.startswith(says) for each in remarks_of(status))


@pytest.mark.parametrize(
    "status",
    [
        cluster(),
        cluster(took_s=(0.001, 0.001, 0.2, 0.002, 0.001, 0.001)),
        cluster(server(0, room=Room(1, 1, 1, 10, 100))),
    ],
)
def test_nothing_is_said_of_what_is_well(status: ClusterStatus) -> None:
    """Neither of a server that takes a little longer, nor of a disk that is nine tenths full."""
    assert remarks_of(status) == []


def test_hot_objects_and_loud_clients_are_those_of_all_servers_together() -> None:
    """Requests for an object are added up; those of a client are of each server of a quorum, and have its name."""
    lately = Lately(10.0, 60, (Hot("Map/a", 50, 5), Hot("Map/b", 10, 0)), (Loud("ab" * 16, 60, 4, 100),))
    view = seen(cluster(*(server(index, lately=lately) for index in range(5))), names={"ab" * 16: "shop"})
    assert [(each.object_id, each.requests, each.stale) for each in view.hot] == [
        ("Map/a", 25.0, 2.5),
        ("Map/b", 5.0, 0.0),
    ]
    assert [(each.name, each.requests, each.throttled, each.rate) for each in view.loud] == [("shop", 6.0, 20, 100)]


def test_what_a_liar_says_of_itself_is_cut_to_size() -> None:
    """Endless text, numbers that are none, histograms of another shape: the view stays small, and is JSON."""
    long, many = "x" * 100_000, tuple(Hot(f"Map/{'y' * 1000}{number}", -5, 10**18) for number in range(1000))
    liar = server(
        0, version=long, uptime_s=math.nan, storage_failure=long, counters={"accepted.METHOD": -(10**18)},
        durations={"reply": Histogram((1.0,), (1, 2, 3), math.inf), "commit": Histogram((), (), 0.0)},
        damaged={f"{long}{n}": "" for n in range(999)},
        lately=Lately(math.inf, 1, many, tuple(Loud(long, 1) for _ in range(1000))), said=(Said(long, 99, long),),
    )  # fmt: skip
    view = seen(cluster(server(0)), cluster(liar))
    encoded = msgspec.json.encode(view)
    assert len(encoded) < 100_000
    assert msgspec.json.decode(encoded)["servers"][0]["uptime_s"] is None
    assert view.point.updates >= 0


def test_what_servers_have_seen_of_each_other_is_said_with_who_saw_it() -> None:
    """Known reasons in words, others as they are; what names no server is left out."""
    counters = {"seen.3 wrong-mac": 2, "seen.4 list-reply-malformed": 1, "seen.9 wrong-mac": 1, "seen.x": 1}
    found = {each.text: each for each in remarks_of(cluster(server(0), server(1, counters=counters)))}
    assert set(found) == {
        "seen by server 1 of server 3: it signed a history with a wrong MAC, 2 times",
        "seen by server 1 of server 4: list-reply-malformed, once",
    }
    assert [each.server for each in found.values()] == [3, 4]


def test_what_several_servers_have_seen_is_said_once() -> None:
    """A line for each server and thing: with n servers a liar would otherwise fill the page."""
    seen_it = [server(index, counters={"seen.4 wrong-mac": index}) for index in range(1, 4)]
    (found,) = remarks_of(cluster(server(0), *seen_it))
    assert found.text == "seen by servers 1, 2, 3 of server 4: it signed a history with a wrong MAC, 6 times"
    assert (found.server, found.source) == (4, "servers 1, 2, 3")


def test_how_far_a_server_is_with_comparing_is_said_with_what_it_costs() -> None:
    """Position, objects behind, the last full pass, and messages a second since the start."""
    place = Place(1, "ab", 0, 1, True, None, (), 5, 0, 0, 0, 0, behind=7, passes=2, position="Map/x", last_pass_s=65.0)
    found = compared_text(server(2, place=place, counters={"upkeep-asks": 250}), 2)
    assert found.startswith("server 2 compares its objects: last full pass 65 s")
    assert found.endswith("ago, at 'Map/x' of the next, 7 behind, 2.5 messages a second")
    assert "no full pass yet, 7 behind" in compared_text(
        server(2, place=replace(place, position="", last_pass_s=None)), 2
    )
    assert compared_text(server(2, place=replace(place, is_standing=False)), 2) == ""
    assert compared_text(None, 2) == ""


def test_a_cluster_that_has_moved_says_how_many_clients_have_not_followed() -> None:
    """As more than b servers say: one that lies can make it neither more nor less."""
    place = Place(3, "ab", 0, 1, True, None, (), 5, 0, 0, 0, 0, mover="cd" * 16, moved_to="ef" * 16)
    clients = (900, 4, 4, 3, 3, 0)
    status = cluster(*(server(index, place=place, clients=count) for index, count in enumerate(clients)))
    (text,) = [each.text for each in remarks_of(status) if "has moved" in each.text]
    assert text.endswith("clients that are still connected here, this one included: 4")
    assert {each.state for each in seen(status).servers} == {"moved"}
