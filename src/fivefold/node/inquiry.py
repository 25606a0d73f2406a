"""A client that asks each server on its own account: lists, versions, histories. For backups and audits.

It takes no part in the protocol: nothing it hears is used to answer a call, and it changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeVar

from fivefold.errors import PeerViolation, Unavailable
from fivefold.node.client import failures_text
from fivefold.node.status import STATUS_REPLY, ServerStatus, decode_status, status_frame
from fivefold.protocol.actions import Ask
from fivefold.protocol.editions import ANNOUNCE, EditionName, decode_edition_frame
from fivefold.protocol.history import empty_histories
from fivefold.protocol.limits import LIST_BYTES_MAX, LIST_ENTRIES_MAX
from fivefold.protocol.messages import (
    LIST_REPLY,
    REPLY,
    SYNC_REPLY,
    WITNESS_REPLY,
    decode_list_reply,
    decode_sync,
    decode_vote,
    decode_witness_reply,
    encode,
    list_frame,
    request_frame,
    split,
    sync_frame,
    witness_frame,
)
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    ListReply,
    ListRequest,
    LogicalTimestamp,
    Request,
    SyncReply,
    SyncRequest,
    Vote,
    WitnessReply,
)
from fivefold.transport import Link, Transport

PATIENCE_S: Final = 10.0
"""How long a server may answer nothing while it is asked something ..."""

ANSWER_S_MAX: Final = 30.0
"""... and how long one answer may take in all: a busy server answers what is asked together one by one."""

LOOK_S: Final = 0.05
"""How often it is looked whether enough servers are connected."""

T = TypeVar("T")


class Inquiry:
    """One client identity's questions to all servers.

    Attributes:
        quorums: n, t, b and what follows from them.
        violations: what no honest server sends, by server and name.
        announced: which edition of the cluster file each server uses, over its newest connection.
        only: only servers that use this edition count as connected; None for all.
    """

    def __init__(self, quorums: QuorumSystem, transport: Transport) -> None:
        """Nothing is opened yet."""
        self.quorums = quorums
        self.violations: dict[int, list[str]] = {}
        self.announced: dict[int, EditionName] = {}
        self.only: EditionName | None = None
        self._transport = transport
        self._links: list[Link] = []
        self._waiting: dict[tuple[int, int], asyncio.Future[object]] = {}
        self._count = 0
        self._heard_s: dict[int, float] = {}
        self._changed = asyncio.Event()

    async def start(self, timeout_s: float, *, needs_quorum: bool = True) -> None:
        """Connect to all servers that can be reached in time.

        Raises:
            Unavailable: fewer than a quorum can be, and ``needs_quorum``.
        """
        self._links = [self._link(server) for server in range(self.quorums.n)]
        for link in self._links:
            link.start()
        loop = asyncio.get_running_loop()
        end_s, enough_s = loop.time() + timeout_s, loop.time() + timeout_s / 4
        while loop.time() < end_s and len(self.up) < self.quorums.n:
            if len(self.up) >= self.quorums.q and (loop.time() > enough_s or self._has_tried_all):
                break
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
        if needs_quorum and len(self.up) < self.quorums.q:
            reasons = failures_text({link.server: link.failure or "silent" for link in self._links if not link.is_up})
            await self.close()
            raise Unavailable(
                f"only {len(self.up)} of the {self.quorums.q} servers needed could be reached: start the others "
                f"({reasons})"
            )

    @property
    def _has_tried_all(self) -> bool:
        return all(link.is_up or link.failure is not None for link in self._links)

    @property
    def up(self) -> list[int]:
        """The servers that are connected, of those that use the edition asked for."""
        servers = [link.server for link in self._links if link.is_up]
        return [each for each in servers if self.only is None or self.announced.get(each) == self.only]

    async def close(self) -> None:
        """Disconnect; questions under way stay unanswered."""
        await asyncio.gather(*(link.close() for link in self._links))
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    # --- questions --------------------------------------------------------------------------------------------

    async def page(self, server: int, after: str, *, entries_max: int = LIST_ENTRIES_MAX) -> ListReply | None:
        """A page of a server's list of objects, with whole histories; None if it does not answer."""
        number = self.next_number()
        request = ListRequest(number, ObjectId(after), entries_max, LIST_BYTES_MAX, is_whole=True)
        return await self._ask(server, number, list_frame(request), ListReply)

    async def version(
        self, server: int, object_id: ObjectId, timestamp: LogicalTimestamp, *, is_whole: bool
    ) -> SyncReply | None:
        """A version that a server holds, or its digest alone; None if it does not answer."""
        number = self.next_number()
        frame = sync_frame(SyncRequest(number, object_id, timestamp, is_whole))
        return await self._ask(server, number, frame, SyncReply)

    async def histories(self, server: int, objects: Sequence[ObjectId]) -> tuple[Vote, bytes] | None:
        """A server's histories of up to REPAIR_OBJECTS_MAX objects and its authenticators; None for no answer."""
        names = sorted(objects)
        sets = tuple([empty_histories(name, self.quorums.n) for name in names])
        return await self.ask(server, Request(names[0], sets, b""), b"")

    async def ask(self, server: int, request: Request, proof: bytes) -> tuple[Vote, bytes] | None:
        """A server's vote on any request, and the authenticators behind it; None if it does not answer."""
        number = self.next_number()
        return await self._ask(server, number, request_frame(number, encode(request), proof), tuple)

    async def carry(self, asks: Sequence[Ask], number: int) -> dict[int, tuple[Vote, bytes]]:
        """Send requests that have this number already, and return the answers that come, by server."""
        answers = await asyncio.gather(*(self._ask(ask.server, number, ask.frame, tuple) for ask in asks))
        return {ask.server: answer for ask, answer in zip(asks, answers, strict=True) if answer is not None}

    async def status(self, server: int) -> ServerStatus | None:
        """What a server says about itself; None if it does not answer."""
        number = self.next_number()
        return await self._ask(server, number, status_frame(number), ServerStatus)

    async def witnessed(self, server: int) -> WitnessReply | None:
        """What a server has lately seen others sign; None if it does not answer."""
        number = self.next_number()
        return await self._ask(server, number, witness_frame(number), WitnessReply)

    def next_number(self) -> int:
        """Of a request; each is used once."""
        self._count += 1
        return self._count

    async def _ask(self, server: int, number: int, frame: bytes, kind: type[T]) -> T | None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[server, number] = future
        try:
            if not self._links[server].send(frame):
                return None
            answer = await self._answer(server, future)
        finally:
            del self._waiting[server, number]
        return answer if isinstance(answer, kind) else None

    async def _answer(self, server: int, future: asyncio.Future[object]) -> object:
        """What the server says; None if it has said nothing at all for too long."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        while not future.done():
            end_s = min(max(asked_s, self._heard_s.get(server, 0.0)) + PATIENCE_S, asked_s + ANSWER_S_MAX)
            if end_s <= loop.time():
                return None
            await asyncio.wait([future], timeout=end_s - loop.time())
        return future.result()

    # --- answers ----------------------------------------------------------------------------------------------

    def _link(self, server: int) -> Link:
        def hear(frames: list[bytes]) -> None:
            for frame in frames:
                try:
                    self._hear(server, frame)
                except PeerViolation as violation:
                    self.violations.setdefault(server, []).append(violation.reason)
                    del self.violations[server][:-16]

        def down() -> None:
            self.announced.pop(server, None)
            for (whose, _), future in list(self._waiting.items()):
                if whose == server and not future.done():
                    future.set_result(None)
            self._changed.set()

        return self._transport.link(server, on_frames=hear, on_up=self._changed.set, on_down=down)

    def _hear(self, server: int, frame: bytes) -> None:
        kind = frame[0]  # any other says nothing that is asked for here
        if kind == LIST_REPLY:
            page = decode_list_reply(frame)
            self._answered(server, page.number, page)
        elif kind == SYNC_REPLY:
            reply = decode_sync(frame)
            self._answered(server, reply.number, reply)
        elif kind == REPLY:
            number, vote, tail = split(frame, REPLY)
            self._answered(server, number, (decode_vote(vote), tail))
        elif kind == WITNESS_REPLY:
            told = decode_witness_reply(frame, self.quorums.n)
            self._answered(server, told.number, told)
        elif kind == ANNOUNCE:
            self.announced[server] = decode_edition_frame(frame)[1]
        elif kind == STATUS_REPLY:
            self._answered(server, *decode_status(frame))

    def _answered(self, server: int, number: int, answer: object) -> None:
        future = self._waiting.get((server, number))
        if future is not None and not future.done():
            self._heard_s[server] = asyncio.get_running_loop().time()
            future.set_result(answer)
