"""The Query/Update protocol: pure functions and state machines, without I/O, clock, randomness or logging."""
