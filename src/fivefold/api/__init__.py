"""What programs use: ``connect``, the cluster, remote objects, the blocking façade."""

from fivefold.api.blocking import BlockingCluster, BlockingMethod, BlockingRemote, connect_blocking
from fivefold.api.cluster import Cluster
from fivefold.api.conditions import ClusterStatus
from fivefold.api.exporting import Imported, export_object, import_object
from fivefold.api.joining import connect
from fivefold.api.outcomes import NOT_APPLIED, NotApplied
from fivefold.api.proxies import Remote, RemoteMethod, TypedRemote, remote
from fivefold.api.rescuing import Condition, Rescue, rescue
from fivefold.api.states import adopt_state, show_state
from fivefold.api.stubs import stubs_of

__all__ = [
    "NOT_APPLIED",
    "BlockingCluster",
    "BlockingMethod",
    "BlockingRemote",
    "Cluster",
    "ClusterStatus",
    "Condition",
    "Imported",
    "NotApplied",
    "Remote",
    "RemoteMethod",
    "Rescue",
    "TypedRemote",
    "adopt_state",
    "connect",
    "connect_blocking",
    "export_object",
    "import_object",
    "remote",
    "rescue",
    "show_state",
    "stubs_of",
]
