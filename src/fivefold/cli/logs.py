"""Logs: what the program says through ``logging``, rendered by structlog to standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from fivefold.cli.output import shown


def clean(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show every value on one line, and a traceback further to the right: no message can forge a line of the log."""
    for name, value in event.items():
        if name == "exception":
            event[name] = "\n".join(f"    {shown(line)}" for line in str(value).split("\n"))
        elif not isinstance(value, bool | int | float | None):
            event[name] = shown(value)
    return event


def set_up_logs(*, as_json: bool, level: int = logging.INFO) -> None:
    """Send all logging to standard error: one JSON object a line, or text with ``key=value`` pairs."""
    before: list[Callable[..., Any]] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    ending: list[Callable[..., Any]] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
    ]
    if as_json:
        ending.append(structlog.processors.JSONRenderer())  # escapes all but ASCII
    else:
        plain = structlog.dev.plain_traceback
        ending += [clean, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=ending))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
