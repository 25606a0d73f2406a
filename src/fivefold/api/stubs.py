"""Subclasses of ``TypedRemote`` for the objects of a module, as Python text, for checkers and editors."""

from __future__ import annotations

import importlib
from types import ModuleType

from fivefold.errors import ConfigurationError
from fivefold.objects import Object, Registry, kind_of


def stubs_of(module: str) -> str:
    """A module that holds a ``RemoteX`` for every Object class X of this one.

    Raises:
        ConfigurationError: there is no such module, or it holds no Object class.
    """
    Registry().load(module)  # which says what is wrong with it
    loaded = importlib.import_module(module)
    classes = _classes_of(loaded)
    if not classes:
        raise ConfigurationError(f"module {module} holds no Object class, so there is nothing to name")
    head = f'"""Remote objects of {module} with the types of their methods; made by `fivefold stubs {module}`."""\n'
    imports = sorted([f"import {module} as _module", "import fivefold as _fivefold"])
    return "\n".join([head, *imports, "", *map(_stub_of, classes)])


def _classes_of(module: ModuleType) -> list[type[Object]]:
    """Public classes of the module, by name; of a package, also those it imports from its own modules."""
    found = {
        name: member
        for name, member in vars(module).items()
        if isinstance(member, type) and issubclass(member, Object) and member is not Object and name[0] != "_"
    }
    return [member for name, member in sorted(found.items()) if name == member.__name__]


def _stub_of(cls: type[Object]) -> str:
    name = cls.__name__
    lines = ["", f"class Remote{name}(_fivefold.TypedRemote[_module.{name}]):", f'    """{name} on the servers."""', ""]
    methods = [method for method in dir(cls) if kind_of(getattr(cls, method, None)) is not None]
    lines += [f"    {method} = _fivefold.remote(_module.{name}.{method})" for method in methods]
    return "\n".join(lines).rstrip() + "\n"
