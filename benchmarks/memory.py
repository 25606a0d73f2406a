"""Memory of a server: 100,000 small objects in its cache; and a million on disk, of which it may keep 10,000.

Both durable, n = 6, t = b = 1, counters. The million takes minutes: ``--million``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from figure import carry_out, finish, parser

from fivefold import Counter, connect
from fivefold.bench.beds import Beds
from fivefold.bench.loop import run
from fivefold.bench.processes import resident_bytes
from fivefold.protocol.quorums import QuorumSystem

IN_FLIGHT = 128


async def fill(cluster_file: Path, count: int) -> None:
    """Update each of so many counters once."""
    keys = iter(range(count))

    async def loop() -> None:
        for key in keys:
            await cluster.object(Counter, f"fill-{key}").increment()
            if key % 50_000 == 0:
                print(f"{key:,} objects", flush=True)

    async with connect(cluster_file, identity="admin", deadline=60) as cluster:
        await asyncio.gather(*(loop() for _ in range(IN_FLIGHT)))


def megabytes(directory: Path | None, count: int, cached: int) -> dict[str, float]:
    """Fill a new cluster; resident memory of its servers in MB: the least and the most."""
    with Beds(directory) as beds:
        bed = beds.fivefold(QuorumSystem(6, 1, 1), durable=True, serve_options=["--cached-objects", str(cached)])
        begin = time.monotonic()
        empty = max(resident_bytes(pid) for pid in bed.pids.values()) / 1e6
        run(fill(Path(bed.options["cluster"]), count))
        found = [resident_bytes(pid) / 1e6 for pid in bed.pids.values()]
        what = f"{count:,} objects, {cached:,} cached"
        print(f"{what}: {min(found):.0f} to {max(found):.0f} MB, filled in {time.monotonic() - begin:.0f} s")
    return {
        f"{what}: MB, the largest server": round(max(found), 1),
        f"{what}: MB, the smallest server": round(min(found), 1),
        f"{what}: MB before": round(empty, 1),
    }


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "memory")
    options.add_argument("--objects", type=int, default=100_000)
    options.add_argument("--million", action="store_true", help="also a million objects, 10,000 of them cached")
    chosen = options.parse_args()
    numbers = megabytes(chosen.dir, chosen.objects, 100_000)
    if chosen.million:
        numbers |= megabytes(chosen.dir, 1_000_000, 10_000)
    finish(chosen, [], figure="numbers", title="Memory of a server", x_label="", numbers=numbers)


if __name__ == "__main__":
    carry_out(main)
