"""Deterministic simulation: the production protocol machines in virtual time, from one seed, with faults and lies.

:func:`run_seeds` runs campaigns, :func:`simulate` runs your own objects; :mod:`fivefold.simulation.rack` is for
schedules delivered by hand. What it cannot see: real disks, sockets, event loops, and time that is not virtual.
"""

from fivefold.simulation.campaign import SeedResult, Summary, run_seed, run_seeds
from fivefold.simulation.draw import PROFILES, draw
from fivefold.simulation.own import Step, simulate
from fivefold.simulation.plan import Fault, Plan, PlannedCall, Weather
from fivefold.simulation.run import Report, run_plan
from fivefold.simulation.shrink import describe, shrink

__all__ = [
    "PROFILES",
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
    "run_plan",
    "run_seed",
    "run_seeds",
    "shrink",
    "simulate",
]
