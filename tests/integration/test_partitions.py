"""Partitions of a real network: six servers and two clients, each in a network namespace of its own, on one bridge.

Whatever is cut, and in one direction only: calls end by their deadlines, work goes on where a quorum can be reached or
resumes when it can again, and the history is linearizable.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fivefold.checker import Observation
from tests.integration.rig import LoadProcess, Site, judge, running, until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

SERVERS = range(6)
CLIENTS = (6, 7)
PORT = 7000
DEADLINE_S = 3.0
KEYS = [f"k{number}" for number in range(4)]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Network:
    """Namespaces on one bridge, and what is cut between them."""

    def __init__(self, stack: ExitStack) -> None:
        """Make it; ``stack`` takes it down again."""
        base = f"ff{os.getpid()}"
        self.hub, self.names = f"{base}-hub", [f"{base}-{number}" for number in (*SERVERS, *CLIENTS)]
        for name in (self.hub, *self.names):
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self.hub, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names):
            veth = f"veth{number}"
            run("ip", "-n", self.hub, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", self.hub, "link", "set", veth, "master", "bridge", "up")
            run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        run(*self.inside(0), "iptables", "-L", "INPUT")

    def address(self, number: int) -> str:
        return f"10.77.5.{10 + number}"

    def inside(self, number: int) -> list[str]:
        """What a command that runs in a namespace begins with."""
        return ["ip", "netns", "exec", self.names[number]]

    def deafen(self, number: int, *others: int) -> None:
        """Nothing from the others arrives any more."""
        for other in others:
            run(*self.inside(number), "iptables", "-A", "INPUT", "-s", self.address(other), "-j", "DROP")

    def cut(self, some: tuple[int, ...], others: tuple[int, ...]) -> None:
        """Nothing passes between two groups."""
        for number in some:
            self.deafen(number, *others)
        for number in others:
            self.deafen(number, *some)

    def heal(self) -> None:
        """Everything passes again."""
        for number in range(len(self.names)):
            run(*self.inside(number), "iptables", "-F", "INPUT")


@pytest.fixture
def network() -> Iterator[Network]:
    missing = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and iproute2 and iptables (missing: {', '.join(missing) or 'root'})")
    with ExitStack() as stack:
        try:
            made = Network(stack)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces or no iptables here: {error.stderr.decode().strip()}")
        yield made


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Iterator[Site]:
    addresses = [f"{network.address(number)}:{PORT}" for number in SERVERS]
    made = Site(tmp_path / "cluster", addresses=addresses, prefix=network.inside)
    made.add_client("second")
    with running(made):
        yield made


class Loads:
    """One or two load clients, each in its namespace; ended in any case."""

    def __init__(self, network: Network, site: Site, directory: Path, names: tuple[str, ...]) -> None:
        self.processes = [
            LoadProcess(site, name, directory / name, KEYS, deadline=DEADLINE_S, prefix=network.inside(CLIENTS[number]))
            for number, name in enumerate(names)
        ]

    def __enter__(self) -> "Loads":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()

    async def progress(self, updates: int = 40) -> None:
        """Each client gets on."""
        for process in self.processes:
            await process.progress(updates)

    async def judged(self) -> list[Observation]:
        """End, and check what all of them saw: the last reads are those of the client that ended last."""
        history: list[Observation] = []
        for process in self.processes:
            history = [seen for seen in history if not seen.process.endswith("the-end")]
            history += await process.end()
        judge(history)
        return history


@pytest.mark.ci
async def test_one_server_after_the_other_is_cut_off(network: Network, site: Site, tmp_path: Path) -> None:
    """With one server cut off from everybody work goes on; healed, the next one may be cut off."""
    with Loads(network, site, tmp_path, ("admin",)) as loads:
        await loads.progress()
        for victim in (0, 3):
            rest = tuple(number for number in (*SERVERS, *CLIENTS) if number != victim)
            network.cut((victim,), rest)
            await loads.progress()
            network.heal()
            await loads.progress()
        await loads.judged()


async def test_two_servers_are_cut_off(network: Network, site: Site, tmp_path: Path) -> None:
    """Two servers cut off: calls fail by their deadlines and nothing is acknowledged; healed, work resumes."""
    with Loads(network, site, tmp_path, ("admin",)) as loads:
        (load,) = loads.processes
        await loads.progress()
        network.cut((4, 5), (0, 1, 2, 3, *CLIENTS))
        failed = load.failed
        await until(lambda: load.failed >= failed + len(KEYS), "calls that were under way have failed")
        acknowledged, failed = load.acknowledged, load.failed
        await until(lambda: load.failed >= failed + len(KEYS), "further calls have failed")
        assert load.acknowledged == acknowledged
        network.heal()
        await loads.progress()
        await loads.judged()


async def test_one_way_partitions(network: Network, site: Site, tmp_path: Path) -> None:
    """A server that hears but is not heard, then one that is heard but does not hear: work goes on."""
    with Loads(network, site, tmp_path, ("admin",)) as loads:
        await loads.progress()
        for number in (*SERVERS, *CLIENTS):
            if number != 2:
                network.deafen(number, 2)
        await loads.progress()
        network.heal()
        network.deafen(4, *[number for number in (*SERVERS, *CLIENTS) if number != 4])
        await loads.progress()
        network.heal()
        await loads.progress()
        await loads.judged()


async def test_servers_without_each_other(network: Network, site: Site, tmp_path: Path) -> None:
    """No server reaches another one, the client reaches all: without contention work goes on."""
    with Loads(network, site, tmp_path, ("admin",)) as loads:
        await loads.progress()
        for number in SERVERS:
            network.deafen(number, *[other for other in SERVERS if other != number])
        await loads.progress()
        network.heal()
        await loads.progress()
        await loads.judged()


async def test_contention_while_servers_do_not_reach_each_other(network: Network, site: Site, tmp_path: Path) -> None:
    """Repairs that need object syncs wait for the network; calls end by their deadlines, and healed, both get on."""
    with Loads(network, site, tmp_path, ("admin", "second")) as loads:
        await loads.progress()
        for number in SERVERS:
            network.deafen(number, *[other for other in SERVERS if other != number])
        ended = [load.acknowledged + load.failed for load in loads.processes]
        for load, before in zip(loads.processes, ended, strict=True):
            await until(lambda load=load, before=before: load.acknowledged + load.failed >= before + 12, "calls end")
        network.heal()
        await loads.progress(20)
        await loads.judged()


async def test_two_clients_see_different_servers(network: Network, site: Site, tmp_path: Path) -> None:
    """One client is cut off from the first server, the other from the last: both work on the same objects."""
    with Loads(network, site, tmp_path, ("admin", "second")) as loads:
        await loads.progress(20)
        network.cut((CLIENTS[0],), (0,))
        network.cut((CLIENTS[1],), (5,))
        await loads.progress(20)
        network.heal()
        await loads.progress(20)
        await loads.judged()
