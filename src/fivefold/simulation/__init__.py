"""Deterministic simulation: the production protocol machines in virtual time, from one seed, with faults and lies.

:func:`run_seeds` runs campaigns, :func:`simulate` runs your own objects, :class:`Explorer` goes through all orders of a
few requests; :mod:`fivefold.simulation.rack` is for schedules delivered by hand. What none can see: real disks,
sockets, event loops, and time that is not virtual.
"""

from fivefold.simulation.campaign import SeedResult, Summary, run_seed, run_seeds
from fivefold.simulation.draw import PROFILES, draw
from fivefold.simulation.events import (
    Accepted,
    Began,
    Called,
    CommitFailed,
    Crashed,
    Delivered,
    Derived,
    Died,
    Disconnected,
    Ended,
    Event,
    Forgot,
    Happened,
    Healed,
    Kept,
    Late,
    Lied,
    Lost,
    Over,
    Plotted,
    Raised,
    Reset,
    Resolving,
    Restarted,
    Sent,
    Violated,
)
from fivefold.simulation.example import CLIENTS, HIGH, LOW, SERVERS, Card, ExampleRow, record_example, run_example
from fivefold.simulation.exhaustive import (
    SCHEDULES,
    Budget,
    Case,
    Exploration,
    Explorer,
    explore_near,
    is_with_liar,
)
from fivefold.simulation.meanings import Classified, Culled, Judged, Repaired, Voted
from fivefold.simulation.mutations import planted
from fivefold.simulation.own import Step, simulate
from fivefold.simulation.plan import Fault, Plan, PlannedCall, Weather
from fivefold.simulation.rack import Letter, client_id, one_call
from fivefold.simulation.recorder import RecordingRack
from fivefold.simulation.run import Report, run_plan
from fivefold.simulation.shrink import describe, shrink
from fivefold.simulation.workload import TOYS, Workload

__all__ = [
    "CLIENTS",
    "HIGH",
    "LOW",
    "PROFILES",
    "SCHEDULES",
    "SERVERS",
    "TOYS",
    "Accepted",
    "Began",
    "Budget",
    "Called",
    "Card",
    "Case",
    "Classified",
    "CommitFailed",
    "Crashed",
    "Culled",
    "Delivered",
    "Derived",
    "Died",
    "Disconnected",
    "Ended",
    "Event",
    "ExampleRow",
    "Exploration",
    "Explorer",
    "Fault",
    "Forgot",
    "Happened",
    "Healed",
    "Judged",
    "Kept",
    "Late",
    "Letter",
    "Lied",
    "Lost",
    "Over",
    "Plan",
    "PlannedCall",
    "Plotted",
    "Raised",
    "RecordingRack",
    "Repaired",
    "Report",
    "Reset",
    "Resolving",
    "Restarted",
    "SeedResult",
    "Sent",
    "Step",
    "Summary",
    "Violated",
    "Voted",
    "Weather",
    "Workload",
    "client_id",
    "describe",
    "draw",
    "explore_near",
    "is_with_liar",
    "one_call",
    "planted",
    "record_example",
    "run_example",
    "run_plan",
    "run_seed",
    "run_seeds",
    "shrink",
    "simulate",
]
