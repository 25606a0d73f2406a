"""Sessions over the interpreters at hand: `nox` runs them all, `nox -s tests-3.12` one.

The command per need for everyday work is in CONTRIBUTING.md; this is for what a single virtual environment cannot do.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "docs"]

WHEELS_ONLY = ("--only-binary", ":all:")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests with an installed (not editable) package."""
    session.install(*WHEELS_ONLY, ".[dev]")
    session.run("pytest", "-q", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Check style, format, types and the import contracts."""
    session.install(*WHEELS_ONLY, "-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "--strict", "src")
    session.run("lint-imports")


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install(*WHEELS_ONLY, "-e", ".[docs]")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "build/docs")


@nox.session(python="3.11")
def native(session: nox.Session) -> None:
    """Run the protocol's tests with the native path, and its bugs on purpose; needs Rust's cargo."""
    session.install(*WHEELS_ONLY, "-e", ".[dev]")
    session.install("./native")
    paths = session.posargs or ["tests/unit", "tests/scenarios", "tests/properties", "tests/paper", "tests/contracts"]
    session.run("pytest", "-q", *paths)
    session.install("--force-reinstall", "--config-settings", "build-args=--features planted", "./native")
    session.run("pytest", "-q", "tests/properties/test_native_frames.py", "tests/properties/test_native_client_bugs.py")
