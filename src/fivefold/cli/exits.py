"""Exit codes, and errors as one sentence on standard error."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Any, Final

import typer
from typer import rich_utils

from fivefold.cli.output import shown
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
    INTERRUPTED = 130
    """Ctrl-C, as shells say it."""


# Typer has click's classes under names that change; its own errors are still derived from them.
WrongUsage: Final[type[Exception]] = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "UsageError")
"""A command line that cannot be understood."""


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
    print(f"fivefold: {type(error).__name__}: {shown(str(error).strip())}", file=sys.stderr)


def say_wrong_usage(error: Any) -> None:  # noqa: ANN401 - a class of click's, wherever typer has it
    """Print what is wrong with a command line. The words that were given come back in the text."""
    text = error.format_message() or ""
    is_clean = all(line.isprintable() for line in text.splitlines())
    clean: Any = error if is_clean else WrongUsage(shown(text), error.ctx)
    rich_utils.rich_format_error(clean)
