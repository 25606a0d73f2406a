"""Frames between clients and servers: the contract, TCP with TLS 1.3, and an in-process twin for tests."""

from fivefold.transport.contract import VERSION, Connection, Credentials, Link, Listener, Peer, Transport
from fivefold.transport.frames import HEADER_BYTES, Framer
from fivefold.transport.limits import CLOSE_TIMEOUT_S, CONNECTIONS_OPTION_MAX, CONNECTIONS_PER_PEER_MAX
from fivefold.transport.listeners import StreamListener
from fivefold.transport.memory import MemoryNetwork, MemoryTransport
from fivefold.transport.streams import StreamTransport, is_loopback

__all__ = [
    "CLOSE_TIMEOUT_S",
    "CONNECTIONS_OPTION_MAX",
    "CONNECTIONS_PER_PEER_MAX",
    "HEADER_BYTES",
    "VERSION",
    "Connection",
    "Credentials",
    "Framer",
    "Link",
    "Listener",
    "MemoryNetwork",
    "MemoryTransport",
    "Peer",
    "StreamListener",
    "StreamTransport",
    "Transport",
    "is_loopback",
]
