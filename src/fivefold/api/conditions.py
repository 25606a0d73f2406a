"""How the servers of a cluster say they are, and what their client holds against them."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from fivefold.node import ClientNode, ServerStatus
from fivefold.protocol.client import Evidence
from fivefold.protocol.quorums import QuorumSystem


class ClusterStatus(Struct, frozen=True):
    """The cluster as this client sees it.

    Attributes:
        quorums: n, t, b and what follows from them.
        servers: what each server says about itself; None for a server that did not answer.
        evidence: what speaks against which server.
        failures: for each server that is not connected, why.
        took_s: how long each server took to answer; None for one that did not.
    """

    quorums: QuorumSystem
    servers: tuple[ServerStatus | None, ...]
    evidence: tuple[Evidence, ...]
    failures: dict[int, str]
    took_s: tuple[float | None, ...] = ()


async def ask_all(node: ClientNode, timeout_s: float) -> ClusterStatus:
    """Ask every server about itself, and add what this client holds against them."""
    loop, knowledge = asyncio.get_running_loop(), node.session.knowledge

    async def ask(server: int) -> tuple[ServerStatus | None, float | None]:
        began_s = loop.time()
        found = await node.status(server, timeout_s)
        return found, None if found is None else loop.time() - began_s

    answers = await asyncio.gather(*map(ask, range(knowledge.quorums.n)))
    servers = tuple(found for found, _ in answers)
    took_s = tuple(took for _, took in answers)
    return ClusterStatus(knowledge.quorums, servers, tuple(knowledge.evidence()), node.failures, took_s)
