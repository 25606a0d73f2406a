"""What operators do to a whole cluster, as its client: backups, restores, audits.

Programs use it, and it uses the API and the stores: a program that only calls objects imports none of it.
"""

from fivefold.upkeep.auditing import Report, audit
from fivefold.upkeep.backing import back_up
from fivefold.upkeep.judging import Charge, Finding
from fivefold.upkeep.lists import Window, windows
from fivefold.upkeep.restoring import check_backup, restore_cluster, restore_server

__all__ = [
    "Charge",
    "Finding",
    "Report",
    "Window",
    "audit",
    "back_up",
    "check_backup",
    "restore_cluster",
    "restore_server",
    "windows",
]
