"""The native path, if it is installed: the distribution ``fivefold-native`` (docs/decisions/0022).

It does what the Python machines do for the requests and rounds that nearly all are, and leaves the rest to these. It is
used only if it is of exactly this version and passes a test of itself; ``FIVEFOLD_NATIVE=0`` turns it off.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Protocol, cast

from fivefold.program import VERSION

TURNED_OFF: Final = "0"
"""Value of FIVEFOLD_NATIVE with which nothing native is loaded."""


class Macs(Protocol):
    """Of a digest of 32 bytes, its MACs under some secrets."""

    def __call__(self, digest: bytes, /) -> bytes:
        """One after the other."""
        ...


class Requests(Protocol):
    """Decides ordinary requests of one server (``protocol/server/native.py``)."""

    def decide(self, now_ns: int, client: bytes, channel: int, frame: bytes, macs_of: Macs, /) -> Any:  # noqa: ANN401
        """What a frame comes to; None if it is no ordinary request, and then nothing has been noted."""
        ...


class Native(Protocol):
    """The module ``fivefold_native``."""

    VERSION: str
    LIMITS: Sequence[tuple[str, int]]
    IS_PLANTED: bool
    Panicked: type[Exception]

    def plant(self, name: str, /) -> None:
        """Plant a bug on purpose, in a build that has them."""
        ...

    def digest(self, data: bytes, /) -> bytes:
        """``protocol.operations.digest``."""
        ...

    def Requests(self, n: int, q: int, **shared: object) -> Requests:  # noqa: N802 - a class
        """What decides for a server, and shares its containers."""
        ...

    def Macs(self, secrets: Sequence[bytes], /) -> Macs:  # noqa: N802 - a class
        """``cluster.macs.macs_under``."""
        ...


def load(version: str = VERSION) -> Native | None:
    """The native module; None, mostly with a warning that says why, where Python does the work."""
    if os.environ.get("FIVEFOLD_NATIVE") == TURNED_OFF:
        return None
    try:
        found: Any = import_module("fivefold_native")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        _warn(f"cannot be loaded ({error})")
        return None
    if version != found.VERSION:
        _warn(f"is of version {found.VERSION}, and Fivefold of {version}")
        return None
    module = cast("Native", found)
    failure = check(module)
    if failure is not None:
        _warn(failure)
        return None
    return module


def _warn(reason: str) -> None:
    text = f"fivefold-native {reason}: Python does its work. Install the same version again, or uninstall it."
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def check(module: Native) -> str | None:
    """Why the module must not be used; None if it passes."""
    try:
        if module.digest(b"abc").hex() != _DIGEST_OF_ABC:
            return "computes wrong digests"
        if module.Macs([bytes(range(32))])(bytes(32)).hex() != _MAC_OF_ZEROS:
            return "computes wrong MACs"
    except Exception as error:
        return f"fails its test ({type(error).__name__}: {error})"
    return None


_DIGEST_OF_ABC: Final = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
"""BLAKE2b-256 of ``abc``."""
_MAC_OF_ZEROS: Final = "fb41a9b75f056d3a0daac0c9d6397e83"
"""BLAKE2s-128 of 32 zeros under the key 00 01 ... 1f."""

native: Final = load()
"""The native module that this process uses; None if there is none."""


def variant() -> str:
    """What does the work here, for people: ``native`` or ``pure Python``."""
    return "pure Python" if native is None else "native"
