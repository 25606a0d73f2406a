"""What is to be said of a cluster at one moment: who is up, what speaks against whom, and how many failures are left.

The commands and the dashboard say the same, because they ask here. What is said is plain data: a line of text may hold
what a peer sent, and whoever shows it escapes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from msgspec import Struct

from fivefold.api import ClusterStatus
from fivefold.cluster import TWO_FILES
from fivefold.node import ServerStatus, progress_text
from fivefold.protocol.client import Evidence
from fivefold.upkeep.units import seconds_text

GOOD: Final = "good"
WARN: Final = "warn"
BAD: Final = "bad"
"""How much something matters."""

DISK_LEFT_MIN: Final = 0.1
"""A disk with a smaller part left is nearly full."""

SLOW_S: Final = 0.25
"""A server that takes longer for its status, and ..."""
SLOW_FACTOR: Final = 8
"""... so many times as long as half of the others, is slow."""

SHORT: Final = 200
"""Characters of a text of a peer's."""

NAMED_MAX: Final = 100
"""Objects of one server that are named one by one."""

SAYINGS_MAX: Final = 64
"""Sayings that are taken from one server."""


class Remark(Struct, frozen=True):
    """Something to be said of a server.

    Attributes:
        server: which; None for something that is so of all.
        level: GOOD, WARN or BAD.
        text: a sentence.
        source: who says so.
        since_s: for how long, where that is known.
    """

    server: int | None
    level: str
    text: str
    source: str
    since_s: float | None = None


class Headline(Struct, frozen=True):
    """Whether calls end, and how many more failures the cluster can take.

    Attributes:
        level: GOOD, WARN or BAD.
        word: UP, DOWN or DANGER.
        text: the rest of the sentence.
        spare: how many more servers may fail.
        lying: how many more servers may lie.
    """

    level: str
    word: str
    text: str
    spare: int
    lying: int


def is_well(server: ServerStatus | None) -> bool:
    """Whether a server answers, can make durable what it promises, and is in standing."""
    if server is None or server.storage_failure is not None:
        return False
    return server.place is None or server.place.is_standing


def count_up(status: ClusterStatus) -> int:
    """How many servers answer, can make durable what they promise, and are in standing."""
    return sum(map(is_well, status.servers))


def headline_of(status: ClusterStatus) -> Headline:
    """What a person on call asks first. A liar is one of the failures: what it answers counts towards no quorum."""
    liars = {each.server for each in status.evidence if each.is_excluded}
    found = _judged(status, liars)
    named = {server: clients for server, clients in accused(status).items() if server not in liars}
    if found.word != "UP" or not named:
        return found
    # Clients may say anything. What would follow is said under an if; two that agree are an alarm.
    then = _judged(status, liars | set(named))
    servers = f"server{'s' * (len(named) > 1)} {', '.join(map(str, sorted(named)))}"
    left = f"{then.spare} may fail and {then.lying} may lie" if then.word == "UP" else then.text
    is_alarm = then.level == BAD and any(len(clients) > 1 for clients in named.values())
    return Headline(
        BAD if is_alarm else WARN,
        found.word,
        f"{found.text}; if what clients say of {servers} is true, {left}",
        min(found.spare, then.spare),
        min(found.lying, then.lying),
    )


def _judged(status: ClusterStatus, liars: Set[int]) -> Headline:
    """The headline if exactly these servers lie."""
    quorums, working = status.quorums, count_up(status)
    honest = sum(is_well(server) for index, server in enumerate(status.servers) if index not in liars)
    spare, lying = max(0, min(quorums.t, honest - quorums.q)), max(0, quorums.b - len(liars))
    if working < quorums.q:
        missing = quorums.q - working
        return Headline(BAD, "DOWN", f"no call completes: start {missing} more of the servers", 0, lying)
    if len(liars) > quorums.b:
        text = f"{len(liars)} servers lie, and this cluster bears {quorums.b}: trust no answer"
        return Headline(BAD, "DANGER", text, spare, 0)
    if honest < quorums.q:
        text = f"no call is sure to complete: {honest} servers are well and honest, and {quorums.q} are needed"
        return Headline(BAD, "DOWN", text, 0, lying)
    level = GOOD if spare == quorums.t and not liars else WARN
    text = f"{spare} more of {quorums.n} servers may fail, and {lying} more may lie"
    return Headline(level, "UP", text, spare, lying)


def state_of(server: ServerStatus | None, failure: str | None) -> tuple[str, str]:
    """What state a server is in: a word, and its level."""
    if server is None:
        return ("down" if failure else "silent"), BAD
    if server.storage_failure:
        return "no disk", WARN
    if server.place is not None and not server.place.is_standing:
        return "newborn", WARN
    if server.place is not None and server.place.mover:
        return ("moved" if server.place.moved_to else "sealed"), WARN
    return "up", GOOD


def remarks_of(status: ClusterStatus, names: Mapping[str, str] | None = None) -> list[Remark]:
    """All that is to be said of servers, by server; ``names`` are those of clients by their ids in hexadecimal."""
    evidence = {each.server: each for each in status.evidence}
    found: list[Remark] = []
    for index, server in enumerate(status.servers):
        failure = status.failures.get(index)
        if server is None and failure is not None:
            found.append(Remark(index, BAD, f"server {index} cannot be reached: {failure}", "seen from here"))
        if server is not None:
            found += _own_words(index, server)
        if text := evidence_text(evidence.get(index)):
            found.append(Remark(index, BAD, f"against server {index}: {text}", "seen from here"))
    found += edition_remarks(status)
    found += _move(status, names or {})
    found += _versions(status)
    found += _slow(status)
    found += _seen(status)
    found += _said(status, names or {})
    if any(server is not None and server.storage == "memory" for server in status.servers):
        text = "nothing is on disk: these servers keep everything in memory"
        found.append(Remark(None, WARN, text, "the servers"))
    return found


def _own_words(index: int, server: ServerStatus) -> Iterator[Remark]:
    source = f"server {index} itself"
    if server.storage_failure:
        text = f"server {index} promises nothing: {server.storage_failure[:SHORT]}"
        yield Remark(index, WARN, text, source)
    for name in sorted(server.damaged)[:NAMED_MAX]:
        text = f"server {index} answers nothing for {name[:SHORT]!r}: its disk has damaged it"
        yield Remark(index, BAD, text, source)
    for reason in list(server.set_aside.values())[:NAMED_MAX]:
        yield Remark(index, WARN, f"server {index}: {reason[:SHORT]}", source)
    room = server.room
    if room is not None and 0 <= room.free_bytes < DISK_LEFT_MIN * room.disk_bytes:
        share = 100 * room.free_bytes / room.disk_bytes
        yield Remark(index, WARN, f"server {index} has a disk that is nearly full: {share:.0f} % is left", source)


def program_text(server: ServerStatus) -> str:
    """The version of the program that a server runs, and its variant."""
    variant = f" ({server.variant[:SHORT]})" if server.variant else ""
    return f"{server.version[:SHORT]}{variant}"


def _versions(status: ClusterStatus) -> Iterator[Remark]:
    """Who runs another version of the program than most."""
    versions = Counter(server.version for server in status.servers if server is not None)
    if len(versions) < 2:
        return
    usual = versions.most_common(1)[0][0]
    for index, server in enumerate(status.servers):
        if server is not None and server.version != usual:
            text = f"server {index} runs version {server.version[:SHORT]} of Fivefold, most run {usual[:SHORT]}"
            yield Remark(index, WARN, text, f"server {index} itself")


def _slow(status: ClusterStatus) -> Iterator[Remark]:
    """Who takes far longer than half of the others to say how it is."""
    took = sorted(each for each in status.took_s if each is not None)
    for index, each in enumerate(status.took_s):
        if each is not None and each > max(SLOW_S, SLOW_FACTOR * took[len(took) // 2]):
            text = f"server {index} is slow: its status took {each:.1f} s, and half of the others less than "
            yield Remark(index, WARN, f"{text}{took[len(took) // 2] * 1000:.0f} ms", "seen from here")


SEEN: Final = "seen."
"""What the names of counters begin with that say what a server has seen of another one."""


def _seen(status: ClusterStatus) -> Iterator[Remark]:
    """What servers have seen others do that no honest one does: a liar may say so of an honest one."""
    found: dict[tuple[int, str], dict[int, int]] = {}
    for index, server in enumerate(status.servers):
        counters = {} if server is None else server.counters
        seen = [(name.removeprefix(SEEN), count) for name, count in counters.items() if name.startswith(SEEN)]
        for what, count in sorted(seen)[:SAYINGS_MAX]:
            of, _, reason = what.partition(" ")
            if of.isdecimal() and int(of) < len(status.servers):
                found.setdefault((int(of), SEEN_WORDS.get(reason, reason)[:SHORT]), {})[index] = count
    for (of_server, what), counts in sorted(found.items()):
        by = f"server{'s' * (len(counts) > 1)} {', '.join(map(str, counts))}"
        times = "once" if sum(counts.values()) == 1 else f"{sum(counts.values())} times"
        yield Remark(of_server, WARN, f"seen by {by} of server {of_server}: {what}, {times}", by)


SEEN_WORDS: Final[Mapping[str, str]] = {
    "wrong-version": "it gave another version than b + 1 others",
    "wrong-mac": "it signed a history with a wrong MAC",
}
"""Reasons that are no words by themselves."""


def compared_text(server: ServerStatus | None, index: int) -> str:
    """How far a server is with comparing its objects, and what that costs; empty if it does not say."""
    place = None if server is None else server.place
    if server is None or place is None or not place.is_standing:
        return ""
    rate = server.counters.get("upkeep-asks", 0) / max(server.uptime_s, 1.0)
    last = "no full pass yet" if place.last_pass_s is None else f"last full pass {seconds_text(place.last_pass_s)} ago"
    now = f", at {place.position[:SHORT]!r} of the next" if place.position else ""
    return f"server {index} compares its objects: {last}{now}, {place.behind} behind, {rate:.1f} messages a second"


def _said(status: ClusterStatus, names: Mapping[str, str]) -> Iterator[Remark]:
    """What clients have told servers, each saying once: nobody draws conclusions from it."""
    told: dict[tuple[str, int, str], list[int]] = {}
    ages: dict[tuple[str, int, str], float] = {}
    for index, server in enumerate(status.servers):
        for each in server.said[:SAYINGS_MAX] if server is not None else ():
            saying = each.client[:SHORT], each.server, each.what[:SHORT]
            told.setdefault(saying, []).append(index)
            ages[saying] = max(each.age_s, ages.get(saying, 0.0))
    for (client, of, what), by in told.items():
        text = f"said by client {names.get(client, client)} of server {of}: {what} (told to {', '.join(map(str, by))})"
        yield Remark(of, WARN, text, f"client {names.get(client, client)}", ages[client, of, what])


def evidence_text(evidence: Evidence | None) -> str:
    """What speaks against a server, in words."""
    if evidence is None:
        return ""
    parts = []
    culled_by = evidence.culled_by or evidence.proven_by
    if culled_by:
        parts.append(f"wrong MACs, as server{'s' * (len(culled_by) > 1)} {', '.join(map(str, culled_by))} found")
    if evidence.is_excluded:
        parts.insert(0, "LIES, left out")
    elif evidence.proven_by:
        parts.insert(0, "LIED over an earlier connection, left out then")
    if evidence.is_suspected:
        parts.append("suspected")
    parts += [f"{kind} ×{count}" for kind, count in sorted(evidence.strikes.items())]
    if evidence.is_slow:
        parts.append("was silent")
    return "; ".join(parts)


def with_another_file(status: ClusterStatus) -> list[int]:
    """The servers that use another file of the newest edition than most of those that use it."""
    places = [(index, server.place) for index, server in enumerate(status.servers) if server and server.place]
    newest = max([place.edition for _, place in places], default=0)
    digests = [place.digest for _, place in places if place.edition == newest]
    common = max(digests, key=digests.count, default="")
    return [index for index, place in places if place.edition == newest and place.digest != common]


def edition_remarks(status: ClusterStatus) -> list[Remark]:
    """Who catches up and how far it is, and who uses another edition of the cluster file than the newest."""
    places = [(index, server.place) for index, server in enumerate(status.servers) if server and server.place]
    if not places:
        return []
    newest = max(place.edition for _, place in places)
    odd = with_another_file(status)
    found: list[tuple[int, str, str]] = []
    for index, place in places:
        if not place.is_standing or place.standing_s is not None:
            level = GOOD if place.is_standing else WARN
            since = f", since {seconds_text(place.standing_s)}" if place.standing_s is not None else ""
            found.append((index, level, progress_text(place, index, len(status.servers)) + since))
        if place.behind:
            text = f"server {index} differs from the others in {place.behind} objects, and catches up with them"
            found.append((index, WARN, text))
        if place.edition < newest:
            text = f"server {index} uses edition {place.edition} of the cluster file, others {newest}"
            found.append((index, WARN, f"{text}: bring it the newest"))
        elif index in odd:
            text = f"server {index} uses another file of edition {newest}: {TWO_FILES}"
            found.append((index, BAD, text))
    return [Remark(index, level, text, f"server {index} itself") for index, level, text in found]


def _move(status: ClusterStatus, names: Mapping[str, str]) -> Iterator[Remark]:
    """That the cluster is sealed, or has moved, as more than b servers say."""
    told = Counter(
        (server.place.mover[:SHORT], server.place.moved_to[:SHORT])
        for server in status.servers
        if server is not None and server.place is not None and server.place.mover
    )
    for (mover, moved_to), count in told.items():
        if count <= status.quorums.b:
            continue
        if moved_to:
            text = (
                f"the cluster has moved: cluster {moved_to} has taken its place, use that one's cluster file; "
                f"clients that are still connected here, this one included: {_clients_left(status)}"
            )
        else:
            text = f"the cluster is sealed: client {names.get(mover, mover)} moves it, and updates wait"
        yield Remark(None, WARN, text, "the servers")


def _clients_left(status: ClusterStatus) -> int:
    """How many clients are connected, as more than b servers say."""
    counted = sorted([server.clients for server in status.servers if server is not None], reverse=True)
    return counted[status.quorums.b]


def accused(status: ClusterStatus) -> Mapping[int, Sequence[str]]:
    """The servers of which clients say something, and the clients' ids in hexadecimal."""
    found: dict[int, dict[str, None]] = {}
    for server in status.servers:
        for each in server.said[:SAYINGS_MAX] if server is not None else ():
            if 0 <= each.server < len(status.servers):
                found.setdefault(each.server, {})[each.client] = None
    return {server: tuple(clients) for server, clients in found.items()}
