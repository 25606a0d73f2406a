"""A rack that records: schedules delivered by hand become events, like those of a run in virtual time.

The servers are production machines. Only time is made up: every letter leaves when it was written, takes a while to
each server, and is late where it is delivered after others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fivefold.protocol.actions import Ask, Channel, Store
from fivefold.protocol.operations import ClientId, Executor
from fivefold.simulation.chains import Violation
from fivefold.simulation.events import Delivered, Event, Happened, Late, Sent, Violated
from fivefold.simulation.explain import Explainer
from fivefold.simulation.meanings import Classified
from fivefold.simulation.plan import MILLISECOND
from fivefold.simulation.rack import Rack, client_id
from fivefold.simulation.watch import Watch
from fivefold.simulation.world import World

WAY_NS: Final = MILLISECOND
"""From a machine to another one ..."""
STAGGER_NS: Final = 60_000
"""... and so much longer for each server."""
GAP_NS: Final = 150_000
"""Between two inputs of one server."""
PAUSE_NS: Final = MILLISECOND
"""After the last reply to a letter, before the next one is written."""


class RecordingRack(Rack):
    """A rack whose every delivery becomes events.

    Attributes:
        machines: for each client its number on the network, in the order of the names given.
        watch: judges what happens; a violation is recorded, and nothing stops.
    """

    def __init__(self, executor: Executor, *, n: int, t: int, b: int, clients: Sequence[str]) -> None:
        """All initial."""
        super().__init__(executor, n=n, t=t, b=b)
        self.machines = {client_id(name): n + index for index, name in enumerate(clients)}
        self._world = World(0, is_traced=True)
        self.watch = Watch(self.quorums, 0, self._world.tell)
        self.watch.names = {client_id(name): name for name in clients}
        ids = {machine: client for client, machine in self.machines.items()}
        Explainer(self._world, self.quorums, ids, executor)
        self._frames = 0
        self._busy_until_ns = [0] * n
        self._at_ns = 0

    def tell(self, event: Event) -> None:
        """Record that something happens now, between letters."""
        self._world.now_ns = self.now_ns
        self._world.tell(event)

    @property
    def events(self) -> tuple[Happened, ...]:
        """What happened, in the order of time; what a client sends at one time is together."""
        senders: dict[int, int] = {}
        keyed = []
        for each in self._world.happened or ():
            match each.event:
                case Sent(frame=frame, sender=sender):
                    place = senders[frame] = sender if sender >= self.quorums.n else 0
                case Late(frame=frame):
                    place = senders[frame]
                case Classified(machine=machine) if machine >= self.quorums.n:
                    place = machine
                case _:
                    place = 0
            keyed.append((each.at_ns, place, each))
        return tuple(each for _, _, each in sorted(keyed, key=lambda item: item[:2]))

    def deliver(self, server: int, client: ClientId, frame: bytes, sent_ns: int = 0) -> bytes | None:
        """Deliver a frame, and record its way and that of its reply."""
        machine = self.machines[client]
        number = self._numbers + 1  # of the channel that the rack is about to open
        arrival_ns = sent_ns + WAY_NS + STAGGER_NS * server
        at_ns = max(arrival_ns, self._busy_until_ns[server] + GAP_NS)
        asked = self._send(sent_ns, machine, server, number, frame)
        if at_ns > arrival_ns + WAY_NS:
            self._tell(sent_ns, Late(asked))
        self._arrive(at_ns, asked)
        reply = super().deliver(server, client, frame)
        self._busy_until_ns[server] = self._at_ns
        if reply is not None:
            answered = self._send(self._at_ns, server, machine, number, reply)
            self._arrive(self._at_ns + WAY_NS, answered)
        self.now_ns = max(self.now_ns, self._at_ns + PAUSE_NS)
        return reply

    def _commit(self, index: int, store: Store) -> None:
        super()._commit(index, store)
        self._world.now_ns = self._at_ns
        try:
            self.watch.note_histories(index, store.writes)
        except Violation as violation:
            self._world.tell(Violated(violation.rule, violation.text))

    def _ask(self, asker: int, ask: Ask) -> None:
        """As on any rack, with both ways recorded."""
        if ask.server in self.silent:
            return
        self._numbers += 1
        channel = Channel(self._numbers)
        self._arrive(self._at_ns + WAY_NS // 2, self._send(self._at_ns, asker, ask.server, channel, ask.frame))
        machine = self.servers[ask.server]
        self._perform(ask.server, machine.receive_from_server(self.now_ns, asker, channel, ask.frame))
        answer = self._replies.pop((ask.server, channel), None)
        if answer is not None:
            sent = self._send(self._at_ns, ask.server, asker, channel, answer)
            self._arrive(self._at_ns + WAY_NS // 2, sent)
            self._perform(asker, self.servers[asker].receive_from_server(self.now_ns, ask.server, Channel(0), answer))

    # --- the record -------------------------------------------------------------------------------------------

    def _tell(self, at_ns: int, event: Event) -> None:
        self._world.now_ns = at_ns
        self._world.tell(event)

    def _send(self, at_ns: int, sender: int, receiver: int, channel: int, data: bytes) -> int:
        self._frames += 1
        self._tell(at_ns, Sent(self._frames, sender, receiver, channel, data))
        return self._frames

    def _arrive(self, at_ns: int, frame: int) -> None:
        self._at_ns = at_ns
        self._tell(at_ns, Delivered(frame))
