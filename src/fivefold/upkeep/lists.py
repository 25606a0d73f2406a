"""The lists of objects of all servers, read side by side: which server shows what of which object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from fivefold.errors import Unavailable
from fivefold.node import Inquiry
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Listed

SPARE_PAGES: Final = 10
"""Pages of a list, at most; or four times the pages of the longest but b. A liar's list need not end."""

EMPTY_PAGES_MAX: Final = 8
"""Pages without an entry, in a row, that are taken from a server whose list does not end there."""


class Window(NamedTuple):
    """A part of all lists.

    Attributes:
        last: the id up to which they are read; None for the end.
        told: the servers whose lists are whole up to there: what is missing in one of them is initial at that server.
        objects: every listed id in order, with what the servers that list it say.
    """

    last: str | None
    told: frozenset[int]
    objects: tuple[tuple[ObjectId, Mapping[int, Listed]], ...]


class _Teller:
    """One server's list, as far as it has been read."""

    def __init__(self, server: int, after: str) -> None:
        self.server, self.through = server, after
        self.entries: dict[str, Listed] = {}
        self.pages = self.empty = 0
        self.is_done = self.is_lost = False

    async def read(self, inquiry: Inquiry) -> None:
        """The next page; a server that gives none, or none that goes on, is lost."""
        page = await inquiry.page(self.server, self.through)
        if page is None or page.refusal or (page.entries and page.entries[0].object_id <= self.through):
            self.is_lost = True
            return
        self.pages += 1
        self.empty = 0 if page.entries else self.empty + 1
        self.is_lost = self.empty > EMPTY_PAGES_MAX
        self.is_done = page.is_last
        self.entries.update((entry.object_id, entry) for entry in page.entries)
        if page.entries:
            self.through = page.entries[-1].object_id


async def windows(inquiry: Inquiry, after: str = "", *, needed: int | None = None) -> AsyncIterator[Window]:
    """Read the lists of all servers that are connected, from the first id greater than ``after``.

    A server that stops answering, or whose list is far longer than the others', is left out from then on.

    Args:
        inquiry: the connections.
        after: where to begin.
        needed: how many servers must go on to the end; q by default.

    Raises:
        Unavailable: fewer do.
    """
    quorums = inquiry.quorums
    needed = quorums.q if needed is None else needed
    tellers = [_Teller(server, after) for server in inquiry.up]
    while True:
        await asyncio.gather(*(each.read(inquiry) for each in tellers if not each.is_done and not each.entries))
        tellers = _kept(tellers, quorums.b)
        if len(tellers) < needed:
            raise Unavailable(
                f"only {len(tellers)} of the {needed} servers needed have told their lists of objects: check the "
                "others with `fivefold status`"
            )
        going = [each.through for each in tellers if not each.is_done]
        last = min(going) if going else None
        names = sorted({name for each in tellers for name in each.entries if last is None or name <= last})
        objects = []
        for name in names:
            shown = {each.server: each.entries.pop(name) for each in tellers if name in each.entries}
            objects.append((ObjectId(name), shown))
        yield Window(last, frozenset(each.server for each in tellers), tuple(objects))
        if last is None:
            return


def _kept(tellers: list[_Teller], b: int) -> list[_Teller]:
    """The servers that go on."""
    kept = [each for each in tellers if not each.is_lost]
    usual = sorted((each.pages for each in kept), reverse=True)[b:]
    return [each for each in kept if not usual or each.pages <= SPARE_PAGES + 4 * usual[0]]
