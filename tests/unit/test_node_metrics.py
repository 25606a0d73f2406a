"""A server's numbers: durations, what is hot and loud, and all of it as Prometheus expects it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import fivefold
from fivefold.node.server.metrics import DURATIONS, LABELLED, SINGLE, NodeCollector, counted
from fivefold.node.server.throttle import Throttle
from fivefold.node.server.timings import Timings
from fivefold.node.status import Place, Room, ServerStatus, histogram_of
from fivefold.protocol.actions import Ask, Channel, Reply
from fivefold.protocol.activity import SHOWN_MAX, Loud
from fivefold.protocol.durations import BOUNDS_NS, Durations, quantile
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.server.activity import COUNT_AGAIN_NS, LOOKED_AT_MAX, REMEMBERED_MAX, Activity

SOURCES = Path(fivefold.__file__).parent
MS = 1_000_000
COUNTERS = re.compile(r"\bself\.(_machine\.|machine\.)?_?counters$")
ANN, BOB = ClientId(b"ann".ljust(16)), ClientId(b"bob".ljust(16))


# --- durations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("took_ns", "index"), [(1, 0), (MS - 1, 3), (MS, 3), (MS + 1, 4), (10**15, len(BOUNDS_NS))])
def test_a_duration_belongs_to_the_first_class_that_ends_at_it_or_later(took_ns: int, index: int) -> None:
    """A bound belongs to the class below it, as in Prometheus' ``le``."""
    durations = Durations()
    durations.add(took_ns, 2)
    assert [position for position, count in enumerate(durations.counts) if count] == [index]
    assert (durations.counts[index], durations.sum_ns) == (2, 2 * took_ns)


@pytest.mark.parametrize(
    ("counts", "share", "found"),
    [
        ((0, 0, 0), 0.5, None),
        ((10, 0, 0), 0.5, 0.5),
        ((5, 5, 0), 0.5, 1.0),
        ((5, 5, 0), 0.9, 2.6),
        ((0, 0, 7), 0.5, 3.0),
    ],
)
def test_a_quantile_is_reckoned_within_its_class(counts: tuple[int, ...], share: float, found: float | None) -> None:
    """Evenly spread from the bound below to the bound above; beyond the last bound, that bound."""
    assert quantile((1.0, 3.0), counts, share) == found


def test_replies_and_commits_are_timed_to_the_moment_they_leave_or_are_durable() -> None:
    """What answers no request of a client is not counted; one call may make many transactions durable."""
    now = SimpleNamespace(ns=5 * MS)
    timings = Timings(lambda: now.ns)
    timings.staged(1)
    now.ns = 6 * MS
    timings.staged(2)
    timings.staged(3)
    now.ns = 8 * MS
    timings.durable(2)
    assert (sum(timings.commits.counts), timings.commits.sum_ns) == (2, 5 * MS)
    timings.sent((Reply(Channel(1), b"", 7 * MS), Reply(Channel(1), b""), Ask(2, b"")))
    assert (sum(timings.replies.counts), timings.replies.sum_ns) == (1, MS)


# --- what is hot, and who is loud ------------------------------------------------------------------------------------


def activity(*known: str) -> Activity:
    """Of a server whose reader has rights on these objects."""
    access = SimpleNamespace(knows=lambda client, name: client == ANN and name in known)
    return Activity(None, None, None, None, access)


def test_the_hottest_and_the_most_contended_objects_are_named() -> None:
    """With their counts of the last minute; one that is contended but not hot is named, too."""
    found = activity("Map/hot", "Map/late", *(f"Map/{n}" for n in range(20)))
    found.asked += [(100 * MS, BOB, ObjectId("Map/hot"))] * 5
    found.asked += [(100 * MS, ANN, ObjectId(f"Map/{n}")) for n in range(20) for _ in range(2)]
    found.asked.append((100 * MS, ANN, ObjectId("Map/late")))
    found.late.append((100 * MS, ObjectId("Map/late")))
    lately = found.lately(200 * MS, ANN)
    assert lately.objects[0].object_id == "Map/hot"
    assert (lately.objects[0].requests, lately.objects[0].stale) == (5, 0)
    assert (lately.objects[-1].object_id, lately.objects[-1].requests, lately.objects[-1].stale) == ("Map/late", 1, 1)
    assert len(lately.objects) == SHOWN_MAX + 1
    assert [(each.client, each.requests) for each in lately.clients] == [(ANN.hex(), 41), (BOB.hex(), 5)]


def test_a_reader_hears_only_of_objects_on_which_it_has_a_right() -> None:
    """Names of objects are not for everybody."""
    found = activity("Map/mine")
    found.asked += [(1, BOB, ObjectId("Map/others")), (1, BOB, ObjectId("Map/mine"))]
    found.late.append((1, ObjectId("Map/others")))
    assert [each.object_id for each in found.lately(2, ANN).objects] == ["Map/mine"]
    assert found.lately(2, BOB).objects == ()


def test_a_full_memory_says_how_far_it_reaches_back() -> None:
    """The last requests are remembered and no more, and rates are by the time in which they came."""
    found = activity()
    found.asked.extend((n * MS, ANN, ObjectId("Map/x")) for n in range(2 * REMEMBERED_MAX))
    lately = found.lately(2 * REMEMBERED_MAX * MS, ANN)
    assert (lately.requests, lately.seconds) == (REMEMBERED_MAX, REMEMBERED_MAX / 1000)


def test_what_was_asked_more_than_a_minute_ago_is_forgotten() -> None:
    """An object that was hot an hour ago is not."""
    found = activity("Map/x")
    found.asked.append((0, ANN, ObjectId("Map/x")))
    found.late.append((0, ObjectId("Map/x")))
    lately = found.lately(60_000 * MS + 1, ANN)
    assert (lately.requests, lately.objects, lately.seconds) == (0, (), 60.0)


def test_counting_is_not_done_for_each_reader_anew() -> None:
    """A flood of status requests costs two counts a second, and looks at the rights on few names."""
    asked_for: list[str] = []
    access = SimpleNamespace(knows=lambda client, name: asked_for.append(name))
    found = Activity(None, None, None, None, access)
    found.asked.extend((0, ANN, ObjectId(f"Map/{n}")) for n in range(REMEMBERED_MAX))
    first = found.lately(1, ANN)
    found.asked.append((2, ANN, ObjectId("Map/new")))
    assert found.lately(2, BOB).requests == first.requests
    assert len(asked_for) == 2 * LOOKED_AT_MAX
    assert found.lately(1 + COUNT_AGAIN_NS, ANN).clients[0].requests == REMEMBERED_MAX


def test_who_had_to_wait_for_its_rate_is_named_with_the_rate() -> None:
    """Also one that is not among the loudest; a client that lost its rate has no such count any more."""
    throttle = Throttle(lambda: 0, {ANN: 100})
    throttle.note_waiting(ANN, 3)
    throttle.note_waiting(1, 5)
    assert throttle.told((Loud(BOB.hex(), 9),)) == (Loud(BOB.hex(), 9, 0, 0), Loud(ANN.hex(), 0, 3, 100))
    assert throttle.waited == 8
    throttle.replace({})
    assert throttle.told(()) == ()


# --- metrics -------------------------------------------------------------------------------------------------------


def scrape(status: ServerStatus, **counters: int) -> str:
    node = SimpleNamespace(
        status=lambda: status,
        machine=SimpleNamespace(counters={name.replace("__", "."): count for name, count in counters.items()}),
        refused_connections={"stranger": 2},
        throttled=7,
        faults=1,
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(node))
    return generate_latest(registry).decode()


def status(**more: object) -> ServerStatus:
    durations = dict.fromkeys(DURATIONS, histogram_of(Durations()))
    queues = {"requests_for_a_load": 3, "staged_bytes": 50}
    given = {"durations": durations, "queues": queues, "room": Room(9, 10, 11, 12, 13), **more}
    return ServerStatus(0, "0.1.0", "sqlite", None, 9.0, 5, (8, 6), 2, {}, 1000, **given)


def test_every_counter_of_the_code_has_a_metric_of_its_own() -> None:
    """Whatever name a counter is given in the source: it begins with a known word, or is known as a whole."""
    names: set[str] = set()
    for path in [*(SOURCES / "protocol" / "server").glob("*.py"), *(SOURCES / "node" / "server").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and COUNTERS.search(ast.unparse(node.value)):
                names.add(re.sub(r"^f?['\"]|['\"]$", "", ast.unparse(node.slice)))
    assert len(names) > 12
    lost = [name for name in names if name not in SINGLE and name.partition(".")[0] not in LABELLED]
    assert lost == ["_ACCEPTED[step.kind]"]


def test_a_counter_without_a_metric_is_not_lost() -> None:
    """It is an event of that name."""
    (found,) = [each for each in counted({"new-thing": 4}) if each.name == "fivefold_other_events"]
    assert [(sample.labels, sample.value) for sample in found.samples] == [({"event": "new-thing"}, 4)]


def test_metrics_have_help_type_and_the_names_that_prometheus_expects() -> None:
    """Counters end in _total, times are in seconds and sizes in bytes, and each metric says what it is."""
    text = scrape(status(), accepted__METHOD=4, rejected__replayed=1, stale=3, sync__done=2)
    families = list(text_string_to_metric_families(text))
    assert len({each.name for each in families}) == len(families) > 30
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert not re.search(r"_(ms|kb|mb|minutes|percent)$", family.name), family.name
        assert all(sample.name.endswith("_total") for sample in family.samples if family.type == "counter")
    assert 'fivefold_accepted_steps_total{kind="METHOD"} 4.0' in text
    assert 'fivefold_accepted_steps_total{kind="COPY"} 0.0' in text
    assert 'fivefold_rejected_messages_total{reason="replayed"} 1.0' in text
    assert "fivefold_stale_requests_total 3.0" in text
    assert "fivefold_syncs_total 2.0" in text
    assert "fivefold_journal_bytes 11.0" in text


def test_a_histogram_counts_all_that_took_at_most_so_long() -> None:
    """Buckets are cumulative, the last is +Inf and equals the count, and the sum is in seconds."""
    durations = Durations()
    durations.add(MS)
    durations.add(3 * MS, 2)
    durations.add(10**12)
    empty = histogram_of(Durations())
    text = scrape(status(durations={"reply": histogram_of(durations), "commit": empty, "sync": empty}))
    name = "fivefold_reply_duration_seconds"
    assert f'{name}_bucket{{le="0.0005"}} 0.0' in text
    assert f'{name}_bucket{{le="0.001"}} 1.0' in text
    assert f'{name}_bucket{{le="0.004"}} 3.0' in text
    assert f'{name}_bucket{{le="10.0"}} 3.0' in text
    assert f'{name}_bucket{{le="+Inf"}} 4.0' in text
    assert f"{name}_count 4.0" in text
    assert f"{name}_sum 1000.007" in text


def test_a_server_that_has_not_looked_at_its_disk_says_nothing_of_it() -> None:
    """An unknown number is left out: 0 would be a claim."""
    assert "fivefold_objects " not in scrape(status(room=None))
    assert "fivefold_disk_free_bytes" not in scrape(status(room=None))


@pytest.mark.parametrize(
    ("mover", "moved_to", "sealed", "moved"), [("", "", 0, 0), ("ab", "", 1, 0), ("ab", "cd", 0, 1)]
)
def test_a_server_shows_whether_its_cluster_is_sealed_or_has_moved(
    mover: str, moved_to: str, sealed: int, moved: int
) -> None:
    """Updates wait only until it has moved: then clients go on elsewhere, and the count of those left here falls."""
    place = Place(3, "ab", 0, 1, True, None, (1,), 5, 0, 0, 0, 0, mover=mover, moved_to=moved_to)
    text = scrape(status(place=place, clients=4))
    assert f"fivefold_sealed {sealed}.0\n" in text
    assert f"fivefold_moved {moved}.0\n" in text
    assert "fivefold_clients 4.0\n" in text
