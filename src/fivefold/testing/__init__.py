"""For users' own test suites: a whole cluster in one process, and pytest fixtures that start one."""

from fivefold.testing.cluster import LocalCluster, local_cluster

__all__ = ["LocalCluster", "local_cluster"]
