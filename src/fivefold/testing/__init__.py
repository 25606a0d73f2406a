"""For users' own test suites: a whole cluster in one process, and the pytest fixture ``fivefold_cluster``."""

from fivefold.testing.cluster import LocalCluster, local_cluster

__all__ = ["LocalCluster", "local_cluster"]
