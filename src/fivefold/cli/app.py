"""The command line put together: the commands, and what their errors look like."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fivefold.bench import bench
from fivefold.cli import (
    audit,
    backup,
    call,
    check,
    dashboard,
    demo,
    describe,
    example,
    explore,
    export,
    init,
    inspect,
    move,
    play,
    rescue,
    restore,
    serve,
    simulate,
    status,
    stubs,
    top,
    up,
)
from fivefold.cli.client import client
from fivefold.cli.exits import Exit, WrongUsage, exit_code_of, say_error, say_wrong_usage
from fivefold.cli.nfs import nfs
from fivefold.cli.server import server
from fivefold.cli.upgrade import upgrade
from fivefold.errors import ConfigurationError, FivefoldError
from fivefold.native import variant
from fivefold.node import VERSION

app = typer.Typer(
    name="fivefold",
    epilog="Exit codes: 0 all went well, 1 your mistake, 2 wrong usage, 3 too few servers, 4 outcome unknown, "
    "5 a check failed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(is_wanted: bool) -> None:
    if is_wanted:
        print(VERSION, f"({variant()})")
        raise typer.Exit


@app.callback()
def fivefold(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Byzantine-fault-tolerant replicated Python objects."""


app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=up.EXAMPLES)(up.up)
app.command(epilog=call.EXAMPLES)(call.call)
app.command(epilog=status.EXAMPLES)(status.status)
app.command(epilog=top.EXAMPLES)(top.top)
app.command(epilog=dashboard.EXAMPLES)(dashboard.dashboard)
app.command(name="objects", epilog=describe.EXAMPLES)(describe.objects_command)
app.command(name="stubs", epilog=stubs.EXAMPLES)(stubs.stubs_command)
app.command(epilog=init.EXAMPLES)(init.init)
app.command(epilog=init.IDENTITY_EXAMPLES)(init.identity)
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.add_typer(client)
app.add_typer(server)
app.add_typer(upgrade)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(name="rescue", epilog=rescue.EXAMPLES)(rescue.rescue_command)
app.command(name="audit", epilog=audit.EXAMPLES)(audit.audit_command)
app.command(epilog=backup.EXAMPLES)(backup.backup)
app.command(epilog=restore.EXAMPLES)(restore.restore)
app.command(epilog=move.EXAMPLES)(move.move)
app.command(name="export", epilog=export.EXPORT_EXAMPLES)(export.export_command)
app.command(name="import", epilog=export.IMPORT_EXAMPLES)(export.import_command)
app.command(epilog=inspect.EXAMPLES)(inspect.inspect)
app.command(epilog=example.EXAMPLES)(example.example)
app.command(epilog=play.EXAMPLES)(play.play)
app.command(epilog=simulate.EXAMPLES)(simulate.simulate)
app.command(epilog=explore.EXAMPLES)(explore.explore)
app.add_typer(nfs)

app.add_typer(bench)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``fivefold`` with ``arguments`` (by default the process's) and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a command
    try:
        left = app(args=None if arguments is None else list(arguments), prog_name="fivefold", standalone_mode=False)
        sys.exit(left or Exit.OK)
    except WrongUsage as error:
        say_wrong_usage(error)
        sys.exit(Exit.USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except FivefoldError as error:
        say_error(error)
        sys.exit(exit_code_of(error))
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        why = f"{error.filename} cannot be used ({error.strerror}): name another file, or give this user access to it"
        say_error(ConfigurationError(why))
        sys.exit(Exit.MISTAKE)
