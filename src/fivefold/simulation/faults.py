"""Faults by name: how each begins and ends. All of them are benign; lies are in :mod:`fivefold.simulation.liars`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fivefold.simulation.clients import ClientHost
from fivefold.simulation.events import Began, Over
from fivefold.simulation.network import Network
from fivefold.simulation.plan import Fault
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.world import World

SLOWNESS: Final = 40
"""Factor by which a slow disk is slower."""


class Stage:
    """What faults act upon.

    Attributes:
        servers: all hosts, by index.
        clients: all correct clients, by index.
        machines: how many machines there are on the network.
    """

    def __init__(
        self, world: World, network: Network, servers: list[ServerHost], clients: list[ClientHost], machines: int
    ) -> None:
        """Remember them all."""
        self.world, self.network, self.servers, self.clients, self.machines = world, network, servers, clients, machines


def crash(stage: Stage, server: int) -> None:
    """A server stops; clients notice that their connections broke."""
    stage.servers[server].crash()
    for client in stage.clients:
        client.lose(stage.servers[server])


def _restart(stage: Stage, server: int) -> None:
    stage.servers[server].restart()


def _pause(stage: Stage, server: int) -> None:
    stage.servers[server].pause()


def _resume(stage: Stage, server: int) -> None:
    stage.servers[server].resume()


def _fill(stage: Stage, server: int) -> None:
    stage.servers[server].disk.is_full = True


def _empty(stage: Stage, server: int) -> None:
    stage.servers[server].disk.is_full = False


def _slow(stage: Stage, server: int) -> None:
    stage.servers[server].disk.slowness = SLOWNESS


def _quick(stage: Stage, server: int) -> None:
    stage.servers[server].disk.slowness = 1


def _deafen(stage: Stage, server: int) -> None:
    stage.network.blocked |= {(other, server) for other in range(stage.machines)}


def _hear(stage: Stage, server: int) -> None:
    stage.network.blocked -= {(other, server) for other in range(stage.machines)}


def _mute(stage: Stage, server: int) -> None:
    stage.network.blocked |= {(server, other) for other in range(stage.machines)}


def _unmute(stage: Stage, server: int) -> None:
    stage.network.blocked -= {(server, other) for other in range(stage.machines)}


def _isolate(stage: Stage, server: int) -> None:
    _deafen(stage, server)
    _mute(stage, server)


def _reach(stage: Stage, server: int) -> None:
    _hear(stage, server)
    _unmute(stage, server)


def _reset(stage: Stage, server: int) -> None:
    for client in stage.clients:
        client.lose(stage.servers[server])


def _nothing(stage: Stage, target: int) -> None:
    pass


def _kill_client(stage: Stage, client: int) -> None:
    stage.clients[client].die()


Change = Callable[[Stage, int], None]

FAULTS: Final[Mapping[str, tuple[Change, Change]]] = MappingProxyType(
    {
        "crash": (crash, _restart),
        "pause": (_pause, _resume),
        "full disk": (_fill, _empty),
        "slow disk": (_slow, _quick),
        "deafness": (_deafen, _hear),
        "muteness": (_mute, _unmute),
        "isolation": (_isolate, _reach),
        "reset connections": (_reset, _nothing),
        "death of client": (_kill_client, _nothing),
    }
)
"""What each fault does to one target when it begins and when it ends."""


def schedule(stage: Stage, fault: Fault, until_ns: int) -> None:
    """Let a fault happen; it is over at ``until_ns`` at the latest."""
    begin, end = FAULTS[fault.kind]

    def start() -> None:
        stage.world.tell(Began(fault))
        for target in fault.targets:
            begin(stage, target)

    def stop() -> None:
        stage.world.tell(Over(fault))
        for target in fault.targets:
            end(stage, target)

    stage.world.at(fault.at_ns, start)
    stage.world.at(min(fault.at_ns + fault.lasts_ns, until_ns), stop)


def heal(stage: Stage, dead: tuple[int, ...]) -> None:
    """Undo every fault, but leave the dead ones dead."""
    stage.network.blocked.clear()
    for server in stage.servers:
        server.disk.is_full, server.disk.slowness = False, 1
        if server.index in dead:
            crash(stage, server.index)
            continue
        server.restart()
        server.resume()
