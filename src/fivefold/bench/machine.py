"""Where a result comes from: machine, versions, commit, command line. A number without these is worth nothing."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from msgspec import Struct

from fivefold.native import variant
from fivefold.node import VERSION

_PACKAGES: Final = ("cryptography", "msgspec", "uvloop")


class Origin(Struct, frozen=True, kw_only=True):
    """Where, when and with what a result was taken.

    Attributes:
        taken_at: UTC, ISO 8601.
        command: the command line.
        commit: of the working tree the program was started from, ``+`` added if it was changed; empty outside git.
        machine: processor, processors, memory, kernel.
        load: how busy the machine was in the minute before.
        versions: of Fivefold (and which variant), Python, OpenSSL, SQLite and the packages that matter.
    """

    taken_at: str
    command: str
    commit: str
    machine: dict[str, str]
    load: float
    versions: dict[str, str]


def origin() -> Origin:
    """The origin of a result that this process takes from now on: ask before measuring, which is load, too."""
    return Origin(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        commit=_commit(),
        machine=_machine(),
        load=round(os.getloadavg()[0], 2),
        versions=_versions(),
    )


def _machine() -> dict[str, str]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    import sqlite3
    import ssl

    versions = {"fivefold": f"{VERSION} ({variant()})"}
    versions |= {"python": platform.python_version() + _build(), "sqlite": sqlite3.sqlite_version}
    versions["openssl"] = ssl.OPENSSL_VERSION.split(" ")[1]
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _build() -> str:
    """Whether the interpreter is a library of its own: every call between its parts then takes a detour."""
    try:
        is_shared = "/libpython" in Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return ""
    return " (shared library)" if is_shared else " (in the executable)"


def _commit() -> str:
    where = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(where), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(where), "status", "--porcelain", "--untracked-files=no", "--", str(where.parent)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


def file_system(path: Path) -> str:
    """The kind of file system that a directory is on, as /proc/mounts names it: durable results depend on it."""
    best, kind = "", "unknown"
    target = str(path.resolve())
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind
