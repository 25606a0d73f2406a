"""After how many random seeds is each planted bug noticed? ``python -m tests.simulation.mutation_campaign``.

    python -m tests.simulation.mutation_campaign [--seeds 2000] [--seconds 600] [--missing] [NAME …]

runs seeds with each bug in place until one fails, notes what it found in ``mutations.json`` beside this file, and
writes docs/internals/planted-bugs.md from it; ``--page`` writes the page alone. A bug that no seed notices needs its
directed test; tests/scenarios/test_mutations.py has one for each bug anyhow, and the page names it.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from fivefold.simulation.campaign import SeedResult, run_seed
from fivefold.simulation.mutations import Caught, seek
from tests.planted import BUGS

RECORD = Path(__file__).with_name("mutations.json")
PAGE = Path(__file__).parents[2] / "docs" / "internals" / "planted-bugs.md"

SEEDS_MAX = 2000
PROFILES = (
    *("byzantine", "rolling", "hostile", "leaving", "injected", "camps", "clocks", "replaced", "moved", "helping"),
    "swarm",
)
"""Drawn from in turn."""
SEED_SECONDS_MAX = 30
"""Processor time one seed may take: some bugs make a livelock, which is a failure like any other."""

HEAD = """# Planted bugs

What is a rule good for, and would a test notice if it were missing?
For each bug of `tests/planted.py` and `tests/planted_helping.py` this page names the directed test that notices it.
`tests/scenarios/test_mutations.py` runs each of these with the bug in place, in every test run.
It also says how many random seeds it took: of byzantine and swarm in turn, or of one mode that attacks.

The page and its figures are generated:

```text
python -m tests.simulation.mutation_campaign --seeds 2000 --seconds 600
```

"""


WHY_NOT = {
    "own_disk_read_like_a_peers": "none can: what a server accepts is never longer than what it takes from others",
    "attempts_of_equal_bytes": "the seeds of camps below 900 that have a splitting liar, in vain: a liar must spoil "
    "one MAC for one server in one look of a long pause, for another server in the next, two connections must break "
    "right then, and it must claim the result later",
}
"""Why random seeds do not find a bug."""

LIMITS_HEAD = """
## Bounds on what one peer may use

`tests/planted_limits.py` holds bugs that leave out a bound on memory, on waiting requests or on time.
No seed can see them: the simulator has no sockets and no buffers, and in it computing takes no time.
`tests/unit/test_limits_are_needed.py` runs the test of each with the bug in place.

"""


class TooSlow(Exception):
    """A seed that does not end."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"a run of more than {SEED_SECONDS_MAX} s")


def run_limited(seed: int, profile: str) -> SeedResult:
    """Run one seed; one that takes too long has failed."""
    signal.signal(signal.SIGVTALRM, _interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, SEED_SECONDS_MAX)
    try:
        return run_seed(seed, profile)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def directed_tests() -> Mapping[str, list[str]]:
    """The names of each bug's directed tests."""
    from tests.scenarios.test_mutations import MUTATIONS

    found: dict[str, list[str]] = {name: [] for name in BUGS}
    for bug, scenario, _ in MUTATIONS:
        name = getattr(scenario, "func", scenario).__name__
        if name not in found[bug]:
            found[bug].append(name)
    return found


def recorded() -> dict[str, Caught]:
    """What campaigns have found so far, by bug."""
    if not RECORD.exists():
        return {}
    return {name: Caught(name=name, **found) for name, found in json.loads(RECORD.read_text("utf-8")).items()}


def record(caught: Caught) -> None:
    """Note what a campaign has found out about one bug."""
    found = recorded()
    before = found.get(caught.name)
    is_news = before is None or caught.failure is not None or caught.seeds_count >= before.seeds_count
    if is_news or before.failure is not None:
        found[caught.name] = caught
    fields = {
        name: {key: getattr(each, key) for key in each.__struct_fields__ if key != "name"}
        for name, each in sorted(found.items())
        if name in BUGS
    }
    RECORD.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page() -> str:
    """The page, from the record, the bugs and their directed tests."""
    return HEAD + "\n".join([*_totals(), "", *_rows()]) + "\n" + LIMITS_HEAD + "\n".join(_limit_rows()) + "\n"


def _totals() -> Iterator[str]:
    found = recorded()
    noticed = [each for each in found.values() if each.failure is not None]
    yield (
        f"{len(BUGS)} bugs: {sum(map(bool, directed_tests().values()))} have a directed test of their own, and random "
        f"seeds notice {len(noticed)}, {sum(each.seeds_count <= 100 for each in noticed)} of them within 100 seeds."
    )


def _rows() -> Iterator[str]:
    yield "| bug | what it leaves out | random seeds | noticed as | directed test |"
    yield "|---|---|---|---|---|"
    found, directed = recorded(), directed_tests()
    for name, make in BUGS.items():
        what = (make.__doc__ or "").strip().rstrip(".")
        tests = ", ".join(f"`{test}`" for test in directed[name])
        rule = found[name].rule if name in found else ""
        yield f"| `{name}` | {what} | {_seeds(found.get(name))} | {rule} | {tests} |"


def _limit_rows() -> Iterator[str]:
    from tests.planted_limits import LIMIT_BUGS
    from tests.unit.test_limits_are_needed import PURE, WITH_SOCKETS

    tests = {name: test.__name__ for name, test in (*PURE, *WITH_SOCKETS)}
    yield "| bug | what it leaves out | directed test |"
    yield "|---|---|---|"
    for name, make in LIMIT_BUGS.items():
        yield f"| `{name}` | {(make.__doc__ or '').strip().rstrip('.')} | `{tests[name]}` |"


def _seeds(caught: Caught | None) -> str:
    if caught is None:
        return "not run"
    if caught.failure is None:
        return WHY_NOT.get(caught.name, f"not within {caught.seeds_count}")
    return f"{caught.seeds_count} (`--{caught.profile}`, seed {caught.seed})"


def _wanted(seeds: int, *, only_missing: bool) -> list[str]:
    """The bugs to seek, those that were tried least first."""
    found = recorded()
    tried = {name: found[name].seeds_count if name in found else 0 for name in BUGS}
    noticed = {name for name, each in found.items() if each.failure is not None}
    wanted = [name for name in BUGS if not only_missing or (name not in noticed and tried[name] < seeds)]
    return sorted(wanted, key=lambda name: (tried[name], name))


def main() -> None:
    """Seek the bugs asked for, or all of them; a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutation_campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="seeds per bug at most")
    parser.add_argument("--seconds", type=float, default=600.0, help="processor time per bug at most")
    parser.add_argument("--missing", action="store_true", help="only bugs that fewer seeds have been tried on, in vain")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--profiles", default=",".join(PROFILES), help="modes drawn from in turn")
    parser.add_argument("names", nargs="*", help="bugs; all if none is named")
    asked = parser.parse_args()
    for name in () if asked.page else asked.names or _wanted(asked.seeds, only_missing=asked.missing):
        caught = seek(
            name,
            BUGS[name],
            profiles=asked.profiles.split(","),
            seeds_max=asked.seeds,
            budget_s=asked.seconds,
            run=run_limited,
        )
        record(caught)
        PAGE.write_text(page(), encoding="utf-8")
        print(f"{name:45} {caught.seeds_count:5} {caught.failure or '-'}"[:170], flush=True)  # noqa: T201
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
