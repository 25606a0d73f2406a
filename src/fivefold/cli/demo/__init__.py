"""``fivefold demo``: a cluster that loses a server and has a liar in it, and a check that nobody noticed."""

from fivefold.cli.demo.command import EXAMPLES, demo, let_servers_lie
from fivefold.cli.demo.story import B, N, T

__all__ = ["EXAMPLES", "B", "N", "T", "demo", "let_servers_lie"]
