"""Invariants, checked after every step of a benign server and every end of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.protocol.actions import Write
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.history import INITIAL_TIMESTAMP, client_of, decode_history, history_digest, short
from fivefold.protocol.limits import FRAME_BYTES_MAX, HISTORY_BYTES_MAX, PENDING_REQUESTS_MAX
from fivefold.protocol.messages import REPLY, decode_vote, split
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, Entry, LogicalTimestamp, ReplicaHistory
from fivefold.protocol.server import OWN_RECORD, RING_NAME_BYTES, Server, kept_outcomes, read_rows, ring_key, rows_of
from fivefold.simulation.chains import Chains, Violation
from fivefold.simulation.disk import Disk
from fivefold.simulation.events import Accepted, Event, Kept
from fivefold.simulation.meanings import ObjectPart
from fivefold.simulation.replacement import Book
from fivefold.simulation.rights import Rights

CLIENT_BYTES = 16

_CHANGED_NOTHING = (REJECTED, FAILED, REFUSED)
"""What calls answer that are recorded and have changed nothing."""

REMEMBERED = 64
"""Signed histories remembered per server and object: what malevolent clients may replay."""


class Signature(NamedTuple):
    """With which keys an identity has signed a history, and for which slots it made no MACs then."""

    keys: AuthenticatorKeys
    untold: tuple[int, ...]

    def authenticator(self, object_id: ObjectId, history: bytes) -> bytes:
        """What it has signed."""
        macs = bytearray(self.keys.make(history_digest(object_id, history)))
        for slot in self.untold:
            macs[slot * MAC_BYTES : (slot + 1) * MAC_BYTES] = bytes(MAC_BYTES)
        return bytes(macs)


class Watch:
    """Knows everything: what every benign server has on its disk, who lies, what every client was told.

    Attributes:
        chains: established candidates.
        signed: for each (server, object), its durable histories, the latest last: what it may have signed.
        signatures: where servers are replaced, how each history was signed, by slot.
        identities: of each slot in which one was replaced, the numbers of all.
        names: what to call a client, by its id.
        rights: what malevolent clients may do.
        is_noisy: whether servers compute different results.
        history_bytes_max: of one history.
        issued: the ring keys of all updates that correct clients have made.
        later: the watch of the cluster that takes this one's place; None if none does.
    """

    def __init__(
        self, quorums: QuorumSystem, liars: int, tell: Callable[[Event], None], book: Book | None = None
    ) -> None:
        """Nothing has happened; what happens is told."""
        self.chains = Chains(quorums, liars, book)
        self.signed: dict[tuple[int, ObjectId], deque[bytes]] = {}
        self.names: dict[ClientId, str] = {}
        self.rights: Rights = {}
        self.is_noisy = False
        self.history_bytes_max = HISTORY_BYTES_MAX
        self.signatures: dict[tuple[int, ObjectId, bytes], list[Signature]] = {}
        self.identities: dict[int, list[int]] = {}
        self._tell = tell
        self._shown: set[tuple[int, bytes]] = set()
        self._versions: dict[tuple[ObjectId, bytes], bytes] = {}
        self._ended: list[tuple[ClientId, bytes, Observation]] = []
        self.issued: set[bytes] = set()
        self.later: Watch | None = None
        self._made_by: dict[tuple[ObjectId, bytes], list[LogicalTimestamp]] = {}

    # --- what a disk has committed ----------------------------------------------------------------------------

    def committed(self, server: int, disk: Disk, writes: Sequence[Write], edition: int = 1) -> None:
        """A benign server's transaction is durable.

        Raises:
            Violation: an invariant does not hold.
        """
        writes = [write for write in writes if write.object_id != OWN_RECORD]
        for write in writes:
            object_id = ObjectId(write.object_id)
            for key, data in write.put:
                if len(key) != RING_NAME_BYTES:
                    self._note_version(object_id, LogicalTimestamp(key), data)
        self.note_histories(server, writes, edition)
        # One transaction can write an object several times: what the disk keeps now is due to the last of the writes.
        for name, data in {write.object_id: write.history for write in writes}.items():
            object_id = ObjectId(name)
            history = decode_history(object_id, data)
            rows = disk.records[name][1]
            versions = read_rows(rows.items())
            if len(data) > self.history_bytes_max:
                raise Violation("bounds", f"server {server}'s history of {object_id} has {len(data)} bytes")
            if len(versions) > len(history):
                held = f"{len(versions)} versions and {len(history)} candidates"
                raise Violation("bounds", f"server {server} keeps {held} of {object_id}")
            if len(rows) != len(rows_of(versions)):
                raise Violation("rings", f"server {server} keeps other rings of {object_id} than its versions have")
            missing = _first_missing(history, versions)
            if missing is not None:
                raise Violation(
                    "no version", f"server {server} accepted {short(missing)} of {object_id} and has no version for it"
                )

    def sign(self, slot: int, number: int, writes: Sequence[Write], signature: Signature) -> None:
        """An identity in a slot has these histories on its disk, and signs them so."""
        known = self.identities.setdefault(slot, [])
        if number not in known:
            known.append(number)
        for write in writes:
            self.signatures.setdefault((slot, ObjectId(write.object_id), write.history), []).append(signature)

    def note_histories(self, server: int, writes: Sequence[Write], edition: int = 1) -> None:
        """A benign server has these histories on its disk: tell what it has accepted.

        Raises:
            Violation: an established candidate is lost, or half of one.
        """
        gained: dict[LogicalTimestamp, list[tuple[ObjectId, Candidate]]] = {}
        for write in writes:
            object_id = ObjectId(write.object_id)
            past = self.signed.setdefault((server, object_id), deque([INITIAL_HISTORY], maxlen=REMEMBERED))
            before, after = decode_history(object_id, past[-1]), decode_history(object_id, write.history)
            past.append(write.history)
            self._shown.add((server, write.history))
            for entry in _appended(before, after, server):
                gained.setdefault(entry.candidate.timestamp, []).append((object_id, entry.candidate))
            self._tell(Kept(server, write.object_id, write.history))
        for timestamp, taken in gained.items():
            parts = tuple(_part(object_id, candidate) for object_id, candidate in taken)
            self._tell(Accepted(server, timestamp, parts, self.names.get(client_of(timestamp), "a liar")))
            for object_id, candidate in taken:
                self._check_right(object_id, candidate)
                self.chains.accept(server, object_id, candidate, edition)

    def _check_right(self, object_id: ObjectId, candidate: Candidate) -> None:
        client = client_of(candidate.timestamp)
        right = self.rights.get(client)
        if right is not None and not right.covers(candidate, object_id):
            who = self.names[client]
            raise Violation("rights", f"{who} has {short(candidate.timestamp)} on {object_id} without a right")

    def _note_version(self, object_id: ObjectId, timestamp: LogicalTimestamp, data: bytes) -> None:
        known = self._versions.get((object_id, timestamp))
        if known is None:
            self._versions[object_id, timestamp] = data
            for outcome in kept_outcomes(data):
                if outcome.key[:CLIENT_BYTES] in self.names and outcome.key not in self.issued:
                    self._check_issued(object_id, timestamp, outcome.key)
                if outcome.answer[:1] not in _CHANGED_NOTHING:
                    self._made_by.setdefault((object_id, outcome.key), []).append(timestamp)
        elif known != data and not self.is_noisy:
            raise Violation("two versions", f"{short(timestamp)} of {object_id} names two versions")

    def _check_issued(self, object_id: ObjectId, timestamp: LogicalTimestamp, key: bytes) -> None:
        """Nobody can have a call recorded that another client has not made (H3)."""
        who = self.names[ClientId(key[:CLIENT_BYTES])]
        if not who.startswith("villain"):
            raise Violation("forged", f"{short(timestamp)} of {object_id} records a call that {who} never made")

    def check_version(self, object_id: ObjectId, timestamp: LogicalTimestamp, data: bytes) -> None:
        """Somebody took this to be a version: it is the one that benign servers keep under its timestamp.

        Raises:
            Violation: it is another one.
        """
        if self._versions.get((object_id, timestamp)) != data:
            raise Violation("copied version", f"{short(timestamp)} of {object_id} is not what was copied for it")

    # --- what a server says -----------------------------------------------------------------------------------

    def replied(self, server: int, machine: Server, frame: bytes) -> None:
        """A benign server sends a frame: everything it promises must be durable.

        Raises:
            Violation: it shows a history that is not durable, or its queues are beyond their bounds.
        """
        if len(frame) > FRAME_BYTES_MAX or pending_of(machine) > PENDING_REQUESTS_MAX:
            raise Violation(
                "bounds",
                f"server {server} is beyond its bounds: {len(frame)} bytes, {pending_of(machine)} requests",
            )
        if frame[0] != REPLY:
            return
        for history in decode_vote(split(frame, REPLY)[1]).histories:
            if history and (server, history) not in self._shown:
                raise Violation("not durable", f"server {server} shows a history that is not durable")

    # --- what a client was told -------------------------------------------------------------------------------

    def ended(self, client: ClientId, call_id: bytes, seen: Observation, *, is_query: bool) -> None:
        """A call has ended with what ``seen`` says.

        Raises:
            Violation: an update that completed is not established, or one that did not is, or one was applied twice.
        """
        if not is_query and seen.outcome is not Seen.UNKNOWN:
            self._ended.append((client, call_id, seen))
            self._look_up(client, call_id, seen)

    def closed(self) -> None:
        """The run is over: what every client was told must still be so.

        Raises:
            Violation: a call that was said to have failed, or to be cancelled, was applied after all.
        """
        for client, call_id, seen in self._ended:
            self._look_up(client, call_id, seen)

    def made_by(self, name: ObjectId, key: bytes) -> Sequence[LogicalTimestamp]:
        """The versions of an object that the call with this ring key has made on benign servers."""
        return self._made_by.get((name, key), ())

    def is_applied(self, key: bytes, seen: Observation) -> bool:
        """Whether the call with this ring key is part of the established history of its objects."""
        name = ObjectId(seen.objects[0])
        if self.later is not None and self.later.is_applied(key, seen):
            return True
        return any(made in self.chains.of(name).members for made in self._made_by.get((name, key), ()))

    def _established(self, name: ObjectId, key: bytes) -> set[LogicalTimestamp]:
        """The established versions that the call with this ring key has made; one that was moved is still one."""
        chain = self.chains.of(name)
        found = {
            timestamp
            for timestamp in self._made_by.get((name, key), ())
            if timestamp in chain.members and chain.candidates[timestamp].is_method
        }
        return found if self.later is None else found | self.later._established(name, key)

    def _look_up(self, client: ClientId, call_id: bytes, seen: Observation) -> None:
        key = ring_key(client, call_id)
        for name in map(ObjectId, seen.objects):
            made = self._established(name, key)
            if len(made) > 1:
                raise Violation("applied twice", f"{seen} was applied to {name} twice")
            # A cancellation is recorded under the key of what it cancels.
            if bool(made) != (seen.outcome in (Seen.OK, Seen.CANCELLED)):
                raise Violation(
                    "applied after all" if made else "lost",
                    f"{seen}: {'it changed' if made else 'it is not established on'} {name}",
                )


def _part(object_id: ObjectId, candidate: Candidate) -> ObjectPart:
    part = candidate.part(object_id)
    return ObjectPart(object_id, part.conditioned_on, part.base)


def pending_of(machine: Server) -> int:
    """Requests that a machine holds back or has parked."""
    return machine.pending_requests


def _appended(before: ReplicaHistory, after: ReplicaHistory, server: int) -> Sequence[Entry]:
    """What a history has gained; of the rest it lost its beginning, its barrier, or what the new one supersedes."""
    old = {entry.candidate: entry.is_settled for entry in before}
    kept = [entry for entry in after if entry.candidate in old]
    gained = after[len(kept) :]
    versions = [
        entry
        for entry in before
        if not (gained and entry.candidate.is_barrier)
        and not any(new.candidate.supersedes(entry.candidate) for new in gained)
    ]
    is_prefix_pruned = [entry.candidate for entry in kept] == [
        entry.candidate for entry in versions[len(versions) - len(kept) :]
    ]
    if not is_prefix_pruned or any(entry.candidate in old for entry in gained):
        raise Violation("history", f"server {server}'s history did not just grow or lose its beginning")
    if any(old[entry.candidate] and not entry.is_settled for entry in kept):
        raise Violation("flag", f"server {server} took back a settled flag")
    return gained


def _first_missing(history: ReplicaHistory, versions: Container[bytes]) -> LogicalTimestamp | None:
    """The first version of a history that the disk does not hold, if there is one."""
    for entry in history:
        timestamp = entry.candidate.timestamp
        if not entry.candidate.is_barrier and timestamp != INITIAL_TIMESTAMP and timestamp not in versions:
            return timestamp
    return None
