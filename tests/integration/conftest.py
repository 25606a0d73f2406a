"""One durable cluster of six servers shared by the tests that put it back in order after themselves."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.integration.rig import MISBEHAVING, Site, running


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(Site(tmp_path_factory.mktemp("shared") / "cluster", objects=[MISBEHAVING])) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    """Six durable servers (t = b = 1), all up; whatever a test does to them is undone before the next one."""
    shared_site.heal()
    return shared_site


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid4().hex
