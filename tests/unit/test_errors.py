"""The exception tree: every class is public, and travels between processes."""

import asyncio
import copy
import inspect
import pickle  # noqa: TID251 - what the tests are about
import subprocess
import sys
from typing import Any

import pytest

import fivefold
from fivefold import errors
from fivefold.errors import CallerError, FivefoldError, OutcomeUnknown, PeerViolation, Rejected
from fivefold.objects import Held

CLASSES = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, FivefoldError)]


class Short(Rejected):
    """Its __init__ takes something else than what is its text."""

    def __init__(self, sku: str, *, missing: int) -> None:
        super().__init__(f"{missing} of {sku} are missing")
        self.sku = sku
        self.missing = missing


class Slotted(Rejected):
    """Keeps what it knows in a slot."""

    __slots__ = ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__("no")
        self.sku = sku


def travelled(error: FivefoldError) -> list[Any]:
    """The exception as another process gets it, by each version of pickle; and a copy."""
    return [*(pickle.loads(pickle.dumps(error, version)) for version in range(6)), copy.copy(error)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_travels(cls: type[FivefoldError]) -> None:
    """Each class comes back as itself with its text."""
    for back in travelled(cls("what to do")):
        assert (type(back), str(back), back.args) == (cls, "what to do", ("what to do",))


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (Held("ann", 2000), {"owner": "ann", "expires_ms": 2000}),
        (Short("bolt", missing=3), {"sku": "bolt", "missing": 3}),
        (Slotted("bolt"), {"sku": "bolt"}),
        (PeerViolation("malformed", "short"), {"reason": "malformed"}),
        (OutcomeUnknown("x", call_id="call-1"), {"call_id": "call-1"}),
    ],
)
def test_attributes_travel(error: FivefoldError, attributes: dict[str, Any]) -> None:
    """An exception whose __init__ takes something else than its text comes back whole: __init__ does not run again."""
    for back in travelled(error):
        assert (type(back), str(back)) == (type(error), str(error))
        assert {name: getattr(back, name) for name in attributes} == attributes


def test_notes_travel() -> None:
    """What add_note has added is kept."""
    error = Held("ann", 2000)
    error.add_note("seen in job 7")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen in job 7"]


async def nothing() -> None:
    """What resolves a call at once."""


def test_an_unknown_outcome_travels_without_its_connection() -> None:
    """Elsewhere resolve() says what to do instead: the id travels, the connection cannot."""
    error = OutcomeUnknown("x", nothing, call_id="call-1")
    assert asyncio.run(error.resolve()) is None  # type: ignore[arg-type]
    back = pickle.loads(pickle.dumps(error))
    with pytest.raises(CallerError, match=r"await cluster\.resolve\(error\.call_id\)"):
        back.resolve()
    with pytest.raises(OutcomeUnknown, match="cannot be resolved any more"):
        OutcomeUnknown("x").resolve()


POOL = """
import multiprocessing

def work(_):
    from fivefold import Held
    raise Held("ann", 2000)

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            pool.map(work, [1])
        except Exception as error:
            print(type(error).__name__, error.owner, error.expires_ms)
"""


def test_a_worker_of_a_pool_raises() -> None:
    """Multiprocessing hands the exception to the parent, and does not wait for ever."""
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "Held ann 2000", done.stderr


def test_what_calls_raise_is_public() -> None:
    """Whoever catches an exception finds its class in the package fivefold."""
    names = {cls.__name__ for cls in CLASSES} - {"PeerViolation"}
    names |= {"Held", "NotHolder", "Lease", "Empty", "Full", "Overdrawn", "NoSuchKey", "KeyTaken"}
    assert names <= set(fivefold.__all__)
    assert all(getattr(fivefold, name).__name__ == name for name in names)
