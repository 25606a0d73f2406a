"""One step after the other: what is drawn, and the sentence that says it."""

from __future__ import annotations

from collections.abc import Sequence

from fivefold.play.frames import Frames
from fivefold.play.ledger import Ledger
from fivefold.play.letters import is_announcement, is_reply, is_request
from fivefold.play.recording import Recording
from fivefold.play.story import (
    ACCEPTS,
    ANNOUNCEMENT,
    ARRIVED,
    ENDS,
    FAILS,
    LATE,
    LOST,
    NOBODY,
    REFUSAL,
    REPAIRS,
    REPEATED,
    REPLY,
    REQUEST,
    SYNC,
    Arrow,
    Change,
    Made,
    Mark,
    Row,
    Span,
    Why,
)
from fivefold.play.words import ENDINGS, answers, joined, result_of, servers_text
from fivefold.protocol.records import Candidate, LogicalTimestamp
from fivefold.simulation import (
    Accepted,
    Began,
    Called,
    Classified,
    CommitFailed,
    Crashed,
    Culled,
    Delivered,
    Derived,
    Died,
    Disconnected,
    Ended,
    Event,
    Forgot,
    Happened,
    Healed,
    Judged,
    Kept,
    Late,
    Lied,
    Lost,
    Over,
    Plotted,
    Raised,
    Repaired,
    Reset,
    Resolving,
    Restarted,
    Sent,
    Violated,
    Voted,
)

_QUIET = ("crash", "death of client")
"""Faults that other events tell."""


_TAKEN = ("accepted", "answered", "pending", "settled")
"""What replies say that are no refusals."""


class Drawn:
    """What one step comes to while its events are gone through."""

    __slots__ = ("content", "flags", "lane", "row", "rule", "sends", "sentences", "why")

    def __init__(self) -> None:
        """Nothing yet."""
        self.lane, self.flags, self.why, self.row, self.content = NOBODY, 0, NOBODY, NOBODY, NOBODY
        self.sentences: list[str] = []
        self.sends: dict[str, list[int]] = {}
        self.rule = ""

    @property
    def text(self) -> str:
        """The sentences, one after the other."""
        return " ".join(self.sentences)


class Scene:
    """Follows a recording step by step.

    Attributes:
        arrows: messages so far, as are marks, spans, rows and changes.
    """

    def __init__(self, recording: Recording, frames: Frames) -> None:
        """Before the first step."""
        self._frames, self._recording, self._n = frames, recording, recording.quorums.n
        self._ledger = Ledger(recording, frames)
        self.arrows: list[Arrow] = []
        self.marks: list[Mark] = []
        self.spans: list[Span] = []
        self.changes: list[Change] = self._ledger.changes
        self._arrow_of: dict[int, int] = {}
        self._open: dict[tuple[int, str], int] = {}

    @property
    def rows(self) -> list[Row]:
        """The table."""
        return self._ledger.rows

    @property
    def histories(self) -> tuple[str, ...]:
        """All replica histories, as text."""
        return self._ledger.histories

    @property
    def made(self) -> tuple[Made, ...]:
        """All candidates."""
        return self._ledger.made

    @property
    def whys(self) -> tuple[Why, ...]:
        """All classifications."""
        return self._ledger.whys

    def play(self, step: int, group: Sequence[Happened]) -> Drawn:
        """Go through the events of a step."""
        drawn = Drawn()
        for each in group:
            self._one(step, drawn, each.event)
        self._say_sends(drawn)
        if not drawn.sentences:
            drawn.sentences.append(self._quiet(group[-1].event))
        return drawn

    def _quiet(self, event: Event | Derived) -> str:
        """What to say of a step in which nothing else is worth a word."""
        match event:
            case Kept(server=server, object_id=name):
                return f"{self._who(server)} writes down what it knows of {name} now."
            case Sent() | Late():
                return "A message was on its way when this recording begins."
            case _:
                return "Something from before this recording arrives."

    def finish(self, steps: int) -> None:
        """Close what is still open."""
        for (lane, what), first in self._open.items():
            self.spans.append(Span(first, max(first, steps - 1), lane, what))
        self._open = {}

    def _one(self, step: int, drawn: Drawn, event: Event | Derived) -> None:
        match event:
            case Sent() | Late() | Lost() | Delivered() | Reset():
                self._message(step, drawn, event)
            case Classified() | Culled() | Voted() | Repaired() | Judged():
                self._meaning(step, drawn, event)
            case Accepted() | Kept():
                self._kept(step, drawn, event)
            case Called() | Resolving() | Ended() | Died() | Disconnected():
                self._client(step, drawn, event)
            case _:
                self._trouble(step, drawn, event)

    # --- messages ---------------------------------------------------------------------------------------------

    def _message(self, step: int, drawn: Drawn, event: Sent | Late | Lost | Delivered | Reset) -> None:
        frame = event.frame
        if isinstance(event, Sent):
            self._sent(step, drawn, event)
            return
        arrow = self._arrow_of.get(frame)
        if frame not in self._frames.sent or arrow is None:  # sent before the recording begins
            return
        sent, old = self._frames.sent[frame], self.arrows[arrow]
        match event:
            case Late():
                fate = old.fate if old.fate == REPEATED else LATE
                self.arrows[arrow] = Arrow(old.start, old.sender, old.end, old.receiver, old.what, fate, old.content)
            case Lost(why=why):
                end = step if why == "closed" else NOBODY
                self.arrows[arrow] = Arrow(old.start, old.sender, end, old.receiver, old.what, LOST, old.content)
                drawn.flags |= FAILS
                drawn.lane = self._frames.lanes.get(sent.sender, NOBODY)
                drawn.sentences.append(self._lost_text(sent, why))
            case Delivered():
                self.arrows[arrow] = Arrow(old.start, old.sender, step, old.receiver, old.what, old.fate, old.content)
                self._delivered(step, drawn, sent)
            case Reset():
                drawn.flags |= FAILS
                drawn.sentences.append(f"Then the connection to {self._who(sent.receiver)} breaks.")

    def _sent(self, step: int, drawn: Drawn, sent: Sent) -> None:
        lanes = self._frames.lanes
        if sent.sender not in lanes or sent.receiver not in lanes:
            return
        data = self._frames.sent[sent.frame].data
        what, label = SYNC, "a question for a version"
        if is_request(data) or is_announcement(data):
            what, label = REQUEST if is_request(data) else ANNOUNCEMENT, self._ledger.row_label(sent.frame)
            drawn.row = self._ledger.open_row(step, sent)
        elif is_reply(data):
            vote = self._frames.vote(sent.frame)
            what, label = (REPLY if vote is None or vote.status in _TAKEN else REFUSAL), ""
        elif data[:1] == b"\x04":
            label = "what it holds"
        fate = ARRIVED if sent.original is None else REPEATED
        self._arrow_of[sent.frame] = len(self.arrows)
        content = self._frames.content(sent.frame)
        arrow = Arrow(step, lanes[sent.sender], NOBODY, lanes[sent.receiver], what, fate, content)
        self.arrows.append(arrow)
        drawn.lane = lanes[sent.sender]
        drawn.content = content if drawn.content == NOBODY else drawn.content
        if sent.original is None:
            drawn.sends.setdefault(label, []).append(sent.receiver)

    def _delivered(self, step: int, drawn: Drawn, sent: Sent) -> None:
        drawn.lane = self._frames.lanes.get(sent.receiver, NOBODY)
        drawn.content = self._frames.content(sent.frame)
        again = "" if sent.original is None else " once more"
        who, sender = self._who(sent.receiver), self._who(sent.sender)
        if is_request(sent.data):
            drawn.row = self._ledger.arrived(step, sent.frame)
            drawn.sentences.append(f"{who} receives {sender}’s {self._frames.asked(sent.frame).thing}{again}.")
        elif is_announcement(sent.data):
            drawn.row, drawn.rule = self._ledger.arrived(step, sent.frame), "helping"
            drawn.sentences.append(f"{who} hears that {sender} {self._frames.asked(sent.frame).label}{again}.")
        elif is_reply(sent.data):
            vote = self._frames.vote(sent.frame)
            drawn.row = self._ledger.row_of(vote.request) if vote is not None else NOBODY
            drawn.why = self._ledger.why_of_row(drawn.row)
            is_pushed = vote is not None and vote.status == "accepted" and self._frames.is_announcement(vote.request)
            what = "its announced call was carried, and is on disk" if is_pushed else answers(vote)
            drawn.sentences.append(f"{who} hears from {sender}{again}: {what}.")
        elif sent.data[:1] == b"\x03":
            drawn.rule = "sync"
            drawn.sentences.append(f"{who} is asked for a version by {sender}{again}.")
        else:
            drawn.rule = "sync"
            drawn.sentences.append(f"{who} gets an answer from {sender}{again}.")

    def _lost_text(self, sent: Sent, why: str) -> str:
        reasons = {
            "lost": "it is lost on the way",
            "partitioned": "they cannot reach each other",
            "closed": "its connection was closed before it arrived",
        }
        way = f"from {self._who(sent.sender)} to {self._who(sent.receiver)}"
        return f"A message {way} never arrives: {reasons.get(why, why)}."

    def _say_sends(self, drawn: Drawn) -> None:
        who = "" if drawn.lane == NOBODY else self._name(drawn.lane)
        for label, receivers in drawn.sends.items():
            if label.startswith(("announces ", "withdraws ")):
                drawn.sentences.append(f"{'It' if drawn.sentences else who} {label} to {self._all(receivers)}.")
            elif label:
                verb = "It sends" if drawn.sentences else f"{who} sends"
                drawn.sentences.append(f"{verb} {label} to {self._all(receivers)}.")
            elif not drawn.sentences:
                drawn.sentences.append(f"{who} answers {self._all(receivers)}.")

    # --- meanings ---------------------------------------------------------------------------------------------

    def _meaning(self, step: int, drawn: Drawn, event: Classified | Culled | Voted | Repaired | Judged) -> None:
        match event:
            case Classified():
                self._classified(step, drawn, event)
            case Culled(server=server, culled=culled, because=because):
                drawn.flags |= FAILS
                drawn.rule = "server"
                self._ledger.culled(event)
                self.marks.append(Mark(step, self._lane(server), "cull", servers_text(culled)))
                drawn.sentences.append(f"It leaves out what {servers_text(culled)} showed: {because[0]}.")
            case Voted():
                self._voted(step, drawn, event)
            case Repaired(kind=kind):
                drawn.flags |= REPAIRS if kind != "METHOD" else 0
            case Judged():
                self._judged(step, drawn, event)

    def _classified(self, step: int, drawn: Drawn, event: Classified) -> None:
        drawn.why = self._ledger.classified(event)
        if event.machine >= self._n:
            row = self._ledger.classify_row(event)
            if row == NOBODY:
                return
            drawn.lane, drawn.row = self._frames.lanes.get(event.machine, NOBODY), row
            is_repair = self.rows[row].label.endswith("repair")
            drawn.flags |= REPAIRS if is_repair else 0
            label = event.kind if is_repair else self._frames.asked(event.frame).label.replace(", carrying ", " + ")
            self.marks.append(Mark(step, drawn.lane, "repair" if is_repair else "call", label or "repair"))

    def _voted(self, step: int, drawn: Drawn, event: Voted) -> None:
        drawn.lane = self._lane(event.server)
        drawn.row = self._ledger.voted(step, event)
        why = self._ledger.why_at(event.server, drawn.row)
        drawn.why = why if drawn.why == NOBODY else drawn.why
        who = "It" if drawn.sentences else self._who(event.server)
        said = {
            "accepted": "says that it accepted",
            "answered": "answers",
            "refused": f"refuses: {event.why}",
            "pending": "keeps the call for others to carry",
        }
        if self._frames.is_announcement(event.request) and event.status == "accepted":
            drawn.sentences.append(f"{who} tells {self._owner(event.request)} that its call was carried.")
        elif event.status != "accepted" or not drawn.flags & ACCEPTS:
            drawn.sentences.append(f"{who} {said.get(event.status, f'answers: {event.status}')}.")
        if event.status == "refused":
            drawn.rule = "server"
            self.marks.append(Mark(step, drawn.lane, "refuse", ""))

    def _judged(self, step: int, drawn: Drawn, event: Judged) -> None:
        drawn.lane = self._lane(self._n + event.client)
        server = f"s{event.server}"
        if event.is_excluded:
            by = servers_text(event.culled_by)
            text = f"{by} found {server}’s MACs wrong: more than b can lie. {server} is proven to lie, and left out."
            self.marks.append(Mark(step, drawn.lane, "exclude", server))
        elif event.culled_by:
            text = f"{servers_text(event.culled_by)} found {server}’s MACs wrong."
        else:
            what = joined([f"{kind} ({count})" for kind, count in event.strikes.items()])
            asked = f" {server} is asked last from now on." if event.is_suspected else ""
            text = f"{self._name(drawn.lane)} notes against {server}: {what}.{asked}"
        drawn.flags |= FAILS
        drawn.rule = "client"
        drawn.sentences.append(text)

    # --- servers' disks ---------------------------------------------------------------------------------------

    def _kept(self, step: int, drawn: Drawn, event: Accepted | Kept) -> None:
        drawn.lane = self._lane(event.server)
        if isinstance(event, Kept):
            self._ledger.kept(step, event)
            return
        drawn.flags |= ACCEPTS
        names = self._frames.names
        first = event.parts[0]
        name = names.of(first.object_id, event.timestamp)
        on = joined(sorted({f"⟨{names.of(part.object_id, part.conditioned_on)}⟩" for part in event.parts}))
        what, row = self._ledger.accepted(step, event)
        if drawn.row == NOBODY:
            drawn.row, drawn.why = row, self._ledger.why_at(event.server, row)
        value = f" = {what.value}" if what.value else ""
        objects = f" for {joined([part.object_id for part in event.parts])}" if len(event.parts) > 1 else ""
        kind = _mark_kind(event.timestamp)
        self.marks.append(Mark(step, drawn.lane, kind, name + (f" {what.value}" if what.value else "")))
        noun = {"accept": "", "copy": "the copy ", "barrier": "the barrier "}[kind]
        who = "It" if drawn.sentences else self._who(event.server)
        drawn.sentences.append(f"{who} accepts {noun}⟨{name}⟩{value} on {on}{objects}: it is on its disk.")

    # --- clients ----------------------------------------------------------------------------------------------

    def _client(self, step: int, drawn: Drawn, event: Called | Resolving | Ended | Died | Disconnected) -> None:
        lane = drawn.lane = self._lane(self._n + event.client)
        who = self._who(self._n + event.client)
        match event:
            case Called(objects=objects):
                label = self._ledger.called(event)
                drawn.sentences.append(f"{who} calls {label} on {joined(list(objects))}.")
                self._open.setdefault((lane, "at work"), step)
            case Resolving(number=number):
                drawn.sentences.append(f"{who} asks what became of {self._ledger.call_label(event.client, number)}.")
            case Ended(outcome=outcome, number=number):
                drawn.rule = drawn.rule or "client"
                drawn.flags |= ENDS | (0 if outcome == "ok" else FAILS)
                label = self._ledger.ended(step, event)
                ending, result = ENDINGS.get(outcome, outcome), result_of(event)
                drawn.sentences.append(f"{who}’s {label} {ending}{': ' if result else ''}{result}.")
                self.marks.append(Mark(step, lane, "end" if outcome == "ok" else "failed", label))
                if not self._ledger.is_at_work(event.client):
                    self._close(step, lane, "at work")
            case Died():
                drawn.flags |= FAILS
                drawn.sentences.append(f"{who} dies.")
                self.marks.append(Mark(step, lane, "death", "dies"))
                self._close(step, lane, "at work")
            case Disconnected(server=server):
                drawn.flags |= FAILS
                drawn.sentences.append(f"{who} has lost its connection to s{server}.")

    # --- trouble ----------------------------------------------------------------------------------------------

    def _trouble(self, step: int, drawn: Drawn, event: Event | Derived) -> None:
        drawn.flags |= FAILS
        match event:
            case Crashed(server=server):
                self._server(step, drawn, server, "crash", f"s{server} crashes.")
                self._open.setdefault((drawn.lane, "down"), step)
            case Restarted(server=server):
                self._server(step, drawn, server, "restart", f"s{server} starts again, with what is on its disk.")
                self._close(step, drawn.lane, "down")
                drawn.flags &= ~FAILS
            case Lied(server=server, lie="lying in sync"):  # to clients it tells the truth
                drawn.lane = self._lane(server)
                drawn.flags &= ~FAILS
            case Lied(server=server, lie=lie):
                self._server(step, drawn, server, "lie", f"s{server} lies: {lie}.", lie)
            case Forgot(server=server):
                self._server(step, drawn, server, "lie", f"s{server} forgets what it had stored.", "forgets")
            case CommitFailed(server=server):
                self._server(step, drawn, server, "fault", f"The disk of s{server} is full.", "full")
            case Raised(server=server, where=where):
                self._server(step, drawn, server, "fault", f"Our own code fails on s{server}, in {where}.", "raises")
            case Plotted(strategy=strategy):
                drawn.sentences.append(f"A malevolent client acts: {strategy}.")
            case Began() | Over():
                self._fault(step, drawn, event)
            case Healed():
                drawn.flags &= ~FAILS
                drawn.sentences.append("Everything that can heal has healed: from here on every call must end.")
                self.marks.append(Mark(step, NOBODY, "healed", "healed"))
            case Violated(text=text):
                drawn.sentences.append(f"Something that must never happen has happened: {text}.")
                self.marks.append(Mark(step, NOBODY, "violation", "violation"))
            case _:
                pass

    def _server(self, step: int, drawn: Drawn, server: int, what: str, text: str, label: str = "") -> None:
        drawn.lane = self._lane(server)
        drawn.sentences.append(text)
        self.marks.append(Mark(step, drawn.lane, what, label))

    def _fault(self, step: int, drawn: Drawn, event: Began | Over) -> None:
        fault = event.fault
        if isinstance(event, Over):
            drawn.flags &= ~FAILS
        of_clients = fault.kind == "camp"
        targets = fault.targets[1:] if of_clients else fault.targets
        whom = servers_text(targets)
        if fault.kind == "death of client":
            whom = joined([self._who(self._n + target) for target in fault.targets])
        elif of_clients:
            whom += f" from {self._who(self._n + fault.targets[0])}"
        verb = "begins" if isinstance(event, Began) else "is over"
        drawn.sentences.append(f"A fault {verb}: {fault.kind} of {whom}.")
        for target in () if fault.kind in _QUIET else targets:
            lane = self._lane(target)
            if isinstance(event, Began):
                self._open.setdefault((lane, fault.kind), step)
            else:
                self._close(step, lane, fault.kind)

    def _close(self, step: int, lane: int, what: str) -> None:
        first = self._open.pop((lane, what), None)
        if first is not None:
            self.spans.append(Span(first, step, lane, what))

    # --- names ------------------------------------------------------------------------------------------------

    def _owner(self, frame: int) -> str:
        sent = self._frames.sent.get(frame)
        return "its owner" if sent is None else self._who(sent.sender)

    def _lane(self, machine: int) -> int:
        return self._frames.lanes.get(machine, NOBODY)

    def _who(self, machine: int) -> str:
        return f"s{machine}" if machine < self._n else self._recording.clients[machine - self._n][0]

    def _name(self, lane: int) -> str:
        return next(self._who(machine) for machine, each in self._frames.lanes.items() if each == lane)

    def _all(self, machines: Sequence[int]) -> str:
        if all(machine < self._n for machine in machines):
            return servers_text(machines)
        return joined([self._who(machine) for machine in machines])


def _mark_kind(timestamp: bytes) -> str:
    candidate = Candidate(LogicalTimestamp(timestamp), ())
    if candidate.is_barrier:
        return "barrier"
    return "accept" if candidate.is_method else "copy"
