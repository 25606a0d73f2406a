"""Where a server's time goes, by sampling its stacks with py-spy (an external program: the extra ``bench``).

Sampling, not counters in the code: the code measured is the code that runs. A sample belongs to the innermost frame
that the table below knows, so that BLAKE2 in native frames counts as MACs (and digests with them), and MessagePack as
codec, whichever part asked for them. Only samples on the processor count. The kernel's share of a system call is in
the share of its caller: transport.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fivefold.errors import ConfigurationError

PARTS: Final = ("MACs", "codec", "classify", "execute", "protocol, other", "storage", "transport", "other")

_TABLE: Final = (
    # Longer beginnings first: what stands before another is looked for before it.
    ("msgspec", "codec"),
    ("_blake2", "MACs"),
    ("cryptography", "MACs"),
    ("fivefold/cluster/macs", "MACs"),
    ("uvloop", "transport"),
    ("_ssl", "transport"),
    ("libssl", "transport"),
    ("libcrypto", "transport"),
    ("asyncio/", "transport"),
    ("fivefold/transport/", "transport"),
    ("fivefold/protocol/authenticators", "MACs"),
    ("fivefold/protocol/messages", "codec"),
    ("fivefold/protocol/history", "codec"),
    ("fivefold/protocol/versions", "codec"),
    ("fivefold/protocol/classify", "classify"),
    ("fivefold/protocol/execution", "execute"),
    ("fivefold/objects/", "execute"),
    ("fivefold/storage/", "storage"),
    ("sqlite", "storage"),
    ("fivefold/protocol/", "protocol, other"),
    ("fivefold/node/", "protocol, other"),
)

_WAITING: Final = ("epoll_pwait", "epoll_wait", "clock_nanosleep", "pthread_cond_", "sem_wait", "futex", "wait_for_end")
"""Frames of a thread that waits: py-spy shows threads of native code as busy although they are not."""


def is_waiting(stack: str) -> bool:
    """Whether a stack is that of a thread that takes no processor time."""
    return any(sign in stack for sign in _WAITING)


def part_of(stack: str) -> str:
    """The part that a stack belongs to: frames joined by ``;``, the innermost last, as py-spy's raw format has them."""
    for frame in reversed(stack.split(";")):
        for sign, part in _TABLE:
            if sign in frame:
                return part
    return "other"


def samples_by_part(raw: Iterable[str]) -> Counter[str]:
    """How many samples on the processor each part has, from lines of ``STACK COUNT``."""
    counts: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
    for line in raw:
        stack, _, count = line.rstrip("\n").rpartition(" ")
        if stack and not is_waiting(stack):
            counts[part_of(stack)] += int(count)
    return counts


class Sampler:
    """Samples one process in the background; start it, and ask for the result after ``seconds``."""

    def __init__(self, pid: int, seconds: float, *, per_second: int = 200) -> None:
        """Start.

        Raises:
            ConfigurationError: py-spy is not installed.
        """
        program = Path(sys.executable).parent / "py-spy"
        found = str(program) if program.exists() else shutil.which("py-spy")
        if found is None:
            raise ConfigurationError("py-spy is needed to sample servers: pip install 'fivefold[bench]'")
        self._directory = tempfile.TemporaryDirectory(prefix="fivefold-samples-")
        self._file = Path(self._directory.name) / "raw"
        line = [found, "record", "--native", "--format", "raw", "--full-filenames", "--output", str(self._file)]
        line += ["--rate", str(per_second), "--duration", str(max(1, round(seconds))), "--pid", str(pid)]
        self._process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def samples(self) -> Counter[str]:
        """How many samples each part has, once the time is over.

        Raises:
            ConfigurationError: py-spy could not sample: it needs to be root, or ptrace to be allowed.
        """
        _, errors = self._process.communicate()
        try:
            if self._process.returncode or not self._file.exists():
                text = errors.decode(errors="replace").strip()
                raise ConfigurationError(f"py-spy failed ({text[-300:]}): run as root, or allow ptrace")
            return samples_by_part(self._file.read_text(encoding="utf-8").splitlines())
        finally:
            self._directory.cleanup()
