"""Keeps the current directory off the module path where Fivefold itself is the program.

Story: you unpack a stranger's files, change into their directory and type ``python -m fivefold status``. Python looks
for modules in the current directory first, so the ``uvloop.py`` in there runs with your rights.

The package imports this module before all others, and this module imports what the interpreter has loaded before it:
anything else may be the stranger's, ``re`` and ``__future__`` too. Programs of yours that import Fivefold keep the
module path that they have.
"""

import os
import sys

VERSION = "0.1.0"
"""Of Fivefold."""

_COMMAND = "fivefold"
_LETTERS = "bBdEiIOPqsSuvVx"
"""The interpreter's options of one letter that may stand before ``m`` in one word."""


def is_fivefold(program: str, command_line: list[str]) -> bool:
    """Whether the program that runs is the command ``fivefold`` or ``python -m fivefold``.

    Args:
        program: ``sys.argv[0]``; it is ``-m`` while the interpreter looks for the module to run.
        command_line: ``sys.orig_argv``.
    """
    if program != "-m":
        return os.path.basename(program) == _COMMAND
    for place, word in enumerate(command_line[1:], start=1):
        letters, m, module = word.partition("m")
        if m and letters[:1] == "-" and not letters[1:].strip(_LETTERS):
            module = module or "".join(command_line[place + 1 : place + 2])
            return module.partition(".")[0] == _COMMAND
    return False


def leave_current_directory_out() -> None:
    """Take the current directory off the module path, here and in the processes started from here.

    It gets there by ``-m``, and by an entry of PYTHONPATH that is empty or ``.``. An absolute entry stays: somebody has
    named that very directory.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        here = ""
    if sys.argv[0] == "-m" and not sys.flags.safe_path and sys.path[0] in ("", here):
        del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in named if os.path.normpath(entry or ".") != "."]
    if named == [""] or kept == named:
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    is_library = here == os.path.dirname(os.__file__)  # Python lists a directory once, where it comes first
    if here in sys.path and here not in kept and not is_library:
        sys.path.remove(here)


if is_fivefold(sys.argv[0] if sys.argv else "", sys.orig_argv):
    leave_current_directory_out()
