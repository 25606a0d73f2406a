"""``fivefold example``: the paper's example execution, from a run of the real servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from fivefold.cli.options import JsonOption
from fivefold.cli.output import CleanConsole, out, print_json, say
from fivefold.simulation import HIGH, LOW, SERVERS, ExampleRow, run_example

EXAMPLES: Final = """
**Examples**

`fivefold example`

`fivefold example --json | jq '.[].kind'`
"""

WIDTH: Final = 132
"""What the table needs; a narrower terminal gets two lines for each request, and a pipe the table."""

LEGEND: Final = (
    "Histories after each request, the newest candidate first; 3b,2 is a barrier at time 3 conditioned on 2, and 2' "
    "the later of two candidates of one time. [green]Green[/]: this server accepted the request."
)


def example(json: JsonOption = False) -> None:
    """Run the example execution of the Q/U paper on the real server code and print its table.

    Six servers, of which one may lie (q = 5, r = 3), one object that holds a suit, and the clients X, Y and Z.
    """
    rows = run_example()
    if json:
        print_json(rows)
        return
    say("X and Z ask servers {}, Y asks {}: a quorum of 5 of the {}.", _span(LOW), _span(HIGH), SERVERS)
    if out.is_terminal and out.width < WIDTH:
        for row in rows:
            say("{}{}{}", f"{row.operation:10}", f"{row.kind:15}", row.result)
            out.print(Text("    ").append_text(Text(" │ ", style="dim").join(_cells(row))))
    else:
        CleanConsole(width=max(WIDTH, out.width)).print(_table(rows))
    out.print(LEGEND)


def _span(servers: Sequence[int]) -> str:
    return f"{servers[0]} to {servers[-1]}"


def _table(rows: Sequence[ExampleRow]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("request", no_wrap=True)
    table.add_column("kind", no_wrap=True, style="cyan")
    for server in range(SERVERS):
        table.add_column(f"s{server}", no_wrap=True)
    table.add_column("what the client makes of it")
    for row in rows:
        table.add_row(row.operation, row.kind, *_cells(row), row.result)
    return table


def _cells(row: ExampleRow) -> list[Text]:
    return [
        Text(cell.strip("{}"), style="green" if server in row.accepted_by else "dim")
        for server, cell in enumerate(row.cells)
    ]
