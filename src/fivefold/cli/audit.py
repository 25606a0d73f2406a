"""``fivefold audit``: who lies, who forgot, whose disk rots."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from fivefold import connect
from fivefold.cli.backup import bar
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, JsonOption, RateOption, find_cluster_file
from fivefold.cli.output import print_json, say
from fivefold.cluster import load_configuration
from fivefold.errors import InvalidArguments
from fivefold.upkeep import Charge, Report, audit

EXAMPLES: Final = """
**Examples**

`fivefold audit`

`fivefold audit --sample 500 --evidence audit.json`

`fivefold audit --show audit.json`: explains what an audit has found

Exit code 0 if no server is named, 5 if one is, 3 if fewer than a quorum answered and none is. It changes nothing. Your
access rule must be `*`.
"""

EVIDENCE_BYTES_MAX: Final = 256 * 1024 * 1024

_MEANS: Final = {
    Charge.FORGOT: "It forgot what it had signed: its data were put back to an older copy, or emptied. Such a server "
    "lies and uses up b. Stop it, and replace it by one with a new identity.",
    Charge.ROTTEN: "Its disk has damaged objects, or it lies about them. Replace the disk, and look at "
    "`fivefold inspect DATA --check` there.",
    Charge.TWIN: "Two servers run under its identity: a copy, or a thief. Stop both, and replace it by one with a new "
    "identity.",
    Charge.MACS: "Its authenticators are wrong for the others: it lies, or its keys are not those of the cluster file.",
    Charge.ANSWERS: "It answers otherwise than the others on the same version: it lies, or runs other code.",
    Charge.FORGED: "It sends what no honest server sends: it lies, or is of another version of Fivefold.",
}


def audit_command(
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Number of objects to look at, chosen at random.")] = None,
    evidence: Annotated[Path | None, typer.Option(help="Write what was found, with the proofs, to this file.")] = None,
    show: Annotated[Path | None, typer.Option(help="Explain what an audit has written; no cluster is needed.")] = None,
    rate: RateOption = None,
    json: JsonOption = False,
) -> None:
    """Compare what all servers hold and say, and name who has broken a promise."""
    if show is not None:
        report = _load(show)
    else:
        report = run(_audit(find_cluster_file(cluster), identity, sample, rate))
        if evidence is not None:
            evidence.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if json:
        print_json(report)
    else:
        _say(report, explains=show is not None)
    if report.findings:
        raise typer.Exit(Exit.FAILED)
    if len(report.answered) < report.servers_needed:
        raise typer.Exit(Exit.UNAVAILABLE)


async def _audit(file: Path, identity: str | None, sample: int | None, rate: int | None) -> Report:
    cluster_id = load_configuration(file).cluster_id.hex()
    async with connect(file, identity=identity, connect_timeout=5, needs_quorum=False) as cluster:
        first, second = (cluster.inquiry(connect_timeout=5, needs_quorum=False) for _ in range(2))
        async with first as one, second as other:
            with bar("audit") as (progress, task):

                def told(count: int) -> None:
                    progress.update(task, completed=count)

                report = await audit(cluster, one, other, cluster_id=cluster_id, sample=sample, rate=rate, told=told)
        for server, charges in sorted(report.named.items()):
            cluster.say(server, f"an audit has found: {', '.join(sorted(charges))}")
        await cluster.status()  # an answer: they have heard it
        return report


def _load(path: Path) -> Report:
    with path.open("rb") as file:
        data = file.read(EVIDENCE_BYTES_MAX + 1)
    try:
        if len(data) > EVIDENCE_BYTES_MAX:
            raise ValueError(f"it has more than {EVIDENCE_BYTES_MAX} bytes")
        return msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArguments(
            f"{path} is not what an audit has written ({error}): name the file of --evidence"
        ) from error


def _say(report: Report, *, explains: bool) -> None:
    at = datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    say("{} of {} objects, {} of {} servers, {}", *_counts(report), at)
    for server, charges in sorted(report.named.items()):
        say("[red]server {}[/]: {}", server, ", ".join(sorted(charges)))
        for charge in sorted(charges):
            mine = [each for each in report.findings if (each.server, each.charge) == (server, charge)]
            for each in mine if explains else mine[:1]:
                say("    {}{}", f"{each.object_id}: " if each.object_id else "", each.says)
                if explains and each.shown:
                    say("      histories in evidence: {}", ", ".join(f"{len(data)} bytes" for data in each.shown))
            if len(mine) > 1 and not explains:
                say("    … and {} more", len(mine) - 1)
            if explains:
                say("    {}", _MEANS[charge])
    if not report.findings:
        say("[green]No server is named.[/]")
    for note in report.notes:
        say("  {}", note, style="dim")


def _counts(report: Report) -> tuple[int, int, int, int]:
    return report.objects, report.listed, len(report.answered), report.servers
