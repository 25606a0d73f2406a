"""A whole machine loses its power while its server acknowledges writes: nothing acknowledged is lost.

The machine is a user-mode Linux (Debian's package) with the host's files as its read-only root and an ext4 image as its
disk. SIGKILL takes its page cache with it; killing only the server process would prove nothing about syncing. A file
that nobody syncs is written beside the data: if it survived, the rig could not have seen a loss.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.power_client import KEYS
from tests.integration.rig import ENVIRONMENT, ROOT, Site

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

DISK_BYTES = 256 * 1024 * 1024
BOOT_S_MAX = 180.0
ACKNOWLEDGED_MIN = 400
ROUNDS = 3

GUEST = """#!/bin/sh
exec 2>&1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run
mkdir /run/disk; mount -t ext4 -o commit=600 /dev/ubda /run/disk || echo failed: mount
ip link set lo up
export HOME=/run TMPDIR=/run PATH={path} PYTHONPATH={python_path} PYTHONDONTWRITEBYTECODE=1
cd /run
[ -d /run/disk/cluster ] || {{ cp -a {cluster} /run/disk/cluster; sync; }}
mode=$(sed -n 's/.*power=\\([a-z]*\\).*/\\1/p' /proc/cmdline)
{python} -m fivefold serve --cluster /run/disk/cluster/cluster.toml --identity /run/disk/cluster/server-0 \\
    --data /run/disk/data >/run/server.log 2>&1 &
{python} -m tests.integration.power_client $mode /run/disk/cluster/cluster.toml || {{
    echo failed: client; cat /run/server.log
}}
[ $mode = write ] || wc -l /run/disk/cluster/canary
echo over
while true; do sleep 1000; done
"""


@contextmanager
def booted(guest: Path, disk: Path, mode: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The machine, until the end of the block: then its power is gone."""
    command = ["linux.uml", "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    command += [f"init={guest}", f"ubda={disk}", "con=null", "con0=fd:0,fd:1", "quiet", f"power={mode}"]
    with log.open("wb") as output:
        machine = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(log.parent), "HOME": str(log.parent), **helper(log.parent)},
        )
    try:
        yield machine
    finally:
        if machine.poll() is None:
            os.killpg(machine.pid, signal.SIGKILL)  # its own session: the machine and its threads, nothing else
        machine.wait()


def helper(directory: Path) -> dict[str, str]:
    """The environment that makes user-mode Linux run on processors with AMX, if there is a C compiler."""
    library = directory / "uml_ptrace.so"
    if not library.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            return {}
        source = str(Path(__file__).with_name("uml_ptrace.c"))
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), source], check=True)
    return {"LD_PRELOAD": str(library)}


def until_said(machine: subprocess.Popen[bytes], log: Path, is_enough) -> list[str]:
    """Wait until the machine's console satisfies; returns its whole lines."""
    deadline = time.monotonic() + BOOT_S_MAX
    while True:
        is_over = machine.poll() is not None
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines(keepends=True) if line[-1] == "\n"]
        if any("ptrace set fp regs failed" in line for line in lines):
            pytest.skip("this processor has more registers than user-mode Linux knows, and there is no C compiler")
        assert not any(line.startswith("failed:") for line in lines), "\n".join(lines[-40:])
        if is_enough(lines):
            return lines
        assert not is_over, "\n".join(lines[-40:])
        assert time.monotonic() < deadline, "\n".join(lines[-40:])
        time.sleep(0.05)


def said(lines: list[str], word: str) -> dict[str, int]:
    """The last number said of each key."""
    found = (re.fullmatch(rf"{word} (k\d+) (\d+)", line) for line in lines)
    return {match[1]: int(match[2]) for match in found if match}


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """The guest's first program and its disk."""
    missing = [tool for tool in ("linux.uml", "mkfs.ext4", "ip") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: user-mode-linux, e2fsprogs, iproute2)")
    site = Site(tmp_path / "cluster", t=0, b=0)
    disk, guest = tmp_path / "disk.img", tmp_path / "guest.sh"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True, capture_output=True)
    guest.write_text(
        GUEST.format(
            path=os.environ["PATH"],
            python_path=ENVIRONMENT["PYTHONPATH"],
            python=sys.executable,
            cluster=site.directory,
        )
    )
    guest.chmod(0o755)
    assert ROOT.is_dir()
    return guest, disk


def test_nothing_acknowledged_is_lost_with_the_power(machine: tuple[Path, Path], tmp_path: Path) -> None:
    """Three times the power goes while a server acknowledges updates; each time everything acknowledged is there."""
    guest, disk = machine
    for number in range(ROUNDS):
        log = tmp_path / f"write-{number}.log"
        with booted(guest, disk, "write", log) as running:
            until_said(running, log, lambda lines: sum(line.startswith("ack ") for line in lines) >= ACKNOWLEDGED_MIN)
        acknowledged = said(log.read_text(errors="replace").splitlines(), "ack")
        assert set(acknowledged) == set(KEYS)
        log = tmp_path / f"read-{number}.log"
        with booted(guest, disk, "read", log) as running:
            lines = until_said(running, log, lambda lines: "over" in lines)
        values = said(lines, "value")
        for key in KEYS:
            # One update of each counter was under way and may have been applied unheard.
            assert acknowledged[key] <= values[key] <= acknowledged[key] + 1, key
        (survived,) = [int(line.split()[0]) for line in lines if line.endswith("canary")]
        assert survived < sum(values.values()), "what was not synced survived: this rig proves nothing"
