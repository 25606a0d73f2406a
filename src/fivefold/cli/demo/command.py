"""The command ``fivefold demo``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.checker import Result, Verdict, check, write_history, write_picture
from fivefold.cli.demo.display import Display
from fivefold.cli.demo.recorder import Recorder
from fivefold.cli.demo.report import claims_of, report_builtins, say_report
from fivefold.cli.demo.story import B, N, Story, T
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import CLUSTER_FILE, JsonOption
from fivefold.cli.output import print_json, say
from fivefold.cluster import LocalCluster, create_cluster, free_addresses, serve_command, server_directory
from fivefold.node.server import ALLOW

EXAMPLES: Final = """
**Examples**

`fivefold demo`

`fivefold demo --seconds 40 --keep`: longer, and the files stay: logs, data, and the history for `fivefold check`

Exit code 0 only if work went on throughout, the liar was caught, the history is linearizable and nothing was lost;
5 otherwise.
"""


def demo(
    seconds: Annotated[float, typer.Option(min=4, max=600, help="How long the clients work.")] = 12.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the files.")] = False,
    json: JsonOption = False,
) -> None:
    """Watch six servers lose one to kill -9 and another one to lies, without the clients noticing."""
    let_servers_lie()
    directory = Path(tempfile.mkdtemp(prefix="fivefold-demo-"))
    held = False
    try:
        held = _play(directory, seconds, quiet=json)
    finally:
        if keep or not held:
            say("Files: {}", directory) if not json else None
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if not held:
        raise typer.Exit(Exit.FAILED)


def let_servers_lie() -> None:
    """Allow the servers that the launcher starts to be told to lie."""
    os.environ[ALLOW] = "1"


def _play(directory: Path, seconds: float, *, quiet: bool) -> bool:
    create_cluster(directory, free_addresses(N), t=T, b=B)
    recorder = Recorder()
    with Display(N, recorder, seconds, quiet=quiet) as display:
        with _servers(directory) as servers:
            ending = run(Story(directory / CLUSTER_FILE, servers, recorder, display, seconds).play())
        display.say(f"checking {len(recorder.history)} recorded calls …")
        result = _check(directory, recorder)
    claims = claims_of(recorder, ending, result)
    if quiet:
        print_json(report_builtins(recorder, claims))
    else:
        say_report(recorder, claims)
    return all(claim.holds for claim in claims)


class _servers:  # noqa: N801 - a context manager
    """The servers, stopped at the end, whatever happens; the story starts them."""

    def __init__(self, directory: Path) -> None:
        def command(index: int) -> Sequence[str]:
            identity = server_directory(directory, index)
            return serve_command(directory / CLUSTER_FILE, identity=identity, data=directory / f"data-{index}")

        self._servers = LocalCluster(N, command, directory / "logs")

    def __enter__(self) -> LocalCluster:
        return self._servers

    def __exit__(self, *_: object) -> None:
        self._servers.stop()


def _check(directory: Path, recorder: Recorder) -> Result:
    history = sorted(recorder.history, key=lambda seen: seen.invoke_ns)
    write_history(directory / "history.jsonl", history)
    result = check(history)
    if result.verdict is Verdict.VIOLATION:
        write_picture(directory / "violation.html", result, history)
    return result
