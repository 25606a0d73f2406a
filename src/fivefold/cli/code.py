"""Code that users bring: the modules that ``--objects`` and ``--models`` name, and nothing else.

Commands run no code because it lies in the directory where they are given: files may be a stranger's. A module is
looked for among Python's own and the installed ones, and after all of these in the current directory, if it is the
user's own.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from fivefold.checker import Function, Model, Models
from fivefold.errors import ConfigurationError
from fivefold.objects import Registry, TimeLimit, standard_registry


def load_objects(modules: list[str], limit: TimeLimit | None = None) -> Registry:
    """The ready-made types and those of ``modules``.

    Raises:
        ConfigurationError: a module cannot be imported, or holds what cannot be replicated.
    """
    registry = standard_registry(limit)
    for module in modules:
        make_importable(module)
        try:
            registry.load(module)
        except SystemExit as error:
            raise ConfigurationError(f"module {module} ends the program when it is imported: correct it") from error
    return registry


def load_models(modules: Sequence[str]) -> Models:
    """What the modules' ``MODELS`` hold, the later ones before the earlier ones.

    Raises:
        ConfigurationError: a module cannot be imported, or has no such models.
    """
    models: dict[str, Model[Any] | Function] = {}
    for module in modules:
        make_importable(module)
        found = getattr(_imported(module), "MODELS", None)
        kinds = (Model, Function)
        if not isinstance(found, Mapping) or not all(isinstance(each, kinds) for each in found.values()):
            raise ConfigurationError(
                f"module {module} has no models: let its MODELS be a dict from type and function names to Model and "
                "Function of fivefold.checker"
            )
        models.update({str(name): each for name, each in found.items()})
    return models


def _imported(module: str) -> ModuleType:
    if "/" in module or module.endswith(".py"):
        raise ConfigurationError(f"{module} is a file: name the module as import does, such as models or shop.models")
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        text = f"module {module} cannot be imported ({type(error).__name__}: {error}): correct it, or its name"
        raise ConfigurationError(text) from error


def make_importable(module: str) -> None:
    """Have Python look in the current directory, too, last of all.

    Raises:
        ConfigurationError: the module lies there and nowhere else, and others can write there.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return
    if here in sys.path:
        return
    why_not = _why_not_trusted(here)
    if why_not is None:
        sys.path.append(here)
    elif _is_in(module, [here]) and not _is_in(module, None):
        raise ConfigurationError(
            f"module {module} is not taken from {here}, {why_not}: copy it into a directory of your own, or install it"
        )


def _is_in(module: str, places: list[str] | None) -> bool:
    """Whether the package of a module is in one of the places, None for wherever Python looks."""
    name = module.partition(".")[0]
    return name in sys.builtin_module_names or PathFinder.find_spec(name, places) is not None


def _why_not_trusted(directory: str) -> str | None:
    """Why code in a directory may be somebody else's; None if it is the user's own or the system's."""
    status = os.stat(directory)
    if status.st_uid not in (0, os.geteuid()):
        return "which belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "where everybody can write"
    return None
