"""The bookkeeping of a story: rows of the table, histories, candidates, classifications."""

from __future__ import annotations

import msgspec

from fivefold.play.frames import Frames
from fivefold.play.names import arguments_of, call_text, entries_of
from fivefold.play.reasons import rule_of, sentence
from fivefold.play.recording import Recording
from fivefold.play.story import NOBODY, Change, Counted, Made, Row, Shown, Why
from fivefold.play.words import result_of
from fivefold.protocol.history import INITIAL_TIMESTAMP, client_of
from fivefold.protocol.records import Candidate, LogicalTimestamp, ObjectHistories
from fivefold.simulation import Accepted, Called, Classified, Culled, Ended, Kept, Sent, Voted

_REPLACE = msgspec.structs.replace


class Ledger:
    """What a story has so far.

    Attributes:
        rows: requests, in the order in which they were first sent.
        changes: of servers' histories.
    """

    def __init__(self, recording: Recording, frames: Frames) -> None:
        """Note what servers have before the recording begins."""
        self._frames, self._recording, self._n = frames, recording, recording.quorums.n
        self.rows: list[Row] = []
        self.changes: list[Change] = []
        self._histories: dict[str, int] = {"0": 0}
        self._rows: dict[tuple[int, bytes], int] = {}
        self._row_of_frame: dict[int, int] = {}
        self._latest_row: dict[int, int] = {}
        self._whys: dict[Why, int] = {}
        self._why_of_row: dict[int, int] = {}
        self._why_at: dict[tuple[int, int], int] = {}
        self._culls: dict[tuple[int, int], Culled] = {}
        self._values: dict[tuple[str, bytes], str] = {}
        self._kinds: dict[bytes, str] = {}
        self._made: dict[tuple[str, bytes], Made] = {}
        self._derived: dict[tuple[int, bytes], int] = {}
        self._claims: dict[tuple[int, str], bytes] = {}
        self._calls: dict[tuple[int, int], tuple[str, tuple[str, ...]]] = {}
        self._under_way: dict[int, set[int]] = {}
        for each in recording.earlier:
            if isinstance(each.event, Classified):
                self._note_worth(each.event)
        for kept in recording.before:
            self.kept(0, kept)
        for name in frames.objects:
            self._make(name, INITIAL_TIMESTAMP, INITIAL_TIMESTAMP)

    # --- the table --------------------------------------------------------------------------------------------

    def row_label(self, frame: int) -> str:
        """What a request is called in a sentence."""
        thing = self._frames.asked(frame).thing
        return f"a {thing}" if thing.startswith(("repair", "request ")) else thing

    def open_row(self, step: int, sent: Sent) -> int:
        """The row of a request that is sent: a new one, unless it was sent to another server before."""
        key = (sent.sender, self._frames.body(sent.frame))
        row = self._rows.get(key)
        if row is None:
            asked = self._frames.asked(sent.frame)
            row = self._rows[key] = len(self.rows)
            lane = self._frames.lanes[sent.sender]
            name = self._recording.clients[sent.sender - self._n][0]
            objects = tuple(self._frames.objects[each] for each in asked.objects if each in self._frames.objects)
            kind = "-" if self._frames.is_announcement(sent.frame) else ""
            self.rows.append(Row(f"{name} {asked.label}", kind, lane, step, step, objects, (), "", NOBODY))
            self._latest_row[sent.sender] = row
        self._row_of_frame[sent.frame] = row
        return row

    def row_of(self, frame: int) -> int:
        """The row of a request's frame."""
        return self._row_of_frame.get(frame, NOBODY)

    def arrived(self, step: int, frame: int) -> int:
        """A request reaches a server; the row."""
        row = self.row_of(frame)
        if row != NOBODY:
            self.rows[row] = _REPLACE(self.rows[row], last=step)
        return row

    def voted(self, step: int, vote: Voted) -> int:
        """A server answers a request; the row."""
        row = self.row_of(vote.request)
        if row != NOBODY and vote.status in ("accepted", "answered"):
            self._take(row, vote.server, step)
        if vote.server in self._recording.liars:
            for name, history in zip(self._frames.asked(vote.request).objects, vote.histories, strict=False):
                if self._claims.get((vote.server, name)) != history:
                    self._claims[vote.server, name] = history
                    self._change(step, vote.server, name, history, is_claim=True)
        return row

    def _take(self, row: int, server: int, step: int) -> None:
        accepted = self.rows[row].accepted
        if all(each != server for each, _ in accepted):
            self.rows[row] = _REPLACE(self.rows[row], accepted=(*accepted, (server, step)))

    # --- calls ------------------------------------------------------------------------------------------------

    def called(self, event: Called) -> str:
        """A client makes a call; what to name it."""
        label = call_text(event.method, arguments_of(event.arguments))
        self._calls[event.client, event.number] = (label, event.objects)
        self._under_way.setdefault(event.client, set()).add(event.number)
        return label

    def call_label(self, client: int, number: int) -> str:
        """A call's name."""
        return self._calls.get((client, number), ("call", ()))[0]

    def is_at_work(self, client: int) -> bool:
        """Whether a client has calls under way."""
        return bool(self._under_way.get(client))

    def ended(self, step: int, event: Ended) -> str:
        """A call is over: its last row says so; its name."""
        self._under_way.get(event.client, set()).discard(event.number)
        row = self._latest_row.get(self._n + event.client, NOBODY)
        label, objects = self._calls.get((event.client, event.number), ("call", ()))
        wanted = {self._frames.objects[name] for name in objects if name in self._frames.objects}
        lane = self._frames.lanes.get(self._n + event.client)
        while row >= 0 and not (self.rows[row].lane == lane and (not wanted or wanted & set(self.rows[row].objects))):
            row -= 1
        if row >= 0:
            self.rows[row] = _REPLACE(self.rows[row], result=result_of(event), ended=step)
        return label

    # --- classifications --------------------------------------------------------------------------------------

    def culled(self, event: Culled) -> None:
        """A server leaves histories out: its classification, which follows, shows that."""
        self._culls[event.server, event.frame] = event

    def classified(self, event: Classified) -> int:
        """A classification; its index."""
        names, objects = self._frames.names, self._frames.objects
        cull = self._culls.pop((event.machine, event.frame), None)
        pairs = tuple(zip(cull.culled, cull.because, strict=True)) if cull is not None else ()
        candidate = names.of(event.target, event.timestamp) if event.timestamp else ""
        why = Why(
            lane=self._frames.lanes.get(event.machine, NOBODY),
            kind=event.kind,
            target=objects.get(event.target, 0),
            text=sentence(event, names, self._recording.quorums),
            rule=rule_of(event),
            sets=tuple(self._shown(each) for each in event.sets),
            counts=tuple(
                Counted(objects[each.object_id], names.of(each.object_id, each.timestamp), each.order)
                for each in event.counts
            ),
            candidate=candidate,
            culled=pairs,
        )
        index = self._whys.setdefault(why, len(self._whys))
        self._note_worth(event)
        row = self.row_of(event.frame)
        if event.machine < self._n:
            self._why_at[event.machine, row] = index
            if event.timestamp:
                self._derived[event.machine, event.timestamp] = row
        elif row != NOBODY:
            self._why_of_row.setdefault(row, index)
        return index

    def classify_row(self, event: Classified) -> int:
        """What a client makes of its request stands in its row; the row, if that is new."""
        row = self.row_of(event.frame)
        if row == NOBODY or self.rows[row].kind:
            return NOBODY
        self.rows[row] = _REPLACE(self.rows[row], kind=event.kind or "-")
        return row

    def why_of_row(self, row: int) -> int:
        """What the client made of a row's request."""
        return self._why_of_row.get(row, NOBODY)

    def why_at(self, server: int, row: int) -> int:
        """What a server made of a row's request."""
        return self._why_at.get((server, row), NOBODY)

    def _shown(self, histories: ObjectHistories) -> Shown:
        name = histories.object_id
        indices = tuple(self._history(name, histories.of(server)) for server in range(self._n))
        return Shown(self._frames.objects[name], indices)

    # --- histories and candidates -----------------------------------------------------------------------------

    def kept(self, step: int, event: Kept) -> None:
        """A server's history has changed."""
        self._change(step, event.server, event.object_id, event.history, is_claim=False)
        for entry in entries_of(event.object_id, event.history) or ():
            candidate = entry.candidate
            conditioned_on = next(
                (part.conditioned_on for part in candidate.parts if part.object_id == event.object_id),
                INITIAL_TIMESTAMP,
            )
            self._make(event.object_id, candidate.timestamp, conditioned_on)

    def accepted(self, step: int, event: Accepted) -> tuple[Made, int]:
        """What a server has accepted, and the row of the request that it was asked by."""
        row = self._derived.get((event.server, event.timestamp), NOBODY)
        if row != NOBODY:
            self.rows[row] = _REPLACE(self.rows[row], last=max(step, self.rows[row].last))
            self._take(row, event.server, step)
        made = [self._make(part.object_id, event.timestamp, part.conditioned_on) for part in event.parts]
        return made[-1], row

    def _change(self, step: int, server: int, name: str, history: bytes, *, is_claim: bool) -> None:
        index = self._history(name, history)
        self.changes.append(Change(step, server, self._frames.objects[name], index, is_claim))

    def _history(self, name: str, history: bytes) -> int:
        return self._histories.setdefault(self._frames.names.history(name, history), len(self._histories))

    def _note_worth(self, event: Classified) -> None:
        """What the version that a server derives is worth: by its call, or by what it copies."""
        value_of = self._recording.value_of
        if value_of is None or not event.timestamp:
            return
        calls = self._frames.asked(event.frame).calls
        for part in event.parts:
            key = (part.object_id, event.timestamp)
            if event.kind == "METHOD" and calls:
                self._values[key] = value_of(calls[-1][0], calls[-1][1] or {})
            elif event.kind == "COPY":
                self._values[key] = self._worth(part.object_id, part.conditioned_on)

    def _worth(self, name: str, timestamp: bytes) -> str:
        value_of = self._recording.value_of
        if value_of is not None and timestamp == INITIAL_TIMESTAMP:
            return value_of("", {})
        return self._values.get((name, timestamp), "")

    def _make(self, name: str, timestamp: bytes, conditioned_on: bytes) -> Made:
        made = self._made.get((name, timestamp))
        if made is None:
            names, candidate = self._frames.names, Candidate(LogicalTimestamp(timestamp), ())
            kind = "barrier" if candidate.is_barrier else "method" if candidate.is_method else "copy"
            if timestamp == INITIAL_TIMESTAMP:
                kind = "initial"
            client = "" if kind == "initial" else self._frames.client_name(client_of(candidate.timestamp))
            made = self._made[name, timestamp] = Made(
                self._frames.objects[name],
                names.of(name, timestamp),
                kind,
                client,
                names.of(name, conditioned_on),
                "" if kind == "barrier" else self._worth(name, timestamp),
            )
        return made

    @property
    def histories(self) -> tuple[str, ...]:
        """All histories, as text."""
        return tuple(self._histories)

    @property
    def made(self) -> tuple[Made, ...]:
        """All candidates that benign servers ever had."""
        return tuple(self._made.values())

    @property
    def whys(self) -> tuple[Why, ...]:
        """All classifications."""
        return tuple(self._whys)
