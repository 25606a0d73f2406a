"""How fast handshakes begin: each costs a server about a millisecond, and a stranger nearly nothing.

Connections of one host wait in a line of their own, so that a host that floods makes its own wait. The line is as long
as the handshakes under way that a host may have.
"""

from __future__ import annotations

import asyncio
from collections import deque

from fivefold.transport import limits


class _Line:
    """The connections of one host that wait for their turn."""

    __slots__ = ("earliest_s", "timer", "waiting")

    def __init__(self) -> None:
        self.earliest_s = 0.0  # when a bucket that leaks evenly would be empty
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: deque[asyncio.Future[None]] = deque()


class Pace:
    """Lets a host begin some handshakes at once, and then a number a second.

    Attributes:
        waited: how many had to wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody waits."""
        self.waited = 0
        self._loop = loop
        self._lines: dict[str, _Line] = {}

    async def turn(self, host: str) -> None:
        """Wait until a handshake with this host may begin; cancelling it gives the turn to the next."""
        line = self._lines.get(host)
        if line is None:
            self._tidy()
            line = self._lines[host] = _Line()
        if not line.waiting and self._take(line):
            return
        self.waited += 1
        mine: asyncio.Future[None] = self._loop.create_future()
        line.waiting.append(mine)
        self._set_timer(line)
        await mine

    def _take(self, line: _Line) -> bool:
        now_s = self._loop.time()
        start_s = max(line.earliest_s, now_s)
        if start_s - now_s > limits.HANDSHAKES_AT_ONCE / limits.HANDSHAKES_PER_S:
            return False
        line.earliest_s = start_s + 1 / limits.HANDSHAKES_PER_S
        return True

    def _set_timer(self, line: _Line) -> None:
        if line.timer is None and line.waiting:
            line.timer = self._loop.call_later(1 / limits.HANDSHAKES_PER_S, self._next, line)

    def _next(self, line: _Line) -> None:
        line.timer = None
        while line.waiting and line.waiting[0].done():  # cancelled
            line.waiting.popleft()
        if line.waiting and self._take(line):
            line.waiting.popleft().set_result(None)
        self._set_timer(line)

    def _tidy(self) -> None:
        """Forget hosts that have been quiet."""
        now_s = self._loop.time()
        if len(self._lines) >= limits.HANDSHAKES_MAX:
            self._lines = {host: line for host, line in self._lines.items() if line.waiting or line.earliest_s > now_s}
