"""Run one fuzz target under atheris, guided by coverage (the extra ``fuzz``; not part of the test suite).

``python -m tests.fuzz.run_atheris receiving -max_total_time=600 CORPUS`` from the root of the repository; what follows
the name goes to libFuzzer. An input that fails is written to a file: give it instead of the corpus to try it again.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=["fivefold.protocol", "fivefold.cluster", "fivefold.objects", "fivefold.storage", "tomllib"]
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until something fails or the time is up."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target: {', '.join(TARGETS)}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
