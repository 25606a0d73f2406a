"""A server's driver: what of one read it works on together, and how it answers for itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace

import msgspec
import pytest

from fivefold.node.server import ServerNode
from fivefold.node.server.driver import RETRY_S, SLICE_FRAMES_MAX, STATUS_BURST_MAX
from fivefold.node.status import STATUS, STATUS_REPLY, decode_status, status_frame
from fivefold.protocol.actions import Actions, Fault, Reply
from fivefold.protocol.activity import Lately
from fivefold.protocol.durations import Durations
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.protocol.operations import ClientId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.storage import MemoryStorage
from fivefold.transport import MemoryNetwork

ANN = ClientId(b"ann".ljust(16))
ANSWER = b"\x02 the answer"


class Upkeep:
    """Lets nobody wait."""

    def must_wait(self, now_ns, client):
        return False


class Machine:
    """Answers each request with as many bytes as it is told to, and remembers what came together."""

    def __init__(self) -> None:
        self.quorums, self.index, self.upkeep = QuorumSystem(6, 1, 1), 0, Upkeep()
        self.counters, self.storage_failure, self.cached_objects = Counter(), None, 0
        self.batches, self.answer, self.set_aside = [], ANSWER, {}
        self.activity = SimpleNamespace(
            lately=lambda now_ns, reader: Lately(60.0, 0), syncs=Durations(), queues={}, cached_bytes=0
        )

    def receive_from_client(self, now_ns, client, channel, *frames):
        self.batches.append(len(frames))
        return Actions(send=tuple(Reply(channel, self.answer) for _ in frames))

    def start(self, now_ns, record):
        return Actions()

    def closed(self, channel):
        pass

    def waiting_of(self, client):
        return 0


class Site:
    """One server, and the frames that a client of it has heard."""

    def __init__(self) -> None:
        self.machine, self.network, self.heard = Machine(), MemoryNetwork(), []
        self.node = ServerNode(
            self.machine, self.network.transport(0), lambda on_durable: MemoryStorage(), storage_name="memory"
        )

    async def start(self) -> None:
        await self.node.start()
        is_up = asyncio.Event()
        link = self.network.transport(ANN).link(0, on_frames=self.heard.extend, on_up=is_up.set, on_down=lambda: None)
        link.start()
        await is_up.wait()
        (self.connection,) = self.node._connections.values()

    async def read(self, *frames: bytes) -> None:
        """Have these frames come in one read, and wait for what is sent."""
        self.node._on_frames(self.connection, list(frames))
        for _ in range(len(frames) + 10):
            await asyncio.sleep(0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A server that runs."""
    site = Site()
    await site.start()
    yield site
    await site.node.close()


async def test_a_long_read_is_worked_on_in_parts(site: Site) -> None:
    """All of it is answered in the end, but no more than a slice is in memory before it is handed over."""
    await site.read(*[b"\x01"] * (2 * SLICE_FRAMES_MAX + 1))
    assert site.machine.batches == [SLICE_FRAMES_MAX, SLICE_FRAMES_MAX, 1]
    assert site.heard == [ANSWER] * (2 * SLICE_FRAMES_MAX + 1)


async def test_who_is_given_up_in_the_middle_of_a_read_is_not_worked_for(site: Site, monkeypatch) -> None:
    """Answers that overflow end the connection, and what else came in that read with it."""
    monkeypatch.setattr("fivefold.transport.limits.PEER_BYTES_MAX", 10_000)
    site.machine.answer = bytes(1_000)
    site.node._on_frames(site.connection, [b"\x01"] * 1_000)
    for _ in range(10):
        await asyncio.sleep(0)
    assert site.connection.number not in site.node._connections
    assert sum(site.machine.batches) <= SLICE_FRAMES_MAX


async def test_an_answer_that_no_frame_can_hold_ends_the_connection(site: Site) -> None:
    """It is counted and logged, and what else the input led to is carried out: the load is issued."""
    loads = []
    site.node.storage.load = lambda name, done: loads.append(name)
    site.machine.answer = bytes(FRAME_BYTES_MAX + 1)
    receive = site.machine.receive_from_client
    site.machine.receive_from_client = lambda *what: msgspec.structs.replace(receive(*what), load=("Counter/x",))
    await site.read(b"\x01")
    assert site.connection.number not in site.node._connections
    assert site.machine.counters == {"rejected.answer-too-long": 1}
    assert loads == ["Counter/x"]


async def test_what_another_server_sends_over_our_link_has_a_share_too(site: Site) -> None:
    """Answers that take too long make us stop reading the link, and go on later; nothing is lost."""
    clock = iter(range(0, 10**15, 10**9))
    site.node._throttle.processor_clock = lambda: next(clock)
    heard: list[bytes] = []
    site.machine.receive_from_server = lambda now, server, channel, *frames: heard.extend(frames) or Actions()
    site.machine.take_resumed = list
    gate, held = site.node._links._gates[1], []
    gate._connection = SimpleNamespace(hold=lambda: held.append(True), release=lambda: held.append(False))
    gate.arrive([b"one", b"two"])
    assert (heard, held) == ([b"one"], [True])


async def test_an_exception_of_the_machine_is_logged_with_its_stack_and_closes_the_connection(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the machine reports it or it comes through; it is counted in the status, with what was set aside."""
    error = ValueError("ours")
    fault = Fault("working on a request", error, site.connection.number, ("Counter/x",))
    site.machine.receive_from_client = lambda *what: Actions(faults=(fault,))
    await site.read(b"\x01")
    assert site.connection.number not in site.node._connections
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]
    assert "set aside: 'Counter/x'" in caplog.text
    assert site.node.status().counters["faults"] == 1


async def test_what_the_store_says_is_told_again_after_an_exception(site: Site) -> None:
    """The machine hears of it in the end: nobody else would tell it again."""
    told = []

    def durable(now_ns: int, sequence: int) -> Actions:
        told.append(sequence)
        if len(told) < 3:
            raise MemoryError
        return Actions()

    site.machine.durable = durable
    site.machine.take_resumed = list
    site.node._on_durable(7)
    await asyncio.sleep(5 * RETRY_S)
    assert told == [7, 7, 7]


async def test_a_burst_of_status_requests_is_answered_in_part(site: Site) -> None:
    """Some are answered, each by its number; the rest is counted, and requests in the same read are worked on."""
    frames = [status_frame(number) for number in range(10_000)]
    await site.read(*frames, b"\x01")
    replies = [frame for frame in site.heard if frame[0] == STATUS_REPLY]
    assert [decode_status(frame)[0] for frame in replies] == list(range(STATUS_BURST_MAX))
    assert site.machine.counters == {"rejected.status-burst": 10_000 - STATUS_BURST_MAX}
    assert ANSWER in site.heard


async def test_a_status_request_of_another_size_is_refused(site: Site) -> None:
    """It is counted by name and not answered."""
    await site.read(bytes([STATUS]), status_frame(7) + b"x", status_frame(7))
    assert len(site.heard) == 1
    assert site.machine.counters == {"rejected.status-malformed": 2}


WITHOUT_ASSERTIONS = """
from fivefold.errors import ConfigurationError
from fivefold.node.server.assembly import assemble_server
try:
    assemble_server(None, None, None, None)
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_server_does_not_start_without_its_assertions() -> None:
    """``python -O`` leaves them out: what an invariant of ours would stop, such a server would sign."""
    run = subprocess.run(
        [sys.executable, "-O", "-c", WITHOUT_ASSERTIONS], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.startswith("a server needs its assertions: start it without -O")
