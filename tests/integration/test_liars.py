"""Servers that lie or hold wrong keys: results stay right, and the guilty server is named."""

from pathlib import Path

import pytest

from fivefold import Cluster, Counter, Unavailable
from fivefold.cli.servers import edition_remarks
from fivefold.cluster import create_identity, load_configuration, server_directory
from fivefold.cluster.identity import EXCHANGE_KEY_FILE
from tests.integration.rig import PATIENCE_S, Load, Site, client, counters_of, running, until, verify

pytestmark = pytest.mark.integration

LIAR = 3


def liar_site(directory: Path, lie: str) -> Site:
    return Site(directory, memory=True, arguments=lambda index: ["--lie", lie] if index == LIAR else [])


def preferring(cluster: Cluster, server: int, count: int) -> list[str]:
    """Keys of counters whose preferred quorum includes the server."""
    quorums = cluster._node.session.knowledge.quorums
    keys = (f"k{number}" for number in range(1000))
    chosen = [key for key in keys if server in quorums.preference(f"Counter/{key}")[: quorums.q]]  # type: ignore[arg-type]
    return chosen[:count]


async def test_wrong_macs_exclude_their_server(tmp_path: Path) -> None:
    """Culled by more than b servers, a server whose histories no other accepts is excluded; results right."""
    with running(liar_site(tmp_path / "cluster", "macs")) as site:
        async with client(site) as cluster:
            async with Load(cluster, preferring(cluster, LIAR, 4)) as load:
                await until(lambda: any(each.is_excluded for each in cluster.evidence()), "somebody is excluded")
                await load.progress_everywhere(5)
            (guilty,) = [each for each in cluster.evidence() if each.culled_by]
            assert guilty.server == LIAR
            assert guilty.is_excluded
            assert len(guilty.culled_by) >= 2
            assert LIAR not in guilty.culled_by
            values = await verify(cluster, load.record)
            assert sum(values.values()) == load.record.total()
            # Excluded means: further updates do not ask it.
            before = counters_of(await cluster.status(), "accepted.")[LIAR]
            counter = cluster.object(Counter, load.keys[0])
            for _ in range(5):
                await counter.increment()
            assert counters_of(await cluster.status(), "accepted.")[LIAR] == before


async def test_wrong_answers_never_reach_the_caller(tmp_path: Path) -> None:
    """A server that answers wrongly stands alone each time: callers get the others' answer, and it is suspected."""
    with running(liar_site(tmp_path / "cluster", "answers")) as site:
        async with client(site) as cluster:
            async with Load(cluster, preferring(cluster, LIAR, 4)) as load:
                await until(lambda: any(each.is_suspected for each in cluster.evidence()), "somebody is suspected")
                await load.progress_everywhere(5)
            (guilty,) = [each for each in cluster.evidence() if each.strikes]
            assert guilty.server == LIAR
            assert guilty.strikes["answered differently"] >= 3
            values = await verify(cluster, load.record)
            assert sum(values.values()) == load.record.total()


@pytest.mark.long
@pytest.mark.ci
async def test_results_stay_right_beyond_one_fault(tmp_path: Path) -> None:
    """A liar while another server restarts: too few honest servers for a while, but never a wrong result."""
    with running(Site(tmp_path / "cluster", arguments=lambda i: ["--lie", "answers"] if i == LIAR else [])) as site:
        async with client(site) as cluster:
            async with Load(cluster, ["a", "b", "c"], deadline=20.0) as load:
                await load.progress_everywhere(3)
                await site.kill(0)
                await site.start(0)
                await load.progress_everywhere(3)
            await verify(cluster, load.record)


async def test_an_impostor_at_a_servers_address_is_not_believed(tmp_path: Path) -> None:
    """A server whose identity was replaced is refused by clients and servers alike; the others do the work."""
    site = Site(tmp_path / "cluster", memory=True)
    real, false = server_directory(site.directory, LIAR), tmp_path / "false"
    create_identity(false, name="server-3")
    with running(site):
        await site.kill(LIAR)
        real.rename(tmp_path / "real")
        false.rename(real)
        with pytest.raises(Unavailable, match="is not that of a server in edition 1 of the cluster file"):
            await site.start(LIAR)
        async with client(site) as cluster:
            async with Load(cluster, ["a", "b"]) as load:
                await load.progress_everywhere(3)
            await verify(cluster, load.record)


async def test_a_server_with_the_file_of_another_cluster_is_named_and_hurts_nobody(tmp_path: Path) -> None:
    """TLS identity right, MAC keys wrong (its cluster file has another cluster id): its histories convince nobody.

    It uses another file of the first edition, so nothing that it and the others say of each other is evidence.
    """
    other = tmp_path / "other.toml"
    site = Site(tmp_path / "cluster", memory=True, arguments=lambda i: ["--cluster", str(other)] if i == LIAR else [])
    text = site.file.read_text()
    cluster_id = load_configuration(site.file).cluster_id.hex()
    assert text.count(cluster_id) == 1
    other.write_text(text.replace(cluster_id, "00" * 16))
    with running(site):
        async with client(site) as cluster:
            async with Load(cluster, preferring(cluster, LIAR, 4)) as load:
                await load.progress_everywhere(10)
            assert not [each.server for each in cluster.evidence() if each.is_excluded and each.server != LIAR]
            remarks = [remark.plain for remark in edition_remarks(await cluster.status(timeout=PATIENCE_S))]
            assert [remark.partition(":")[0] for remark in remarks] == ["server 3 uses another file of edition 1"]
            await verify(cluster, load.record)


def test_a_server_whose_exchange_key_was_replaced_does_not_start(tmp_path: Path) -> None:
    """An identity with another exchange key than the cluster file's is refused at the start, in one sentence."""
    site = Site(tmp_path / "cluster", memory=True)
    create_identity(tmp_path / "other", name="server-3")
    (tmp_path / "other" / EXCHANGE_KEY_FILE).replace(server_directory(site.directory, LIAR) / EXCHANGE_KEY_FILE)
    with pytest.raises(Unavailable, match="is not the identity of server 3: name the right one"):
        site.processes.start_one(LIAR)
    site.processes.stop()


@pytest.mark.long
@pytest.mark.ci
async def test_an_impostor_with_its_own_cluster_file_is_not_connected(tmp_path: Path) -> None:
    """Whoever listens at a server's address with another certificate is not connected to, and clients say why."""
    site = Site(tmp_path / "cluster", memory=True)
    host, port = site.address(LIAR)
    impostor = Site(tmp_path / "impostor", t=0, b=0, n=1, addresses=[f"{host}:{port}"], memory=True)
    with running(impostor):
        await site.start(*[index for index in range(site.n) if index != LIAR])
        try:
            async with client(site) as cluster:
                counter = cluster.object(Counter, "x")
                assert [await counter.increment() for _ in range(3)] == [1, 2, 3]
                status = await cluster.status()
                assert status.servers[LIAR] is None
                assert status.failures == {LIAR: "it shows another certificate than the cluster file's"}
                assert cluster.evidence() == ()
        finally:
            site.processes.stop()
