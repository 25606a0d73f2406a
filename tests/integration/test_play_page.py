"""The page of ``fivefold play`` in a real browser: Chromium plays it, steps back, follows links, loads long runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fivefold.play import (
    SCENARIOS,
    Chapter,
    Recording,
    Story,
    cut,
    decode_story,
    encode_story,
    of_report,
    page,
    tell,
)
from fivefold.simulation import draw, run_example, run_plan

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.long,
    pytest.mark.ci,
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

LOCAL = ("file:", "data:", "blob:")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TABLE = """() => [...document.querySelectorAll("#table tbody tr[data-row]")].map((row) => ({
    label: row.querySelector(".label").textContent,
    kind: row.querySelector("[data-kind]").dataset.kind,
    cells: [...row.querySelectorAll("[data-server]")].map((cell) => cell.dataset.history),
    took: [...row.querySelectorAll("[data-took]")].map((cell) => Number(cell.dataset.server)),
}))"""
"""What the table shows, from the page's own elements."""

SEEN = """() => [...document.querySelectorAll("#sentence, #note-text, #why-text, #why-counts, #table, #clock, #link")]
    .map((element) => element.innerText)"""
"""Everything in words that depends on the step."""


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def tab(browser: playwright.Browser) -> Iterator[playwright.Page]:
    """A window in which nothing goes wrong: no error, no dialog, no request to anywhere but the file itself."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    opened.on(
        "request", lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else wrong.append(asked.url)
    )
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def stories() -> dict[str, Story]:
    return {name: tell(each.record()) for name, each in SCENARIOS.items()}


@pytest.fixture(scope="module")
def everything(stories: dict[str, Story], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with all scenarios."""
    chapters = [Chapter(SCENARIOS[name].group, story) for name, story in stories.items()]
    return write(tmp_path_factory.mktemp("play") / "all.html", chapters)


def write(path: Path, chapters: list[Chapter], docs: str = "") -> str:
    path.write_text(page(chapters, version="test", docs=docs), encoding="utf-8")
    return path.as_uri()


def visit(tab: playwright.Page, address: str, name: str = "") -> None:
    tab.goto(address)
    tab.wait_for_selector(f'html[data-ready="{name}"]' if name else "html[data-ready]")


def step_of(tab: playwright.Page) -> int:
    return int(tab.evaluate("document.documentElement.dataset.step"))


# --- playing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_plays_to_its_end(
    name: str, tab: playwright.Page, everything: str, stories: dict[str, Story]
) -> None:
    """Played at speed, it stops at its last step, and the table has every request with all histories and acceptors."""
    story = stories[name]
    visit(tab, f"{everything}#play={name}", name)
    for _ in range(8):
        tab.keyboard.press("]")
    tab.keyboard.press("Space")
    tab.wait_for_selector('html[data-playing="false"]', timeout=60_000)
    assert step_of(tab) == len(story.steps) - 1
    shown = tab.evaluate(TABLE)
    assert [row["label"] for row in shown] == [row.label for row in story.rows]
    assert [row["took"] for row in shown] == [sorted(server for server, _ in row.accepted) for row in story.rows]


def test_the_paper_s_table_fills_as_in_the_example(tab: playwright.Page, everything: str) -> None:
    """At the end of the paper's scenario the page shows the table of `fivefold example`, cell by cell."""
    visit(tab, f"{everything}#play=paper&step=last", "paper")
    shown = [(row["label"], row["kind"], tuple(row["took"]), tuple(row["cells"])) for row in tab.evaluate(TABLE)]
    assert shown == [
        (row.operation, row.kind, row.accepted_by, tuple(cell.strip("{}") for cell in row.cells))
        for row in run_example()
    ]


def test_steps_back_show_what_steps_forward_showed(tab: playwright.Page, everything: str) -> None:
    """Every step of a scenario looks the same, whether you come from the left or from the right."""
    visit(tab, f"{everything}#play=paper-3", "paper-3")
    forward = [tab.evaluate(SEEN)]
    while tab.locator("#forward").is_enabled():
        tab.keyboard.press("ArrowRight")
        forward.append(tab.evaluate(SEEN))
    backward = [tab.evaluate(SEEN)]
    while tab.locator("#back").is_enabled():
        tab.keyboard.press("ArrowLeft")
        backward.append(tab.evaluate(SEEN))
    assert len(forward) > 40
    assert forward == backward[::-1]
    assert len({json.dumps(each) for each in forward}) == len(forward)


def test_jumps_lead_to_what_they_name(tab: playwright.Page, everything: str, stories: dict[str, Story]) -> None:
    """A, F and R go to the next step with an accepted candidate, a failure, a repair; with Shift, back."""
    steps = stories["liar"].steps
    visit(tab, f"{everything}#play=liar", "liar")
    for key, flag in (("a", 1), ("f", 2), ("r", 4)):
        tab.keyboard.press("Home")
        wanted = [index for index, step in enumerate(steps) if step.flags & flag and index]
        for index in wanted[:3]:
            tab.keyboard.press(key)
            assert step_of(tab) == index
        tab.keyboard.press(f"Shift+{key.upper()}")
        assert step_of(tab) == wanted[1]


def test_next_text_plays_up_to_it(tab: playwright.Page, everything: str, stories: dict[str, Story]) -> None:
    """N plays on to the step of the next text and stops there, with the text in sight."""
    note = stories["paper"].notes[1]
    visit(tab, f"{everything}#play=paper", "paper")
    for _ in range(8):
        tab.keyboard.press("]")
    tab.keyboard.press("n")
    tab.wait_for_selector('html[data-playing="false"]')
    assert step_of(tab) == note.step
    assert tab.inner_text("#note-heading") == note.heading


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_leads_to_a_step(tab: playwright.Page, tmp_path: Path, stories: dict[str, Story]) -> None:
    """`#step=17` opens there, a changed address moves there, and `last` or nonsense stay within the run."""
    story = stories["paper"]
    address = write(tmp_path / "one.html", [Chapter("g", story)])
    for asked, step in (
        ("17", 17),
        ("3", 3),
        ("last", len(story.steps) - 1),
        ("99999", len(story.steps) - 1),
        ("x", 0),
    ):
        tab.goto("about:blank")
        visit(tab, f"{address}#step={asked}")
        assert step_of(tab) == step
        assert tab.inner_text("#sentence") == story.steps[step].text
    tab.evaluate("location.hash = '#step=20'")
    tab.wait_for_selector('html[data-step="20"]')
    assert (tab.get_attribute("#link", "href") or "").endswith("#step=20")


def test_a_reason_links_to_its_rule(tab: playwright.Page, tmp_path: Path, stories: dict[str, Story]) -> None:
    """With an address of the documentation the link leads there, without one to the rule in the page itself."""
    chapters = [Chapter("g", stories["paper-3"])]
    visit(tab, write(tmp_path / "docs.html", chapters, docs="../../html") + "#step=3")
    assert tab.get_attribute("#why-link", "href") == "../../html/concepts/protocol.html#classify-and-set-up"
    visit(tab, write(tmp_path / "alone.html", chapters) + "#step=3")
    tab.click("#why-link")
    assert tab.locator("#rules").is_visible()
    assert "object candidate" in tab.inner_text("#rules-text")


# --- what pages hold --------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_hostile_ids_and_values_are_text(tab: playwright.Page, tmp_path: Path, stories: dict[str, Story]) -> None:
    """An object id that is markup is shown as it is; no script of it runs."""
    data = encode_story(stories["paper-3"])
    for harmless in (b"Card/example", "♦".encode()):
        data = data.replace(harmless, HOSTILE.encode())
    visit(tab, write(tmp_path / "hostile.html", [Chapter(HOSTILE, decode_story(data))]) + "#step=20")
    assert HOSTILE in tab.inner_text("#why-sets")
    assert HOSTILE in tab.inner_text("#table")
    assert tab.locator("img").count() == 0
    tab.click("#content summary")
    assert HOSTILE in tab.inner_text("#content-text")


def test_the_longest_run_loads_and_scrolls(tab: playwright.Page, tmp_path: Path) -> None:
    """A page of 10,000 events opens at its end, plays, and says what was cut from a longer run."""
    part = cut(long_run(), events_max=10_000)
    story = tell(part)
    visit(tab, write(tmp_path / "long.html", [Chapter("g", story)]) + "#step=last")
    assert tab.is_visible("#cut")
    assert "10,000 of" in tab.inner_text("#cut")
    assert step_of(tab) == len(story.steps) - 1
    tab.keyboard.press("Home")
    for _ in range(8):
        tab.keyboard.press("]")
    tab.keyboard.press("Space")
    while step_of(tab) <= 40:  # it moves on by itself, or the test runs into its time limit
        tab.wait_for_selector('html[data-playing="true"]')
    tab.keyboard.press("Space")
    assert tab.evaluate("document.querySelectorAll('#table tbody tr').length") < 200


def long_run() -> Recording:
    report = run_plan(draw(1, "byzantine"), is_traced=True)
    assert len(report.events) > 10_000
    return of_report(report, name="long", title="A long run", summary="", command="")


def test_a_picture_of_what_is_in_sight_can_be_saved(tab: playwright.Page, everything: str) -> None:
    """Save SVG gives a well-formed picture with the lanes and messages in sight."""
    visit(tab, f"{everything}#play=paper-3&step=20", "paper-3")
    with tab.expect_download() as download:
        tab.click("#export")
    root = ET.parse(download.value.path()).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"X", "Y", "s0", "s5", "set(♦)"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}line"))) > 20


# --- everybody --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window(width: int, scheme: str, tab: playwright.Page, everything: str) -> None:
    """Nothing sticks out to the right, and the theme is the one that the reader's system asks for."""
    tab.set_viewport_size({"width": width, "height": 800})
    tab.emulate_media(color_scheme=scheme)
    visit(tab, f"{everything}#play=transfer&step=30", "transfer")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.get_attribute("html", "data-theme") == scheme


def test_everything_has_a_name_and_is_reached_by_keyboard(tab: playwright.Page, everything: str) -> None:
    """Each control has an accessible name, and Tab reaches all of them."""
    visit(tab, f"{everything}#play=paper&step=5", "paper")
    controls = "button:visible, select:visible, input:visible, a[href]:visible, summary:visible"
    for control in tab.locator(controls).all():
        name = control.evaluate(
            "(e) => e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim()"
        )
        assert name, control.evaluate("(e) => e.outerHTML")
    reached = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"play", "scrub", "scenario", "canvas", "speed", "zoom", "why-link", "scroller", "theme"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(scheme: str, tab: playwright.Page, everything: str) -> None:
    """Every colour of text stands out from what it is written on by 4.5 to 1 at least."""
    tab.emulate_media(color_scheme=scheme)
    visit(tab, f"{everything}#play=paper&step=5", "paper")
    script = """(names) => Object.fromEntries(names.map((name) =>
        [name, getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim()]))"""
    kinds = ("accept", "barrier", "copy", "inline", "fail")
    names = [
        "paper",
        "card",
        "faint",
        "ink",
        "muted",
        "accent",
        "on-accent",
        *kinds,
        *(f"{each}-soft" for each in kinds),
    ]
    colours = tab.evaluate(script, names)
    pairs = [(text, ground) for text in ("ink", "muted", "accent") for ground in ("paper", "card")]
    pairs += [(kind, f"{kind}-soft") for kind in kinds]
    pairs += [(kind, "card") for kind in kinds]
    pairs += [("ink", "faint"), ("muted", "faint"), ("on-accent", "accent"), ("ink", "accept-soft")]
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


def contrast(one: str, other: str) -> float:
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
