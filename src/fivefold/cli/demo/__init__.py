"""``fivefold demo``: a cluster that loses a server and has a liar in it, and a check that nobody noticed."""

from fivefold.cli.demo.command import EXAMPLES, demo

__all__ = ["EXAMPLES", "demo"]
