"""The command ``fivefold``: one command a module, put together in :mod:`fivefold.cli.app`.

What ``fivefold bench`` prints goes through the same functions as the other commands' output.
"""

from fivefold.cli.app import main
from fivefold.cli.output import CleanConsole, say, shown, to_json

__all__ = [
    "CleanConsole",
    "main",
    "say",
    "shown",
    "to_json",
]
