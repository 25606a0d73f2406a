"""What the demo says at the end: latencies, who was caught and why, and whether everything held."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.table import Table
from rich.text import Text

from fivefold.checker import Result, Verdict
from fivefold.cli.demo.recorder import Latencies, Recorder
from fivefold.cli.demo.story import LIAR, B, Ending
from fivefold.cli.output import out, seconds_text, shown
from fivefold.cli.servers import evidence_text
from fivefold.protocol.client import Evidence

PAUSE_S_MAX = 3.0
"""Work continues if no time without any answer is longer than this."""


class Claim(Struct, frozen=True):
    """One thing that should hold.

    Attributes:
        text: what.
        holds: whether it did.
        detail: how that is known.
    """

    text: str
    holds: bool
    detail: str


def claims_of(recorder: Recorder, ending: Ending, result: Result) -> list[Claim]:
    """What should have held, and whether it did."""
    return [
        _work_went_on(recorder),
        _liar_was_caught(ending),
        Claim("the history is linearizable", result.verdict is Verdict.LINEARIZABLE, result.message),
        Claim(
            "nothing acknowledged is lost",
            not ending.missing,
            "; ".join(ending.missing) or "all counters and the money add up after the kill of all servers",
        ),
    ]


def _work_went_on(recorder: Recorder) -> Claim:
    story = recorder.chapters[1:-1]
    pause_s = max(chapter.pause_ns for chapter in story) / 1e9
    calls = sum(len(chapter.taken_ns) for chapter in story)
    holds = not recorder.unanswered and pause_s < PAUSE_S_MAX and all(chapter.taken_ns for chapter in story)
    detail = f"{calls} calls answered, longest time without an answer {seconds_text(pause_s)}"
    if recorder.unanswered:
        detail += f"; {len(recorder.unanswered)} not answered, such as {recorder.unanswered[0]}"
    return Claim("work went on throughout", holds, detail)


def _liar_was_caught(ending: Ending) -> Claim:
    """The liar was proven to lie by some client, and nobody honest was."""
    found = [each for evidence in ending.evidence.values() for each in evidence if each.is_excluded or each.proven_by]
    names = [name for name, evidence in ending.evidence.items() if any(each in found for each in evidence)]
    wrong = sorted({each.server for each in found} - {LIAR})
    if wrong:
        return Claim("the liar was caught", False, f"honest servers were accused: {wrong}")
    if not found:
        return Claim("the liar was caught", False, "nobody proved anything")
    why = evidence_text(_strongest(found)).partition("; ")[2]
    detail = f"server {LIAR}, left out by {', '.join(names)}: {why}, and at most b = {B} of them lie"
    return Claim("the liar was caught", True, detail)


def _strongest(found: Sequence[Evidence]) -> Evidence:
    return max(found, key=lambda each: (len(each.culled_by or each.proven_by), sum(each.strikes.values())))


def say_report(recorder: Recorder, claims: Sequence[Claim]) -> None:
    """Print it for people."""
    out.print()
    out.print(_latency_table(recorder.chapters[1:-1]))
    for claim in claims:
        sign = Text("✓ ", style="bold green") if claim.holds else Text("✗ ", style="bold red")
        out.print(sign + Text(claim.text, style="bold") + Text(f": {shown(claim.detail)}"))


def _latency_table(chapters: Sequence[Latencies]) -> Table:
    table = Table("while …", title="How long calls took", title_justify="left")
    for name in ("calls", "calls/s", "p50", "p99", "slowest"):
        table.add_column(name, justify="right")
    for chapter in chapters:
        rate = len(chapter.taken_ns) / chapter.seconds
        times = [seconds_text(chapter.percentile(percent)) for percent in (50, 99, 100)]
        table.add_row(chapter.title, str(len(chapter.taken_ns)), f"{rate:.0f}", *times)
    return table


def report_builtins(recorder: Recorder, claims: Sequence[Claim]) -> dict[str, object]:
    """The report as a value for JSON."""
    chapters = [
        {
            "title": chapter.title,
            "seconds": chapter.seconds,
            "calls": len(chapter.taken_ns),
            "p50_s": chapter.percentile(50),
            "p99_s": chapter.percentile(99),
            "pause_s": chapter.pause_ns / 1e9,
        }
        for chapter in recorder.chapters
    ]
    return {"held": all(claim.holds for claim in claims), "claims": claims, "chapters": chapters}
