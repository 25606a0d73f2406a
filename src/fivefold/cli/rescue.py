"""``fivefold rescue``: objects whose servers hold different states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import FivefoldError, connect
from fivefold.api import Condition, Rescue, rescue
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, JsonOption, find_cluster_file
from fivefold.cli.output import print_json, say

EXAMPLES: Final = """
**Examples**

`fivefold rescue Names/a Names/b`

An object needs it if its calls end with NonDeterministicObject: the servers hold different states of one version. The
state that most of them hold becomes that of all, if it is enough of them to know it for the right one.

Exit code 0 if all objects are well now, 5 if one could not be rescued.
"""


def rescue_command(
    names: Annotated[list[str], typer.Argument(help="Object ids, such as Names/a.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    json: JsonOption = False,
) -> None:
    """Bring objects whose servers hold different states back to one of them."""
    results = run(_rescue(find_cluster_file(cluster), identity, names))
    if json:
        print_json([{"object_id": name, "result": result} for name, result in results])
    for name, result in () if json else results:
        say("{}: {}", name, _words(result))
    if any(isinstance(result, str) for _, result in results):
        raise typer.Exit(Exit.FAILED)


async def _rescue(file: Path, identity: str | None, names: Sequence[str]) -> list[tuple[str, Rescue | str]]:
    """What became of each object, or in words why it could not be rescued."""
    results: list[tuple[str, Rescue | str]] = []
    async with connect(file, identity=identity) as cluster:
        for name in names:
            try:
                results.append((name, await rescue(cluster, name)))
            except FivefoldError as error:
                results.append((name, f"not rescued: {error}"))
    return results


def _words(result: Rescue | str) -> str:
    if isinstance(result, str):
        return result
    if result.condition is Condition.HEALTHY:
        return "needs no rescue: all servers that answered hold one state, but for as many at most as may lie"
    groups = "; ".join(f"servers {', '.join(map(str, group))}" for group in result.groups)
    return f"rescued: states differed ({groups}), and all hold that of the first group now"
