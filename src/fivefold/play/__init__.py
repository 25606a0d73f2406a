"""Pages that play the protocol: a run of the production machines, stepped through in a browser.

Read in this order: ``recording`` (what a run leaves), ``scenarios`` (runs worth looking at), ``telling`` (events become
a *story*), ``story`` (what a page shows), ``document`` (the HTML file around stories), ``drawing`` (a story as SVG).
"""

from fivefold.play.document import Chapter, page
from fivefold.play.drawing import picture
from fivefold.play.reasons import RULES
from fivefold.play.recording import EVENTS_MAX, Note, Recording, cut, of_report, summary_of, until_healed
from fivefold.play.scenarios import SCENARIOS, Scenario, record
from fivefold.play.story import Story
from fivefold.play.telling import decode_story, encode_story, tell

__all__ = [
    "EVENTS_MAX",
    "RULES",
    "SCENARIOS",
    "Chapter",
    "Note",
    "Recording",
    "Scenario",
    "Story",
    "cut",
    "decode_story",
    "encode_story",
    "of_report",
    "page",
    "picture",
    "record",
    "summary_of",
    "tell",
    "until_healed",
]
