"""Members of one small cluster on either transport, and recorders for what their callbacks hear."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fivefold.cluster import (
    Configuration,
    Credentials,
    add_client,
    create_cluster,
    free_addresses,
    load_configuration,
    load_identity,
)
from fivefold.transport import Connection, Link, Listener, MemoryNetwork, StreamTransport, Transport, limits

Member = str | int
"""A client's name or a server's index."""


def small_cluster(directory: Path) -> Path:
    """Files of a cluster of four servers and the clients admin and guest; returns the cluster file."""
    create_cluster(directory, free_addresses(4), t=1, b=0)
    add_client(directory / "cluster.toml", "guest", ["*:@query"])
    return directory / "cluster.toml"


def identity_directory(cluster_file: Path, member: Member) -> Path:
    kind = "server" if isinstance(member, int) else "client"
    return cluster_file.parent / f"{kind}-{member}"


def credentials_of(cluster_file: Path, member: Member) -> Credentials:
    return Credentials(load_configuration(cluster_file), load_identity(identity_directory(cluster_file, member)))


def allow_bytes(monkeypatch, size: int) -> None:
    """Let one connection keep so many bytes, and its identity's budget no more than that."""
    own = size // 6
    monkeypatch.setattr(limits, "OUTPUT_BYTES_HIGH", own)
    monkeypatch.setattr(limits, "INPUT_BYTES_HIGH", own)
    monkeypatch.setattr(limits, "LEASE_BYTES_MIN", 1)
    monkeypatch.setattr(limits, "PEER_BYTES_MAX", size - own)


@dataclass
class Ear:
    """A listener and what it heard."""

    rig: "Rig"
    on_frame: Callable[[Connection, bytes], None]
    listener: Listener | None = None
    opened: list[Connection] = field(default_factory=list)
    closed: list[Connection] = field(default_factory=list)
    frames: list[tuple[Connection, bytes]] = field(default_factory=list)

    def hear_open(self, connection: Connection) -> None:
        self.opened.append(connection)
        self.rig.changed.set()

    def hear_frames(self, connection: Connection, frames: list[bytes]) -> None:
        for frame in frames:
            self.frames.append((connection, frame))
            self.on_frame(connection, frame)
        self.rig.changed.set()

    def hear_close(self, connection: Connection) -> None:
        self.closed.append(connection)
        self.rig.changed.set()


@dataclass
class Line:
    """A link and what it heard."""

    rig: "Rig"
    link: Link | None = None
    frames: list[bytes] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def hear_frames(self, frames: list[bytes]) -> None:
        self.frames.extend(frames)
        self.rig.changed.set()

    def hear_up(self) -> None:
        self.events.append("up")
        self.rig.changed.set()

    def hear_down(self) -> None:
        self.events.append("down")
        self.rig.changed.set()


def keep_silent(connection: Connection, frame: bytes) -> None:
    """Answer nothing."""


def echo(connection: Connection, frame: bytes) -> None:
    """Answer every frame with itself."""
    connection.send(frame)


class Rig:
    """One cluster's transports inside one event loop."""

    def __init__(self, cluster_file: Path, kind: str) -> None:
        self.cluster_file = cluster_file
        self.kind = kind
        self.configuration: Configuration = load_configuration(cluster_file)
        self.changed = asyncio.Event()
        self.network = MemoryNetwork()
        self.ears: list[Ear] = []
        self.lines: list[Line] = []

    def transport(self, member: Member) -> Transport:
        if self.kind == "memory":
            is_server = isinstance(member, int)
            return self.network.transport(member if is_server else self.configuration.client_named(member).id)
        return StreamTransport(credentials_of(self.cluster_file, member), tls=self.kind == "tls")

    async def listen(self, server: Member, on_frame=keep_silent, transport: Transport | None = None) -> Ear:
        ear = Ear(self, on_frame)
        ear.listener = await (transport or self.transport(server)).listen(
            on_open=ear.hear_open, on_frames=ear.hear_frames, on_close=ear.hear_close
        )
        self.ears.append(ear)
        return ear

    def connect(self, member: Member, server: int, transport: Transport | None = None) -> Line:
        """A started link, not up yet."""
        line = Line(self)
        line.link = (transport or self.transport(member)).link(
            server, on_frames=line.hear_frames, on_up=line.hear_up, on_down=line.hear_down
        )
        line.link.start()
        self.lines.append(line)
        return line

    async def join(self, member: Member, server: int) -> Line:
        """A link that is up, also for the listener."""
        ear = next(ear for ear in self.ears if ear.listener is not None)
        before = len(ear.opened)
        line = self.connect(member, server)
        await self.until(lambda: line.events == ["up"] and len(ear.opened) > before)
        return line

    async def until(self, holds: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something holds; looked at whenever a callback was called, and now and then."""
        async with asyncio.timeout(seconds):
            while not holds():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self.changed.wait()
                except TimeoutError:
                    pass

    async def close(self) -> None:
        for line in self.lines:
            await line.link.close()
        for ear in self.ears:
            await ear.listener.close()
