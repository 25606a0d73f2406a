"""Exit codes, and errors as one sentence on standard error."""

from __future__ import annotations

import sys
from enum import IntEnum

from fivefold.errors import FivefoldError, OutcomeUnknown, WorldError


class Exit(IntEnum):
    """What the process's exit code says."""

    OK = 0
    """All went well."""
    MISTAKE = 1
    """The caller's mistake: the same command will fail again."""
    USAGE = 2
    """The command line itself cannot be understood."""
    UNAVAILABLE = 3
    """Not enough servers answered; nothing was changed: try again later."""
    UNKNOWN = 4
    """An update may or may not have been applied, and could not be resolved."""
    FAILED = 5
    """A check did not hold: the demo, a history, a simulation."""


def exit_code_of(error: FivefoldError) -> Exit:
    """The exit code for an error that ended a command."""
    match error:
        case OutcomeUnknown():
            return Exit.UNKNOWN
        case WorldError():
            return Exit.UNAVAILABLE
        case _:
            return Exit.MISTAKE


def say_error(error: FivefoldError) -> None:
    """Print an error for people: its kind and its sentence."""
    print(f"fivefold: {type(error).__name__}: {str(error).strip()}", file=sys.stderr)
