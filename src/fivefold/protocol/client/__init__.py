"""The client's wing: what a client knows, how it asks, and what becomes of its calls (PROTOCOL §6, §7).

Read in this order: ``session`` (everything one client does), ``queues`` (which calls travel together), ``invocation``
(one operation from its start to its outcome), ``rounds`` (one request and its replies), ``alike`` (the ordinary round),
``verdict`` (what the replies of any other decide), ``pauses`` (back-off), ``knowledge`` (cached histories),
``standing`` (what speaks against which server). ``readings`` is for readers that make no calls.
"""

from fivefold.protocol.client.outcomes import (
    Answered,
    ClientActions,
    Delay,
    Disagreed,
    Evidence,
    Finished,
    Outcome,
    Refused,
    TimedOut,
)
from fivefold.protocol.client.pending import Pending
from fivefold.protocol.client.queues import QueueFull
from fivefold.protocol.client.readings import Reading, read
from fivefold.protocol.client.session import Session
from fivefold.protocol.client.standing import BAD_LUCK

__all__ = [
    "BAD_LUCK",
    "Answered",
    "ClientActions",
    "Delay",
    "Disagreed",
    "Evidence",
    "Finished",
    "Outcome",
    "Pending",
    "QueueFull",
    "Reading",
    "Refused",
    "Session",
    "TimedOut",
    "read",
]
