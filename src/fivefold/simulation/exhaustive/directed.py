"""The directed schedules D1-D8 as starts of explorations: all that a few more requests can do near a dangerous place.

Each line is a request. ``X ab! ab:012 > 013`` is client X's operation on a and b that shows what servers 0, 1 and 2
hold of both and reaches servers 0, 1 and 3. ``Y a? a:012@3 b:123 > 3`` is a repair of a judged by a and b, where a is
shown as it was after three requests. ``2 > 12`` is the second request once more, reaching servers 1 and 2.
A liar shows what another server holds, as it is or changed
(:meth:`~fivefold.simulation.exhaustive.moves.Moves.lie`): in ``a:0122*`` servers 0, 1, 2 and a liar are shown, which
claims all that server 2 holds and flags what it can.
"""

from __future__ import annotations

import re
import time
from typing import Final

from msgspec import Struct

from fivefold.simulation.exhaustive.exploration import Budget, Case, Exploration, Explorer, State
from fivefold.simulation.exhaustive.moves import LETTERS, Moves, Shape, Shown
from fivefold.simulation.rack import client_id

SCHEDULES: Final[dict[str, str]] = {
    "D1": """
        Y a! a:     > 12
        X ab! ab:   > 03
        X b? ab:023 > 0123
        X a? a:123  > 12
        X b? ab:0123 > 0123
        X b? ab:0123 > 012
    """,
    "D2": """
        X ab! ab:   > 012
        X a! a:012  > 0123
        X a! a:012  > 0123
        X a! a:012  > 0123
        X b! b:012  > 0
        X b? ab:013 > 013
        X b? ab:013 > 013
    """,
    "D4": """
        X ab! ab:   > 012
        X b! b:012  > 23
        X b? b:012  > 023
        X b? b:023  > 03
        X b? b:012  > 013
        X b? b:013  > 13
        X a? ab:013 > 013
        X a? ab:013 > 013
    """,
    "D5": """
        X ab! ab:   > 012
        Y a! a:     > 3
        X a? a:013  > 013
        X b! b:012  > 0123
        X b! b:012  > 0123
        X b! b:012  > 0123
        X b! b:012  > 0
        X b? b:012  > 0123
        X a? a:013@3 b:012 > 013
    """,
    "D6": """
        X ab! ab:   > 012
        Y a! a:     > 3
        X a? ab:013 > 0123
        X a? ab:013 > 23
        X a? a:013 b:123 > 0123
        X a? a:013 b:123 > 0123
    """,
    "D7": """
        X ab! ab:   > 012
        X b! b:012  > 03
        X b? ab:012 > 03
        X a? a:013  > 12
        2           > 12
        X b! b:0@2 b:12 > 12
        X b? b:013  > 12
        X a? a:123@4 b:123 > 123
    """,
    "D8": """
        X ab! ab:   > 01
        X a? ab:012 > 0123
        X b? b:123  > 123
        X b? b:123  > 123
        X a! a:012  > 012
    """,
    "agreement": """
        X ab! ab:   > 13
        Y b! b:     > 02
        Y b? b:02   > 3
        X a? ab:013 > 013
        X a? ab:013 > 013
    """,
    "flags": """
        X ab! ab:   > 34
        Y a? a:12344* b:12344 > 01234
        X b? b:01234 > 01234
        X b? b:01234 > 01234
    """,
    "pruning": """
        X a! a:     > 0123
        Y a! a:01233 > 34
        Y a? a:0124 > 01234
        Y a? a:01344 > 34
        X a? a:01344 > 0
        X a? a:01244+ > 0124
        X a? a:01244- > 0124
    """,
    "times": """
        X a! a:     > 0123
        Y a! a:01233 > 34
        Y a? a:0122+ > 01234
        Y a? a:01344 > 34
        X a? a:01344 > 0
        X a? a:01244+ > 0124
        X a? a:01244- > 0124
    """,
    "copies": """
        X a! a:     > 012
        Y a! a:012  > 03
        X a? a:123  > 0123
        X a? a:013  > 01
        X a? a:123  > 123
        X a? a:123  > 123
    """,
    "superseded": """
        X a! a:     > 01
        Y a? a:0    > 0123
        Y a? a:0123 > 123
        X a? a:01   > 0123
        X a? a:012  > 12
        X a? a:023  > 023
        X a? a:023  > 023
    """,
    "joint": """
        X ab! ab:    > 01
        Y a? ab:0    > 0123
        Y a? ab:0123 > 123
        X a? ab:01   > 0123
        X a? ab:012  > 12
        X a? ab:023  > 023
        X b? ab:023  > 023
    """,
}
"""As in tests/scenarios, with objects a and b: D1 to D8, agreement and flags are those of test_multi_object.py,
superseded and joint are those of test_full_histories.py.

Four servers and no liar, but for those of :func:`is_with_liar`.
"""


def is_with_liar(name: str) -> bool:
    """Whether a schedule is for six servers of which one lies."""
    return name in ("flags", "pruning", "times")


class Station(Struct, frozen=True):
    """Where one request of a schedule leads.

    Attributes:
        states: before it, and after each of its deliveries; every request so far is on its way to all servers.
        old: for each object, the histories shown by the requests so far.
    """

    states: tuple[State, ...]
    old: tuple[frozenset[tuple[int, ...]], ...]


def stations(explorer: Explorer, text: str) -> list[Station]:
    """The states along a schedule.

    Requests that the rules do not derive to a step reach nobody, so that a schedule can be followed with one left out.
    """
    moves, found = explorer.moves, list[Station]()
    pasts = [explorer.start[0]]
    old = [set[tuple[int, ...]]() for _ in moves.names]
    sent: list[int | None] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        request, _, receivers = line.partition(">")
        words = request.split()
        if len(words) == 1:
            sent.append(sent[int(words[0]) - 1])
        else:
            shape, shown = _parse(moves, words, pasts)
            for index, histories in zip(shape.objects, shown, strict=True):
                old[index].add(histories)
            derived = moves.derive(shape, shown)
            sent.append(derived if isinstance(derived, int) else None)
        servers, number = list(pasts[-1]), sent[-1]
        pending = tuple({each for each in sent if each is not None})
        states = [explorer.settle(tuple(servers), pending, explorer.case.requests_max)]
        for server in map(int, receivers.strip() if number is not None else ""):
            servers[server] = moves.after(servers[server], number or 0)
            states.append(explorer.settle(tuple(servers), pending, explorer.case.requests_max))
        pasts.append(tuple(servers))
        found.append(Station(tuple(states), tuple(map(frozenset, old))))
    return found


def explore_near(case: Case, name: str, budget: Budget | None = None) -> Exploration:
    """Explore all that ``case.requests_max`` requests more than in the schedule can do, from every state along it."""
    first = Explorer(case)
    total = Exploration(case, requests_done=case.requests_max, is_exhausted=True, violations=[])
    began_s, budget = time.monotonic(), budget or Budget()
    for station in stations(first, SCHEDULES[name]):
        left_s = budget.seconds_max - (time.monotonic() - began_s)
        explorer = Explorer(case, Budget(budget.states_max - total.states, left_s), first.moves)
        explorer.old = station.old
        total.add(explorer.run(station.states))
    return total


def _parse(moves: Moves, words: list[str], pasts: list[tuple[int, ...]]) -> tuple[Shape, Shown]:
    """A request's words: client, objects and target, views."""
    views = _views(moves, words[2:], pasts)
    objects = tuple(sorted(views))
    target = None if words[1].endswith("!") else LETTERS.index(words[1][0])
    return Shape(client_id(words[0]), objects, target), tuple(tuple(sorted(views[index])) for index in objects)


def _views(moves: Moves, words: list[str], pasts: list[tuple[int, ...]]) -> dict[int, list[int]]:
    """For each object the numbers of the histories shown."""
    views: dict[int, list[int]] = {}
    for word in words:
        names, _, rest = word.partition(":")
        servers, _, when = rest.partition("@")
        held = pasts[int(when)] if when else pasts[-1]
        for server, how in re.findall(r"(\d)([*+-]?)", servers):
            shown = moves.shown_by(held[int(server)])
            for index in map(LETTERS.index, names):
                views.setdefault(index, []).append((moves.lie(how, shown) if how else shown)[index])
        for index in map(LETTERS.index, names):
            views.setdefault(index, [])
    return views
