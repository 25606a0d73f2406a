"""Links that do something with each frame that passes: to count it, or to have it travel for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fivefold.transport import Link, Transport


def tapped(inner: Link, send: Callable[[bytes], bool]) -> Link:
    """The link, but for what sends its frames."""
    return _Tapped(inner, send)


class _Tapped:
    """A link whose frames are sent by something else than itself."""

    def __init__(self, inner: Link, send: Callable[[bytes], bool]) -> None:
        """All but ``send`` is the inner link's."""
        self._inner = inner
        self.send = send

    @property
    def server(self) -> int:
        return self._inner.server

    @property
    def is_up(self) -> bool:
        return self._inner.is_up

    @property
    def failure(self) -> str | None:
        return self._inner.failure

    @property
    def is_refused(self) -> bool:
        return self._inner.is_refused

    @property
    def dropped(self) -> int:
        return self._inner.dropped

    @dropped.setter
    def dropped(self, count: int) -> None:
        self._inner.dropped = count

    def start(self) -> None:
        self._inner.start()

    def hold(self) -> None:
        self._inner.hold()

    def release(self) -> None:
        self._inner.release()

    async def close(self) -> None:
        await self._inner.close()


class Delayed:
    """A client's transport at a distance: each frame and each event travels for so long, in its order.

    The delay is made in the client's process: a proxy beside it would be one more process on the machine, and the first
    to be busy. What servers send each other is not delayed.
    """

    def __init__(self, inner: Transport, one_way_s: float) -> None:
        """Wrap a transport."""
        self._inner, self._one_way_s = inner, one_way_s
        self.listen = inner.listen

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> Link:
        """A link of the inner transport, at a distance."""
        inner = self._inner.link(
            server,
            on_frames=lambda frames: self._later(on_frames, frames),
            on_up=lambda: self._later(on_up),
            on_down=lambda: self._later(on_down),
        )

        def send(frame: bytes) -> bool:
            if inner.is_up:
                self._later(inner.send, frame)
            return inner.is_up

        return tapped(inner, send)

    def _later(self, act: Callable[..., object], *arguments: Any) -> None:  # noqa: ANN401 - whatever ``act`` takes
        asyncio.get_running_loop().call_later(self._one_way_s, act, *arguments)
