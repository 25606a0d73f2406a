"""What every transport does, checked over every implementation on both event loops."""

import asyncio

import pytest
import uvloop

from fivefold.errors import ConfigurationError
from fivefold.protocol.limits import FRAME_BYTES_MAX
from tests.transport_rig import Rig, allow_bytes, echo, small_cluster

KINDS = [
    ("memory", asyncio.run),
    ("clear", asyncio.run),
    ("tls", asyncio.run),
    ("clear", uvloop.run),
    ("tls", uvloop.run),
]


@pytest.fixture(scope="module")
def cluster_file(tmp_path_factory):
    return small_cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1].__module__.partition('.')[0]}")
def play(request, cluster_file):
    """Runs a scenario, an async function of a rig."""
    kind, run = request.param

    async def main(scenario):
        rig = Rig(cluster_file, kind)
        try:
            await scenario(rig)
        finally:
            await rig.close()

    return lambda scenario: run(main(scenario))


def test_frames_arrive_whole_and_in_order_both_ways(play):
    """Frames of one byte to megabytes come back as they were sent, in order."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0, echo)
        line = await rig.join("admin", 0)
        sent = [bytes([number % 251]) * size for number, size in enumerate([1, 600, 70_000, 3_000_000, 2] * 3)]
        assert all(line.link.send(frame) for frame in sent)
        await rig.until(lambda: len(line.frames) == len(sent))
        assert line.frames == sent
        assert [frame for _, frame in ear.frames] == sent


def test_a_connection_knows_its_peer(play):
    """The listener sees a client's id or a server's index, as the cluster file has it."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        for member in ("admin", "guest", 3):
            await rig.join(member, 0)
        clients = rig.configuration.clients
        assert [connection.peer for connection in ear.opened] == [clients[0].id, clients[1].id, 3]


def test_connection_numbers_are_never_used_twice(play):
    """A link that connects again gets a new number."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        line = await rig.join("admin", 0)
        ear.opened[0].close()
        await rig.until(lambda: line.events == ["up", "down", "up"] and len(ear.opened) == 2)
        assert ear.opened[0].number != ear.opened[1].number


def test_send_while_down_is_dropped_and_counted(play):
    """A link without a connection takes no frame and says so."""

    @play
    async def scenario(rig):
        line = rig.connect("admin", 1)
        assert not line.link.is_up
        assert line.link.send(b"lost") is False
        assert line.link.dropped == 1


def test_a_frame_that_is_too_large_is_dropped_and_counted(play):
    """A request with many long histories can be: the others of its turn are sent, and nothing is raised."""

    @play
    async def scenario(rig):
        heard = []
        await rig.listen(1, lambda connection, frame: heard.append(frame))
        line = await rig.join("admin", 1)
        assert line.link.send(bytes(FRAME_BYTES_MAX + 1)) is False
        assert line.link.dropped == 1
        assert line.link.send(b"small")
        await rig.until(lambda: heard == [b"small"])


def test_a_link_tells_why_it_is_down(play):
    """A link to a server that does not run has a reason in words."""

    @play
    async def scenario(rig):
        line = rig.connect("admin", 1)
        await rig.until(lambda: line.link.failure is not None)
        assert line.link.failure in {"it cannot be reached", "Connection refused"}


def test_a_link_comes_up_again_with_its_server(play):
    """A link that was down connects once its server listens again; ups and downs alternate."""

    @play
    async def scenario(rig):
        first = await rig.listen(0)
        line = await rig.join("admin", 0)
        await first.listener.close()
        await rig.until(lambda: line.events == ["up", "down"])
        assert not line.link.is_up
        rig.ears.remove(first)
        await rig.listen(0, echo)
        await rig.until(lambda: line.events == ["up", "down", "up"])
        line.link.send(b"again")
        await rig.until(lambda: line.frames == [b"again"])
        assert line.link.failure is None


def test_callbacks_never_run_inside_send(play):
    """Nothing is delivered before the sender's turn of the event loop is over."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0, echo)
        line = await rig.join("admin", 0)
        line.link.send(b"frame")
        assert ear.frames == []
        await rig.until(lambda: line.frames == [b"frame"])


def test_close_sends_what_is_queued(play):
    """A connection closed in the same turn still delivers what was sent before."""

    @play
    async def scenario(rig):
        await rig.listen(0, lambda connection, frame: (connection.send(b"last words"), connection.close()))
        line = await rig.join("admin", 0)
        line.link.send(b"go")
        await rig.until(lambda: "down" in line.events)
        assert line.frames == [b"last words"]


def test_a_closed_link_sends_what_is_queued_and_hears_nothing_more(play):
    """Closing a link delivers its frames, tells the listener, and calls no callback."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0, echo)
        line = await rig.join("admin", 0)
        line.link.send(b"last words")
        await line.link.close()
        await rig.until(lambda: ear.closed == ear.opened)
        assert [frame for _, frame in ear.frames] == [b"last words"]
        assert (line.events, line.frames) == (["up"], [])
        assert line.link.send(b"too late") is False


def test_a_held_connection_reads_on_after_release(play):
    """Frames of a held peer wait; none is lost and the order stays."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        line = await rig.join("admin", 0)
        connection = ear.opened[0]
        connection.hold()
        sent = [bytes([number]) * 100_000 for number in range(40)]
        for frame in sent:
            assert line.link.send(frame)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(ear.frames) < len(sent)
        connection.release()
        await rig.until(lambda: len(ear.frames) == len(sent))
        assert [frame for _, frame in ear.frames] == sent


def test_closing_a_listener_ends_its_connections(play):
    """Each open connection is reported closed, exactly once."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        for member in ("admin", "guest"):
            await rig.join(member, 0)
        assert ear.listener.connections == 2
        await ear.listener.close()
        rig.ears.remove(ear)
        assert sorted(c.number for c in ear.closed) == sorted(c.number for c in ear.opened)
        assert ear.listener.connections == 0


def test_a_dead_connection_takes_no_frame(play):
    """Sending over a connection that has ended is refused, not an error."""

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        line = await rig.join("admin", 0)
        await line.link.close()
        await rig.until(lambda: ear.closed != [])
        connection = ear.closed[0]
        assert connection.send(b"x") is False
        connection.close()
        connection.hold()
        connection.release()


def test_a_peer_that_takes_no_answers_is_disconnected(play, monkeypatch):
    """When unsent answers exceed the bound the frame is refused and the connection ends."""
    allow_bytes(monkeypatch, 300_000)

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        line = await rig.join("admin", 0)
        results = [ear.opened[0].send(bytes(100_000)) for _ in range(4)]  # in one turn: nothing can leave
        assert results == [True, True, False, False] or results == [True, True, True, False]
        await rig.until(lambda: ear.closed == ear.opened[:1])
        await rig.until(lambda: line.events[:2] == ["up", "down"])


def test_a_full_link_drops_the_frame_and_stays_up(play, monkeypatch):
    """The caller's side drops what does not fit: the protocol sends it again."""
    allow_bytes(monkeypatch, 300_000)

    @play
    async def scenario(rig):
        ear = await rig.listen(0)
        line = await rig.join("admin", 0)
        results = [line.link.send(bytes(120_000)) for _ in range(3)]
        assert results == [True, True, False]
        await rig.until(lambda: len(ear.frames) == 2)
        assert (line.link.dropped, line.events) == (1, ["up"])


def test_only_one_listener_for_a_server(play):
    """A second listener at one address is refused with a sentence that says what to do."""

    @play
    async def scenario(rig):
        await rig.listen(0)
        with pytest.raises(ConfigurationError, match=r"(in use|listens) already"):
            await rig.listen(0)


def test_a_client_cannot_listen(play):
    """Only servers have an address in the cluster file."""

    @play
    async def scenario(rig):
        with pytest.raises(ConfigurationError, match="only a server can listen"):
            await rig.listen("admin")
