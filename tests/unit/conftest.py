"""A store for the tests of the durable store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fivefold.storage import SqliteStorage
from tests.storage_rig import Open


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty database."""
    path = tmp_path / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    return path


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[Open]:
    """A store on it."""
    opened = Open(path)
    yield opened
    opened.storage.close()
