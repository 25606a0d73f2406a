"""An audit: read objects from all servers as a client of one's own, compare, and name who has broken a promise.

It changes nothing: of the requests that it sends, none writes or repairs. Each object is read over two connections to
each server, and then shown all histories together, as in any call: so servers check each other's MACs.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from fivefold.api import Cluster
from fivefold.errors import Unavailable, UnknownType, Upgrading
from fivefold.node import Inquiry
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.history import is_barrier, make_histories
from fivefold.protocol.messages import BUSY, encode
from fivefold.protocol.operations import CALL_ID_BYTES, REFUSED, SHOW, Call, ObjectId, Operation
from fivefold.protocol.records import INITIAL_HISTORY, Listed, LogicalTimestamp, ObjectHistories, Request, Vote
from fivefold.upkeep.judging import Charge, Finding, contradicts, forgetters, is_diverged, newest, outvoted
from fivefold.upkeep.lists import windows
from fivefold.upkeep.rates import Rate

BATCH: Final = 32
"""Objects that are read together."""

FINDINGS_MAX: Final = 1000
"""Findings that are kept; of each server and charge there are some at least."""

FINDINGS_OF_A_KIND_MAX: Final = 20

CLOCK_SLACK_S: Final = 0.5
"""By how much the start of one process may seem to differ between two questions."""

Shown = dict[tuple[int, ObjectId], bytes]
"""What a server showed of an object."""

Told = Callable[[int], None]
"""Hears how many objects have been looked at."""


class Report(Struct, frozen=True):
    """What an audit has found.

    Attributes:
        format: of this report.
        cluster: id of the cluster.
        at: when, in seconds since 1970.
        servers: how many there are.
        servers_needed: q.
        liars_max: b.
        answered: servers that answered.
        objects: how many were looked at.
        listed: how many there are.
        findings: charges with what they rest on.
        notes: what cannot be told, and what may be bad luck, in sentences.
    """

    format: int
    cluster: str
    at: float
    servers: int
    servers_needed: int
    liars_max: int
    answered: tuple[int, ...]
    objects: int
    listed: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def named(self) -> dict[int, set[Charge]]:
        """The charges against each server."""
        found: dict[int, set[Charge]] = defaultdict(set)
        for finding in self.findings:
            found[finding.server].add(finding.charge)
        return dict(found)


async def audit(
    cluster: Cluster,
    first: Inquiry,
    second: Inquiry,
    *,
    cluster_id: str,
    sample: int | None = None,
    rate: int | None = None,
    told: Told = lambda count: None,
) -> Report:
    """Look at all objects, or at some.

    Args:
        cluster: says what code queries name; its client's access rule must be ``*``.
        first: the same client's connections to all servers.
        second: other ones.
        cluster_id: for the report.
        sample: number of objects to look at, chosen at random; all if it is left out.
        rate: objects a second, at most; None for as many as the servers give.
        told: hears how it gets on.

    Raises:
        Unavailable: no server tells a list of objects.
    """
    return await _Audit(cluster, first, second, Rate(rate), told).run(cluster_id, sample)


class _Audit:
    """One pass."""

    def __init__(self, cluster: Cluster, first: Inquiry, second: Inquiry, rate: Rate, told: Told) -> None:
        self._cluster, self._first, self._second, self._rate, self._told = cluster, first, second, rate, told
        self._quorums = first.quorums
        self._findings: list[Finding] = []
        self._counts: Counter[tuple[int, Charge]] = Counter()
        self._culled_by: dict[int, set[int]] = defaultdict(set)
        self._culled_about: dict[int, ObjectId] = {}
        self._behind: Counter[int] = Counter()
        self._mute: Counter[int] = Counter()
        self._diverged: list[ObjectId] = []
        self._notes: list[str] = []
        self._objects = self._listed = 0

    async def run(self, cluster_id: str, sample: int | None) -> Report:
        await self._look_for_twins()
        seen = await self._witnessed()
        share = 1.0
        try:
            if sample is not None:
                share = sample / max(sample, sum([len(each.objects) async for each in windows(self._first, needed=1)]))
            async for window in windows(self._first, needed=1):
                self._listed += len(window.objects)
                chosen = [each for each in window.objects if random.random() < share]
                for start in range(0, len(chosen), BATCH):
                    some = dict(chosen[start : start + BATCH])
                    await self._look_at(some)
                    self._told(self._objects)
                    await self._rate.rest(len(some))
        except Unavailable:
            self._notes.append("no server told its list of objects to the end, so the others may not all be here")
        await self._look_for_forgetters(seen)
        self._charge_makers_of_macs()
        self._note_violations()
        self._note_rest()
        return Report(
            *(1, cluster_id, time.time(), self._quorums.n, self._quorums.q, self._quorums.b, tuple(self._first.up)),
            *(self._objects, self._listed, tuple(self._findings), tuple(self._notes)),
        )

    def _charge(
        self,
        server: int,
        charge: Charge,
        object_id: str,
        says: str,
        *,
        by: Iterable[int] = (),
        shown: tuple[bytes, ...] = (),
    ) -> None:
        self._counts[server, charge] += 1
        if self._counts[server, charge] <= FINDINGS_OF_A_KIND_MAX and len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(server, charge, object_id, tuple(by), says, shown))

    # --- two processes of one identity ------------------------------------------------------------------------

    async def _look_for_twins(self) -> None:
        servers = [server for server in self._first.up if server in self._second.up]
        await asyncio.gather(*(self._look_for_twin(server) for server in servers))

    async def _look_for_twin(self, server: int) -> None:
        starts = [await _started(inquiry, server) for inquiry in (self._first, self._second, self._first)]
        one, other, again = starts
        if one is None or other is None or again is None:
            return  # it was stopped or started meanwhile
        if not _overlap(one, other) and _overlap(one, again):
            apart = abs(one[0] - other[0])
            text = f"over two connections two processes answer, which were started {apart:.0f} s apart"
            self._charge(server, Charge.TWIN, "", text)

    # --- objects ----------------------------------------------------------------------------------------------

    async def _look_at(self, objects: Mapping[ObjectId, Mapping[int, Listed]]) -> None:
        self._objects += len(objects)
        names = sorted(objects)
        one, _ = await self._read(self._first, names)
        other, authenticators = await self._read(self._second, names)
        for name in names:
            await self._compare_readings(name, one, other)
            self._compare_versions(name, objects[name])
        await asyncio.gather(*(self._show_all(name, other, authenticators) for name in names))

    async def _read(self, inquiry: Inquiry, names: Sequence[ObjectId]) -> tuple[Shown, Shown]:
        """What each server shows of each object, and its authenticators."""
        shown: Shown = {}
        authenticators: Shown = {}

        async def read(server: int, some: Sequence[ObjectId]) -> None:
            found = await inquiry.histories(server, some)
            if found is None:
                return
            vote, tail = found
            if len(vote.histories) != len(some):
                if len(some) > 1:
                    await asyncio.gather(*(read(server, [name]) for name in some))
                else:
                    self._note_refusal(server, some[0], vote)
                return
            size, start = MAC_BYTES * self._quorums.n, 0
            for name, history in zip(some, vote.histories, strict=True):
                end = start + size if history else start
                shown[server, name], authenticators[server, name] = history, tail[start:end]
                start = end

        await asyncio.gather(*(read(server, names) for server in inquiry.up))
        return shown, authenticators

    def _note_refusal(self, server: int, name: ObjectId, vote: Vote) -> None:
        reason = vote.answers[0][len(REFUSED) :].decode(errors="replace") if vote.answers else ""
        if vote.status == BUSY and reason.startswith("damaged"):
            self._charge(server, Charge.ROTTEN, name, f"it says itself that it cannot read the object: {reason}")
        else:
            self._mute[server] += 1

    async def _compare_readings(self, name: ObjectId, one: Shown, other: Shown) -> None:
        """The same server, asked twice: what it shows may only grow."""
        latest = []
        for server in range(self._quorums.n):
            earlier, later = one.get((server, name)), other.get((server, name))
            if earlier is None or later is None:
                continue
            before, after = newest(name, earlier), newest(name, later)
            if before is None or after is None:
                self._charge(server, Charge.FORGED, name, "its history is one that no honest server would write")
                continue
            latest.append((server, after))
            if contradicts(name, earlier, later):
                text = "it has signed two histories that no single server can have signed"
                self._charge(server, Charge.TWIN, name, text, shown=(earlier, later))
            elif after < before:
                await self._ask_again(server, name, earlier, later)
        top = sorted((after for _, after in latest), reverse=True)
        if len(top) > self._quorums.b:
            for server, after in latest:
                self._behind[server] += after < top[self._quorums.b]

    async def _ask_again(self, server: int, name: ObjectId, earlier: bytes, later: bytes) -> None:
        shown, _ = await self._read(self._first, [name])
        again, before = newest(name, shown.get((server, name), b"")), newest(name, earlier)
        is_twin = (server, name) in shown and again is not None and before is not None and again >= before
        if is_twin:
            text = "over one connection it shows a newer history than over another one, before and after"
            self._charge(server, Charge.TWIN, name, text, shown=(earlier, later))
        else:
            text = "it showed this audit a newer history before than after"
            self._charge(server, Charge.FORGOT, name, text, shown=(earlier, later))

    def _compare_versions(self, name: ObjectId, entries: Mapping[int, Listed]) -> None:
        """Servers whose newest candidate is the same must hold the same version."""
        groups: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        for server, entry in entries.items():
            if entry.is_held and entry.version_digest and (timestamp := newest(name, entry.history)) is not None:
                groups[timestamp][server] = entry.version_digest
        for timestamp, digests in groups.items():
            if not is_barrier(LogicalTimestamp(timestamp)):
                self._charge_outvoted(name, digests, Charge.ROTTEN, "its version is another one than that of servers")

    def _charge_outvoted(self, name: ObjectId, found: Mapping[int, bytes], charge: Charge, says: str) -> None:
        for server, others in outvoted(found, self._quorums.b).items():
            self._charge(server, charge, name, f"{says} {', '.join(map(str, others))}", by=others)
        if is_diverged(found, self._quorums.b) and name not in self._diverged[-1:]:
            self._diverged.append(name)

    async def _show_all(self, name: ObjectId, shown: Shown, authenticators: Shown) -> None:
        """Send every server all histories with a query: it says whose MACs are wrong, and answers."""
        try:
            code = self._cluster.code_of(name)
        except (UnknownType, Upgrading):
            return
        histories = [shown.get((server, name), INITIAL_HISTORY) for server in range(self._quorums.n)]
        size = MAC_BYTES * self._quorums.n
        for server, history in enumerate(histories):
            row = authenticators.get((server, name), b"")
            if history and (newest(name, history) is None or len(row) != size):
                histories[server] = INITIAL_HISTORY
        sets = (make_histories(name, histories),)
        call = Call(os.urandom(CALL_ID_BYTES), 0, SHOW, b"")
        request = Request(name, sets, encode(Operation((name,), (call,), code)))
        holders = [server for server, history in enumerate(histories) if history]

        def proof(server: int) -> bytes:
            place = slice(server * MAC_BYTES, (server + 1) * MAC_BYTES)
            return b"".join(authenticators[holder, name][place] for holder in holders)

        servers = self._second.up
        replies = await asyncio.gather(*(self._second.ask(each, request, proof(each)) for each in servers))
        answers: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        for server, reply in zip(servers, replies, strict=True):
            if reply is None:
                continue
            vote = reply[0]
            for culled in vote.culled:
                if 0 <= culled < self._quorums.n and culled != server:
                    self._culled_by[culled].add(server)
                    self._culled_about.setdefault(culled, name)
            if vote.answers and len(vote.histories) == 1:
                about = vote.candidate or newest(name, vote.histories[0]) or b""
                answers[about][server] = vote.answers[0]
        for about, found in answers.items():
            if about:
                self._charge_outvoted(name, found, Charge.ANSWERS, "its answer is another one than that of servers")

    # --- what others have seen --------------------------------------------------------------------------------

    async def _witnessed(self) -> dict[int, tuple[ObjectHistories, ...]]:
        servers = self._first.up
        replies = await asyncio.gather(*(self._first.witnessed(server) for server in servers))
        return {server: reply.seen for server, reply in zip(servers, replies, strict=True) if reply is not None}

    async def _look_for_forgetters(self, seen: Mapping[int, tuple[ObjectHistories, ...]]) -> None:
        names = sorted({each.object_id for sets in seen.values() for each in sets})
        shown: Shown = {}
        for start in range(0, len(names), BATCH):
            shown.update((await self._read(self._second, names[start : start + BATCH]))[0])
        findings, doubted = forgetters(seen, shown, self._quorums.b)
        for each in findings:
            self._charge(each.server, each.charge, each.object_id, each.says, by=each.by, shown=each.shown)
        for server, by in doubted.items():
            self._notes.append(
                f"server {server}: servers {', '.join(map(str, sorted(by)))} say that it has forgotten what it signed; "
                "that is no proof, since they may lie"
            )

    # --- the end ----------------------------------------------------------------------------------------------

    def _charge_makers_of_macs(self) -> None:
        for server, by in sorted(self._culled_by.items()):
            servers = ", ".join(map(str, sorted(by)))
            if len(by) > self._quorums.b:
                text = f"servers {servers} find its authenticators wrong"
                self._charge(server, Charge.MACS, self._culled_about[server], text, by=sorted(by))
            else:
                self._notes.append(
                    f"server {server}: servers {servers} say that its authenticators are wrong; that is no proof, "
                    "since they may lie"
                )

    def _note_violations(self) -> None:
        for inquiry in (self._first, self._second):
            for server, reasons in sorted(inquiry.violations.items()):
                text = f"it sent what no honest server sends: {', '.join(sorted(set(reasons)))}"
                self._charge(server, Charge.FORGED, "", text)

    def _note_rest(self) -> None:
        named = {finding.server for finding in self._findings}
        silent = [server for server in range(self._quorums.n) if server not in self._first.up]
        for server in silent:
            self._notes.append(f"server {server} did not answer: nothing is known of it")
        for server, count in sorted(self._behind.items()):
            if count and server not in named:
                self._notes.append(
                    f"server {server} has older versions of {count} objects: it was not asked or was down when they "
                    "were written, or it has forgotten them; its histories do not tell"
                )
        for server, count in sorted(self._mute.items()):
            self._notes.append(f"server {server} says nothing of {count} objects: it is busy, or catching up")
        for name in self._diverged[:FINDINGS_OF_A_KIND_MAX]:
            self._notes.append(f"honest servers hold different states of {name}: run `fivefold rescue {name}`")


async def _started(inquiry: Inquiry, server: int) -> tuple[float, float] | None:
    """Between which times the process was started that answers; None if none does."""
    asked = time.monotonic()
    status = await inquiry.status(server)
    return None if status is None else (asked - status.uptime_s, time.monotonic() - status.uptime_s)


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] - CLOCK_SLACK_S <= other[1] and other[0] - CLOCK_SLACK_S <= one[1]
