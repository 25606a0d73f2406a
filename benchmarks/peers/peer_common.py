"""What the peers have in common: where they are installed, and the line that says a process was started."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from fivefold.bench.beds import Command
from fivefold.bench.results import Durability, Setting
from fivefold.errors import ConfigurationError

HERE = Path(__file__).parent
DEBIAN = HERE / ".installed" / "debian"
PYTHON = HERE / ".installed" / "python"
NODES = 3


def require(path: Path) -> Path:
    """The path, which ``install.sh`` has made.

    Raises:
        ConfigurationError: it is missing.
    """
    if not path.exists():
        raise ConfigurationError(f"{path} is missing: run benchmarks/peers/install.sh first")
    return path


def announced(index: int, name: str, line: list[str]) -> list[str]:
    """A command line that prints what the launcher waits for, then becomes the program."""
    return ["/bin/sh", "-c", f'echo ready {index} {name}; exec "$0" "$@"', *line]


def ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


def setting(system: str, durability: Durability, version: str, client: str, *, tls: bool = False) -> Setting:
    """Three nodes that tolerate one crash."""
    detail = {"version": version, "client": client}
    return Setting(system=system, n=NODES, t=1, b=0, tls=tls, durability=durability, detail=detail)


def python_command(module: str, *arguments: str) -> list[str]:
    """A command line of this interpreter with a module of this directory."""
    return [sys.executable, str(HERE / f"{module}.py"), *arguments]


__all__ = ["DEBIAN", "NODES", "PYTHON", "Command", "announced", "ports", "python_command", "require", "setting"]
