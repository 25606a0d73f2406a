"""What operators do to a whole cluster, as its client: watch it, back it up, restore it, audit it.

Programs use it, and it uses the API and the stores: a program that only calls objects imports none of it.
"""

from fivefold.upkeep.auditing import Report, audit
from fivefold.upkeep.backing import back_up
from fivefold.upkeep.condition import (
    Headline,
    Remark,
    accused,
    compared_text,
    count_up,
    edition_remarks,
    evidence_text,
    headline_of,
    program_text,
    remarks_of,
    state_of,
    with_another_file,
)
from fivefold.upkeep.judging import Charge, Finding
from fivefold.upkeep.lists import Window, windows
from fivefold.upkeep.looking import ObjectView, look_at
from fivefold.upkeep.moving import Plan, Step, Told, check_health, check_plan, give_up, move
from fivefold.upkeep.restoring import check_backup, restore_cluster, restore_server
from fivefold.upkeep.units import bytes_text, seconds_text
from fivefold.upkeep.watching import RATES, ClusterView, Look, Point, Watch, look, rates

__all__ = [
    "RATES",
    "Charge",
    "ClusterView",
    "Finding",
    "Headline",
    "Look",
    "ObjectView",
    "Plan",
    "Point",
    "Remark",
    "Report",
    "Step",
    "Told",
    "Watch",
    "Window",
    "accused",
    "audit",
    "back_up",
    "bytes_text",
    "check_backup",
    "check_health",
    "check_plan",
    "compared_text",
    "count_up",
    "edition_remarks",
    "evidence_text",
    "give_up",
    "headline_of",
    "look",
    "look_at",
    "move",
    "program_text",
    "rates",
    "remarks_of",
    "restore_cluster",
    "restore_server",
    "seconds_text",
    "state_of",
    "windows",
    "with_another_file",
]
