"""What servers refuse: strangers, forbidden calls, garbage, wrong data directories. Named and counted."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest

from fivefold import Account, Cluster, ConfigurationError, Counter, NotAllowed, Unavailable, connect
from fivefold.cli.exits import Exit
from fivefold.cluster import Credentials, client_directory, load_configuration, load_identity, server_directory
from fivefold.node.codes import CODES
from fivefold.objects import standard_registry
from fivefold.objects.transfers import total
from fivefold.protocol.client.session import Session
from fivefold.protocol.editions import ANNOUNCE
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.transport import StreamTransport
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Site, client, environment, until

pytestmark = pytest.mark.integration

TARGET = 2

UNASKED = (CODES, ANNOUNCE)
"""Frames in which a server says what it runs, and by which cluster file."""
"""The server that is sent garbage."""


async def count_of(cluster: Cluster, name: str, server: int = TARGET) -> int:
    status = (await cluster.status(timeout=PATIENCE_S)).servers[server]
    assert status is not None
    return status.counters.get(name, 0)


async def until_counted(cluster: Cluster, name: str, count: int) -> None:
    async def is_counted() -> bool:
        return await count_of(cluster, name) >= count

    await until(is_counted, f"{name} is counted {count} times")


# --- who -------------------------------------------------------------------------------------------------------
async def test_a_client_of_another_cluster_is_refused(site: Site, tmp_path: Path) -> None:
    """Another cluster's client that uses this cluster's servers is refused by each of them, and learns why."""
    foreign = Site(tmp_path / "foreign")
    mixed = tmp_path / "mixed.toml"
    ours, theirs = site.file.read_text(), foreign.file.read_text()
    mixed.write_text(ours[: ours.index("[[clients]]")] + theirs[theirs.index("[[clients]]") :])
    async with client(site) as cluster:
        before = await count_of(cluster, "refused.handshake_failed")
        with pytest.raises(Unavailable, match="the cluster file it uses may not have this identity"):
            async with connect(
                mixed, identity=client_directory(foreign.directory, "admin"), connect_timeout=2
            ) as other:
                await other.object(Counter, "x").with_deadline(2).get()
        await until_counted(cluster, "refused.handshake_failed", before + 1)


async def test_a_client_that_is_not_in_the_cluster_file(site: Site, tmp_path: Path) -> None:
    """An identity that the cluster file does not name is refused before anything is sent."""
    foreign = Site(tmp_path / "foreign")
    with pytest.raises(ConfigurationError, match="is not in the cluster file: add it with `fivefold client add`"):
        async with client(site, str(client_directory(foreign.directory, "admin"))):
            pass


async def test_a_servers_identity_cannot_call(site: Site) -> None:
    """A client that took a server's identity would be taken for that server, and its calls for nothing."""
    with pytest.raises(ConfigurationError, match="is the identity of server 2: a client needs one of its own"):
        async with client(site, str(server_directory(site.directory, 2))):
            pass


async def test_a_client_with_restricted_rules(site: Site, key: str) -> None:
    """A client may do what its rules cover; everything else is NotAllowed before anything is sent."""
    name = site.add_client(f"reader-{key[:8]}", f"Counter/{key}:@query")
    async with client(site) as admin, client(site, name) as reader:
        assert await admin.object(Counter, key).increment() == 1
        assert await reader.object(Counter, key).get() == 1
        sent = reader.requests_sent
        with pytest.raises(NotAllowed, match=f"'increment' of 'Counter/{key}'"):
            await reader.object(Counter, key).increment()
        with pytest.raises(NotAllowed, match="'get' of 'Counter/other'"):
            await reader.object(Counter, "other").get()
        with pytest.raises(NotAllowed, match=r"'transfers\.total' of 'Account/"):
            await reader.call(total, reader.object(Account, "a"), reader.object(Account, "b"))
        assert reader.requests_sent == sent
        assert await admin.object(Counter, key).get() == 1


async def test_a_client_with_a_cluster_file_of_its_own_making(site: Site, key: str) -> None:
    """The servers go by their cluster file: what a client's own says of its rights changes nothing."""
    name = site.add_client(f"forger-{key[:8]}", f"Counter/{key}:@query")
    honest = load_configuration(site.file)
    clients = tuple(msgspec.structs.replace(each, rules=("*",)) for each in honest.clients)
    forged = msgspec.structs.replace(honest, clients=clients)
    identity = client_directory(site.directory, name)
    async with client(site) as admin, connect(forged, identity=identity, deadline=PATIENCE_S) as forger:
        with pytest.raises(NotAllowed, match=f"'increment' of 'Counter/{key}'"):
            await forger.object(Counter, key).increment()
        with pytest.raises(NotAllowed, match=r"'transfers\.total' of 'Account/"):
            await forger.call(total, forger.object(Account, "a"), forger.object(Account, "b"))
        assert await admin.object(Counter, key).get() == 0


# --- bytes -----------------------------------------------------------------------------------------------------
async def test_bytes_that_are_no_tls(site: Site) -> None:
    """Garbage in place of a handshake ends that connection, is counted, and the server lives."""
    async with client(site) as cluster:
        before = await count_of(cluster, "refused.handshake_failed")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + b"x" * 70000):
            reader, writer = await asyncio.open_connection(*site.address(TARGET))
            writer.write(garbage)
            async with asyncio.timeout(PATIENCE_S):
                try:
                    while await reader.read(4096):
                        pass
                except ConnectionError:
                    pass
            writer.close()
        await until_counted(cluster, "refused.handshake_failed", before + 3)
        assert (await cluster.status(timeout=PATIENCE_S)).servers[TARGET] is not None


def tls_connection(site: Site) -> ssl.SSLSocket:
    """A connection of admin's to the target, past the handshake."""
    credentials = credentials_of(site)
    plain = socket.create_connection(site.address(TARGET), timeout=PATIENCE_S)  # a server that waits fails the test
    return credentials.link_context(TARGET).wrap_socket(plain)


def credentials_of(site: Site) -> Credentials:
    return Credentials(load_configuration(site.file), load_identity(client_directory(site.directory, "admin")))


def is_dropped(connection: ssl.SSLSocket) -> bool:
    """Whether the server ends the connection, after its greeting."""
    try:
        while connection.recv(4096):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True


@pytest.mark.parametrize("size", [0, FRAME_BYTES_MAX + 1, 2**32 - 1])
async def test_frames_out_of_bounds_end_the_connection(site: Site, size: int) -> None:
    """A known client that announces an empty or an oversized frame is disconnected before the frame has come."""
    async with client(site) as cluster:
        before = await count_of(cluster, "refused.frame_size")
        with await asyncio.to_thread(tls_connection, site) as connection:
            connection.sendall(size.to_bytes(4, "big") + b"x" * 10)
            assert await asyncio.to_thread(is_dropped, connection)
        await until_counted(cluster, "refused.frame_size", before + 1)
        assert await cluster.object(Counter, "after-garbage").increment() >= 1


@asynccontextmanager
async def raw_link(site: Site) -> AsyncIterator:
    """Admin's link to the target: frames as they are, replies in a list."""
    replies: list[bytes] = []

    def hear(frames: list[bytes]) -> None:
        replies.extend([frame for frame in frames if frame[0] not in UNASKED])

    link = StreamTransport(credentials_of(site)).link(TARGET, on_frames=hear, on_up=lambda: None, on_down=lambda: None)
    link.start()
    try:
        await until(lambda: link.is_up, "the link is up")
        yield link, replies
    finally:
        await link.close()


def request_to_target(site: Site, key: str) -> bytes:
    """A valid increment of a counter nobody has touched."""
    object_id = ObjectId(f"Counter/{key}")
    arguments = standard_registry().encode_arguments((object_id,), "increment", (), {})
    session = Session(load_configuration(site.file).quorums, Random(1))
    operation = Operation((object_id,), (Call(bytes(16), 0, "increment", arguments),))
    _, actions = session.call(0, operation, is_query=False, deadline_ns=10**9)
    return actions.send[0].frame


def not_canonical(frame: bytes) -> bytes:
    """The body's array of three written with a 16-bit length."""
    body = frame[13:]
    assert body[0] == 0x93
    longer = b"\xdc\x00\x03" + body[1:]
    return frame[:9] + len(longer).to_bytes(4, "big") + longer


@pytest.mark.parametrize(
    ("reason", "garbage"),
    [
        ("frame-malformed", lambda frame: b"\xff"),
        ("frame-malformed", lambda frame: b"\x02" + frame[1:]),  # a reply where a request belongs
        ("sync-malformed", lambda frame: b"\x03" + frame[1:]),  # as if it asked for a version
        ("frame-truncated", lambda frame: frame[:20]),
        ("request-malformed", lambda frame: frame[:13] + b"\xc1" * (len(frame) - 13)),
        ("request-not-canonical", not_canonical),
    ],
)
async def test_frames_that_are_no_requests(site: Site, key: str, reason: str, garbage) -> None:
    """Malformed, truncated and non-canonical frames are counted by name and change nothing; the next good one works."""
    frame = request_to_target(site, key)
    async with client(site) as cluster, raw_link(site) as (link, replies):
        before = await count_of(cluster, f"rejected.{reason}")
        link.send(garbage(frame))
        await until_counted(cluster, f"rejected.{reason}", before + 1)
        assert replies == []
        assert await cluster.object(Counter, key).get() == 0
        link.send(frame[:1] + (2).to_bytes(8, "big") + frame[9:])  # the number of the first may be used up
        await until(lambda: len(replies) == 1, "the answer to a good frame")


async def test_replayed_frames_are_worked_on_once(site: Site, key: str) -> None:
    """A frame again on one connection is rejected as replayed; on a new one it gets its answer again."""
    frame = request_to_target(site, key)
    async with client(site) as cluster:
        before = await count_of(cluster, "rejected.replayed")
        accepted = await count_of(cluster, "accepted.METHOD")
        async with raw_link(site) as (link, replies):
            for _ in range(3):
                link.send(frame)
            await until_counted(cluster, "rejected.replayed", before + 2)
            await until(lambda: len(replies) == 1, "the one answer")
        async with raw_link(site) as (link, again):
            link.send(frame)
            await until(lambda: len(again) == 1, "the answer to a repeated request")
        assert await count_of(cluster, "accepted.METHOD") == accepted + 1


# --- starting --------------------------------------------------------------------------------------------------
@pytest.fixture
def lone(tmp_path: Path) -> Site:
    """A cluster of one server that has stored something, not running."""
    site = Site(tmp_path / "lone", t=0, b=0)
    site.processes.start()
    site.processes.stop()
    return site


def serve(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run its server, which is expected to end by itself."""
    command = site.processes.servers[0]._command
    with environment(ENVIRONMENT):
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def check_refusal(done: subprocess.CompletedProcess[str], kind: str, sentence: str) -> None:
    assert done.returncode == Exit.MISTAKE
    assert done.stdout == ""
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("fivefold:")]
    assert said.startswith(f"fivefold: {kind}: ")
    assert sentence in said
    assert "Traceback" not in done.stderr


def test_a_server_whose_data_is_missing_does_not_start(lone: Site) -> None:
    """A data directory that is gone is refused: a server must not answer with forgotten history."""
    shutil.rmtree(lone.data(0))
    check_refusal(serve(lone), "DataDirectoryError", "is missing although this server has stored data")


def test_a_server_whose_data_is_older_does_not_start(lone: Site, tmp_path: Path) -> None:
    """A copy of the data from before the last run is refused."""
    shutil.copytree(lone.data(0), tmp_path / "copy")
    lone.processes.start()
    lone.processes.stop()
    shutil.rmtree(lone.data(0))
    shutil.copytree(tmp_path / "copy", lone.data(0))
    check_refusal(serve(lone), "DataDirectoryError", "restore the newest data, or replace the server")


def test_a_server_with_foreign_data_does_not_start(lone: Site, tmp_path: Path) -> None:
    """Another cluster's data is refused, by name."""
    foreign = Site(tmp_path / "foreign", t=0, b=0)
    foreign.processes.start()
    foreign.processes.stop()
    check_refusal(
        serve(lone, "--data", str(foreign.data(0))), "DataDirectoryError", "give this server its own directory"
    )


def test_a_server_whose_data_is_in_use_does_not_start(lone: Site) -> None:
    """Two processes on one data directory: the second one is refused."""
    lone.processes.start()
    try:
        check_refusal(serve(lone), "DataDirectoryError", "is in use by another process")
    finally:
        lone.processes.stop()


def test_a_port_in_use(lone: Site) -> None:
    """Somebody listens at the server's address already: one sentence, no traceback."""
    with socket.create_server(lone.address(0)):
        check_refusal(serve(lone), "ConfigurationError", "is in use already: stop the program that listens there")


def test_a_client_identity_cannot_serve(lone: Site) -> None:
    """A server started with a client's identity is refused."""
    wrong = str(client_directory(lone.directory, "admin"))
    check_refusal(
        serve(lone, "--identity", wrong), "ConfigurationError", "is not that of a server in edition 1 of the cluster"
    )


def test_another_clusters_identity_cannot_serve(lone: Site, tmp_path: Path) -> None:
    """A server started with the identity of another cluster's server is refused."""
    foreign = Site(tmp_path / "foreign", t=0, b=0)
    wrong = str(server_directory(foreign.directory, 0))
    check_refusal(
        serve(lone, "--identity", wrong), "ConfigurationError", "is not that of a server in edition 1 of the cluster"
    )


def test_lies_need_leave(lone: Site) -> None:
    """Without the environment's leave no server lies."""
    with environment({"FIVEFOLD_ALLOW_LIES": "0"}):
        command = [*lone.processes.servers[0]._command, "--lie", "macs"]
        with environment({"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}):
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    check_refusal(done, "ConfigurationError", "--lie is for the demo and for tests")
