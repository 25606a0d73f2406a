"""Deterministic simulation of the production protocol machines in virtual time, from one seed."""
