"""The NFS server: TCP connections, calls side by side, replies in whatever order they are done."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Final, cast

from fivefold.gateways.nfs import mount, nfs3, rpc
from fivefold.gateways.nfs.codes import Status
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.handles import Handles
from fivefold.gateways.nfs.limits import (
    CALLS_PER_CONNECTION_MAX,
    CONNECTIONS_MAX,
    INPUT_BYTES_PER_CONNECTION_MAX,
    OUTPUT_BYTES_HIGH,
    RUNNING_BYTES_MAX,
    RUNNING_CALLS_MAX,
)
from fivefold.gateways.nfs.mount import Mount
from fivefold.gateways.nfs.procedures import VERIFIER_BYTES, Procedures
from fivefold.gateways.nfs.repeats import Repeats
from fivefold.gateways.nfs.tree import Tree
from fivefold.gateways.nfs.xdr import Writer, XdrError

log: Final = logging.getLogger("fivefold.nfs")

_STATUS_AT: Final = 24
"""Where the status stands in an accepted reply."""
_JUKEBOX: Final = int(Status.JUKEBOX).to_bytes(4)


class Service:
    """Answers calls of the programs MOUNT and NFS."""

    def __init__(self, tree: Tree, root: Handle, *, path: str, is_squashing: bool) -> None:
        """Serve ``tree`` under ``path``; root is nobody if ``is_squashing``."""
        handles = Handles(path)
        self._mount = Mount(path, handles.encode(root))
        self._nfs = Procedures(tree, handles, os.urandom(VERIFIER_BYTES))
        self._is_squashing = is_squashing
        self._repeats = Repeats(time.monotonic)
        self._calls = self._bytes = 0
        self.watch: Callable[[bytes, bytes], None] | None = None
        """Sees each record and its reply: for tests."""

    async def answer(self, host: str, record: bytes) -> bytes | None:
        """The reply to a record from a host; None if it gets none."""
        try:
            call = rpc.parse_call(record)
        except rpc.BadCall as bad:
            return bad.reply
        except XdrError:
            return None
        try:
            reply = await self._dispatch(host, record, call)
        except XdrError:
            reply = bytes(rpc.accepted(call.xid, rpc.GARBAGE_ARGS).data)
        except Exception:  # a bug of ours must not end the other calls
            log.exception("procedure %d of program %d failed", call.procedure, call.program)
            reply = bytes(rpc.accepted(call.xid, rpc.SYSTEM_ERR).data)
        if self.watch is not None:
            self.watch(record, reply)
        return reply

    async def _dispatch(self, host: str, record: bytes, call: rpc.Call) -> bytes:
        if call.program not in (mount.PROGRAM, nfs3.PROGRAM):
            return bytes(rpc.accepted(call.xid, rpc.PROG_UNAVAIL).data)
        if call.version != nfs3.VERSION:  # both programs have version 3
            return bytes(rpc.mismatch(call.xid, nfs3.VERSION, nfs3.VERSION).data)
        if call.program == mount.PROGRAM:
            writer = rpc.accepted(call.xid, rpc.SUCCESS)
            is_known = self._mount.run(call.procedure, call.reader, writer)
            return bytes(writer.data if is_known else rpc.accepted(call.xid, rpc.PROC_UNAVAIL).data)
        if call.procedure >= len(self._nfs.table):
            return bytes(rpc.accepted(call.xid, rpc.PROC_UNAVAIL).data)
        if self._calls >= RUNNING_CALLS_MAX or self._bytes + len(record) > RUNNING_BYTES_MAX:
            writer = rpc.accepted(call.xid, rpc.SUCCESS)
            self._nfs.turn_away(call.procedure, writer)
            return bytes(writer.data)
        self._calls += 1
        self._bytes += len(record)
        try:
            if self._nfs.table[call.procedure].is_repeatable:
                return await self._run(call)
            key = self._repeats.key_of(host, call.machine, call.xid, record)
            return await self._repeats.answer(key, lambda: self._run(call), is_kept=_is_final)
        finally:
            self._calls -= 1
            self._bytes -= len(record)

    async def _run(self, call: rpc.Call) -> bytes:
        who = nfs3.squashed(call.uid, call.gids, is_squashing=self._is_squashing)
        writer: Writer = rpc.accepted(call.xid, rpc.SUCCESS)
        await self._nfs.run(call.procedure, call.reader, who, writer)
        return bytes(writer.data)


def _is_final(reply: bytes) -> bool:
    return reply[_STATUS_AT : _STATUS_AT + 4] != _JUKEBOX


class Connection(asyncio.Protocol):
    """One client's connection: reads no more than it can answer."""

    def __init__(self, server: Server) -> None:
        """Made by the server for each connection."""
        self._server = server
        self._records = rpc.Records()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._is_full = False
        self._host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here; one too many is turned away."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.set_write_buffer_limits(high=OUTPUT_BYTES_HIGH)
        peer = transport.get_extra_info("peername")
        self._host = str(peer[0]) if peer else ""
        if len(self._server.connections) >= CONNECTIONS_MAX:
            self._transport.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone. Its calls go on: it may come back and ask for their answers."""
        self._server.connections.discard(self)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        try:
            for record in self._records.feed(data):
                self._waiting.append(record)
        except rpc.RecordError:
            self._transport.abort()
            return
        self._proceed()

    def pause_writing(self) -> None:
        """The client does not take its answers."""
        self._is_full = True
        self._proceed()

    def resume_writing(self) -> None:
        """It does again."""
        self._is_full = False
        self._proceed()

    def _proceed(self) -> None:
        while self._waiting and not self._is_busy():
            record = self._waiting.pop(0)
            self._bytes += len(record)
            task = asyncio.get_running_loop().create_task(self._answer(record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._transport.is_closing():
            return
        if self._waiting or self._is_busy():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _is_busy(self) -> bool:
        is_loaded = len(self._tasks) >= CALLS_PER_CONNECTION_MAX or self._bytes >= INPUT_BYTES_PER_CONNECTION_MAX
        return self._is_full or is_loaded

    async def _answer(self, record: bytes) -> None:
        try:
            reply = await self._server.service.answer(self._host, record)
            if reply is not None and not self._transport.is_closing():
                self._transport.write(rpc.framed(reply))
        finally:
            self._bytes -= len(record)
            asyncio.get_running_loop().call_soon(self._proceed)

    async def close(self) -> None:
        """End the connection and its calls."""
        self._transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Server:
    """Listens on a port."""

    def __init__(self, service: Service) -> None:
        """Not yet."""
        self.service = service
        self.connections: set[Connection] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """End all."""
        self._server.close()
        for connection in list(self.connections):
            await connection.close()
