"""``fivefold serve``: one server, until it is told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.code import load_objects
from fivefold.cli.loop import run, spare_collector
from fivefold.cli.options import ObjectsOption
from fivefold.cluster import (
    READY,
    access_rules,
    join_address,
    load_configuration,
    load_identity,
    newest_edition,
    split_address,
    watch_parent,
)
from fivefold.errors import ConfigurationError
from fivefold.node.server import MetricsServer, Reloader, ServerNode, ServerOptions, assemble_server
from fivefold.objects import Registry, TimeLimit, let_signals_in
from fivefold.protocol.limits import CACHED_BYTES_MAX, CACHED_OBJECTS_MIN
from fivefold.transport import CONNECTIONS_OPTION_MAX, CONNECTIONS_PER_PEER_MAX

EXAMPLES: Final = """
**Examples**

`fivefold serve --identity server-0`

`fivefold serve --identity /etc/fivefold/server-0 --data /var/lib/fivefold --objects bank --metrics 127.0.0.1:9100`

`kill -HUP PID` makes it read the cluster file's clients again; it does so by itself within a second, too.
"""

TIME_LIMIT_MS: Final = 1000
"""How long a method may run before it is stopped and reported as ObjectError; the same on all servers."""

MIB: Final = 1024 * 1024

_M_MMAP_THRESHOLD: Final = -3
"""Of glibc's malloc.h: a block of this size or more is mapped, and unmapped when it is free."""

RELOAD_S: Final = 1.0
"""How often the cluster file is looked at for changes."""

log = logging.getLogger("fivefold.serve")


def serve(
    cluster: Annotated[Path, typer.Option(help="The cluster file.", envvar="FIVEFOLD_CLUSTER")] = Path("cluster.toml"),
    identity: Annotated[Path, typer.Option(help="Directory of this server's identity.")] = Path("server-0"),
    data: Annotated[Path | None, typer.Option(help="Where it stores. Default: IDENTITY with .data added.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Store nothing: for experiments.")] = False,
    objects: ObjectsOption = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT to listen on, if not the cluster file's.")] = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Without: loopback only, for experiments.")] = True,
    cached_objects: Annotated[int, typer.Option(min=CACHED_OBJECTS_MIN, help="Objects kept in memory.")] = 100_000,
    connections: Annotated[
        int, typer.Option(min=1, max=CONNECTIONS_OPTION_MAX, help="Connections taken from one identity at a time.")
    ] = CONNECTIONS_PER_PEER_MAX,
    cached_mib: Annotated[int, typer.Option(min=64, help="MiB of objects kept in memory.")] = CACHED_BYTES_MAX // MIB,
    metrics: Annotated[str | None, typer.Option(help="HOST:PORT for Prometheus, /healthz, /livez and /readyz.")] = None,
    time_limit_ms: Annotated[int, typer.Option(min=1, help="How long one operation may run.")] = TIME_LIMIT_MS,
    traces: Annotated[
        bool, typer.Option("--traces", help="Make OpenTelemetry spans of requests; run under opentelemetry-instrument.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")] = False,
    judge: Annotated[
        int, typer.Option(min=0, help="Work each N-th request out in Python, too, and compare; 0: none.")
    ] = 0,
    helping: Annotated[
        bool,
        typer.Option(
            "--helping/--no-helping", envvar="FIVEFOLD_HELPING", help="Let clients carry each other's waiting calls."
        ),
    ] = True,
    scrub: Annotated[bool, typer.Option("--scrub/--no-scrub", hidden=True)] = True,
    lie: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one server until SIGTERM or Ctrl-C.

    Prints `ready INDEX ADDRESS` once it listens, and logs to standard error.
    """
    _require_hash_seed()
    from fivefold.cli.logs import set_up_logs

    set_up_logs(as_json=log_json)
    let_signals_in()
    allow_descriptors()
    return_large_blocks()
    options = ServerOptions(
        data=None if memory else data or identity.with_name(identity.name + ".data"),
        listen=split_address(listen) if listen else None,
        tls=tls,
        cached_objects_max=cached_objects,
        cached_bytes_max=cached_mib * MIB,
        connections_max=connections,
        scrubs=scrub,
        lie=lie,
        judge_every=judge,
        helps=helping,
    )
    metrics_address = split_address(metrics) if metrics else None
    registry = load_objects(objects or [], TimeLimit(time_limit_ms))
    run(_serve(cluster, identity, registry, options, metrics_address, has_traces=traces))


def _trace(node: ServerNode) -> None:
    """Have requests traced by the program's own provider, which opentelemetry-instrument sets up.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace

        from fivefold.node.tracing import ServerTracer
    except ImportError:
        raise ConfigurationError("--traces needs OpenTelemetry: pip install 'fivefold[otel]'") from None
    node.tracer = ServerTracer(trace.get_tracer("fivefold"), node.machine.index, node.machine.quorums)


def allow_descriptors() -> None:
    """Open as many files and connections as the system lets this process: shells allow 1,024, for old programs' sake.

    A server may have 512 strangers, and 32 connections of each of many identities. Without a descriptor left it would
    refuse callers, and could not open its own files.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems allow fewer than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def return_large_blocks() -> None:
    """Have the C library give blocks of a MiB and more back to the system as soon as they are free.

    By itself glibc keeps them after the first few, up to 32 MiB each: 24 objects of 4 MiB left 90 MiB that nobody used.
    Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MIB)


def _require_hash_seed() -> None:
    """Start again with PYTHONHASHSEED=0: otherwise sets iterate in other orders (PROTOCOL §6)."""
    if not sys.flags.hash_randomization:
        return
    if os.environ.get("PYTHONHASHSEED") == "0":
        raise ConfigurationError("Python ignores PYTHONHASHSEED=0, which servers need: start it without -E and -I")
    os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606


async def _serve(
    cluster: Path,
    identity_directory: Path,
    registry: Registry,
    options: ServerOptions,
    metrics: tuple[str, int] | None,
    *,
    has_traces: bool,
) -> None:
    identity = load_identity(identity_directory)
    configuration = newest_edition(load_configuration(cluster), identity_directory)
    rules = access_rules(configuration, registry)
    node = assemble_server(configuration, identity, registry, options, rules)
    assert node.membership is not None, "a server with a cluster file has one"
    if has_traces:
        _trace(node)
    stop, membership = _stop_on_signals(), node.membership
    membership.on_retired = stop.set
    pages = MetricsServer(node)
    await node.start()
    try:
        if metrics is not None:
            await pages.start(*metrics)
        address = configuration.servers[node.machine.index].address
        if options.listen is not None:
            address = join_address(*options.listen)
        print(READY, node.machine.index, address, flush=True)
        log.info("ready", extra={"server": node.machine.index, "address": address, "pid": os.getpid()})
        membership.maybe_tell_progress()
        spare_collector()
        await _until(stop, Reloader(cluster, node, rules), membership.maybe_tell_progress)
        if membership.is_retired:
            raise ConfigurationError(
                f"another identity has the place of server {node.machine.index} now: start that one, with its own "
                "directory and an empty one for its data; this one never comes back"
            )
    finally:
        await pages.close()
        await node.close()
        log.info("closed")


def _stop_on_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def parent_gone() -> None:
        loop.call_soon_threadsafe(stop.set)

    watch_parent(parent_gone)
    return stop


async def _until(stop: asyncio.Event, reloader: Reloader, tell_progress: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.reload)
    while not stop.is_set():
        try:
            async with asyncio.timeout(RELOAD_S):
                await stop.wait()
        except TimeoutError:
            reloader.maybe_reload()
            tell_progress()
