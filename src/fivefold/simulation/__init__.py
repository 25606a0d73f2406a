"""Deterministic simulation: the production protocol machines in virtual time, from one seed, with faults and lies.

:func:`run_seeds` runs campaigns, :func:`simulate` runs your own objects, :class:`Explorer` goes through all orders of a
few requests; :mod:`fivefold.simulation.rack` is for schedules delivered by hand. What none can see: real disks,
sockets, event loops, and time that is not virtual.
"""

from fivefold.simulation.campaign import SeedResult, Summary, run_seed, run_seeds
from fivefold.simulation.draw import PROFILES, draw
from fivefold.simulation.example import HIGH, LOW, SERVERS, ExampleRow, run_example
from fivefold.simulation.exhaustive import (
    SCHEDULES,
    Budget,
    Case,
    Exploration,
    Explorer,
    explore_near,
    is_with_liar,
)
from fivefold.simulation.own import Step, simulate
from fivefold.simulation.plan import Fault, Plan, PlannedCall, Weather
from fivefold.simulation.run import Report, run_plan
from fivefold.simulation.shrink import describe, shrink

__all__ = [
    "HIGH",
    "LOW",
    "PROFILES",
    "SCHEDULES",
    "SERVERS",
    "Budget",
    "Case",
    "ExampleRow",
    "Exploration",
    "Explorer",
    "Fault",
    "Plan",
    "PlannedCall",
    "Report",
    "SeedResult",
    "Step",
    "Summary",
    "Weather",
    "describe",
    "draw",
    "explore_near",
    "is_with_liar",
    "run_example",
    "run_plan",
    "run_seed",
    "run_seeds",
    "shrink",
    "simulate",
]
