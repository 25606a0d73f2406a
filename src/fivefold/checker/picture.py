"""Space-time pictures of violations: one lane per process, a bar per operation, and what contradicts what.

The page stands alone: no script, no font and no style sheet from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from fivefold.checker.history import Observation, Outcome
from fivefold.checker.layout import CHARACTER, LEFT, TOP, Bar, Layout, Point, lay_out
from fivefold.checker.result import Dependency, Result

_STYLE = """
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1c2733}
.lane{fill:#f5f7fa}.lane.odd{fill:#fff}.process{font-weight:700}.tick{fill:#8492a3;font-size:10px}.grid{stroke:#e3e8ee}
.bar{fill:#dfe7f0;stroke:#9fb0c3}.done{fill:#d9efe0;stroke:#6fb488}.fault{fill:#ffdcd8;stroke:#c9281b;stroke-width:2}
.open{stroke-dasharray:5 4}.note{fill:#66758a;font-size:10px}
.order{fill:none;stroke:#2f855a;stroke-width:1.5;opacity:.35}
.point{fill:#2f855a}.number{fill:#fff;font-size:10px;text-anchor:middle}
.edge{fill:none;stroke:#c9281b;stroke-width:1.8}.why{fill:#c9281b;font-weight:700;font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:5px}.cross{stroke:#c9281b;stroke-width:3;stroke-linecap:round}
"""
_PAGE_STYLE = """
body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;color:#1c2733;margin:28px auto;max-width:1500px;padding:0 24px}
h1{font-size:22px;margin:0 0 4px}h1 b{color:#c9281b}h2{font-size:16px;margin:26px 0 6px}.picture{overflow-x:auto;
border:1px solid #dbe2ea;border-radius:8px;margin:16px 0;width:fit-content;max-width:100%}
.picture svg{display:block}table{border-collapse:collapse;font-size:13px}
td,th{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid #e8edf2;vertical-align:top}
td{font-family:ui-monospace,'DejaVu Sans Mono',monospace}tr.fault td{color:#c9281b;font-weight:700}
.key{color:#536275;font-size:13px}
.key i{display:inline-block;width:22px;height:11px;border:1.5px solid;border-radius:3px;
margin:0 5px 0 16px}
"""
_KEY = """<p class="key">Time runs to the right; only the order of events is to scale.
<i style="background:#d9efe0;border-color:#6fb488"></i>in the order found, taking effect at its numbered point
<i style="background:#ffdcd8;border-color:#c9281b"></i>at fault
<i style="background:#dfe7f0;border-color:#9fb0c3"></i>other
<i style="border-color:#9fb0c3;border-style:dashed"></i>no end: it may take effect at any later time, or never</p>"""


def write_picture(path: Path | str, result: Result, history: Sequence[Observation]) -> None:
    """Write a violation's :func:`picture` (a path that ends in ``.svg``) or :func:`page` (any other path)."""
    text = picture(result, history) if str(path).endswith(".svg") else page(result, history)
    Path(path).write_text(text, encoding="utf-8")


def page(result: Result, history: Sequence[Observation]) -> str:
    """An HTML page about a violation: the picture, the order found and where it ends, or the cycle."""
    body = _cycle_table(result) if result.cycle else _order_table(result)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{_safe(result.verdict)}: {_safe(', '.join(result.objects))}</title><style>{_PAGE_STYLE}</style>"
        f"<h1><b>{_safe(result.verdict.upper())}</b> {_safe(', '.join(result.objects))}</h1>"
        f"<p>{_safe(result.message)}.</p>"
        f'<div class="picture">{picture(result, history)}</div>{_KEY}{body}'
        f"<p class='key'>{result.operations_count} operations in the history; {result.steps_count} steps of models.</p>"
        "</html>"
    )


def picture(result: Result, history: Sequence[Observation]) -> str:
    """The violation as SVG.

    Args:
        result: a check's, with the verdict VIOLATION.
        history: what was checked.
    """
    layout = lay_out(result, history)
    placed = {id(point.bar.observation) for point in layout.points}
    faulty = {id(seen) for seen in result.offending}
    bars = "".join(_bar(bar, id(bar.observation) in placed, id(bar.observation) in faulty) for bar in layout.bars)
    crosses = "" if result.cycle else "".join(_cross(bar) for bar in layout.bars if id(bar.observation) in faulty)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width:.0f}" height="{layout.height:.0f}" '
        f'viewBox="0 0 {layout.width:.0f} {layout.height:.0f}"><style>{_STYLE}</style><defs><marker id="tip" '
        'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M0 0L10 5L0 10z" fill="#c9281b"/></marker></defs>{_lanes(layout)}{bars}{crosses}'
        f"{_order(layout, result)}{_edges(layout, result.cycle)}</svg>"
    )


def _lanes(layout: Layout) -> str:
    lanes = "".join(
        f'<rect class="lane{" odd" * (place % 2)}" x="0" y="{top}" width="{layout.width:.0f}" height="{height}"/>'
        f'<text class="process" x="14" y="{top + 32}"{_squeezed(process)}>{_safe(process)}</text>'
        for place, (process, top, height) in enumerate(layout.lanes)
    )
    ticks = "".join(
        f'<line class="grid" x1="{across:.0f}" x2="{across:.0f}" y1="{TOP - 8}" y2="{layout.height}"/>'
        f'<text class="tick" x="{across:.0f}" y="{TOP - 14}">{moment} ns</text>'
        for across, moment in layout.ticks
    )
    return lanes + ticks


def _squeezed(process: str) -> str:
    """Long names are set narrower, not over the bars."""
    return f' textLength="{LEFT - 30}" lengthAdjust="spacingAndGlyphs"' if len(process) * CHARACTER > LEFT - 30 else ""


def _bar(bar: Bar, is_placed: bool, is_at_fault: bool) -> str:
    kind = "fault" if is_at_fault else "done" if is_placed else "bar"
    is_uncertain = bar.is_open or bar.observation.outcome == Outcome.UNKNOWN
    width = max(6, bar.right - bar.left)
    return (
        f'<g><title>{_safe(_details(bar.observation))}</title><text class="note" x="{bar.left + 2:.1f}" '
        f'y="{bar.top + 13:.1f}">{_safe(bar.note)}</text><rect class="bar {kind}{" open" * is_uncertain}" '
        f'x="{bar.left:.1f}" y="{bar.top + 18:.1f}" width="{width:.1f}" height="24" rx="4"/>'
        f'<text x="{bar.left + 7:.1f}" y="{bar.top + 34:.1f}">{_safe(bar.text)}</text></g>'
    )


def _details(seen: Observation) -> str:
    times = f"{seen.invoke_ns} … {'never' if seen.return_ns is None else seen.return_ns} ns, {seen.outcome}"
    return f"{seen}\n{times}" + (f"\noperation {seen.operation}" if seen.operation else "")


def _cross(bar: Bar) -> str:
    x, y = bar.right, bar.top + 42
    return f'<path class="cross" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>'


def _order(layout: Layout, result: Result) -> str:
    """The points at which operations take effect, joined in their order."""
    if not layout.points:
        return ""
    way = " ".join(f"{point.across:.1f},{_down(point):.1f}" for point in layout.points)
    return f'<polyline class="order" points="{way}"/>' + "".join(_point(point, result) for point in layout.points)


def _down(point: Point) -> float:
    return point.bar.top + 45


def _point(point: Point, result: Result) -> str:
    state = ", ".join(map(repr, result.states[point.number - 1]))
    half = max(9.0, len(str(point.number)) * 3.4 + 4)
    return (
        f"<g><title>{point.number}. {_safe(str(point.bar.observation))}\nstate after it: {_safe(state)}</title>"
        f'<rect class="point" x="{point.across - half:.1f}" y="{_down(point) - 8:.1f}" width="{2 * half:.1f}" '
        f'height="16" rx="8"/><text class="number" x="{point.across:.1f}" y="{_down(point) + 3.5:.1f}">'
        f"{point.number}</text></g>"
    )


def _edges(layout: Layout, cycle: Sequence[Dependency]) -> str:
    bars = {id(bar.observation): bar for bar in layout.bars}
    known = [edge for edge in cycle if id(edge.before) in bars and id(edge.after) in bars]
    return "".join(_edge(bars[id(edge.before)], bars[id(edge.after)], edge) for edge in known)


def _edge(before: Bar, after: Bar, edge: Dependency) -> str:
    """An arrow down to a later lane, along the lane to a later operation, or back round the right end."""
    if after.top > before.top:
        start, end = (before.right - 30, before.top + 42), (after.right - 65, after.top + 18)
        control, anchor = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), "middle"
    elif after.top == before.top and after.left >= before.right:
        start, end = (before.right, before.top + 30), (after.left, after.top + 30)
        control, anchor = ((start[0] + end[0]) / 2, before.top - 12), "middle"
    else:
        start, end = (before.right, before.top + 30), (after.right, after.top + 26)
        control, anchor = (max(before.right, after.right) + 110, (start[1] + end[1]) / 2), "start"
    middle = [(start[side] + 2 * control[side] + end[side]) / 4 for side in (0, 1)]
    points = [*start, *control, *end]
    path = "M{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*points)
    return (
        f'<path class="edge" marker-end="url(#tip)" d="{path}"/><text class="why" text-anchor="{anchor}" '
        f'x="{middle[0] + 6 * (anchor == "start"):.1f}" y="{middle[1] + 4:.1f}">'
        f"{_safe(f'{edge.kind} {edge.object_id}'.rstrip())}</text>"
    )


def _order_table(result: Result) -> str:
    """The end of the order found with the states, then the operations that cannot come next."""
    first = max(0, len(result.prefix) - 30)
    rows = [
        f"<tr><td>{number}<td>{_safe(str(seen))}<td>{_safe(', '.join(map(repr, result.states[number - 1])))}"
        for number, seen in enumerate(result.prefix[first:], start=first + 1)
    ]
    rows += [f'<tr class="fault"><td>✗<td>{_safe(str(seen))}<td>' for seen in result.offending]
    omitted = f" (the first {first} left out)" if first else ""
    title = "The order found, as far as it goes" if result.prefix else "At fault"
    return f"<h2>{title}{omitted}</h2><table><tr><th>#<th>operation<th>state after it{''.join(rows)}</table>"


_BECAUSE = {
    "ww": "wrote the version before the one written by",
    "wr": "wrote the version seen by",
    "rw": "saw a version older than the one written by",
    "process": "was done before, by the same process,",
    "real time": "had returned before the invocation of",
}


def _cycle_table(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{_safe(str(edge.before))}<td>{_safe(_BECAUSE[edge.kind])}<td>{_safe(str(edge.after))}"
        f"<td>{_safe(edge.object_id)}"
        for edge in result.cycle
    )
    return f"<h2>Each has to come before the next</h2><table>{rows}</table>"


def _safe(text: str) -> str:
    """``text`` for HTML and SVG; what cannot be printed (names come from a file) is replaced."""
    return escape("".join(one if one.isprintable() or one == "\n" else "�" for one in text))
