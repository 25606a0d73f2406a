"""What programs use: ``connect``, the cluster, remote objects, the blocking façade."""

from fivefold.api.blocking import BlockingCluster, BlockingRemote, connect_blocking
from fivefold.api.cluster import Cluster, ClusterStatus, connect
from fivefold.api.outcomes import NOT_APPLIED, NotApplied
from fivefold.api.proxies import Remote

__all__ = [
    "NOT_APPLIED",
    "BlockingCluster",
    "BlockingRemote",
    "Cluster",
    "ClusterStatus",
    "NotApplied",
    "Remote",
    "connect",
    "connect_blocking",
]
