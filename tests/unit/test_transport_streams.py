"""TCP and TLS: who is let in, who is not, what is bounded."""

import asyncio
import socket
import ssl
import threading
from collections import Counter

import pytest

from fivefold.cluster import (
    Credentials,
    add_client,
    create_cluster,
    create_identity,
    free_addresses,
    load_configuration,
    load_identity,
)
from fivefold.errors import ConfigurationError
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.transport import VERSION, StreamTransport, is_loopback, limits
from fivefold.transport.budget import Budget
from fivefold.transport.hello import decode_admission, encode_admission, encode_hello, will_pass
from fivefold.transport.listeners import _host_of
from fivefold.transport.pace import Pace
from fivefold.transport.wire import Wire
from tests.transport_rig import Rig, allow_bytes, credentials_of, echo, identity_directory, small_cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory):
    return small_cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
async def tls(shared_cluster):
    rig = Rig(shared_cluster, "tls")
    yield rig
    await rig.close()


@pytest.fixture
async def clear(shared_cluster):
    rig = Rig(shared_cluster, "clear")
    yield rig
    await rig.close()


class Stranger:
    """A raw TCP client that does as it likes."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def frame(self, frame):
        self.writer.write(len(frame).to_bytes(4, "big") + frame)

    async def answer(self):
        return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(4), "big"))

    async def hears_the_end(self):
        """Whether the listener ends the connection."""
        try:
            async with asyncio.timeout(5):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            pass
        self.writer.close()
        return True


async def knock(rig, **options):
    host, port = credentials_of(rig.cluster_file, 0).address_of(0)
    return Stranger(*await asyncio.open_connection(host, port, **options))


def silent_wire(loop):
    """One end that nobody listens to."""
    return Wire(loop, on_frames=None, on_made=None, on_lost=None, pushes_back=False, budget=Budget(0))


def arrive(wire, data):
    """Have the event loop read something."""
    wire.get_buffer(len(data))[: len(data)] = data
    wire.buffer_updated(len(data))


async def knock_as_admin(rig):
    """A raw client in clear text that has said hello as admin, and has read whether it is let in."""
    stranger = await knock(rig)
    stranger.frame(encode_hello(credentials_of(rig.cluster_file, "admin").certificate))
    await stranger.answer()
    stranger.admission = await stranger.answer()
    return stranger


# --- identities ---------------------------------------------------------------------------------------------------
async def test_tls_refuses_a_client_of_another_cluster(tls, tmp_path):
    """A certificate that is not in the cluster file fails the handshake; the caller learns that it was refused."""
    ear = await tls.listen(0)
    other = create_cluster(tmp_path / "other", [server.address for server in tls.configuration.servers], t=1, b=0)
    intruder = Intruder(tls.configuration, load_identity(tmp_path / "other" / "client-admin"))
    line = tls.connect("admin", 0, StreamTransport(intruder))
    await tls.until(lambda: "may not have this identity" in (line.link.failure or ""))
    assert other.cluster_id != tls.configuration.cluster_id
    assert ear.opened == []
    assert ear.listener.counters["handshake_failed"] >= 1


class Intruder(Credentials):
    """Somebody who knows the cluster file and is not in it."""

    def __init__(self, configuration, identity):
        known = configuration.clients[0]
        super().__init__(configuration, FakeIdentity(identity, known.certificate))
        self._identity = identity

    def identify(self, certificate):
        return None


class FakeIdentity:
    def __init__(self, identity, certificate):
        self.directory = identity.directory
        self.certificate = certificate


async def test_tls_refuses_a_client_without_certificate(tls):
    """Both sides must show a certificate."""
    ear = await tls.listen(0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    stranger = await knock(tls, ssl=context)
    assert await stranger.hears_the_end()
    await tls.until(lambda: ear.listener.counters["handshake_failed"] == 1)
    assert ear.opened == []


async def test_tls_refuses_version_1_2(tls):
    """Nothing older than TLS 1.3 is spoken, even by a known client."""
    ear = await tls.listen(0)
    context = credentials_of(tls.cluster_file, "admin").link_context(0)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await knock(tls, ssl=context, server_hostname="")
    await tls.until(lambda: ear.listener.counters["handshake_failed"] == 1)


async def test_tls_refuses_another_protocol_version(tls):
    """A peer that offers another version of the protocol is let go, and both sides can say why."""
    ear = await tls.listen(0)
    credentials = credentials_of(tls.cluster_file, "admin")
    credentials.link_context(0).set_alpn_protocols(["fivefold/1"])
    line = tls.connect("admin", 0, StreamTransport(credentials))
    await tls.until(lambda: "another version" in (line.link.failure or ""))
    await tls.until(lambda: ear.listener.counters["other_version"] >= 1)
    assert (ear.opened, line.events) == ([], [])


async def test_a_link_refuses_another_server(tls):
    """Whoever answers at a server's address must show exactly that server's certificate."""
    credentials = credentials_of(tls.cluster_file, 1)
    impostor = StreamTransport(credentials, listen_address=credentials.address_of(0))
    await tls.listen(1, transport=impostor)
    line = tls.connect("admin", 0)
    await tls.until(lambda: "another certificate" in (line.link.failure or ""))
    assert line.events == []


async def test_clear_text_compares_certificates_too(clear):
    """Without TLS a wrong server or an unknown client is noticed as well, as long as nobody lies."""
    credentials = credentials_of(clear.cluster_file, 1)
    await clear.listen(1, transport=StreamTransport(credentials, tls=False, listen_address=credentials.address_of(0)))
    line = clear.connect("admin", 0)
    await clear.until(lambda: "is not this server" in (line.link.failure or ""))
    stranger = await knock(clear)
    stranger.frame(encode_hello(b"nobody's"))
    await stranger.answer()
    assert await stranger.answer() == encode_admission("unknown_peer")
    assert await stranger.hears_the_end()
    assert clear.ears[0].listener.counters["unknown_peer"] == 1


async def test_clear_text_refuses_another_version(clear):
    """The listener still says hello, so that the caller can tell its user which side is older."""
    ear = await clear.listen(0)
    stranger = await knock(clear)
    stranger.frame(b"fivefold/1\0" + credentials_of(clear.cluster_file, "admin").certificate)
    assert (await stranger.answer()).startswith(VERSION.encode() + b"\0")
    assert await stranger.hears_the_end()
    assert ear.listener.counters == Counter(other_version=1)


async def test_a_new_client_is_let_in_once_the_credentials_are_replaced(tmp_path):
    """A listener takes a changed cluster file without a restart."""
    cluster_file = small_cluster(tmp_path / "cluster")
    rig = Rig(cluster_file, "tls")
    ear = await rig.listen(0)
    add_client(cluster_file, "late", ["*"])
    line = rig.connect("late", 0)
    await rig.until(lambda: ear.listener.counters["handshake_failed"] >= 1)
    ear.listener.credentials = credentials_of(cluster_file, 0)
    await rig.until(lambda: len(ear.opened) == 1 and line.link.is_up)
    await rig.close()


# --- bounds -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, limits.HELLO_BYTES_MAX + 1, 2**32 - 1])
async def test_strangers_send_small_frames_only(clear, size):
    """Before it is known, a peer's frame over the small bound ends the connection at its length."""
    ear = await clear.listen(0)
    stranger = await knock(clear)
    stranger.writer.write(size.to_bytes(4, "big"))
    assert await stranger.hears_the_end()
    assert ear.listener.counters == Counter(frame_size=1)


async def test_known_peers_send_frames_up_to_the_limit(clear):
    """A known peer's frame one byte over the protocol's limit ends the connection, counted by name."""
    ear = await clear.listen(0)
    stranger = await knock_as_admin(clear)
    stranger.writer.write((FRAME_BYTES_MAX).to_bytes(4, "big") + b"x")
    await clear.until(lambda: len(ear.opened) == 1)
    stranger.writer.close()
    await clear.until(lambda: len(ear.closed) == 1)
    assert ear.listener.counters == Counter()
    stranger = await knock_as_admin(clear)
    stranger.writer.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    assert await stranger.hears_the_end()
    assert ear.listener.counters == Counter(frame_size=1)


async def test_a_silent_stranger_is_dropped(clear, monkeypatch):
    """Who has not said who it is in time loses its connection."""
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT_S", 0.05)
    ear = await clear.listen(0)
    assert await (await knock(clear)).hears_the_end()
    assert ear.listener.counters == Counter(handshake_timeout=1)


async def test_a_silent_stranger_is_dropped_with_tls(tls, monkeypatch):
    """The same where a TLS handshake is awaited, and the listener goes on."""
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT_S", 0.2)
    ear = await tls.listen(0)
    assert await (await knock(tls)).hears_the_end()
    assert ear.listener.counters == Counter(handshake_timeout=1)
    await tls.join("admin", 0)


@pytest.mark.parametrize("bound", ["HANDSHAKES_PER_HOST_MAX", "HANDSHAKES_MAX"])
async def test_strangers_who_say_nothing_do_not_lock_others_out(clear, monkeypatch, bound):
    """Of the connections without a name the oldest goes: who comes last and says who it is gets in."""
    monkeypatch.setattr(limits, bound, 2)
    ear = await clear.listen(0)
    waiting = [await knock(clear) for _ in range(2)]
    await clear.until(lambda: len(ear.listener._handshakes) == 2)
    await clear.join("admin", 0)
    assert await waiting[0].hears_the_end()
    assert ear.listener.counters == Counter(too_many_handshakes=1)
    assert len(ear.listener._handshakes) == 1
    waiting[1].writer.close()
    await clear.until(lambda: not ear.listener._handshakes)
    assert not ear.listener._handshakes_by_host


async def test_the_host_with_the_most_strangers_loses_one(clear, monkeypatch):
    """When all places are taken, a host that has one of them keeps it."""
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 3)
    ear = await clear.listen(0)
    quiet = await knock(clear, local_addr=("127.0.0.2", 0))
    await clear.until(lambda: len(ear.listener._handshakes) == 1)
    flood = [await knock(clear) for _ in range(4)]
    await clear.until(lambda: ear.listener.counters["too_many_handshakes"] == 2)
    assert {host: len(tasks) for host, tasks in ear.listener._handshakes_by_host.items()} == {
        "127.0.0.2": 1,
        "127.0.0.1": 2,
    }
    for stranger in [quiet, *flood]:
        stranger.writer.close()


async def test_handshakes_of_a_host_are_paced(monkeypatch):
    """So many at once, then one after the other, in their order; another host does not wait for them."""
    monkeypatch.setattr(limits, "HANDSHAKES_AT_ONCE", 3)
    pace = Pace(asyncio.get_running_loop())
    done = []

    async def shake(host, number):
        await pace.turn(host)
        done.append((host, number))

    tasks = [asyncio.create_task(shake("a", number)) for number in range(8)]
    await asyncio.sleep(0)
    assert done == [("a", number) for number in range(4)]
    tasks[4].cancel()
    await shake("b", 0)
    assert pace.waited == 4
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done[5:] == [("a", number) for number in (5, 6, 7)]


async def test_a_listener_paces_handshakes(tls, monkeypatch):
    """With none at once and one a second, the second connection of a host comes up a second later."""
    monkeypatch.setattr(limits, "HANDSHAKES_AT_ONCE", 0)
    monkeypatch.setattr(limits, "HANDSHAKES_PER_S", 4)
    ear = await tls.listen(0)
    await asyncio.gather(*(tls.join("admin", 0) for _ in range(3)))
    assert ear.listener._pace.waited >= 2


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_the_addresses_of_one_host_count_together(one, other, is_same):
    """A host of IPv6 has a network of 64 bits: another address of it is no other host."""
    assert (_host_of(one) == _host_of(other)) is is_same


async def test_connections_of_one_peer_are_bounded(clear):
    """One connection more than allowed is refused; another peer still gets in, and so does the first after a close."""
    ear = await clear.listen(0, transport=two_at_a_time(clear))
    lines = [await clear.join("admin", 0) for _ in range(2)]
    third = await knock_as_admin(clear)
    assert third.admission == encode_admission("too_many_connections", 2)
    assert await third.hears_the_end()
    assert ear.listener.counters == Counter(too_many_connections=1)
    await clear.join("guest", 0)
    await lines[0].link.close()
    await clear.until(lambda: len(ear.closed) == 1)
    await clear.join("admin", 0)


def two_at_a_time(rig):
    """The transport of server 0 that takes two connections from each identity."""
    return StreamTransport(credentials_of(rig.cluster_file, 0), tls=rig.kind == "tls", connections_per_peer_max=2)


@pytest.mark.parametrize("kind", ["clear", "tls"])
async def test_a_link_that_is_one_too_many_is_never_up_and_knows_why(shared_cluster, kind):
    """TLS 1.3 is through on the caller's side before the server has counted: only its word makes a link usable."""
    rig = Rig(shared_cluster, kind)
    await rig.listen(0, transport=two_at_a_time(rig))
    lines = [await rig.join("admin", 0) for _ in range(2)]
    third = rig.connect("admin", 0)
    await rig.until(lambda: third.link.failure is not None)
    assert third.link.failure.startswith("this identity has 2 connections to it already: close some")
    assert third.link.is_refused
    assert third.events == []
    await lines[0].link.close()
    await rig.until(lambda: third.events == ["up"] and third.link.failure is None)
    assert not lines[1].link.is_refused
    await rig.close()


async def test_a_server_that_does_not_know_the_identity_yet_may_do_so_soon(shared_cluster, tmp_path):
    """It reads the newest cluster file within a second: that is no refusal for good."""
    rig = Rig(shared_cluster, "clear")
    await rig.listen(0)
    assert not rig.connect("admin", 0).link.is_refused
    assert [
        will_pass(encode_admission(word)) for word in ("unknown_peer", "too_many_connections", "other_version")
    ] == [
        True,
        False,
        False,
    ]
    await rig.close()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\7", None),
        (b"\7too_many_connections 32", "this identity has 32 connections to it already"),
        (b"\7unknown_peer", "does not have this identity"),
        (b"\7other_version", "another version of the protocol"),
        (b"\7a_word_of_the_future", "for a reason this version does not know"),
        (b"\7too_many_connections \x1b[31m", "does not speak the protocol"),
        (b"\7\x1b]0;gotcha\x07", "does not speak the protocol"),
        (b"\7" + b"x" * 8000, "does not speak the protocol"),
        (b"\2", "does not speak the protocol"),
    ],
)
def test_why_a_server_refuses_is_told_in_our_words(frame, says):
    """A lying server chooses among our sentences, and writes none of its own onto the user's terminal."""
    sentence = decode_admission(frame)
    assert sentence == says if says is None else says in sentence
    assert sentence is None or sentence.isprintable()


async def test_a_server_that_never_lets_in_is_given_up(clear, monkeypatch):
    """A listener that says hello and nothing more holds a link up for a time only, and it was never up."""
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT_S", 0.05)

    writers = []

    async def half(reader, writer):
        await reader.read(1)
        hello = encode_hello(credentials_of(clear.cluster_file, 0).certificate)
        writer.write(len(hello).to_bytes(4, "big") + hello)
        writers.append(writer)

    host, port = credentials_of(clear.cluster_file, 0).address_of(0)
    server = await asyncio.start_server(half, host, port)
    line = clear.connect("admin", 0)
    await clear.until(lambda: line.link.failure == f"no answer from {host}:{port}")
    assert line.events == []
    await line.link.close()
    server.close()
    for writer in writers:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_garbage_does_not_stop_a_listener(tls):
    """Bytes that are no TLS at all are counted; others are served."""
    ear = await tls.listen(0, echo)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + bytes(2000)):
        stranger = await knock(tls)
        stranger.writer.write(garbage)
        stranger.writer.write_eof()
        assert await stranger.hears_the_end()
    line = await tls.join("admin", 0)
    line.link.send(b"still here")
    await tls.until(lambda: line.frames == [b"still here"])
    assert ear.listener.counters["handshake_failed"] == 3


async def test_who_takes_no_answers_is_not_read_from(clear, monkeypatch):
    """Requests wait in the peer's own buffers while its answers pile up, and are all answered once it reads."""
    monkeypatch.setattr(limits, "OUTPUT_BYTES_HIGH", 100_000)
    ear = await clear.listen(0, echo)
    stranger = await knock_as_admin(clear)
    count, size = 400, 50_000
    for _ in range(count):
        stranger.frame(bytes(size))
    seen = -1
    while seen != len(ear.frames):  # until nothing moves any more
        seen = len(ear.frames)
        await asyncio.sleep(0.2)
    assert seen < count
    assert len(ear.opened) == 1
    assert ear.closed == []
    for _ in range(count):
        assert len(await stranger.answer()) == size
    assert len(ear.frames) == count
    stranger.writer.close()


async def test_who_never_takes_answers_is_disconnected(clear, monkeypatch):
    """Unsent bytes beyond the hard bound end the connection, also when they pile up over many turns."""
    allow_bytes(monkeypatch, 3_000_000)
    ear = await clear.listen(0)
    stranger = await knock_as_admin(clear)
    await clear.until(lambda: len(ear.opened) == 1)
    stranger.reader._transport.pause_reading()
    sent = 0
    while ear.opened[0].send(bytes(100_000)):
        sent += 1
        await asyncio.sleep(0)
    await clear.until(lambda: len(ear.closed) == 1)
    assert ear.listener.counters == Counter(output_overflow=1)
    assert 30 <= sent < 300  # the rest is what the two kernels buffer
    stranger.writer.close()


async def test_connections_of_one_peer_share_a_budget(clear, monkeypatch):
    """More connections that take no answers do not hold more: the last one ends, and another peer is answered."""
    allow_bytes(monkeypatch, 3_000_000)
    ear = await clear.listen(0)
    strangers = [await knock_as_admin(clear) for _ in range(4)]
    await clear.until(lambda: len(ear.opened) == 4)
    for stranger in strangers:
        stranger.reader._transport.pause_reading()
    taken = [sum(connection.send(bytes(100_000)) for _ in range(25)) for connection in ear.opened]
    assert sum(taken) <= 25 + 4 * 5  # the budget, and what each connection may hold beside it
    await clear.until(lambda: len(ear.closed) == 3)
    assert ear.listener.counters == Counter(output_overflow=3)
    guest = await clear.join("guest", 0)
    assert ear.opened[-1].send(bytes(2_000_000))
    await clear.until(lambda: len(guest.frames) == 1)
    for stranger in strangers:
        stranger.writer.close()


async def test_all_peers_share_a_budget(clear, monkeypatch):
    """Many identities do not hold more than the listener's budget; small answers still get through."""
    allow_bytes(monkeypatch, 3_000_000)
    monkeypatch.setattr(limits, "LISTENER_BYTES_MAX", 3_000_000)
    ear = await clear.listen(0)
    await clear.join("admin", 0)
    guest = await clear.join("guest", 0)
    greedy, modest = ear.opened
    assert greedy.send(bytes(2_900_000))  # in one turn: nothing can leave
    assert modest.send(bytes(400_000))
    assert not modest.send(bytes(1_000_000))
    await clear.until(lambda: ear.closed == [modest])
    await clear.until(lambda: guest.events[:2] == ["up", "down"])


async def test_what_was_sent_is_free_again(clear, monkeypatch):
    """A peer that takes its answers may get any number of them, and owes nothing in the end."""
    allow_bytes(monkeypatch, 3_000_000)
    ear = await clear.listen(0, echo)
    stranger = await knock_as_admin(clear)
    for _ in range(3):
        for _ in range(4):
            stranger.frame(bytes(600_000))
        for _ in range(4):
            assert len(await stranger.answer()) == 600_000
    stranger.frame(b"x")
    assert await stranger.answer() == b"x"
    listener = ear.listener
    await clear.until(lambda: listener._budget.left_bytes == limits.LISTENER_BYTES_MAX)
    stranger.writer.close()
    await clear.until(lambda: not listener._accounts)


async def test_begun_frames_of_one_peer_are_bounded(clear, monkeypatch):
    """Frames that begin and do not end take a budget's worth of memory, and no more, from all connections together."""
    allow_bytes(monkeypatch, 3_000_000)
    ear = await clear.listen(0)
    strangers = [await knock_as_admin(clear) for _ in range(6)]
    for stranger in strangers:
        stranger.writer.write((4_000_000).to_bytes(4, "big") + bytes(1_500_000))
    await clear.until(lambda: ear.listener.counters["input_overflow"] >= 4)
    await asyncio.sleep(0.05)
    left = [connection for connection in ear.opened if connection not in ear.closed]
    assert sum(connection.wire._framer.partial_bytes for connection in left) <= 2_500_000 + 500_000 * len(left)
    for stranger in strangers:
        stranger.writer.close()
    await clear.until(lambda: ear.listener._budget.left_bytes == limits.LISTENER_BYTES_MAX)


async def test_a_frame_that_never_ends_ends_the_connection(clear, monkeypatch):
    """It is counted by name. A connection that is merely silent stays, and so does one that we do not read."""
    monkeypatch.setattr(limits, "FRAME_TIMEOUT_S", 0.05)
    monkeypatch.setattr(limits, "SWEEP_S", 0.02)
    ear = await clear.listen(0, lambda connection, frame: connection.hold())
    silent = await clear.join("guest", 0)
    held, slow = await knock_as_admin(clear), await knock_as_admin(clear)
    begun = (100).to_bytes(4, "big") + b"begun"
    held.writer.write(b"\0\0\0\1x" + begun)
    slow.writer.write(begun)
    assert await slow.hears_the_end()
    assert ear.listener.counters == Counter(frame_timeout=1)
    slow.writer.close()
    await asyncio.sleep(0.1)
    assert (len(ear.closed), silent.events) == (1, ["up"])
    held.writer.write(bytes(95))
    ear.frames[0][0].release()
    await clear.until(lambda: len(ear.frames) == 2)
    held.writer.close()


def test_frames_of_one_turn_are_written_together():
    """Any number of sends in one turn of the event loop cost one write."""

    class Transport:
        def __init__(self):
            self.written = []

        def set_write_buffer_limits(self, high):
            pass

        def get_extra_info(self, name):
            return None

        def write(self, data):
            self.written.append(data)

    async def main():
        transport = Transport()
        wire = Wire(
            asyncio.get_running_loop(),
            on_frames=lambda frames: None,
            on_made=lambda: None,
            on_lost=lambda failure: None,
            pushes_back=False,
            budget=Budget(0),
        )
        wire.connection_made(transport)
        assert wire.send(b"abc")
        assert wire.send(b"def")
        assert transport.written == []
        await asyncio.sleep(0)
        assert transport.written == [b"\0\0\0\3abc\0\0\0\3def"]
        assert wire.send(b"g")
        await asyncio.sleep(0)
        assert transport.written[1:] == [b"\0\0\0\1g"]

    asyncio.run(main())


async def test_frames_that_come_after_a_close_are_not_handed_on(clear):
    """What arrived together is handed on together; a listener that closes then hears nothing more."""
    ear = await clear.listen(0, lambda connection, frame: connection.close())
    stranger = await knock_as_admin(clear)
    stranger.writer.write(b"\0\0\0\1a\0\0\0\1b")
    assert await stranger.hears_the_end()
    assert [frame for _, frame in ear.frames] == [b"a", b"b"]
    (connection, _), _ = ear.frames
    arrive(connection.wire, b"\0\0\0\1c")
    assert len(ear.frames) == 2


def test_loops_of_two_threads_do_not_read_into_the_same_memory():
    """Story: both wait for data with the interpreter lock given away; one's frames would end in the other's."""

    def where(found):
        loop = asyncio.new_event_loop()
        found.append(silent_wire(loop).get_buffer(1))
        loop.close()

    buffers = []
    for thread in [threading.Thread(target=where, args=(buffers,)) for _ in range(2)]:
        thread.start()
        thread.join()
    buffers[0][:1], buffers[1][:1] = b"a", b"b"
    assert bytes(buffers[0][:1]) == b"a"


# --- pauses, addresses --------------------------------------------------------------------------------------------
async def test_attempts_are_made_with_growing_pauses(clear, monkeypatch):
    """Each failure doubles the pause up to the longest; the jitter takes away half at most."""
    pauses = []

    async def note(seconds, sleep=asyncio.sleep):
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("fivefold.transport.links.asyncio.sleep", note)
    line = clear.connect("admin", 2)
    await clear.until(lambda: len(pauses) >= 10)
    await line.link.close()
    expected = [min(limits.BACKOFF_S_FIRST * 2**number, limits.BACKOFF_S_MAX) for number in range(1, 11)]
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, expected, strict=False))
    assert line.link.failure == "Connection refused"


async def test_the_kernel_watches_for_lost_peers(tls):
    """Keepalive and a limit on unacknowledged data are set on both ends, and small packets leave at once."""
    ear = await tls.listen(0)
    line = await tls.join("admin", 0)
    for wire in (ear.opened[0].wire, line.link._wire):
        connected = wire._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        user_timeout = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert user_timeout == limits.UNACKNOWLEDGED_MS_MAX


async def test_closing_a_link_that_never_came_up_is_quick(tls, monkeypatch):
    """Closing does not wait for a server that does not answer the handshake, and nothing is called afterwards."""
    host, port = credentials_of(tls.cluster_file, 0).address_of(0)
    silent = socket.create_server((host, port))  # the kernel accepts, nobody speaks
    line = tls.connect("admin", 0)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(0.5):
        await line.link.close()
    assert line.events == []
    silent.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")],
        *[(host, False) for host in ("192.0.2.1", "0.0.0.0", "example.org", "::")],
    ],
)
def test_loopback(host, expected):
    """Only addresses of this very machine count as loopback; other names are not looked up."""
    assert is_loopback(host) is expected


async def test_clear_text_stays_on_this_machine(tmp_path):
    """Without TLS neither a listener nor a link leaves the loopback interface."""
    create_cluster(tmp_path, [f"192.0.2.{index}:7000" for index in range(1, 5)], t=1, b=0)
    cluster_file = tmp_path / "cluster.toml"
    rig = Rig(cluster_file, "clear")
    with pytest.raises(ConfigurationError, match="use TLS or loopback"):
        await rig.listen(0)
    with pytest.raises(ConfigurationError, match="use TLS or loopback"):
        rig.connect("admin", 1)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (("192.0.2.1", 7000), "is not an address of this machine"),
        (("no such host", 7000), "cannot be resolved"),
    ],
)
async def test_an_address_that_cannot_be_listened_on(tls, address, message):
    """The error says what is wrong with the address."""
    transport = StreamTransport(credentials_of(tls.cluster_file, 0), listen_address=address)
    with pytest.raises(ConfigurationError, match=message):
        await tls.listen(0, transport=transport)


def test_an_identity_outside_the_cluster_has_no_credentials(tmp_path, shared_cluster):
    """A member that is not in the cluster file is told so before it connects to anybody."""
    stranger = create_identity(tmp_path / "stranger", name="stranger")
    with pytest.raises(ConfigurationError, match="not in the cluster file"):
        Credentials(load_configuration(shared_cluster), stranger)


def test_credentials_show_no_secret(shared_cluster):
    """The repr has the directory and the fingerprint only."""
    credentials = credentials_of(shared_cluster, 2)
    key = (identity_directory(shared_cluster, 2) / "signing-key.pem").read_text().splitlines()[1]
    assert "own_index=2" in repr(credentials)
    assert key not in repr(credentials)


async def test_free_addresses_are_free():
    """Each address can be listened on right away and appears once."""
    addresses = free_addresses(6)
    assert len(set(addresses)) == 6
    for address in addresses:
        host, _, port = address.partition(":")
        (await asyncio.start_server(lambda reader, writer: None, host, int(port))).close()


async def test_a_begun_frame_is_freed_with_its_connection(clear):
    """Its bytes do not wait for Python to find that nobody needs them."""
    ear = await clear.listen(0)
    stranger = await knock_as_admin(clear)
    stranger.writer.write((4_000_000).to_bytes(4, "big") + bytes(2_000_000))
    await clear.until(lambda: ear.opened and ear.opened[0].wire._framer.partial_bytes == 2_000_004)
    stranger.writer.close()
    await clear.until(lambda: len(ear.closed) == 1)
    assert ear.opened[0].wire._framer.partial_bytes == 0
