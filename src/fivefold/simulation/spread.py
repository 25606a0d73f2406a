"""A campaign's seeds on the workers of a Dask cluster (the extra ``dask``): same seeds, same results.

The cluster must be trusted: Dask sends pickled functions between client, scheduler and workers. Servers of Fivefold
have no part in it. See docs/decisions/0004-campaigns-on-dask.md.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from fivefold.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS: Final = 10.0
"""Real time for the scheduler to answer, and then for its first worker to appear."""

RESULT_SECONDS: Final = 600.0
"""Real time without a result after which a campaign gives up. No seed takes so long; other work may be in its way."""

CHUNK_SEEDS: Final = 4
"""Seeds handed over at once: a second of work, beside some milliseconds that handing them over takes."""

CHUNKS_MAX: Final = 256
"""Tasks under way: enough for some dozens of workers, and little for the scheduler to remember."""

Result = TypeVar("Result")
Chunk = list[Result] | str
"""Results of some seeds; or the fingerprint of the worker's Fivefold, if it is another one."""


def spread(
    scheduler: str,
    run: Callable[[int], Result],
    seeds: Iterable[int],
    *,
    connect_s: float = CONNECT_SECONDS,
    result_s: float = RESULT_SECONDS,
) -> Iterator[Result]:
    """Run seeds on a Dask cluster; results come in the order of the seeds.

    Args:
        scheduler: its address, as ``tcp://host:port``.
        run: runs one seed; a function that workers can import, or a partial one of it.
        seeds: which.
        connect_s: how long to wait for the scheduler, and for its first worker.
        result_s: how long to wait for the next result.

    Raises:
        ConfigurationError: the extra is not installed, the address is none, or the workers' Fivefold is another one.
        Unavailable: the scheduler does not answer in time, it has no worker, or they got lost on the way.
    """
    with _connected(scheduler, connect_s) as client:
        ours, left = fingerprint(), iter(seeds)
        chunks = iter(lambda: list(islice(left, CHUNK_SEEDS)), [])
        tasks = (client.submit(run_chunk, run, chunk, ours, pure=False) for chunk in chunks)
        waiting = deque(islice(tasks, CHUNKS_MAX))
        while waiting:
            try:
                results: Chunk[Result] = waiting.popleft().result(timeout=result_s)
            except Exception as error:  # whatever Dask raises: workers killed, scheduler gone, Fivefold not installed
                raise Unavailable(f"the cluster of {scheduler} lost seeds: {_told(error)}; look at its log") from error
            if isinstance(results, str):
                raise ConfigurationError(
                    f"workers of {scheduler} run another Fivefold ({results}, here {ours}): install the same on all"
                )
            yield from results
            waiting.extend(islice(tasks, 1))


def _connected(scheduler: str, patience_s: float) -> Client:
    """A client of a scheduler that has a worker."""
    if find_spec("distributed") is None:
        raise ConfigurationError("a scheduler needs the extra dask: run pip install 'fivefold[dask]'")
    from distributed import Client

    end_s = time.monotonic() + patience_s
    try:
        client = Client(scheduler, timeout=patience_s, set_as_default=False)
    except ValueError as error:
        raise ConfigurationError(f"{scheduler!r} is no address of a scheduler: write tcp://host:port") from error
    except OSError as error:  # a time-out is one as well
        raise Unavailable(
            f"no Dask scheduler answers at {scheduler} within {patience_s:g} s: start one with `dask scheduler`"
        ) from error
    try:
        client.wait_for_workers(1, timeout=max(0.1, end_s - time.monotonic()))
    except TimeoutError:
        client.close()
        raise Unavailable(f"{scheduler} has no workers: start some with `dask worker {scheduler}`") from None
    return client


def run_chunk(run: Callable[[int], Result], seeds: Sequence[int], wanted: str) -> Chunk[Result]:
    """On a worker: run some seeds, if its Fivefold is the one that is wanted."""
    found = fingerprint()
    return found if found != wanted else [run(seed) for seed in seeds]


@cache
def fingerprint() -> str:
    """What tells one Fivefold from another: a digest of its sources. Other sources may make other runs of a seed."""
    root = Path(__file__).parents[1]
    digest = blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _told(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip().splitlines()[0].rstrip(".:;")
