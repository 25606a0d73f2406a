"""Clocks that were led on before a run begins, by more requests than a run has time for (PROTOCOL §4.1, Leads)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Final

from fivefold.protocol.actions import Write
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history, initial_entry, make_timestamp
from fivefold.protocol.limits import TIME_LEAD_MAX, TIME_MAX
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import NO_OPERATION, Candidate, Entry, Part
from fivefold.simulation.disk import Disk
from fivefold.simulation.plan import Lead
from fivefold.simulation.rack import client_id

FAR: Final = (2**20, 2**40, 2**60)
"""Leads of a clock that nobody catches up with: one barrier each, and a run has time for some thousands."""

APART_MAX: Final = 20
"""Leads by which objects that are used together are apart: a call that joins them makes as many barriers first."""


def draw_leads(
    random: Random, quorums: QuorumSystem, honest: Sequence[int], *, own: Iterable[str], counters: Sequence[str]
) -> Iterator[Lead]:
    """Clocks led on: malevolent clients' own objects far away, others a little apart, or all to where times end."""
    everybody = tuple(range(quorums.n))
    start = TIME_MAX if random.random() < 0.2 else 0
    for name in own:
        yield Lead(name, start + random.choice(FAR) * TIME_LEAD_MAX, everybody)
    apart = random.choice((0, 3, APART_MAX))
    for name in counters:
        time = start + random.randint(0, apart) * TIME_LEAD_MAX + random.randrange(TIME_LEAD_MAX)
        # As many honest servers as this a client and b liars bring forward without the others. Not to where times end:
        # what fewer than r show there is disbelieved, and no number of requests leads there.
        some = tuple(sorted(random.sample(honest, quorums.q - quorums.b)))
        if start or apart:
            is_split = quorums.b and not start and random.random() < 0.3
            yield Lead(name, time, some if is_split else everybody)
            if is_split:  # and where these are, the liars' word brings any of them one lead further
                yield Lead(name, time + TIME_LEAD_MAX, some[: random.randint(0, len(some))])


def write_leads(leads: Iterable[Lead], disks: Sequence[Disk]) -> None:
    """Put a barrier of each object at its time on the disks of its servers, as if a run had gone before this one."""
    for lead in leads:
        name = ObjectId(lead.object_id)
        timestamp = make_timestamp(
            lead.time,
            is_barrier=True,
            client=client_id("zz"),
            operation_digest=NO_OPERATION,
            history_set_digest=bytes(32),
        )
        barrier = Candidate(timestamp, (Part(name, INITIAL_TIMESTAMP, None),))
        history = encode_history((initial_entry(name), Entry(barrier, False)))
        for server in lead.servers:
            disks[server].put(Write(name, history))
