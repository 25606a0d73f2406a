"""``fivefold objects``: which types and functions there are, and how they are called."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.table import Table

from fivefold.cli.code import load_objects
from fivefold.cli.options import JsonOption, ObjectsOption
from fivefold.cli.output import marked, out, print_json, say
from fivefold.errors import UnknownType
from fivefold.objects import MethodDescription, describe

EXAMPLES: Final = """
**Examples**

`fivefold objects`

`fivefold objects Counter`

`fivefold objects --objects bank`
"""


def objects_command(
    names: Annotated[list[str] | None, typer.Argument(help="Show these types only.")] = None,
    objects: ObjectsOption = None,
    json: JsonOption = False,
) -> None:
    """Show object types and functions: the ready-made ones, and those of your modules."""
    description = describe(load_objects(objects or []))
    known = [each.name for each in description.types] + [each.name for each in description.functions]
    for name in names or ():
        if name not in known:
            raise UnknownType(f"no type or function {name} is known here: name its module with --objects")
    types = [each for each in description.types if not names or each.name in names]
    functions = [each for each in description.functions if not names or each.name in names]
    if json:
        print_json({"types": types, "functions": functions})
        return
    for each in types:
        say("[bold]{}[/]  {}", each.name, each.summary)
        out.print(_methods_table(each.methods))
    if functions:
        out.print("[bold]Functions over several objects[/]")
        out.print(_methods_table(functions))


def _methods_table(methods: tuple[MethodDescription, ...] | list[MethodDescription]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for method in methods:
        style = "cyan" if method.kind == "query" else "yellow"
        warning = marked("[red]uses {}: may differ from server to server[/]", ", ".join(method.suspects))
        name = marked("{}[dim]{}[/]", method.name, method.signature)
        summary = warning if method.suspects else marked("{}", method.summary)
        table.add_row(marked(f"[{style}]{{}}[/]", method.kind), name, summary)
    return table
