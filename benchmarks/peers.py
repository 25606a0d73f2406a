"""The peers a user would pick, beside Fivefold in one run: etcd, PySyncObj, ZooKeeper; same payload, same durability.

What is compared is not the same promise: the peers' three nodes survive the crash of one, and one that lies breaks
them; Fivefold's six servers survive one that lies. Fivefold and etcd are shown in clear and with TLS, the other peers
in clear. All are driven by the same loops in one Python client process; what the peers' own client libraries cost is in
their rates.

    benchmarks/peers/install.sh; python benchmarks/peers.py --durability disk
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from figure import carry_out, finish, measure, parser, timing_of, whole_numbers

PEERS = Path(__file__).parent / "peers"
sys.path[:0] = [str(PEERS)]

import peer_etcd  # noqa: E402 - found through the line above
import peer_pysyncobj  # noqa: E402
import peer_zookeeper  # noqa: E402
from peer_common import PYTHON  # noqa: E402

from fivefold.bench.beds import Bed, Beds  # noqa: E402
from fivefold.bench.comparison import Comparison, Entry  # noqa: E402
from fivefold.bench.machine import file_system  # noqa: E402
from fivefold.bench.results import Durability, ratio  # noqa: E402
from fivefold.bench.workload import Workload  # noqa: E402
from fivefold.protocol.quorums import QuorumSystem  # noqa: E402

MEMORY = Path("/dev/shm")


def systems(beds: Beds, names: list[str], data: Path, durability: Durability, payload: int) -> list[tuple[str, Bed]]:
    """The systems to compare, started."""
    quorums = QuorumSystem(6, 1, 1)
    is_durable = durability == "disk"
    found = [("Fivefold", beds.fivefold(quorums, durable=is_durable, payload_bytes=payload))]
    found.append(("Fivefold in clear", beds.fivefold(quorums, tls=False, durable=is_durable, payload_bytes=payload)))
    if "etcd" in names:
        found.append(("etcd with TLS", peer_etcd.start(beds, data, durability, payload, tls=True)))
        found.append(("etcd", peer_etcd.start(beds, data, durability, payload, tls=False)))
    if "zookeeper" in names:
        found.append(("ZooKeeper", peer_zookeeper.start(beds, data, durability, payload)))
    if "pysyncobj" in names and not is_durable:
        found.append(("PySyncObj", peer_pysyncobj.start(beds, payload)))
    return found


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "peers-DURABILITY")
    options.add_argument("--durability", choices=("memory", "disk"), default="disk")
    options.add_argument("--payload", type=int, default=100, help="bytes of a value (default 100)")
    options.add_argument("--in-flight", default="1,64")
    options.add_argument("--peers", default="etcd,zookeeper,pysyncobj")
    chosen = options.parse_args()
    durability: Durability = chosen.durability
    chosen.out = Path(str(chosen.out).replace("DURABILITY", durability))
    parent = chosen.dir if durability == "disk" else MEMORY
    loads = whole_numbers(chosen.in_flight)
    with tempfile.TemporaryDirectory(prefix="fivefold-peers-", dir=parent) as name, Beds(parent) as beds:
        where = file_system(Path(name))
        found = systems(beds, chosen.peers.split(","), Path(name), durability, chosen.payload)
        with Comparison(python_path=[PEERS, PYTHON, PEERS.parent]) as comparison:
            entries = [
                Entry(name=each, x=x, bed=bed, workload=Workload(in_flight=x, payload_bytes=chosen.payload))
                for x in loads
                for each, bed in found
            ]
            points = measure(comparison, entries, timing_of(chosen))
    numbers = {}
    for x in loads:
        ours, in_clear, *others = [point for point in points if point.x == x]
        pairs = [(ours, other) for other in others] + [(in_clear, other) for other in others if other.name == "etcd"]
        for mine, other in pairs:
            rate, p50 = ratio(mine, other, lambda each: each.rate), ratio(other, mine, lambda each: each.p50_ms)
            numbers[f"{x} in flight: rate of {mine.name} / {other.name}"] = round(rate.median, 3)
            numbers[f"{x} in flight: p50 of {other.name} / {mine.name}"] = round(p50.median, 3)
    finish(
        chosen,
        points,
        figure="bars",
        title=f"Peers: updates of {chosen.payload} bytes, {durability}",
        x_label="in flight",
        numbers=numbers,
        notes={"file_system": where},
    )


if __name__ == "__main__":
    carry_out(main)
