"""Whether this installation runs the compiled hot path (docs/decisions/0003-optional-compiled-path.md)."""

from __future__ import annotations

from types import BuiltinFunctionType

from fivefold.protocol.classify import classify


def is_compiled() -> bool:
    """True if the protocol's modules were compiled when this wheel was built; nothing but speed depends on it."""
    return isinstance(classify, BuiltinFunctionType)
