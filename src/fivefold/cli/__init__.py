"""The command ``fivefold``: one command a module, put together in :mod:`fivefold.cli.app`."""

from fivefold.cli.app import main

__all__ = ["main"]
