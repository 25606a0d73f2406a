"""Malevolent servers: hosts that lie in what they send, and twins (two servers with one identity)."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.announcements import Announcement, Help, decode_announcement, split_tail
from fivefold.protocol.editions import EditionName
from fivefold.protocol.messages import (
    ANNOUNCE,
    FAIL,
    HELD_REPLY,
    LACKING,
    LIST_REPLY,
    PENDING,
    REPLY,
    REQUEST,
    SUCCESS,
    WITHDRAW,
    decode_held_reply,
    decode_list_reply,
    decode_request,
    decode_sync,
    decode_vote,
    encode,
    held_reply_frame,
    list_reply_frame,
    split,
    sync_frame,
    sync_reply_frame,
)
from fivefold.protocol.operations import VALUE, Call, ClientId, ObjectId
from fivefold.protocol.records import (
    TIMESTAMP_BYTES,
    HeldReply,
    Listed,
    ListReply,
    LogicalTimestamp,
    SyncReply,
    SyncRequest,
)
from fivefold.simulation.cunning import CUNNING, REPENTING
from fivefold.simulation.events import Lied
from fivefold.simulation.lies import LIES, Draft, Liar, lie_in_sync
from fivefold.simulation.network import Connection, Deliver
from fivefold.simulation.rack import client_id
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.workload import encode_arguments

STRATEGIES: Final = (*LIES, "anything", "anything", "anything", "twins")
"""Names of strategies; *anything* changes its mind with every reply, and is met most often."""

CUNNING_STRATEGIES: Final = (*CUNNING, "promising", "denouncing", "forgetting", "anything", "twins")
"""Those of the modes that attack."""

HONEST: Final = "honest"
"""The strategy of one that has not begun yet, or has stopped."""

FLOOD_SYNCS: Final = 4500
"""Questions of one flood: more than a server parks."""

REMEMBERED_REQUESTS: Final = 256

MISLEADING: Final = "misleading"
"""The strategy of one that lies about announced calls: lists, pushes, what it lacks, what it forgets."""


class LyingHost(ServerHost):
    """A server that lies in its replies.

    Attributes:
        liar: what its lies are made from.
        strategy: name of what it does.
    """

    liar: Liar
    strategy: str
    _asked: dict[tuple[Channel, int], tuple[list[ObjectId], int]]

    def become(self, liar: Liar, strategy: str) -> None:
        """Begin to lie; to be called before anything arrives."""
        self.liar, self.strategy = liar, strategy
        self._asked = {}

    def _receive(self, connection: Connection, frame: bytes) -> None:
        self._note_names(connection, frame)
        super()._receive(connection, frame)

    def _note_names(self, connection: Connection, frame: bytes) -> None:
        """Replies do not name their objects: remember what was asked."""
        try:
            if frame and frame[0] in (ANNOUNCE, WITHDRAW):
                number, _, operation = decode_announcement(frame)
                names = list(operation.objects)
            else:
                number, body, _ = split(frame, REQUEST)
                names = [each.object_id for each in decode_request(body, self.liar.n).sets]
        except PeerViolation:
            return
        # The machine works on a number once: what comes later under the same number is not answered.
        self._asked.setdefault((connection.channel, number), (names, connection.caller))
        if len(self._asked) > REMEMBERED_REQUESTS:
            del self._asked[next(iter(self._asked))]

    def announces(self) -> EditionName:
        """An older edition than it uses, or one that nobody has made, now and then."""
        true, book = super().announces(), self.book
        if book.newest == 1 or self.strategy == HONEST or self.liar.random.random() < 0.6:
            return true
        name = self.liar.random.choice((book.edition(1).name, book.edition(book.newest).name, book.invent()))
        if name != true:
            self.world.tell(Lied(self.index, "lying about editions"))
        return name

    def hands_over(self, name: EditionName) -> bytes | None:
        """Whatever fits, invented or not, or nothing that fits, or no answer."""
        if self.strategy == HONEST:
            return super().hands_over(name)
        return self.liar.random.choice((self.book.contents(name), self.book.contents(name), b"damaged", None))

    def send(self, reply: Reply) -> None:
        """Send something else, or nothing."""
        frame = reply.frame if self.strategy == HONEST else self._altered(reply)
        if frame is not None:
            super().send(Reply(reply.channel, frame))

    def _altered(self, reply: Reply) -> bytes | None:
        if reply.frame[0] == LIST_REPLY:
            return self._altered_list(reply.frame)
        if reply.frame[0] == HELD_REPLY:
            return self._altered_held(reply.frame)
        if reply.frame[0] != REPLY:
            answer = decode_sync(reply.frame)
            if self.strategy not in ("lying in sync", "anything") or not isinstance(answer, SyncReply):
                return reply.frame
            lie = lie_in_sync(self.liar, answer)
            return None if lie is None else sync_reply_frame(lie)
        number, body, tail = split(reply.frame, REPLY)
        names, caller = self._asked.get((reply.channel, number), ([], 0))
        vote = decode_vote(body)
        self._remember(names, vote.histories)
        draft = Draft(names, caller, number, vote)
        strategy = self.strategy
        if strategy == MISLEADING:
            self.world.tell(Lied(self.index, strategy))
            found = misled(self.liar, draft, split_tail(tail, vote, self.liar.n, {})[1])
            return None if draft.is_dropped else draft.frame(self.keys) + found
        if strategy in CUNNING:
            self.world.tell(Lied(self.index, strategy))
            CUNNING[strategy](self.liar, draft)
            return None if draft.is_dropped else draft.frame(self.keys)
        if strategy == "anything":
            strategy = self.liar.random.choice(tuple(LIES))
        # A liar that always lies is found out: most of them tell the truth now and then.
        if strategy in LIES and self.liar.random.random() < 0.8:
            self.world.tell(Lied(self.index, strategy))
            LIES[strategy](self.liar, draft)
        return None if draft.is_dropped else draft.frame(self.keys)

    def _altered_list(self, frame: bytes) -> bytes | None:
        """A list without some objects, with older histories, with inventions, or none."""
        if self.strategy == HONEST or self.liar.random.random() < 0.3:
            return frame
        random, reply = self.liar.random, decode_list_reply(frame)
        self.world.tell(Lied(self.index, "lying in a list"))
        if random.random() < 0.2:
            return None
        entries: list[Listed] = []
        for entry in reply.entries:
            past = self.liar.past.get(entry.object_id)
            if random.random() < 0.3:
                continue
            older = past is not None and entry.is_held and random.random() < 0.5
            entries.append(replace(entry, history=random.choice(past)) if past and older else entry)
            if random.random() < 0.3:
                entries.append(Listed(ObjectId(f"{entry.object_id}!"), b"", b"", True))
        return list_reply_frame(ListReply(reply.number, tuple(entries), reply.is_last, ""))

    def _altered_held(self, frame: bytes) -> bytes | None:
        """It holds everything, or nothing, or says nothing."""
        random, reply = self.liar.random, decode_held_reply(frame)
        self.world.tell(Lied(self.index, "lying about what it holds"))
        said = random.choice((1, 1, 1, 0, None))
        return None if said is None else held_reply_frame(HeldReply(reply.number, bytes((said,)) * len(reply.held)))

    def repent(self) -> bool:
        """Turn honest, if it is one that does; whether it is one."""
        is_repenting = self.strategy in REPENTING
        if is_repenting:
            self.strategy = HONEST
        return is_repenting

    def flood(self) -> None:
        """Ask every other server for versions of objects that nobody has ever written."""
        self.world.tell(Lied(self.index, "flooding"))
        for number in range(FLOOD_SYNCS):
            name = ObjectId(f"Counter/flood-{self.index}-{number}")
            frame = sync_frame(SyncRequest(number, name, LogicalTimestamp(bytes([1]) * TIMESTAMP_BYTES), True))
            for server in range(self.liar.n):
                if server != self.index:
                    self._call(server, frame)

    def _remember(self, names: list[ObjectId], histories: tuple[bytes, ...]) -> None:
        for name, history in zip(names, histories, strict=False):
            past = self.liar.past.setdefault(name, [])
            if not past or past[-1] != history:
                past.append(history)


def misled(liar: Liar, draft: Draft, found: Help) -> bytes:
    """What it says beside its vote, and the vote changed accordingly."""
    random, listed = liar.random, list(found.listed)
    lacking = found.lacking
    choice = random.randrange(8)
    if choice == 0:
        listed = []
    elif choice == 1:
        listed = [_invented(liar) for _ in range(random.randint(1, 4))] + listed
    elif choice == 2 and draft.status in (SUCCESS, PENDING):
        draft.status, draft.candidate, draft.version_digest = LACKING, b"", b""
        lacking = (client_id(random.choice(("c0", "c1", "v0"))),)
    elif choice == 3 and draft.status in (PENDING, FAIL, SUCCESS) and draft.names:
        known = [each.timestamp for each in liar.candidates(draft.names[0])]
        if known:
            draft.status, draft.candidate = SUCCESS, random.choice(known[-4:])
            draft.answers = (VALUE + b"\x07",) * max(1, len(draft.answers))
            draft.version_digest = bytes(32)
    elif choice == 4 and draft.status in (FAIL, PENDING):
        draft.status = random.choice((FAIL, PENDING))
    elif choice == 5 and listed:
        random.shuffle(listed)
    return encode(Help(tuple(listed), lacking)) if listed or lacking else b""


def _invented(liar: Liar) -> Announcement:
    random = liar.random
    call = Call(random.randbytes(16), random.randint(0, 9), "increment", encode_arguments({"by": 5}))
    return Announcement(client_id(random.choice(("c0", "c1", "c2", "nobody"))), b"", (call,))


class TwinHost(ServerHost):
    """The first twin, which hands every other caller over to the second.

    Attributes:
        other: the second twin.
    """

    other: ServerHost

    def accept(self, caller: int, client: ClientId | None, on_reply: Deliver) -> Connection:
        """A connection to one of the two."""
        if caller % 2:
            return self.other.accept(caller, client, on_reply)
        return super().accept(caller, client, on_reply)

    def close(self, connection: Connection) -> None:
        """The connection is gone, whosever it was."""
        super().close(connection)
        self.other.close(connection)

    def crash(self) -> None:
        """Both stop."""
        super().crash()
        self.other.crash()

    def restart(self) -> None:
        """Both start again."""
        super().restart()
        self.other.restart()
