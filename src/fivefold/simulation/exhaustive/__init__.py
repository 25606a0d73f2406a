"""All orders of a few requests on a small cluster, instead of random ones: ``fivefold explore``.

``moves`` says what can happen next, ``exploration`` goes through all of it, ``directed`` starts it from the schedules
that once broke a rule.
"""

from fivefold.simulation.exhaustive.announcing import explore_announcement
from fivefold.simulation.exhaustive.directed import SCHEDULES, explore_near, is_with_liar
from fivefold.simulation.exhaustive.exploration import Budget, Case, Exploration, Explorer
from fivefold.simulation.exhaustive.replacing import explore_replacement

__all__ = [
    "SCHEDULES",
    "Budget",
    "Case",
    "Exploration",
    "Explorer",
    "explore_announcement",
    "explore_near",
    "explore_replacement",
    "is_with_liar",
]
