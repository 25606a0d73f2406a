"""Which edition of the cluster file a member uses, and how it gets a newer one from the servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from fivefold.cluster import Configuration, decode_edition, edition_of, encode_edition
from fivefold.errors import ConfigurationError
from fivefold.protocol.editions import (
    ANNOUNCE,
    FILE,
    FILE_REPLY,
    Announced,
    Edition,
    EditionName,
    announce_frame,
    decode_edition_frame,
    file_reply_frame,
)

ASK_AGAIN_S: Final = 0.5
"""How often a member that waits for a newer edition looks whether another server is to be asked."""

log = logging.getLogger("fivefold.editions")


class Editions:
    """One member's view: the file in use, what the servers announce, and asking them for what is newer.

    Attributes:
        configuration: the cluster file in use.
        edition: its edition.
        announced: what the servers announce.
        announcement: the frame that says which edition is used here.
        refused: why a newer edition that servers handed over was not taken; None if none was refused.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        adopt: Callable[[Configuration], None],
        send: Callable[[int, bytes], object],
        reachable: Callable[[], Iterable[int]],
        clock: Callable[[], int],
    ) -> None:
        """Use a file.

        Args:
            configuration: the file.
            adopt: takes over a newer edition that servers have handed over, and calls ``use``.
            send: sends a frame to a server over the own link.
            reachable: servers whose links are up.
            clock: in ns.
        """
        self._adopt, self._send, self._reachable, self._clock = adopt, send, reachable, clock
        self._timer: asyncio.TimerHandle | None = None
        self._set(configuration)
        self.announced = Announced(configuration.quorums, self.edition.name)
        self.refused: str | None = None

    def _set(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.edition: Edition = edition_of(configuration)
        self.announcement = announce_frame(self.edition.name)

    def use(self, configuration: Configuration) -> None:
        """Another edition is in use from now on, or the same one with other clients."""
        replaced = edition_of(configuration).replaced(self.edition)
        self._set(configuration)
        self.announced.use(self.edition.name, replaced)
        self.refused = None
        self.maybe_ask()

    def hear(self, server: int, frame: bytes) -> EditionName | None:
        """A frame about editions from a server: an announcement, which is returned, or what it was asked for.

        Raises:
            PeerViolation: it is neither.
        """
        kind, name, contents = decode_edition_frame(frame)
        if kind == ANNOUNCE:
            self.announced.hear(server, name)
            self.maybe_ask()
            return name
        if kind == FILE_REPLY:
            fitting = self.announced.receive(server, name, contents)
            if fitting is not None:
                self._take(fitting)
            self.maybe_ask()
        return None

    def answer(self, frame: bytes) -> bytes | None:
        """What to send back for a frame that asks for an edition; None if it asks for nothing.

        Raises:
            PeerViolation: it is not about editions.
        """
        kind, name, _ = decode_edition_frame(frame)
        if kind != FILE:
            return None
        return file_reply_frame(name, encode_edition(self.configuration) if name == self.edition.name else b"")

    def maybe_ask(self) -> None:
        """Ask a server for a newer edition if there is one, and come back to it while there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.announced.wanted is None:
            return
        asked = self.announced.ask(self._clock(), self._reachable())
        if asked is not None:
            self._send(*asked)
        self._timer = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self.maybe_ask)

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, contents: bytes) -> None:
        """An edition that b + 1 servers announce has come: it is one that an operator made, but may not fit ours."""
        try:
            self._adopt(decode_edition(contents, self.configuration))
        except ConfigurationError as error:
            if str(error) != self.refused:
                log.error("a newer edition of the cluster file is not used: %s", error)
            self.refused = str(error)
