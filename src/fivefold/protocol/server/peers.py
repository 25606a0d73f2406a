"""What other servers send: object syncs, lists, reads and repairs, and answers to ours (ours, but for the first)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import OWN_LINK, Channel
from fivefold.protocol.messages import (
    ANNOUNCE,
    HELD,
    LIST,
    SYNC,
    SYNC_REPLY,
    WITHDRAW,
    WITNESS,
    decode_list,
    decode_sync,
)
from fivefold.protocol.operations import SHOW, AccessPolicy, ClientId
from fivefold.protocol.records import SyncReply, SyncRequest
from fivefold.protocol.server.admission import SyncWork, server_client
from fivefold.protocol.server.catchup import FIRST_SYNC
from fivefold.protocol.server.listing import Lists
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.synchronise import sync_answer
from fivefold.protocol.server.upkeep import Upkeep
from fivefold.protocol.server.witness import Witness

_SYNC_KINDS: Final = (SYNC, SYNC_REPLY)


class Receivers(NamedTuple):
    """Who takes what."""

    serve_sync: Callable[[int, SyncWork], None]
    receive_sync: Callable[[int, int, SyncReply], None]
    receive_request: Callable[[int, ClientId, Channel, bytes], None]
    is_full: Callable[[], bool]
    receive_announcement: Callable[[int, ClientId, Channel, bytes], None]


class Peers:
    """Hands frames to who takes them.

    Attributes:
        witness: what was seen of others, for audits.
    """

    def __init__(
        self,
        receivers: Receivers,
        access: AccessPolicy,
        membership: Membership,
        upkeep: Upkeep,
        lists: Lists,
        outbox: Outbox,
        counters: Counter[str],
    ) -> None:
        """Bad frames are counted, and change nothing."""
        self._receivers, self._access, self._membership = receivers, access, membership
        self._upkeep, self._lists, self._outbox, self._counters = upkeep, lists, outbox, counters
        self.witness = Witness(access, outbox)

    def receive(self, now_ns: int, server: int, channel: Channel, frame: bytes) -> None:
        """A frame from another server, over a connection that it has made or one of our own (OWN_LINK)."""
        try:
            if frame and frame[0] not in _SYNC_KINDS:
                self._receive_about_objects(now_ns, server, channel, frame)
            else:
                self._receive_about_versions(now_ns, server, channel, frame)
        except PeerViolation as violation:
            self._counters[f"rejected.{violation.reason}"] += 1
            self._counters[f"seen.{server} {violation.reason}"] += 1

    def receive_from_client(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> None:
        """A client announces calls, or asks for a page of our list, for a version, or for what we have seen."""
        try:
            if frame[0] in (ANNOUNCE, WITHDRAW):
                self._receivers.receive_announcement(now_ns, client, channel, frame)
                return
            if frame[0] == LIST:
                self._lists.begin(client, channel, decode_list(frame))
                return
            if frame[0] == WITNESS:
                self.witness.answer(client, channel, frame)
                return
            request = decode_sync(frame)
            if not isinstance(request, SyncRequest):
                raise PeerViolation("frame-malformed")
        except PeerViolation as violation:
            self._counters[f"rejected.{violation.reason}"] += 1
            return
        work = SyncWork(client, channel, request)
        if self._receivers.is_full() or not self._access.allows(client, request.object_id, SHOW):
            self._counters["turned-away.client-sync"] += 1
            self._outbox.send.append(sync_answer(work, None))
        else:
            self._receivers.serve_sync(now_ns, work)

    def _receive_about_versions(self, now_ns: int, server: int, channel: Channel, frame: bytes) -> None:
        message = decode_sync(frame)
        if isinstance(message, SyncRequest):
            if channel == OWN_LINK:
                raise PeerViolation("sync-over-own-link")
            self._receivers.serve_sync(now_ns, SyncWork(server, channel, message))
        elif message.number >= FIRST_SYNC:
            self._upkeep.receive_sync(now_ns, server, message)
        else:
            self._receivers.receive_sync(now_ns, server, message)

    def _receive_about_objects(self, now_ns: int, server: int, channel: Channel, frame: bytes) -> None:
        if channel == OWN_LINK:
            if frame[0] in (LIST, HELD):
                raise PeerViolation("list-over-own-link")
            self._upkeep.receive(now_ns, server, frame)
            return
        self._membership.answer_to(server)
        if frame[0] == LIST:
            self._lists.begin(server, channel, decode_list(frame))
        elif frame[0] == HELD:
            self._upkeep.answer_held(channel, frame)
        else:
            self._receivers.receive_request(now_ns, server_client(server), channel, frame)
