"""What the in-process transport adds for tests: cuts and pauses."""

import asyncio

import pytest

from tests.transport_rig import Rig, echo, small_cluster


@pytest.fixture(scope="module")
def cluster_file(tmp_path_factory):
    return small_cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
async def rig(cluster_file):
    rig = Rig(cluster_file, "memory")
    yield rig
    await rig.close()


async def test_a_cut_drops_the_connection_until_healed(rig):
    """Frames on the way are lost, the link is down, and comes up again after the cut is healed."""
    ear = await rig.listen(0, echo)
    line = await rig.join("admin", 0)
    admin = rig.configuration.client_named("admin").id
    line.link.send(b"lost on the way")
    rig.network.cut(admin, 0)
    await asyncio.sleep(0)
    assert (line.events, ear.frames, line.link.is_up) == (["up", "down"], [], False)
    assert line.link.failure == "it cannot be reached"
    rig.network.heal(admin, 0)
    assert line.events == ["up", "down", "up"]


async def test_a_cut_concerns_one_pair_only(rig):
    """Another client still reaches the server."""
    await rig.listen(0, echo)
    guest = await rig.join("guest", 0)
    rig.network.cut(rig.configuration.client_named("admin").id, 0)
    admin = rig.connect("admin", 0)
    guest.link.send(b"hello")
    await rig.until(lambda: guest.frames == [b"hello"])
    assert admin.events == []


async def test_paused_frames_arrive_after_the_pause(rig):
    """A pause delays both directions and loses nothing."""
    ear = await rig.listen(0, echo)
    line = await rig.join("admin", 0)
    admin = rig.configuration.client_named("admin").id
    rig.network.pause(admin, 0)
    line.link.send(b"one")
    line.link.send(b"two")
    for _ in range(5):
        await asyncio.sleep(0)
    assert (ear.frames, line.frames) == ([], [])
    rig.network.resume(admin, 0)
    await rig.until(lambda: line.frames == [b"one", b"two"])
