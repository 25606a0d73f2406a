"""What operators do to a whole cluster, as its client: backups.

Programs use it, and it uses the API and the stores: a program that only calls objects imports none of it.
"""

from fivefold.upkeep.backing import back_up
from fivefold.upkeep.lists import Window, windows

__all__ = ["Window", "back_up", "windows"]
