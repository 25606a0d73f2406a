"""Processor time of the server's and the client's machine (machines.py), pure and compiled.

Builds both wheels into directories of their own (the compiled one needs a C compiler), then runs them in turn and
prints medians: ``python benchmarks/compiled.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

MACHINES = Path(__file__).resolve().parent / "machines.py"


def build(target: Path, *, is_compiled: bool) -> Path:
    """Install this checkout, without its dependencies, into ``target``."""
    environment = {**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1" if is_compiled else "0"}
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(ROOT)]
    subprocess.run(command, env=environment, check=True)
    return target


def cost(installed: Path, f: int, updates: int) -> dict[str, Any]:
    """What machines.py finds with an installation."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, str(MACHINES), "--faults", str(f), "--updates", str(updates)]
    done = subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Build, alternate, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--updates", type=int, default=2000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fivefold-compiled-") as scratch:
        variants = {name: build(Path(scratch, name), is_compiled=name == "compiled") for name in ("pure", "compiled")}
        for f in (1, 5):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
            for _ in range(chosen.runs):
                for name, installed in variants.items():
                    runs[name].append(cost(installed, f, chosen.updates))
            assert all(run["is_compiled"] == (name == "compiled") for name, each in runs.items() for run in each)
            for part in ("server", "client"):
                pure, compiled = (statistics.median(run[part] for run in runs[name]) for name in variants)
                calls = runs["pure"][0]["calls"][part]
                print(f"f={f} {part}: pure {pure:.1f} µs ({calls} Python calls), compiled {compiled:.1f} µs, ", end="")
                print(f"ratio {compiled / pure:.2f}")


if __name__ == "__main__":
    main()
