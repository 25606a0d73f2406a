"""``fivefold check``: is a recorded history linearizable?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.checker import STEPS_COUNT_MAX, Result, Verdict, check_file
from fivefold.cli.code import load_models
from fivefold.cli.exits import Exit
from fivefold.cli.options import JsonOption
from fivefold.cli.output import print_json, say

EXAMPLES: Final = """
**Examples**

`fivefold check history.jsonl`

`fivefold check history.jsonl --out violation.html`, and open the page

`fivefold check history.jsonl --models seats --steps 20000000`

Each line of the file is one operation as its caller saw it; `fivefold demo --keep` writes such a file.
Exit code 0 if the history is linearizable, 5 if it is not or that could not be decided.
"""


def check(
    file: Annotated[Path, typer.Argument(help="A history: JSON lines.")],
    picture: Annotated[
        Path | None, typer.Option("--out", help="Where to draw a violation: .svg, or .html for a page.")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of models, shared by the objects; each million takes a few seconds.")
    ] = STEPS_COUNT_MAX,
    models: Annotated[
        list[str] | None, typer.Option(help="Python module whose MODELS has models of your types; repeatable.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a history for linearizability (strict serializability, for several objects)."""
    result = check_file(file, picture, models=load_models(models or ()), steps_count_max=steps)
    if json:
        print_json({"verdict": result.verdict, "message": result.message, "operations": result.operations_count})
    else:
        say_result(result)
    if result.verdict is Verdict.VIOLATION and not json:
        say("Picture: {}", picture) if picture else say("Draw it with --out violation.html")
    if result.verdict is not Verdict.LINEARIZABLE:
        raise typer.Exit(Exit.FAILED)


def say_result(result: Result) -> None:
    """Print a verdict for people."""
    style = {Verdict.LINEARIZABLE: "green", Verdict.VIOLATION: "bold red", Verdict.UNDECIDED: "yellow"}[result.verdict]
    say(f"[{style}]{{}}[/]: {{}}", result.verdict.value, result.message)
