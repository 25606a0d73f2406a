"""Byzantine-fault-tolerant replicated objects for Python: the public surface."""
