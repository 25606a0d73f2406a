"""The same tree by FUSE, on the host's own kernel."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fivefold.gateways.nfs import MODULE
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Site, running

MISSING = [
    *([] if os.access("/dev/fuse", os.R_OK | os.W_OK) else ["/dev/fuse"]),
    *([] if find_spec("mfusepy") else ["mfusepy"]),
    *([] if shutil.which("fusermount3") else ["fuse3"]),
]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here"),
]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on which the tree of a cluster of six is mounted."""
    directory = tmp_path_factory.mktemp("fuse") / "tree"
    directory.mkdir()
    with running(Site(tmp_path_factory.mktemp("site") / "cluster", objects=[MODULE], memory=True)) as site:
        words = [sys.executable, "-m", "fivefold", "nfs", "fuse", str(directory), "--cluster", str(site.file)]
        process = subprocess.Popen([*words, "--identity", "admin"], env={**os.environ, **ENVIRONMENT})
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not directory.is_mount():
                assert process.poll() is None, "it ended before it had mounted anything"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield directory
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(directory)], check=False)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
    assert process.returncode == 0


def test_files_are_what_they_are_on_any_file_system(mounted: Path) -> None:
    """Data, sizes, holes, appends, and what was cut never comes back."""
    path = mounted / "file"
    content = os.urandom(200_000)
    path.write_bytes(content)
    assert path.read_bytes() == content
    with path.open("r+b") as file:
        file.seek(65_530)
        file.write(b"0123456789")
        file.truncate(70_000)
        file.truncate(80_000)
    assert path.read_bytes() == content[:65_530] + b"0123456789" + content[65_540:70_000] + bytes(10_000)
    with path.open("ab") as file:
        file.write(b"end")
    assert path.stat().st_size == 80_003
    path.unlink()
    assert not path.exists()


def test_names_links_and_attributes(mounted: Path) -> None:
    """Directories, renames over others, hard and symbolic links, modes, times; errors by their own numbers."""
    one, two = mounted / "one", mounted / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_text("a")
    (two / "b").write_text("b")
    os.rename(one / "a", two / "b")
    assert (two / "b").read_text() == "a"
    os.link(two / "b", one / "hard")
    assert (one / "hard").stat().st_nlink == 2
    os.symlink("../two/b", one / "soft")
    assert (one / "soft").read_text() == "a"
    assert os.readlink(one / "soft") == "../two/b"
    os.chmod(two / "b", 0o640)
    os.utime(two / "b", ns=(10**18, 10**18 + 1))
    found = (one / "hard").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 10**18 + 1)
    os.mkfifo(one / "fifo")
    assert stat.S_ISFIFO((one / "fifo").lstat().st_mode)
    assert sorted(os.listdir(one)) == ["fifo", "hard", "soft"]
    for number, work in (
        (errno.ENOTEMPTY, one.rmdir),
        (errno.EEXIST, two.mkdir),
        (errno.ENOENT, (one / "nothing").read_text),
        (errno.ENOTDIR, lambda: (one / "hard" / "x").write_text("")),
        (errno.ENAMETOOLONG, (one / ("x" * 256)).mkdir),
        (errno.EINVAL, lambda: os.rename(two, two / "below")),
    ):
        with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
            work()


def test_a_directory_of_many_names_is_listed_whole(mounted: Path) -> None:
    """Over several buckets and pages."""
    directory = mounted / "many"
    directory.mkdir()
    for at in range(150):
        (directory / f"name {at}").mkdir()
    assert sorted(os.listdir(directory)) == sorted(f"name {at}" for at in range(150))
    shutil.rmtree(directory)
    assert not directory.exists()
