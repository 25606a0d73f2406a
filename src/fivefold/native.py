"""The native path, if it is installed: the distribution ``fivefold-native`` (docs/decisions/0022).

It does what the Python machines do for the requests and rounds that nearly all are, and leaves the rest to these. It is
used only if it is of exactly this version and passes a test of itself; ``FIVEFOLD_NATIVE=0`` turns it off.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
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


class Differs(Exception):
    """Native code and Python came to different results; the text names both, and the bytes they came of."""


Shown = tuple[int, tuple[bytes, ...], int, tuple[bytes, ...], bytes, tuple[bytes, ...]]
"""What q servers say alike: status, answers, logical time of what was made or 0, each object's history, who said so (a
byte for each server), and for each object their authenticators."""

Event = tuple[Any, Any, Mapping[int, bytes], Shown | None]
"""A round's tag, or None; the reply that has to be looked at, if that is why; what was kept before; what all say."""


class OrdinaryRounds(Protocol):
    """Rounds of one client while their replies are alike (``protocol.client.ordinary``)."""

    panics: int

    def open(
        self,
        number: int,
        tag: object,
        sets: Sequence[Any],
        authenticators: bytes,
        operation: Any,  # noqa: ANN401 - of protocol.operations
        since: int,
        attempt: int,
        servers: Sequence[int],
        /,
    ) -> list[bytes]:
        """Open a round: the frames of its request for these servers."""
        ...

    def receive(self, server: int, frames: tuple[bytes, ...], /) -> list[Event] | None:
        """Frames of a server, in order: what is to be done about them; None if that is nothing."""
        ...

    def close(self, number: int, /) -> dict[int, bytes] | None:
        """Give a round back: the replies kept; None if it has been given back already."""
        ...

    def __len__(self) -> int:
        """How many rounds are open."""
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

    def OrdinaryRounds(self, n: int, q: int, /) -> OrdinaryRounds:  # noqa: N802 - a class
        """Of a client of n servers, q of which are a quorum; none is open."""
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
        if _round_of(module) != (SAMPLE_FRAMES, None, SAMPLE_EVENT):
            return "makes a client's round wrongly"
    except Exception as error:
        return f"fails its test ({type(error).__name__}: {error})"
    return None


_DIGEST_OF_ABC: Final = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
"""BLAKE2b-256 of ``abc``."""
_MAC_OF_ZEROS: Final = "fb41a9b75f056d3a0daac0c9d6397e83"
"""BLAKE2s-128 of 32 zeros under the key 00 01 ... 1f."""

_KEY: Final = (7).to_bytes(8, "big")
_OPERATION: Final = b"\x94\x91\xa3R/a\x91\x94\xc4\x10iiiiiiiiiiiiiiii\x05\xa1m\xc4\x011\xc4\x10cccccccccccccccc\x01"
_BODY: Final = b"\x93\xa3R/a\x91\x93\xa3R/a\x91\xc4\x01h\xc4\x02\x01\x01\xc4" + bytes([len(_OPERATION)]) + _OPERATION
_VOTE: Final = (
    b"\x96\x00\xc4\x61" + bytes(15) + b"\x09" + bytes(81) + b"\x91\xc4\x01v\xc4\x20" + bytes(32) + b"\x91\xc4\x01h\x90"
)
_MACS: Final = tuple([bytes([65 + place]) * 16 for place in range(4)])

SAMPLE_FRAMES: Final = [
    b"\x01" + _KEY + len(_BODY).to_bytes(4, "big") + _BODY + _MACS[server] + _MACS[server + 2] for server in (0, 1)
]
"""The requests of a recorded round of a client: one call, two servers, each with its own MACs."""
SAMPLE_REPLIES: Final = [
    b"\x02" + _KEY + len(_VOTE).to_bytes(4, "big") + _VOTE + bytes([server]) * 32 for server in (0, 1)
]
"""Their replies, alike but for the authenticators."""
SAMPLE_EVENT: Final = (
    "tag", None, dict(enumerate(SAMPLE_REPLIES)), (0, (b"v",), 9, (b"h",), b"\1\1", (bytes(32) + b"\1" * 32,))
)  # fmt: skip
"""What is to be made of them."""


def _round_of(module: Native) -> tuple[object, ...]:
    """What the module makes of the recorded round: the requests, and what each reply comes to."""
    rounds = module.OrdinaryRounds(2, 2)
    sets = (SimpleNamespace(object_id="R/a", histories=(b"h",), holders=b"\1\1"),)
    call = SimpleNamespace(id=b"i" * 16, since=0, method="m", arguments=b"1")
    operation = SimpleNamespace(objects=("R/a",), calls=(call,), code=b"c" * 16)
    frames = rounds.open(7, "tag", sets, b"".join(_MACS), operation, 5, 1, (0, 1))
    first, second = [rounds.receive(server, (reply,)) for server, reply in enumerate(SAMPLE_REPLIES)]
    return (frames, first, *(second or ()))


native: Final = load()
"""The native module that this process uses; None if there is none."""


def variant() -> str:
    """What does the work here, for people: ``native`` or ``pure Python``."""
    return "pure Python" if native is None else "native"
