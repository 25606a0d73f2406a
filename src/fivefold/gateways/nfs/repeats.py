"""Calls that are sent again: a client that got no answer must not have its REMOVE or RENAME made twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from fivefold.gateways.nfs.limits import ANSWERS_AGE_S, ANSWERS_BYTES_MAX, ANSWERS_MAX

Key = tuple[str, bytes, int, bytes]


class Repeats:
    """Answers by client, xid and checksum, bounded in number, bytes and age (ours; RFC 1813 §4.5 asks for one)."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """Empty; ``seconds`` is a clock that does not go back."""
        self._seconds = seconds
        self._running: dict[Key, asyncio.Future[bytes]] = {}
        self._answers: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()  # a dict is slow to find its first
        self._bytes = 0

    @staticmethod
    def key_of(host: str, machine: bytes, xid: int, record: bytes) -> Key:
        """What tells a call from every other one that a client may make meanwhile."""
        return host, machine, xid, blake2b(record, digest_size=16).digest()

    async def answer(self, key: Key, run: Callable[[], Awaitable[bytes]], *, is_kept: Callable[[bytes], bool]) -> bytes:
        """The answer given before; of a call that is under way, its answer when it comes; otherwise ``run``'s.

        Args:
            key: of the call.
            run: makes it.
            is_kept: whether an answer is final. One that tells the client to come back is not.
        """
        if (known := self._answers.get(key)) is not None:
            return known[1]
        if (running := self._running.get(key)) is not None:
            return await asyncio.shield(running)
        future = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await run()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # seen: there may be nobody else who waits for it
            raise
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(answer)
        finally:
            del self._running[key]
        if is_kept(answer):
            self._keep(key, answer)
        return answer

    def _keep(self, key: Key, answer: bytes) -> None:
        now = self._seconds()
        self._answers[key] = (now, answer)
        self._bytes += len(answer)
        while self._answers:
            since, _ = next(iter(self._answers.values()))
            is_full = len(self._answers) > ANSWERS_MAX or self._bytes > ANSWERS_BYTES_MAX
            if not is_full and now - since < ANSWERS_AGE_S:
                break
            self._bytes -= len(self._answers.popitem(last=False)[1][1])
