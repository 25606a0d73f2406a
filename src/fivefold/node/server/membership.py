"""Who the members of the cluster are, by the cluster file that one server uses, and what happens when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from fivefold.cluster import Configuration, Credentials, Identity, edition_of, keep_edition, successor_of
from fivefold.errors import ConfigurationError, PeerViolation
from fivefold.node.editions import Editions
from fivefold.node.server.links import ServerLinks
from fivefold.node.status import Place, progress_text
from fivefold.protocol.actions import Channel
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.editions import FILE
from fivefold.protocol.server import Server
from fivefold.transport import Connection, StreamTransport, Transport

LOOK_S: Final = 1.0
"""How long a server that starts waits for what the others announce, and for a newer edition, before it listens."""

_POLL_S: Final = 0.01

log = logging.getLogger("fivefold.server")


class Membership:
    """What changes at a server with the cluster file.

    Attributes:
        is_retired: whether another identity has this server's place: then it is of no use any more.
        on_retired: called when that has come out; to be set by the code that can end the server.
    """

    def __init__(
        self,
        configuration: Configuration,
        identity: Identity,
        keys_of: Callable[[Configuration], AuthenticatorKeys],
        record: Path | None,
    ) -> None:
        """Of one server, which is not running yet.

        Args:
            configuration: the file to start with.
            identity: the server's.
            keys_of: its keys by a cluster file.
            record: directory that holds the record of the newest edition used; None to keep none.
        """
        self.is_retired = False
        self.on_retired: Callable[[], None] = _nothing
        self._first = configuration
        self._identity = identity
        self._keys_of = keys_of
        self._record = record
        self._moving: asyncio.Task[None] | None = None
        self._was_newcomer = False
        self._is_all_told = False
        self._stood_ns: int | None = None
        self._told_text = ""

    def join(
        self,
        transport: Transport,
        links: ServerLinks,
        connections: Mapping[Channel, Connection],
        machine: Server,
        tell: Callable[..., None],
        clock: Callable[[], int],
    ) -> None:
        """The server is put together from these parts; ``tell`` gives the machine an input."""
        assert isinstance(transport, StreamTransport), "only these have credentials"
        self._transport, self._links, self._connections, self._machine = transport, links, connections, machine
        self._tell, self._clock = tell, clock
        self._editions = Editions(
            self._first, adopt=self.follow, send=links.send, reachable=lambda: links.up, clock=clock
        )

    @property
    def configuration(self) -> Configuration:
        """The cluster file in use."""
        return self._editions.configuration

    @property
    def since(self) -> Sequence[int]:
        """The editions in which the identities of the servers began."""
        return self._editions.edition.since

    @property
    def announcement(self) -> bytes:
        """The frame that says which edition is used here."""
        return self._editions.announcement

    def place(self) -> Place:
        """This server's place among the others."""
        progress, edition = self._machine.progress, self._editions.edition
        if progress.is_standing and self._was_newcomer and self._stood_ns is None:
            self._stood_ns = self._clock()
        self._was_newcomer = not progress.is_standing
        successor = successor_of(self.configuration)
        said, scrub = enumerate(self._editions.announced.by), self._machine.upkeep.scrub
        return Place(
            edition=edition.number,
            digest=edition.digest.hex(),
            cut=self._machine.membership.cut,
            born=progress.born,
            is_standing=progress.is_standing,
            standing_s=None if self._stood_ns is None else (self._clock() - self._stood_ns) / 1e9,
            told=tuple([s for s, name in said if name and (name.number > edition.number or name == edition.name)]),
            needed=progress.needed,
            listed=progress.listed,
            adopted=progress.adopted,
            under_repair=progress.under_repair,
            list_bytes=progress.bytes,
            behind=0 if scrub is None else scrub.behind,
            passes=0 if scrub is None else scrub.passes,
            position="" if scrub is None else scrub.position,
            mover=edition.mover.hex(),
            moved_to="" if successor is None else successor.cluster_id.hex(),
            last_pass_s=self._since_s(None if scrub is None else scrub.last_pass_ns),
        )

    def _since_s(self, at_ns: int | None) -> float | None:
        return None if at_ns is None else (self._clock() - at_ns) / 1e9

    def maybe_tell_progress(self) -> None:
        """Log how far this server is as a newcomer, if that has changed; to be called now and then."""
        if self._is_all_told:
            return
        place = self.place()
        text = progress_text(place, self._machine.index, self._machine.quorums.n)
        if text != self._told_text and not (place.is_standing and not self._told_text):
            log.warning("%s", text)
        self._told_text, self._is_all_told = text, place.is_standing

    async def look_for_newer(self) -> None:
        """Hear of each server that can be reached which edition it uses, and take a newer one over.

        A server that was down while another one was replaced would otherwise work with the old one's keys for a while.
        """
        announced = self._editions.announced
        end_ns = self._clock() + int(LOOK_S * 1e9)
        while self._clock() < end_ns:
            if announced.wanted is None and all(announced.by[server] for server in self._links.waiting):
                break
            await asyncio.sleep(_POLL_S)

    def close(self) -> None:
        """The server stops."""
        self._editions.close()
        if self._moving is not None:
            self._moving.cancel()

    # --- frames about editions ----------------------------------------------------------------------------------

    def hear(self, server: int, connection: Connection | None, frames: Sequence[bytes]) -> None:
        """Frames of another server, over its connection or, without one, over our own link."""
        for frame in frames:
            if frame[0] == FILE and connection is not None:
                self.answer(connection, [frame])
                continue
            try:
                name = self._editions.hear(server, frame)
                if name is not None:
                    self._tell(self._machine.announced, server, *name)
            except PeerViolation as violation:
                self._machine.counters[f"rejected.{violation.reason}"] += 1
                self._machine.counters[f"seen.{server} {violation.reason}"] += 1

    def answer(self, connection: Connection, frames: Sequence[bytes]) -> None:
        """Hand the edition in use over, once for all that ask for it in one read."""
        if not frames:
            return
        try:
            answer = self._editions.answer(frames[-1])
        except PeerViolation as violation:
            self._machine.counters[f"rejected.{violation.reason}"] += 1
            return
        if answer is not None:
            connection.send(answer)

    # --- another file ---------------------------------------------------------------------------------------------

    def follow(self, new: Configuration) -> None:
        """Use another file: a later edition, or the same one with other clients.

        Raises:
            ConfigurationError: a later edition cannot be made durable; then nothing has changed.
        """
        old = self.configuration
        if new.edition != old.edition:
            if self._record is not None:
                keep_edition(new, self._record)
            if new.server_of(self._identity.certificate) is None:
                self._retire(new)
                return
            self._tell(self._machine.switch, edition_of(new), self._keys_of(new))
        replaced = edition_of(new).replaced(self._editions.edition)
        self._transport.use(Credentials(new, self._identity))
        self._editions.use(new)
        if new.edition != old.edition:
            log.warning("edition %d of the cluster file is in use now", new.edition)
            self._tell_everybody(replaced)
            self._follow_servers(old, new)
        clients = {client.id for client in new.clients}
        for connection in list(self._connections.values()):
            if not isinstance(connection.peer, int) and connection.peer not in clients:
                connection.close()

    def _retire(self, new: Configuration) -> None:
        log.error("edition %d of the cluster file has another identity in this server's place", new.edition)
        self.is_retired = True
        self.on_retired()

    def _tell_everybody(self, replaced: Collection[int]) -> None:
        """Announce the edition anew; connections of replaced servers end, and then those of clients, too (R2)."""
        for connection in list(self._connections.values()):
            peer = connection.peer
            if peer in replaced if isinstance(peer, int) else replaced:
                connection.close()
            else:
                connection.send(self.announcement)
        for server in self._links.up:
            if server not in replaced:
                self._links.send(server, self.announcement)

    def _follow_servers(self, old: Configuration, new: Configuration) -> None:
        for before, after in zip(old.servers, new.servers, strict=True):
            if before == after:
                continue
            if after.certificate != self._identity.certificate:
                self._links.start(after.index)
            else:
                self._moving = asyncio.get_running_loop().create_task(self._move())

    async def _move(self) -> None:
        """Listen on the new own address; a server that cannot, since it is still on its old host, says so."""
        try:
            await self._transport.move()
        except ConfigurationError as error:
            log.error("this server has another address now, where it cannot listen: %s", error)


def _nothing() -> None:
    """Nobody can end the server."""
