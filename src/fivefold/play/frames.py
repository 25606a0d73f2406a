"""What is known of a recording before it is told: all names, all frames, all requests."""

from __future__ import annotations

from typing import Final

from fivefold.play.letters import (
    Asked,
    announcement_text,
    body_of,
    is_announcement,
    is_reply,
    is_request,
    listed_in,
    listed_text,
    read_announcement,
    read_request,
    request_text,
    sync_text,
)
from fivefold.play.names import Names, entries_of
from fivefold.play.recording import Recording
from fivefold.protocol.operations import ClientId
from fivefold.simulation import Called, Classified, Died, Kept, Sent, Voted

CONTENT_CHARACTERS_MAX: Final = 4000
"""Of one message's text."""


class Frames:
    """The frames of a recording by number.

    Attributes:
        sent: each frame as it was sent; copies have the data of their original.
        names: of all candidates.
        objects: all object ids, in the order in which they appear.
        lanes: for each machine number that takes part, its lane.
    """

    def __init__(self, recording: Recording) -> None:
        """Read everything once."""
        self.sent: dict[int, Sent] = {}
        self.names = Names()
        self.objects: dict[str, int] = {}
        self._n = recording.quorums.n
        self._clients: dict[ClientId, str] = {client: name for name, client in recording.clients}
        self._asked: dict[bytes, Asked] = {}
        self._voted: dict[int, Voted] = {}
        self._texts: dict[str, int] = {}
        acting: set[int] = set()
        self._earlier = {each.event.frame: each.event for each in recording.earlier if isinstance(each.event, Sent)}
        for kept in recording.before:
            self._name(kept.object_id, kept.history)
        for each in recording.events:
            match each.event:
                case Sent() as sent:
                    acting.add(sent.sender)
                    self.sent[sent.frame] = self._whole(sent)
                case Called(client=client, objects=objects):
                    acting.add(self._n + client)
                    for name in objects:
                        self.objects.setdefault(name, len(self.objects))
                case Died(client=client):
                    acting.add(self._n + client)
                case Kept(object_id=name, history=history):
                    self._name(name, history)
                case Classified() as classified:
                    self._classified(classified)
                case Voted() as voted:
                    self._vote(voted)
                case _:
                    pass
        clients = [self._n + index for index in range(len(recording.clients)) if self._n + index in acting]
        self.lanes = {machine: lane for lane, machine in enumerate([*clients, *range(self._n)])}

    def _whole(self, sent: Sent) -> Sent:
        original = self.sent.get(sent.original) if sent.original is not None else None
        if original is None:
            return sent
        return Sent(sent.frame, sent.sender, sent.receiver, sent.channel, original.data, sent.original)

    def _name(self, object_id: str, history: bytes) -> None:
        self.objects.setdefault(object_id, len(self.objects))
        entries = entries_of(object_id, history) or ()
        self.names.add(object_id, [entry.candidate.timestamp for entry in entries])

    def _classified(self, classified: Classified) -> None:
        for histories in classified.sets:
            self.objects.setdefault(histories.object_id, len(self.objects))
        for count in classified.counts:
            self.names.add(count.object_id, [count.timestamp])
        for part in classified.parts:
            self.names.add(part.object_id, [part.conditioned_on])

    def _vote(self, voted: Voted) -> None:
        self._voted[voted.frame] = voted
        for name, history in zip(self.asked(voted.request).objects, voted.histories, strict=False):
            self._name(name, history)

    # --- questions --------------------------------------------------------------------------------------------

    def asked(self, frame: int) -> Asked:
        """What a request or an announcement asks for; nothing much if it was sent before the recording begins."""
        sent = self.sent.get(frame) or self._earlier.get(frame)
        data = sent.data if sent is not None else b""
        body = body_of(data)[1]
        found = self._asked.get(data[:1] + body)
        if found is None:
            is_wish = is_announcement(data)
            found = read_announcement(data) if is_wish else read_request(body, self._n, self._clients)
            self._asked[data[:1] + body] = found
        return found

    def is_announcement(self, frame: int) -> bool:
        """Whether a frame announces or withdraws calls."""
        sent = self.sent.get(frame) or self._earlier.get(frame)
        return sent is not None and is_announcement(sent.data)

    def body(self, frame: int) -> bytes:
        """A request's body: the same for all servers."""
        return body_of(self.sent[frame].data)[1]

    def vote(self, frame: int) -> Voted | None:
        """What a reply says; None if it answers nothing that is known."""
        sent = self.sent.get(frame)
        return self._voted.get(frame if sent is None or sent.original is None else sent.original)

    def client_name(self, client: ClientId) -> str:
        """A client's name; a liar can invent others."""
        return self._clients.get(client, "nobody")

    def content(self, frame: int) -> int:
        """The index of a message's text."""
        sent = self.sent[frame]
        if is_request(sent.data):
            text = request_text(self.asked(frame), self.names, self._n)
        elif is_announcement(sent.data):
            text = announcement_text(self.asked(frame))
        elif is_reply(sent.data):
            text = self._reply_text(frame)
        else:
            text = sync_text(sent.data, self.names)
        if len(text) > CONTENT_CHARACTERS_MAX:
            text = text[:CONTENT_CHARACTERS_MAX] + " …"
        return self._texts.setdefault(text, len(self._texts))

    def _reply_text(self, frame: int) -> str:
        voted = self.vote(frame)
        if voted is None:
            return "REPLY"
        lines = [f"REPLY  {voted.status}", *([f"because {voted.why}"] if voted.why else [])]
        for name, history in zip(self.asked(voted.request).objects, voted.histories, strict=False):
            lines.append(f"history of {name}  {{{self.names.history(name, history)}}}")
        listed = listed_in(self.sent[frame].data, self._n)
        return "\n".join([*lines, *[listed_text(each, self.client_name(each.owner)) for each in listed]])

    @property
    def contents(self) -> tuple[str, ...]:
        """The texts asked for so far."""
        return tuple(self._texts)
