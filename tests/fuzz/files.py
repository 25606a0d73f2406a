"""Journal and database files, and the identity's records: altered by script, then opened as a server does.

Whatever they hold: refused in a sentence, named as damaged, or as promised; never forgotten, never a traceback.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Final

from fivefold.storage import guard, recovery, segments
from fivefold.storage import writer as writer_module
from tests.fuzz.script import Script
from tests.storage_damage import MEMORY, Image, images, judge, small_store

PATCHED: Final = (
    (segments, "GROWTH_BYTES"),
    (recovery, "GROWTH_BYTES"),
    (writer_module, "OVERLAY_BYTES_MAX"),
    (guard, "FIRST_SHARE_MIN"),
    (guard, "QUICK_CHECK_BYTES_MAX"),
)
"""What ``small_store`` changes, to be put back afterwards."""


@functools.cache
def _moments() -> tuple[Path, list[Image]]:
    """Where to put files, and a small store at several moments of its life."""
    root = Path(tempfile.mkdtemp(prefix="fivefold-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    before = [(module, name, getattr(module, name)) for module, name in PATCHED]
    small_store()
    try:
        return root / "judged", images(root / "made")
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def files(data: bytes) -> None:
    """A store's files: whatever they hold is refused, named as damaged, or as promised."""
    script = Script(data)
    root, moments = _moments()
    image = script.one_of(moments)
    name = script.one_of(sorted(image.files))
    content = image.files[name]
    start = script.number(3) % (len(content) + 1)
    piece = script.mutated(content[start : start + 4096])
    if script.number() % 4 == 0:  # what another moment had there
        older = script.one_of(moments).files.get(name, b"")
        piece = older[start : start + 4096]
    altered = content[:start] + piece + content[start + 4096 :]
    judge(root, image, "fuzzed", name, altered, is_whole=False)
