"""Clients that nobody here wrote: Debian's libnfs, and nfs-rs from PyPI."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.nfs_rig import needs, replicated, run, url

pytestmark = [pytest.mark.integration]


@needs("nfs-ls", "nfs-cp", "nfs-cat")
async def test_libnfs_copies_a_file_in_and_reads_it_back(tmp_path: Path) -> None:
    """What nfs-cp brings in over several chunks is what nfs-ls shows and nfs-cat gives back."""
    content = Random(1).randbytes(300_001)
    (tmp_path / "in").write_bytes(content)
    async with replicated() as (_, _, port):
        await run("nfs-cp", str(tmp_path / "in"), url(port, "/file"))
        assert b"300001 file" in await run("nfs-ls", url(port))
        assert await run("nfs-cat", url(port, "/file")) == content


async def test_nfs_rs_works_with_a_tree() -> None:
    """Directories, links, renames, data, attributes and errors as a typed client sees them."""
    nfs_rs = pytest.importorskip("nfs_rs", reason="nfs-rs is not installed (PyPI)")
    async with replicated() as (cluster, _, port):
        client = await nfs_rs.AsyncClient.connect(
            "nfs://127.0.0.1/x", versions=("3",), nfs_port=port, mount_port=port, uid=1000, gid=1000
        )
        await client.mkdir("/d")
        for at in range(60):
            async with await client.open(f"/d/{at}", "wb") as file:
                await file.write(b"%d" % at)
        assert sorted(await client.listdir("/d"), key=int) == [str(at) for at in range(60)]
        await cluster.crash(2)
        await client.rename("/d/7", "/seven")
        await client.symlink("/d/8", "/link")
        await client.link("/seven", "/d/hard")
        assert (await client.stat("/seven")).nlink == 2
        assert await client.readlink("/link") == "/d/8"
        async with await client.open("/d/hard", "rb") as file:
            assert await file.read() == b"7"
        await client.chmod("/seven", 0o600)
        await client.truncate("/seven", 100_000)
        assert (await client.stat("/seven")).size == 100_000
        with pytest.raises(FileNotFoundError):
            await client.stat("/d/7")
        with pytest.raises(nfs_rs.NfsError):
            await client.rmdir("/d")
        await client.close()
