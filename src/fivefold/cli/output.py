"""What commands print: JSON for scripts, and text for people.

Everything that came from a peer, a file or a user is shown by :func:`shown`, here and nowhere else. Story: a client
writes an object whose key holds an escape code; the operator lists the ids, and the terminal changes its title, hides
the next line, or types a command. A line feed in a value could forge a line of the program's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import JSONHighlighter
from rich.segment import Segment
from rich.text import Text

from fivefold.upkeep import bytes_text, seconds_text

__all__ = [
    "CleanConsole",
    "bytes_text",
    "err",
    "marked",
    "out",
    "print_json",
    "say",
    "seconds_text",
    "shown",
    "to_json",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class CleanConsole(Console):
    """A console that lets no escape code through but its own: a second wall, should a value come unescaped."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed."""
        for segment in super().render(renderable, options):
            is_clean = segment.control or segment.text.isprintable() or segment.text == "\n"
            yield segment if is_clean else segment._replace(text="\n".join(map(shown, segment.text.split("\n"))))


out: Final = CleanConsole(soft_wrap=True, highlight=False)
"""Standard output."""

err: Final = CleanConsole(stderr=True, soft_wrap=True, highlight=False)
"""Standard error: what happens meanwhile, and what went wrong."""


def shown(value: object) -> str:
    """A value on one line for people: what cannot be printed, or would change a terminal, as a backslash and a code."""
    text = str(value)
    return text if text.isprintable() else "".join(map(_shown_character, text))


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name or a word that is not UTF-8 (PEP 383)
        code -= 0xDC00
    short = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}.get(code)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


_PLACE: Final = "\uf8ff"
"""Stands for a value while markup is read: no template has it, and values come afterwards."""


def marked(template: str, *values: object) -> Text:
    """Markup with a value in place of each ``{}``; a value is plain text, whatever brackets it has."""
    assert template.count("{}") == len(values), "a value for each place"
    text, given = Text(), iter(values)
    for piece in Text.from_markup(template.replace("{}", _PLACE)).split(_PLACE, include_separator=True):
        if not piece.plain.endswith(_PLACE):
            text.append_text(piece)
            continue
        value = Text(shown(next(given)))
        for span in piece[-1:].spans:
            value.stylize(span.style)
        text.append_text(piece[:-1]).append_text(value)
    return text


def say(template: str, *values: object, style: str = "", to: Console = out) -> None:
    """Print a line of markup with values in it; see :func:`marked`."""
    to.print(marked(template, *values), style=style)


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever a method answers
    """``value`` as JSON on one line: bytes in base64, sets and tuples as lists, keys as text.

    JSON has no infinity and no NaN, and ``null`` means nothing: they are the texts ``Infinity``, ``-Infinity`` and
    ``NaN``. What cannot be printed is escaped.
    """
    return _clean_json(json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")))


def print_json(value: Any, *, pretty: bool = False) -> None:  # noqa: ANN401 - whatever a method answers
    """Print ``value`` as one line of JSON; or indented and coloured, for people."""
    if pretty:
        text = _clean_json(json.dumps(_plain(value), indent=2, ensure_ascii=False))
        out.print(JSONHighlighter()(Text(text)))
    else:
        print(to_json(value))


def _plain(value: Any) -> Json:  # noqa: ANN401 - whatever a method answers
    """``value`` made of what JSON has."""
    return _finite(msgspec.to_builtins(value, enc_hook=str))


def _finite(value: Any) -> Json:  # noqa: ANN401 - made of what msgspec calls built in
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_key_text(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(inner) for inner in value]
    return value  # type: ignore[no-any-return]


def _key_text(key: Any) -> str:  # noqa: ANN401 - made of what msgspec calls built in
    plain = _finite(key)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _clean_json(text: str) -> str:
    """The same JSON without a character that a terminal would obey: those of JSON itself are all printable."""
    return text if text.isprintable() else "".join(map(_json_character, text))


def _json_character(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
