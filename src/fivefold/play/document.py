"""One self-contained HTML file: the stories, the script and the style, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct

from fivefold.play.reasons import RULES
from fivefold.play.story import Story
from fivefold.play.telling import encode_story

SCRIPTS: Final = ("data.js", "paint.js", "stage.js", "panels.js", "main.js")
"""In the order in which they are put together."""

PLAIN_BYTES_MAX: Final = 60_000
"""A longer story is compressed."""

_UNSAFE: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class Chapter(Struct, frozen=True):
    """A story, and the heading under which it is offered."""

    group: str
    story: Story


def page(chapters: Sequence[Chapter], *, version: str, docs: str = "") -> str:
    """The page that plays these stories.

    Args:
        chapters: at least one; the first is open.
        version: of the program.
        docs: the address of the documentation, to which reasons link; without one they link to a list in the page.
    """
    script, style = _script(), _asset("page.css")
    parts = {
        "title": html.escape(f"{chapters[0].story.title} · fivefold play"),
        "policy": f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "version": html.escape(version),
        "data": _data(chapters, docs),
        "script": script,
    }
    # In one pass: what is put in is never looked at again, whatever it holds.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _data(chapters: Sequence[Chapter], docs: str) -> str:
    index = [{"name": each.story.name, "title": each.story.title, "group": each.group} for each in chapters]
    lines = [_json_block("index", msgspec.json.encode(index)), _json_block("rules-data", _rules(docs))]
    for place, each in enumerate(chapters):
        data = encode_story(each.story)
        if len(data) <= PLAIN_BYTES_MAX:
            lines.append(_json_block(f"story-{place}", data))
        else:
            packed = base64.b64encode(zlib.compress(data, 9)).decode()
            lines.append(f'<script type="application/x-deflate" id="story-{place}">{packed}</script>')
    return "\n".join(lines)


def _json_block(name: str, data: bytes) -> str:
    """JSON that no HTML parser takes for anything else: an object's id may be ``</script>``."""
    return f'<script type="application/json" id="{name}">{data.decode().translate(_UNSAFE)}</script>'


def _rules(docs: str) -> bytes:
    found: dict[str, Mapping[str, str]] = {
        name: {
            "title": rule.title,
            "text": rule.text,
            "link": f"{docs.rstrip('/')}/{rule.page}#{rule.anchor}" if docs else "",
        }
        for name, rule in RULES.items()
    }
    return msgspec.json.encode(found)


def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n"


def _asset(name: str) -> str:
    return files("fivefold.play").joinpath("pages", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
