"""A plugin of pytest: all tests run with a bug in native code, which FIVEFOLD_PLANTED names."""

from __future__ import annotations

import os


def pytest_sessionstart() -> None:
    """Plant it; only now, since what is imported before is not rewritten."""
    from fivefold.native import native

    if native is not None and native.IS_PLANTED:
        native.plant(os.environ.get("FIVEFOLD_PLANTED", ""))
