"""The Grafana dashboard and the alert rules ask for metrics that there are; the reference names all of them."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import product
from types import SimpleNamespace

import pytest
import yaml  # noqa: TID251 - a file of Prometheus'
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fivefold.node import Place, ServerStatus
from fivefold.node.server.metrics import DURATIONS, LABELLED, SINGLE, NodeCollector
from fivefold.node.status import Room, histogram_of
from fivefold.objects import TypeDescription
from fivefold.protocol.durations import Durations
from tests.doc_blocks import ROOT

MONITORING = ROOT / "docs" / "monitoring"
NAME = re.compile(r"\bfivefold_\w+")
LABELS = re.compile(r"\bby \(([^)]*)\)|\{([^}]*)\}")
FROM_PROMETHEUS = {"instance", "job", "le"}


@cache
def scraped() -> dict[str, set[str]]:
    """Every sample that a server can show, and its labels."""
    counters = {**dict.fromkeys(SINGLE, 1), **{f"{prefix}.x": 1 for prefix in LABELLED}, "other": 1}
    place = Place(1, "aa", 0, 1, True, None, (1,), 5, 0, 0, 0, 0)
    types = (TypeDescription("Map", "", (), ()),)
    status = ServerStatus(
        0, "0.1.0", "sqlite", None, 1.0, 1, (1, 1), 1, {}, 1, place=place, types=types, room=Room(1, 1, 1, 1, 1),
        durations=dict.fromkeys(DURATIONS, histogram_of(Durations())), queues={"x": 1, "staged_bytes": 1},
    )  # fmt: skip
    node = SimpleNamespace(
        status=lambda: status,
        machine=SimpleNamespace(counters=counters),
        refused_connections={"x": 1},
        throttled=1,
        faults=1,
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(node))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def alerts() -> list[dict]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return group["rules"]


def expressions() -> list[str]:
    board = json.loads((MONITORING / "grafana.json").read_text())
    return [rule["expr"] for rule in alerts()] + [
        target["expr"] for panel in board["panels"] for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_is_there(expression: str) -> None:
    """Each name is one of a server's samples, and each label one that such a sample, or Prometheus, has."""
    names = NAME.findall(expression)
    assert names
    assert [name for name in names if name not in scraped()] == []
    known = FROM_PROMETHEUS.union(*(scraped()[name] for name in names))
    for grouped, matched in LABELS.findall(expression):
        labels = re.findall(r"\w+", grouped) if grouped else re.findall(r"(\w+)\s*=", matched)
        assert set(labels) <= known, labels


def test_a_name_that_is_not_there_is_noticed() -> None:
    """The check itself fails for a metric, and for a label, that no server has."""
    for wrong in ("rate(fivefold_events_total[5m])", "sum by (reason) (fivefold_syncs_total)"):
        with pytest.raises(AssertionError):
            test_what_is_asked_for_is_there(wrong)


def test_the_board_is_one_that_grafana_takes() -> None:
    """Every panel has a title, a place of its own and a unit, and panels do not overlap."""
    board = json.loads((MONITORING / "grafana.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        across, down = (range(place[a], place[a] + place[b]) for a, b in ("xw", "yh"))
        cells = set(product(across, down))
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["fieldConfig"]["defaults"]["unit"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10


def test_every_alert_says_what_is_wrong_and_how_urgent_it_is() -> None:
    """A sentence, and page or ticket."""
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")


def test_the_reference_names_every_metric_with_its_labels() -> None:
    """And no other one."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", text, re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    real: dict[str, set[str]] = {}
    for name, labels in scraped().items():
        real.setdefault(re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name), set()).update(labels - {"le"})
    assert named == real
