"""Drivers: the protocol's machines between real sockets, disks and clocks (asyncio)."""

from fivefold.node.assembly import ServerOptions, access_rules, assemble_server
from fivefold.node.client import CLOSED, ClientNode, failures_text
from fivefold.node.metrics import MetricsServer
from fivefold.node.reload import Reloader
from fivefold.node.server import ServerNode
from fivefold.node.status import ServerStatus

__all__ = [
    "CLOSED",
    "ClientNode",
    "MetricsServer",
    "Reloader",
    "ServerNode",
    "ServerOptions",
    "ServerStatus",
    "access_rules",
    "assemble_server",
    "failures_text",
]
