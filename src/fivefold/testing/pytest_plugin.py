"""The pytest fixture ``fivefold_cluster``; pytest finds it once Fivefold is installed (entry point ``pytest11``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fivefold.testing.cluster import LocalCluster

    Starter = Callable[..., AbstractAsyncContextManager[LocalCluster]]


@pytest.fixture
def fivefold_cluster() -> Starter:
    """Start clusters in a test, each for the length of an ``async with`` block.

    It takes what :func:`fivefold.testing.local_cluster` takes. Works with any plugin that runs coroutine tests
    (pytest-asyncio, anyio), since the cluster starts and stops inside the test's own event loop.
    """
    from fivefold.testing.cluster import local_cluster

    return local_cluster
