"""A client process of a benchmark: opens systems and runs segments as its parent tells it, in lines of JSON.

``python -m fivefold.bench.worker`` is started by :mod:`fivefold.bench.workers`. Commands arrive on standard input,
answers leave on standard output; while a segment runs, so do lines of progress.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from contextlib import AsyncExitStack
from typing import Any, Final, assert_never

import msgspec
from msgspec import Struct

from fivefold.bench.load import Log, Recording, Segment
from fivefold.bench.loop import run
from fivefold.bench.system import Opener, System
from fivefold.bench.workload import Seat
from fivefold.errors import CallerError, FivefoldError

PROGRESS_S: Final = 0.25


class Open(Struct, tag="open", kw_only=True):
    """Connect to a system.

    Attributes:
        name: by which later commands mean it.
        opener: ``module:function``, an :data:`fivefold.bench.system.Opener`.
        options: for the opener.
    """

    name: str
    opener: str
    options: dict[str, Any]


class Run(Struct, tag="run", kw_only=True):
    """Run a segment on a system that was opened."""

    name: str
    segment: Segment
    seat: Seat


class Close(Struct, tag="close"):
    """Disconnect from all systems and end."""


class Opened(Struct, tag="opened"):
    """The system is connected."""


class Progress(Struct, tag="progress"):
    """Operations that have ended since the segment began."""

    operations: int


class Ran(Struct, tag="ran"):
    """The segment is over."""

    recording: Recording


class Failed(Struct, tag="failed", kw_only=True):
    """The command could not be carried out.

    Attributes:
        is_mistake: whether the caller must change something; else the same may work later.
        reason: one sentence.
    """

    is_mistake: bool
    reason: str


Command = Open | Run | Close
Answer = Opened | Progress | Ran | Failed

_commands: Final = msgspec.json.Decoder(Command)


class Worker:
    """The systems this process is connected to."""

    def __init__(self, stack: AsyncExitStack) -> None:
        """Connections are closed with the stack."""
        self._stack = stack
        self._systems: dict[str, System] = {}

    async def obey(self, command: Open | Run) -> None:
        """Carry one command out and answer it."""
        match command:
            case Open():
                module, _, function = command.opener.partition(":")
                opener: Opener = getattr(importlib.import_module(module), function)
                self._systems[command.name] = await self._stack.enter_async_context(opener(command.options))
                _say(Opened())
            case Run():
                await self._run(command)
            case _:
                assert_never(command)

    async def _run(self, command: Run) -> None:
        log = Log()
        gc.collect()  # garbage of the segment before is not this one's
        gc.freeze()
        reporter = asyncio.create_task(_report(log))
        try:
            recording = await self._systems[command.name].run(command.segment, command.seat, log)
        finally:
            reporter.cancel()
        _say(Ran(recording))


async def _report(log: Log) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        _say(Progress(len(log.ends_ns)))


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


async def _serve() -> None:
    async with AsyncExitStack() as stack:
        worker = Worker(stack)
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            command = _commands.decode(line)
            if isinstance(command, Close):
                return
            try:
                await worker.obey(command)
            except FivefoldError as error:
                _say(Failed(is_mistake=isinstance(error, CallerError), reason=str(error)))


if __name__ == "__main__":
    run(_serve())
