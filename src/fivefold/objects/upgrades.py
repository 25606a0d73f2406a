"""What a rollout of new code would do to what runs: field by field, method by method (docs/how-to/upgrade.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from fivefold.objects.describe import TypeDescription

Weight = Literal["fine", "note", "danger"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that a rollout would do.

    Attributes:
        name: the type.
        weight: ``danger`` if calls would fail or state would be refused, ``note`` if clients notice, else ``fine``.
        text: a sentence.
    """

    name: str
    weight: Weight
    text: str


def compare(running: TypeDescription, new: TypeDescription) -> list[Finding]:
    """What happens to a type when servers that run one code are restarted with the other."""
    if running.code == new.code:
        return [Finding(new.name, "fine", f"{new.name} {new.version} runs already: nothing changes")]
    return [Finding(new.name, weight, text) for weight, text in _differences(running, new)]


def _differences(old: TypeDescription, new: TypeDescription) -> Iterator[tuple[Weight, str]]:
    versions = f"{old.name} {old.version}"
    if new.version == old.version:
        yield (
            "note",
            f"{versions} keeps its version: while servers are restarted one by one, calls get Upgrading until a quorum "
            f"runs the new code; give it version={old.version + 1} to run both side by side without a gap",
        )
    elif new.version < old.version:
        yield (
            "danger",
            f"{new.name} {new.version} is older than {versions}: it refuses every object that {versions} has updated",
        )
    else:
        yield "fine", f"{versions} becomes {new.version}: servers can hold both until a quorum is active"
    yield from _field_differences(old, new)
    yield from _method_differences(old, new)


def _field_differences(old: TypeDescription, new: TypeDescription) -> Iterator[tuple[Weight, str]]:
    kept, added = new.fields[: len(old.fields)], new.fields[len(old.fields) :]
    if kept != old.fields:
        if old.version in new.migrates:
            yield "fine", f"its fields change, and it migrates what version {old.version} has stored"
            return
        for position, (name, kind) in enumerate(old.fields):
            now = new.fields[position] if position < len(new.fields) else None
            if now != (name, kind):
                became = "is gone" if now is None else f"becomes {now[0]}: {now[1]}"
                yield (
                    "danger",
                    f"field {name}: {kind} {became}: stored objects are misread, or not "
                    f"read at all if the types differ; add fields at the end, or write "
                    f"@migrate(from_version={old.version})",
                )
        return
    for name, kind in added:
        yield "fine", f"field {name}: {kind} is added: stored objects read as its default"


def _method_differences(old: TypeDescription, new: TypeDescription) -> Iterator[tuple[Weight, str]]:
    before, after = ({each.name: each for each in kind.methods} for kind in (old, new))
    for name in sorted(before.keys() - after.keys()):
        yield "danger", f"{before[name].kind} {name} is gone: clients that call it get UnknownMethod"
    for name in sorted(after.keys() - before.keys()):
        yield "fine", f"{after[name].kind} {name} is new"
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.kind != now.kind:
            yield "danger", f"{name} changes from {was.kind} to {now.kind}"
        elif was.signature != now.signature:
            yield "note", f"{name}{was.signature} becomes {name}{now.signature}: do older clients still fit?"
