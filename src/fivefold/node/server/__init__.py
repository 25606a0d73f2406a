"""A server's driver, what puts it together, and what it shows its operator."""

from fivefold.node.server.assembly import ServerOptions, assemble_server
from fivefold.node.server.driver import ServerNode
from fivefold.node.server.liar import ALLOW, CorruptKeys, LyingCodes
from fivefold.node.server.metrics import MetricsServer
from fivefold.node.server.reload import Reloader

__all__ = [
    "ALLOW",
    "CorruptKeys",
    "LyingCodes",
    "MetricsServer",
    "Reloader",
    "ServerNode",
    "ServerOptions",
    "assemble_server",
]
