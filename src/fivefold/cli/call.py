"""``fivefold call``: one call of a method, or of a function over several objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fivefold import NOT_APPLIED, Cluster, OutcomeUnknown, Unavailable, connect
from fivefold.cli.code import load_objects
from fivefold.cli.loop import run
from fivefold.cli.options import (
    ClusterOption,
    IdentityOption,
    JsonOption,
    ObjectsOption,
    find_cluster_file,
)
from fivefold.cli.output import err, print_json, say
from fivefold.cli.words import CallWords, Reference, parse_call

EXAMPLES: Final = """
**Examples**

One object, TYPE KEY METHOD [ARGUMENT…] or TYPE/KEY METHOD [ARGUMENT…]:

`fivefold call Counter hits increment`

`fivefold call Counter/hits increment by=5`

`fivefold call Map colours put sky '{"rgb": [135, 206, 235]}'`

Several objects, FUNCTION OBJECT… [ARGUMENT…], all of them or none:

`fivefold call transfer Account/alice Account/bob amount=5`

`fivefold call --objects bank bank.move alice bob 5`

Arguments are JSON, by position or as name=JSON; text needs no quotation marks. A word that begins with - goes after --.

Exit codes: 0 answered, 1 refused (wrong arguments, no right, the object said no), 3 too few servers, nothing changed;
4 the update may or may not have been applied, and even asking again did not tell.
"""


def call(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="TYPE KEY METHOD [ARGUMENT…], see below.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    objects: ObjectsOption = None,
    deadline: Annotated[float, typer.Option(min=0.01, help="Seconds that the call may take.")] = 10.0,
    json: JsonOption = False,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Call a method of an object, or a function over several, and print the answer."""
    file = find_cluster_file(cluster)
    modules = objects or []
    meant = parse_call(load_objects(modules), words)
    print_json(run(_call(file, identity, modules, meant, deadline, tls)), pretty=not json)


async def _call(
    file: Path, identity: str | None, modules: list[str], meant: CallWords, deadline_s: float, tls: bool
) -> Any:  # noqa: ANN401 - whatever the method answers
    async with connect(
        file, identity=identity, objects=modules, deadline=deadline_s, connect_timeout=deadline_s, tls=tls
    ) as cluster:
        try:
            return await _invoke(cluster, meant)
        except OutcomeUnknown as unknown:
            say("fivefold: {}; finding out …", unknown.args[0].partition(":")[0], style="yellow", to=err)
            answer = await unknown.resolve()
    if answer is NOT_APPLIED:
        raise Unavailable("the call was not applied and never will be, nothing changed: call again")
    say("fivefold: it was applied; this is its answer", style="green", to=err)
    return answer


async def _invoke(cluster: Cluster, meant: CallWords) -> Any:  # noqa: ANN401 - whatever the method answers
    if meant.target is not None:
        remote = cluster.object(meant.target.cls, meant.target.key)
        return await getattr(remote, meant.method.name)(*meant.args, **meant.kwargs)

    def remote_of(value: Any) -> Any:  # noqa: ANN401 - an argument of any type
        return cluster.object(value.cls, value.key) if isinstance(value, Reference) else value

    args = [remote_of(value) for value in meant.args]
    return await cluster.call(meant.method.function, *args, **{k: remote_of(v) for k, v in meant.kwargs.items()})
