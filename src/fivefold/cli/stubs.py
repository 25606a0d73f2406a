"""``fivefold stubs``: the types of remote objects' methods, for checkers and editors."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from fivefold.api import stubs_of
from fivefold.cli.code import load_objects

EXAMPLES: Final = """
**Examples**

`fivefold stubs bank > bank_remote.py`
"""


def stubs_command(
    module: Annotated[str, typer.Argument(help="The module that holds your Object classes.", metavar="MODULE")],
) -> None:
    """Print a module with a Remote class for each of a module's objects, which checkers and editors understand."""
    load_objects([module])
    sys.stdout.write(stubs_of(module))
