"""Programs that speak other systems' protocols in front of a cluster, on the public API."""
