"""Each rule of the client's ordinary rounds in native code is needed: with a bug in its place a test fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fivefold.native import native
from tests.unit.protocol import test_native_rounds

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(native is None or not native.IS_PLANTED, reason="this build has no bugs on purpose"),
]


def outcome_of(bug: str, *tests: str) -> str:
    """What the last line says of some tests with a bug in place."""
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.native_bug"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", *plugins, *tests]
    environment = {**os.environ, "FIVEFOLD_PLANTED": bug and f"client-{bug}"}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return (found.stdout + found.stderr).splitlines()[-1]


@pytest.mark.parametrize("bug", test_native_rounds.BUGS)
def test_a_bug_is_seen(bug: str) -> None:
    """By a directed test of native rounds."""
    assert "1 failed" in outcome_of(bug, "tests/unit/protocol/test_native_rounds.py")


def test_without_a_bug_the_tests_pass() -> None:
    """So it is the bugs that they see."""
    assert re.match(r"\d+ passed in", outcome_of("", "tests/unit/protocol/test_native_rounds.py"))


def test_a_panic_changes_nothing() -> None:
    """Whatever meets one goes the long way, and comes to the same.

    But for what q servers damage alike, which b liars cannot: that is examined on the long way alone.
    """
    like = "tests/properties/test_protocol_client.py::test_like_replies_are_counted_as_if_each_were_looked_at"
    assert re.match(r"\d+ passed in", outcome_of("panic", like))
