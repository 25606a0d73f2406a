"""Faults by name: how each begins and ends. All of them are benign; lies are in :mod:`fivefold.simulation.liars`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fivefold.simulation.clients import ClientHost
from fivefold.simulation.events import Began, Forgot, Over
from fivefold.simulation.liars import LyingHost
from fivefold.simulation.moving import Move
from fivefold.simulation.network import Network
from fivefold.simulation.plan import MOVES, Fault, Plan
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.world import World

CAMP: Final = "camp"
"""A client cannot reach some servers: clients in different camps see different ones."""

TURNING: Final = "turning"
"""A server lies from now on."""

OF_CLIENTS: Final = frozenset((CAMP, "death of client", "telling", *MOVES))
"""Faults that say nothing of a server."""

SLOWNESS: Final = 40
"""Factor by which a slow disk is slower."""


class Stage:
    """What faults act upon.

    Attributes:
        servers: all hosts, by index.
        clients: all correct clients, by index.
        replace: puts a newcomer in a slot.
        turn: lets a server lie from now on.
        machines: how many machines there are on the network.
        plan: what the run is made from.
        move: who seals the cluster and copies it; None if nobody does.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        servers: list[ServerHost],
        clients: list[ClientHost],
        replace: Callable[[int, str], None],
        turn: Callable[[int], None],
        machines: int,
        plan: Plan,
        move: Move | None = None,
    ) -> None:
        """Remember them all."""
        self.world, self.network, self.servers, self.clients, self.machines = world, network, servers, clients, machines
        self.plan, self.replace, self.turn = plan, replace, turn
        self.move = move


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
    if stage.servers[server].book.newest > 1:
        stage.servers[server].announce()


def _reset(stage: Stage, server: int) -> None:
    for client in stage.clients:
        client.lose(stage.servers[server])


def _nothing(stage: Stage, target: int) -> None:
    pass


def _kill_client(stage: Stage, client: int) -> None:
    stage.clients[client].die()


def _deny(stage: Stage, server: int) -> None:
    stage.servers[server].rules.denied = frozenset((stage.clients[c].id, method) for c, method in stage.plan.denied)


def _allow(stage: Stage, server: int) -> None:
    stage.servers[server].rules.denied = frozenset()


def _downgrade(stage: Stage, server: int) -> None:
    stage.servers[server].executor.unknown = frozenset(stage.plan.unknown)


def _upgrade(stage: Stage, server: int) -> None:
    stage.servers[server].executor.unknown = frozenset()


def _stop(stage: Stage, server: int) -> None:
    stage.servers[server].executor.stopped = 0.7


def _go_on(stage: Stage, server: int) -> None:
    stage.servers[server].executor.stopped = 0.0


def _differ(stage: Stage, server: int) -> None:
    stage.servers[server].executor.is_noisy = True


def _agree(stage: Stage, server: int) -> None:
    stage.servers[server].executor.is_noisy = False


def _forget(stage: Stage, server: int) -> None:
    """A malevolent server loses its memory: nothing of the kind is done to an honest one."""
    host = stage.servers[server]
    if server in dict(stage.plan.liars) and host.book.is_liar(host.member.number):  # or an honest one has its place
        crash(stage, server)
        host.disk.forget()
        stage.world.tell(Forgot(server))
        host.restart()


def _flood(stage: Stage, server: int) -> None:
    """A malevolent server asks the others for versions that nobody has, more than they can take at once."""
    host = stage.servers[server]
    if isinstance(host, LyingHost):
        host.flood()


def _replace_crashed(stage: Stage, server: int) -> None:
    """A server has lost its disk: a newcomer takes its place."""
    stage.replace(server, "crashed")


def _replace_running(stage: Stage, server: int) -> None:
    """The wrong one is replaced, or the old incarnation runs on; if it lies, it lies on."""
    stage.replace(server, "twin")


def _tell(stage: Stage, server: int) -> None:
    """A server is told of the newest edition."""
    stage.servers[server].switch(stage.servers[server].book.newest)


def _turn(stage: Stage, server: int) -> None:
    """A server begins to lie, if no other one does any more."""
    stage.turn(server)


def _seal(stage: Stage, target: int) -> None:
    """A mover seals the cluster; nobody has been told yet."""
    if stage.move is not None:
        stage.move.seal()


def _kill_mover(stage: Stage, target: int) -> None:
    if stage.move is not None:
        stage.move.die()


def _open(stage: Stage, target: int) -> None:
    """The move is given up."""
    if stage.move is not None:
        stage.move.open()


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
        "other rules": (_deny, _allow),
        "older code": (_downgrade, _upgrade),
        "stopped methods": (_stop, _go_on),
        "other results": (_differ, _agree),
        "forgetting": (_forget, _nothing),
        "flood of syncs": (_flood, _nothing),
        "replacement": (_replace_crashed, _nothing),
        "replacement of a running server": (_replace_running, _nothing),
        "telling": (_tell, _nothing),
        TURNING: (_turn, _nothing),
        "sealing": (_seal, _nothing),
        "death of mover": (_kill_mover, _nothing),
        "opening": (_open, _nothing),
    }
)
"""What each fault does to one target when it begins and when it ends."""


def schedule(stage: Stage, fault: Fault, until_ns: int) -> None:
    """Let a fault happen; it is over at ``until_ns`` at the latest."""

    def start() -> None:
        stage.world.tell(Began(fault))
        _change(stage, fault, 0)

    def stop() -> None:
        stage.world.tell(Over(fault))
        _change(stage, fault, 1)

    stage.world.at(fault.at_ns, start)
    stage.world.at(min(fault.at_ns + fault.lasts_ns, until_ns), stop)


def _change(stage: Stage, fault: Fault, which: int) -> None:
    """Begin (0) or end (1) a fault."""
    if fault.kind == CAMP:
        client, *servers = fault.targets
        machine = stage.clients[client].machine
        pairs = {pair for server in servers for pair in ((machine, server), (server, machine))}
        stage.network.blocked = stage.network.blocked - pairs if which else stage.network.blocked | pairs
        return
    for target in fault.targets:
        FAULTS[fault.kind][which](stage, target)


def heal(stage: Stage, dead: tuple[int, ...]) -> None:
    """Undo every fault, but leave the dead ones dead."""
    stage.network.blocked.clear()
    for server in stage.servers:
        server.disk.is_full, server.disk.slowness = False, 1
        server.executor.unknown, server.executor.stopped, server.executor.is_noisy = frozenset(), 0.0, False
        server.rules.denied = frozenset()
        if server.injector is not None:
            server.injector.share = 0.0
        if server.index in dead:
            crash(stage, server.index)
            continue
        if server.machine.set_aside:  # an operator does what the server says: restart it
            crash(stage, server.index)
        server.restart()
        server.resume()
