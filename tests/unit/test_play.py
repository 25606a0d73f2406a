"""Recordings become stories, and stories become pages: what is told is what happened, and text stays text."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from fivefold.cli import main
from fivefold.cli.play import play as play_command
from fivefold.cli.simulate import simulate as simulate_command
from fivefold.errors import ConfigurationError
from fivefold.play import (
    EVENTS_MAX,
    RULES,
    SCENARIOS,
    Chapter,
    Recording,
    Story,
    cut,
    decode_story,
    encode_story,
    of_report,
    page,
    picture,
    record,
    tell,
)
from fivefold.play.frames import Frames
from fivefold.simulation import PROFILES, Accepted, Called, Classified, Culled, Kept, Sent, draw, run_example, run_plan
from fivefold.simulation.events import Happened, Violated
from tests.doc_blocks import ROOT
from tests.planted import planted

SEQUENCES = ("paper-1", "paper-2", "paper-3", "paper-4")


def seed(number: int, profile: str) -> Recording:
    report = run_plan(draw(number, profile), is_traced=True)
    return of_report(report, name="seed", title="A seed", summary="", command="")


def table(story: Story) -> list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]:
    """Label, kind, acceptors and histories of each row: a cell is the last change up to the row's end."""
    return [
        (
            row.label,
            row.kind,
            tuple(sorted(server for server, _ in row.accepted)),
            tuple(held(story, server, row.objects[0], row.last) for server in range(story.n)),
        )
        for row in story.rows
    ]


def held(story: Story, server: int, name: int, step: int) -> str:
    found = [each for each in story.changes if (each.server, each.object) == (server, name) and each.step <= step]
    return story.histories[found[-1].history] if found else story.histories[0]


def example() -> list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]:
    return [
        (row.operation, row.kind, row.accepted_by, tuple(cell.strip("{}") for cell in row.cells))
        for row in run_example()
    ]


# --- the paper --------------------------------------------------------------------------------------------------------


def test_the_table_of_the_page_is_that_of_the_example() -> None:
    """Request by request: kind, accepting servers and all six histories are what `fivefold example` prints."""
    assert table(tell(record("paper"))) == example()


def test_the_four_sequences_are_the_example_in_parts() -> None:
    """One after the other they have the same rows: each begins with what servers kept before."""
    assert [row for name in SEQUENCES for row in table(tell(record(name)))] == example()


def test_results_of_the_example_stand_in_its_rows() -> None:
    """X reads the initial value, Y ♣ and at the end ♦."""
    rows = tell(record("paper")).rows
    assert [row.result for row in rows if row.result.startswith("returns")] == ["returns ♥", "returns ♣", "returns ♦"]


def test_versions_show_what_they_are_worth() -> None:
    """A version has the suit of its call, a copy that of what it copies, a barrier none; also in a later part."""
    worth = {each.name: each.value for each in tell(record("paper")).made}
    assert worth == {
        "0": "♥", "1": "♣", "2": "♦", "2'": "♥", "3b": "", "4": "♦", "5": "♠", "6b": "", "7": "♦",
    }  # fmt: skip
    assert {each.name: each.value for each in tell(record("paper-4")).made}["4"] == "♦"


# --- every scenario ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_told_from_beginning_to_end(name: str) -> None:
    """Every step has a sentence, steps go to the right, every reference points at something, and texts go along."""
    story = tell(record(name))
    count = len(story.steps)
    assert count > 5
    assert all(step.text for step in story.steps)
    assert [step.x for step in story.steps] == sorted({step.x for step in story.steps})
    assert all(-1 <= step.why < len(story.whys) and -1 <= step.row < len(story.rows) for step in story.steps)
    assert all(-1 <= step.lane < len(story.lanes) and step.content < len(story.contents) for step in story.steps)
    assert all(0 <= arrow.start < count and -1 <= arrow.end < count for arrow in story.arrows)
    assert all(arrow.end == -1 or arrow.end >= arrow.start for arrow in story.arrows)
    assert all(0 <= row.first <= row.last < count for row in story.rows)
    assert story.notes
    assert story.title
    assert story.summary


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_story_survives_its_file(name: str) -> None:
    """What the page's script reads is what was told."""
    story = tell(record(name))
    assert decode_story(encode_story(story)) == story


def test_helping_is_told_call_by_call() -> None:
    """Announced calls are kept, one operation carries another's, servers tell its owner, and all three are done."""
    story = tell(record("helping"))
    rows, texts = [row.label for row in story.rows], [step.text for step in story.steps]
    assert {"X announces set(♣)", "Y announces set(♦)", "X set(♣), carrying Y’s set(♦)"} <= set(rows)
    assert sum("hears that Y announces set(♦)." in text for text in texts) == story.n
    assert sum("keeps the call for others to carry" in text for text in texts if "hears from" not in text) >= story.q
    assert sum("It tells Y that its call was carried." in text for text in texts) == story.q
    assert sum("Y hears from" in text and "was carried, and is on disk" in text for text in texts) == story.q
    assert [text.count("is done") for text in texts if "is done" in text] == [1, 1, 1]
    assert {"announcement", "request", "reply"} <= {arrow.what for arrow in story.arrows}
    assert any("announced by Y  set(♦)" in content for content in story.contents)
    assert {RULES[step.rule].anchor for step in story.steps if step.rule == "helping"} == {"the-rules"}
    assert 'class="announcement' in picture(story)


def test_a_run_with_helping_and_its_villains_is_told() -> None:
    """Announcements of malevolent clients have a sentence, too, and none of them is taken for a server's question."""
    story = tell(seed(1, "helping"))
    lanes = [lane.role for lane in story.lanes]
    assert any(arrow.what == "announcement" for arrow in story.arrows)
    assert all(lanes[arrow.sender] in ("server", "liar") for arrow in story.arrows if arrow.what == "sync")
    assert all(step.text for step in story.steps)


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    """The message names what you can choose."""
    with pytest.raises(ConfigurationError, match="paper"):
        record("papers")


def told(name: str) -> Story:
    return tell(record(name))


def signs(story: Story, what: str) -> list[tuple[str, str]]:
    """Lane and text of each sign of a kind."""
    return [
        (story.lanes[mark.lane].name if mark.lane >= 0 else "", mark.text) for mark in story.marks if mark.what == what
    ]


def kinds(story: Story) -> list[str]:
    return [row.kind for row in story.rows]


def results(story: Story) -> list[str]:
    return [row.result for row in story.rows if row.result]


def test_a_fault_free_call_is_one_request_to_a_quorum() -> None:
    """Three calls are three rows of kind METHOD, each accepted or answered by q servers."""
    story = told("update")
    assert [(row.kind, len(row.accepted)) for row in story.rows] == [("METHOD", story.q)] * 3


def test_an_optimistic_query_is_over_though_servers_refuse() -> None:
    """Y's outdated queries end with the newest suit, without a repair."""
    story = told("optimistic-query")
    assert [row.label for row in story.rows] == ["X set(♣)", "Y get", "X set(♠)", "Y get"]
    assert results(story) == ["returns '♣'", "returns '♠'"]
    assert len(signs(story, "refuse")) >= story.q


def test_contention_is_repaired_and_everybody_gets_through() -> None:
    """Barriers and copies are put up, and each of the four calls is done."""
    story = told("contention")
    assert {"BARRIER", "COPY"} <= set(kinds(story))
    assert len(signs(story, "end")) == 4


def test_what_a_dead_client_left_is_finished_by_the_next_one() -> None:
    """X dies, Y repairs inline and reads what X wrote."""
    story = told("dead-client")
    assert signs(story, "death") == [("X", "dies")]
    assert "INLINE_METHOD" in kinds(story)
    assert results(story) == ["returns '♦'", "returns '♦'"]


def test_a_server_that_returns_fetches_what_it_missed() -> None:
    """s3 crashes, starts again, asks its peers, and accepts the next update."""
    story = told("returning-server")
    lane = [each.name for each in story.lanes].index("s3")
    back = next(mark.step for mark in story.marks if mark.what == "restart")
    assert len([arrow for arrow in story.arrows if (arrow.what, arrow.sender) == ("sync", lane)]) >= 2
    assert any(mark.lane == lane and mark.what == "accept" and mark.step > back for mark in story.marks)


def test_a_liar_is_culled_proven_and_asked_no_more() -> None:
    """More than b servers leave s4's histories out; then X does, too, and sends it nothing any more."""
    story = told("liar")
    assert len({lane for lane, text in signs(story, "cull") if text == "s4"}) > story.b
    assert signs(story, "exclude") == [("X", "s4")]
    proven = next(mark.step for mark in story.marks if mark.what == "exclude")
    liar = [each.name for each in story.lanes].index("s4")
    later = [arrow for arrow in story.arrows if arrow.start >= proven and arrow.what == "request"]
    assert later
    assert liar not in {arrow.receiver for arrow in later}


def test_a_lie_in_object_sync_costs_one_more_question() -> None:
    """s2 asks a third server, since the first two sent different digests, and has ♦ at the end."""
    story = told("liar-in-sync")
    lanes = [each.name for each in story.lanes]
    asked = {arrow.receiver for arrow in story.arrows if arrow.what == "sync" and lanes[arrow.sender] == "s2"}
    assert {lanes[each] for each in asked} == {"s3", "s4", "s5"}
    assert results(story)[-1] == "returns '♦'"


def test_a_transfer_is_finished_for_both_accounts() -> None:
    """The repair that finishes M is over both, and the balances add up to what was there."""
    story = told("transfer")
    (repair,) = [row for row in story.rows if row.kind == "INLINE_METHOD"]
    assert [story.objects[each] for each in repair.objects] == ["Account/alice", "Account/bob"]
    assert results(story)[-2:] == ["returns 4", "returns 6"]


def test_each_object_alone_tears_a_transfer_apart() -> None:
    """Without S3 the run shows the violation, and four are missing; with it nothing is wrong and none are."""
    broken, whole = told("alone"), told("together")
    assert (len(signs(broken, "violation")), results(broken)[-2:]) == (1, ["returns 6", "returns 0"])
    assert (signs(whole, "violation"), results(whole)[-2:]) == ([], ["returns 4", "returns 6"])


# --- any run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "profile"), [(1, "contended"), (3, "byzantine"), (5, "joint")])
def test_what_is_told_of_a_seed_is_what_happened(number: int, profile: str) -> None:
    """Accepted candidates, histories, messages and culls of the run are those of the story, in number and in place."""
    recording = seed(number, profile)
    story = tell(recording)
    events = [each.event for each in recording.events]
    signs = [mark.what for mark in story.marks]
    assert sum(signs.count(what) for what in ("accept", "copy", "barrier")) == count(events, Accepted)
    assert signs.count("cull") == count(events, Culled)
    assert len(story.arrows) == count(events, Sent)
    assert sum(not change.is_claim for change in story.changes) == count(events, Kept)
    assert sum(bool(step.text) for step in story.steps) == len(story.steps)


def count(events: Sequence[object], kind: type) -> int:
    return sum(isinstance(event, kind) for event in events)


def test_classifications_are_told_with_their_counts() -> None:
    """Each reason has the counts and the kind of a recorded classification, and a sentence that names q or r."""
    recording = seed(2, "contended")
    story = tell(recording)
    recorded = {
        (event.kind, tuple(each.order for each in event.counts))
        for event in (happened.event for happened in recording.events)
        if isinstance(event, Classified)
    }
    assert {(why.kind, tuple(each.order for each in why.counts)) for why in story.whys} == recorded
    kinds = {"METHOD": "q = ", "INLINE_METHOD": "r = ", "BARRIER": "r = ", "COPY": "q = "}
    for why in story.whys:
        assert kinds.get(why.kind, "") in why.text


def test_a_long_run_is_cut_around_an_object_and_says_so() -> None:
    """The part begins with the first call of the object, with the histories that servers kept by then."""
    recording = seed(3, "byzantine")
    whole, name = len(recording.events), some_object(recording)
    part = cut(recording, object_id=name, events_max=500)
    assert len(part.events) == 500
    assert f"500 of {whole:,} events" in part.cut
    assert name in part.cut
    story = tell(part)
    assert any(name in step.text for step in story.steps[:3])
    assert story.cut == part.cut


def run_of_200_000() -> Recording:
    """A calm run, repeated until it has so many events; one call in its middle is of an object of its own."""
    plan = draw(1, "calm")
    calls = [replace(each, at_ns=each.at_ns + turn * plan.safety_ns) for turn in range(38) for each in plan.calls]
    calls = [replace(each, number=number) for number, each in enumerate(calls)]
    middle = calls[len(calls) // 2]
    calls[len(calls) // 2] = replace(middle, objects=("Counter/rare", *middle.objects[1:]))
    report = run_plan(replace(plan, calls=tuple(calls), safety_ns=38 * plan.safety_ns), is_traced=True)
    assert report.failure is None
    return of_report(report, name="long", title="A long run", summary="", command="")


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.timeout(300)
def test_a_run_of_200_000_events_is_cut_to_the_part_around_an_object_or_a_failure() -> None:
    """The page has 20,000 of them and says which; it shows the call or the violation, and is no larger for the rest."""
    whole = run_of_200_000()
    total = len(whole.events)
    assert total > 200_000
    part = cut(whole, object_id="Counter/rare")
    shows = f"This page shows {EVENTS_MAX:,} of"
    assert part.cut.startswith(f"{shows} {total:,} events, around the first call of Counter/rare")
    first = whole.events.index(part.events[0])
    assert total // 4 < first < 3 * total // 4
    story = tell(part)
    assert any("Counter/rare" in step.text for step in story.steps[:20])
    text = page([Chapter("", story)], version="test")
    assert len(text) < 1_000_000
    assert part.cut in decode_story(encode_story(story)).cut
    before, after = whole.events[: total // 2], whole.events[total // 2 :]
    fork = Happened(after[0].at_ns, Violated("fork", "two versions follow one"))
    part = cut(replace(whole, events=(*before, fork, *after)))
    assert part.cut.startswith(f"{shows} {total + 1:,} events, around the failure")
    assert any(isinstance(each.event, Violated) for each in part.events)


def test_a_short_run_is_not_cut() -> None:
    """Where everything fits nothing is left out, and nothing is said."""
    recording = seed(1, "contended")
    assert cut(recording) == recording


def test_a_cut_part_shows_the_histories_of_the_whole() -> None:
    """At its end the servers hold what they hold at that time in the whole run, older histories included."""
    recording = seed(2, "contended")
    part = cut(recording, object_id=some_object(recording), events_max=300)
    last = {(each.server, each.object_id): each.history for each in kept(recording, part)}
    frames = Frames(recording)
    story = tell(part)
    assert last
    for (server, name), history in last.items():
        assert names_in(held(story, server, story.objects.index(name), len(story.steps))) == names_in(
            frames.names.history(name, history)
        )


def names_in(history: str) -> list[str]:
    """A part knows fewer candidates, so the later one of a time may lack its mark there."""
    return history.replace("'", "").split(",")


def some_object(recording: Recording) -> str:
    """What the tenth call of a run is about."""
    return [each.event.objects[0] for each in recording.events if isinstance(each.event, Called)][10]


def kept(recording: Recording, part: Recording) -> list[Kept]:
    end = recording.events.index(part.events[-1])
    return [each.event for each in recording.events[: end + 1] if isinstance(each.event, Kept)]


def test_cutting_at_an_object_that_nobody_calls_is_refused() -> None:
    """The message says what to name instead."""
    with pytest.raises(ConfigurationError, match="Counter/nobody"):
        cut(seed(1, "contended"), object_id="Counter/nobody", events_max=10)


# --- the page ---------------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>{{data}}\u2028\"'&amp;"


def hostile() -> Story:
    story = tell(record("paper-1"))
    renamed = encode_story(story).decode().replace("Card/example", json.dumps(HOSTILE)[1:-1])
    return decode_story(renamed.encode())


def test_a_hostile_object_id_never_becomes_markup() -> None:
    """Whatever a run holds, the page has the scripts and tags of a harmless one, and reads the id back as it is."""
    tame = page([Chapter("g", tell(record("paper-1")))], version="1")
    wild = page([Chapter("g", hostile())], version="1")
    for pattern in (r"<script", r"</script", r"<img", r"<!--", r"alert\(1\)</script"):
        assert len(re.findall(pattern, wild)) == len(re.findall(pattern, tame)), pattern
    assert story_in(wild, 0)["objects"] == [HOSTILE]


def test_a_hostile_title_is_text() -> None:
    """Titles of stories of others are escaped, and nothing in them is filled in."""
    story = decode_story(encode_story(hostile()).replace(b"One round trip", json.dumps(HOSTILE)[1:-1].encode()))
    text = page([Chapter("g", story)], version="1")
    assert "<img" not in text
    assert text.count("{{data}}") == text.count("src=x onerror=alert(2)&gt;{{data}}") + text.count("u003e{{data}}")


def test_a_hostile_id_in_a_picture_is_text() -> None:
    """Names in SVG are escaped."""
    told = encode_story(hostile())
    for harmless in ("One round trip", "♣"):
        told = told.replace(harmless.encode(), json.dumps(HOSTILE)[1:-1].encode())
    story = decode_story(told)
    assert "<script" not in picture(story)
    assert "<img" not in picture(story)


def test_a_page_needs_nothing_from_elsewhere() -> None:
    """No address of another host, and a policy that forbids to load anything, or to run other scripts than its own."""
    text = page([Chapter(each.group, tell(each.record())) for each in SCENARIOS.values()], version="1")
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'; script-src 'sha256-" in text
    assert re.findall(r"<(?:link|script|img|iframe)[^>]*\b(?:src|href)=\"([^\"]+)", text) == ["data:,"]


def test_long_stories_are_compressed() -> None:
    """A story that is long is deflated in the page, and is the same story."""
    story = tell(seed(1, "contended"))
    text = page([Chapter("g", story)], version="1")
    assert "application/x-deflate" in text
    assert story_in(text, 0) == json.loads(encode_story(story))


def story_in(text: str, place: int) -> dict[str, object]:
    found = re.search(rf'<script type="([^"]+)" id="story-{place}">(.*?)</script>', text, re.DOTALL)
    assert found
    data = found[2].encode() if found[1] == "application/json" else zlib.decompress(b64decode(found[2]))
    return json.loads(data)


def test_links_to_the_documentation_lead_somewhere() -> None:
    """Each rule names a page of ours and a heading of it, as the documentation's builder makes anchors."""
    for rule in RULES.values():
        source = (ROOT / "docs" / rule.page.replace(".html", ".md")).read_text(encoding="utf-8")
        headings = [
            re.sub(r"[^a-z0-9]+", "-", line[3:].lower()).strip("-") for line in source.splitlines() if line[:3] == "## "
        ]
        assert rule.anchor in [re.sub(r"^[0-9-]+", "", heading) for heading in headings]


# --- the command ------------------------------------------------------------------------------------------------------


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["play", *words])
    return int(left.value.code or 0)


def test_the_command_writes_a_page_of_all_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument every scenario is in the one file, which the command names."""
    file = tmp_path / "all.html"
    assert run("-o", str(file)) == 0
    assert str(file) in capsys.readouterr().out.replace("\n", "")
    assert [story_in(file.read_text(), place)["name"] for place in range(len(SCENARIOS))] == list(SCENARIOS)


def test_the_command_plays_a_seed(tmp_path: Path) -> None:
    """A seed of the simulator becomes a page that says how to make it again."""
    file = tmp_path / "seed.html"
    assert run("--seed", "1", "--contended", "-o", str(file)) == 0
    assert story_in(file.read_text(), 0)["command"] == "fivefold play --seed 1 --contended"


def test_a_seed_of_any_mode_of_the_simulator_can_be_played() -> None:
    """`play` and `simulate` take the same modes, and both take all that there are."""
    for command in (play_command, simulate_command):
        assert set(PROFILES) <= set(signature(command).parameters)


def test_the_command_plays_a_failing_seed_made_smaller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a bug in place, the page shows the shrunken run up to the violation, and a text says what is wrong."""
    file = tmp_path / "failing.html"
    with planted("replies_before_durable"):
        assert run("--seed", "0", "--swarm", "-o", str(file)) == 0
    story = story_in(file.read_text(), 0)
    assert "made smaller" in str(story["title"])
    assert [note[1] for note in story["notes"]] == ["Violation"]
    assert "not durable" in story["notes"][0][2]
    assert len([row for row in story["rows"] if row]) < 10


def test_the_command_draws_a_stretch(tmp_path: Path) -> None:
    """A picture of some steps of a scenario, well formed."""
    file = tmp_path / "stretch.svg"
    assert run("paper-3", "--svg", str(file), "--steps", "0..12") == 0
    assert ET.fromstring(file.read_text()).tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("papers",), 1),
        (("paper", "--seed", "1"), 2),
        (("--seed", "1", "--calm", "--joint"), 2),
        (("--svg", "x.svg"), 2),
        (("paper", "--svg", "x.svg", "--steps", "1-2"), 2),
        (("paper", "--svg", "x.svg", "--steps", "1..999"), 1),
        (("paper", "-o", "."), 1),
        (("paper", "-o", "missing/x.html"), 1),
    ],
)
def test_wrong_use_of_the_command_is_refused(
    words: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and the exit code says whose mistake it is."""
    monkeypatch.chdir(tmp_path)
    assert run(*words) == code
    assert list(tmp_path.iterdir()) == []


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_has_every_message_and_every_sign_of_its_stretch() -> None:
    """All lines of the story that begin in the stretch are drawn, and none of the others."""
    story = tell(record("paper-3"))
    text = picture(story)
    assert text.count('class="request') + text.count('class="reply') + text.count('class="refusal') + text.count(
        'class="sync'
    ) == len(story.arrows)
    assert len(picture(story, 0, 10)) < len(text)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (5, 4), (0, 10_000)])
def test_a_stretch_that_is_not_there_is_refused(first: int, last: int) -> None:
    """The message says which steps there are."""
    with pytest.raises(ConfigurationError, match="steps 0 to"):
        picture(tell(record("paper-1")), first, last)
