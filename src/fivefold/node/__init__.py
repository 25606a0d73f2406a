"""Drivers: the protocol's machines between real sockets, disks and clocks (asyncio).

A client's is here. A server's, with its storage, metrics and access rules, is in :mod:`fivefold.node.server`: a program
that only calls objects does not import it.
"""

from fivefold.node.client import CLOSED, ClientNode, failures_text
from fivefold.node.codes import Announcement, CodeTable, announcement_frame
from fivefold.node.inquiry import Inquiry
from fivefold.node.sayings import Said
from fivefold.node.status import Place, ServerStatus, progress_text
from fivefold.program import VERSION

__all__ = [
    "CLOSED",
    "VERSION",
    "Announcement",
    "ClientNode",
    "CodeTable",
    "Inquiry",
    "Place",
    "Said",
    "ServerStatus",
    "announcement_frame",
    "failures_text",
    "progress_text",
]
