"""Whole requests against servers with a past: any history sets with any operation, signed by who wrote them.

Every history that a server ever signed is at hand for every object, and the liar signs what the script likes. So the
target is the part of a server that altered frames hardly reach: what comes after a request has been read.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from fivefold.protocol.actions import Store
from fivefold.protocol.authenticators import columns
from fivefold.protocol.history import client_of, history_digest, make_histories
from fivefold.protocol.messages import REPLY, decode_vote, encode, request_frame, split
from fivefold.protocol.operations import CANCEL, Call, ClientId, ObjectId, Operation, type_of
from fivefold.protocol.records import ObjectHistories, Request
from fivefold.simulation.rack import Letter, rack_keys
from tests.fuzz.script import Script
from tests.protocol_rig import A, B, C, Desk, Toy, WatchedRack, X, Y, now, op

N: Final = 6
LIAR: Final = 5
READER: Final = ClientId(b"reader".ljust(16, b"\0"))
SECRET: Final = ObjectId("Reg/secret")
NEW: Final = ObjectId("Reg/" + "n" * 250)
NAMES: Final = (A, B, C, NEW, SECRET, ObjectId("Other/x"))
METHODS: Final = ("get", "set", "add", "refuse", CANCEL, "unknown")


class Rights:
    """The reader may read all but the secret; the others may do everything."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        return client != READER or (method == "get" and object_id != SECRET)

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        return client != READER or object_id != SECRET


class Recorder(WatchedRack):
    """A rack that remembers every history that each server signed."""

    def __init__(self) -> None:
        self.signed: dict[tuple[int, ObjectId], list[bytes]] = defaultdict(lambda: [b""])
        super().__init__(Toy(), n=N, t=1, b=1, access=Rights(), liars={LIAR})

    def _commit(self, index: int, store: Store) -> None:
        super()._commit(index, store)
        for write in store.writes:
            self.signed[index, ObjectId(write.object_id)].append(write.history)


@functools.cache
def past() -> Recorder:
    """Updates of one object and of two, contention, a barrier and repairs, some of them at a few servers only."""
    rack = Recorder()
    desk, everybody = Desk(rack), range(N)
    for name in (A, B, C, SECRET):
        desk.call("add", b"1", name)
    desk.call("add", b"2", A, B)
    Letter(rack, X, now(rack, everybody, A), operation=op("add", b"3", A)).to(range(4))
    Letter(rack, Y, now(rack, everybody, A), target=A).to(everybody)
    Letter(rack, X, now(rack, everybody, B, C), operation=op("add", b"4", B, C)).to(range(2))
    Letter(rack, Y, now(rack, range(1, 6), B), target=B).to(range(1, 6))
    Letter(rack, Y, now(rack, everybody, C), target=C).to(range(3))
    assert {entry.candidate.is_barrier for server in everybody for entry in rack.entries(server, B)} == {True, False}
    assert rack.entries(0, A) != rack.entries(5, A) or rack.entries(0, B) != rack.entries(5, B)
    return rack


def _again() -> Recorder:
    """The servers of the past, started from their disks."""
    then, rack = past(), Recorder()
    rack.disks = deepcopy(then.disks)
    for key, histories in then.signed.items():
        rack.signed[key] = list(histories)
    for key, servers in then.accepted.items():
        rack.accepted[key] = set(servers)
    return rack


def _history(script: Script, rack: Recorder, server: int, name: ObjectId) -> bytes:
    """One that the server signed; of the liar also anything."""
    if server == LIAR and script.number() % 3 == 0:
        return script.mutated(script.one_of(rack.signed[script.number() % N, script.one_of(NAMES)]))
    known = rack.signed[server, name]
    return known[-1 - script.number() % min(len(known), 4)]


def _set(script: Script, rack: Recorder, name: ObjectId) -> ObjectHistories:
    shown = script.number()
    histories = [_history(script, rack, server, name) if shown >> server & 1 else b"" for server in range(N)]
    return make_histories(name, histories)


def _operation(script: Script, names: list[ObjectId]) -> bytes:
    if script.number() % 3 == 0:
        return b""
    objects = names if script.number() % 2 else script.some_of(names)
    method, count = script.one_of(METHODS), 1 + script.number() % 3
    calls = []
    for _ in range(count):
        call_id = script.number().to_bytes(16, "big")
        calls.append(Call(call_id, script.number(), method, call_id if method == CANCEL else bytes([script.number()])))
    return encode(Operation(tuple(objects), tuple(calls)))


def _request(script: Script, rack: Recorder) -> tuple[Request, bytes]:
    """A request, and the authenticators of all its histories."""
    names = sorted(script.some_of(NAMES))
    sets = tuple(_set(script, rack, name) for name in names)
    rows = [
        rack_keys(server, N).make(history_digest(each.object_id, each.of(server)))
        for each in sets
        for server, index in enumerate(each.holders)
        if index
    ]
    return Request(script.one_of(names), sets, _operation(script, names)), b"".join(rows)


def _deliver(script: Script, rack: Recorder) -> None:
    """One request, to some servers; its effects are checked by the rack, and by what each server may show."""
    client = script.one_of((X, Y, READER))
    request, authenticators = _request(script, rack)
    body, proofs = encode(request), columns(authenticators, N)
    before = {server: dict(rack.disks[server].histories) for server in range(N)}
    for server in script.some_of(range(N)):
        frame = request_frame(1 + script.number(), body, proofs[server])
        reply = rack.deliver(server, client, script.mutated(frame) if script.number() % 8 == 0 else frame)
        if reply is not None:
            _check_shown(rack, server, request, reply)
        if client == READER:
            _check_rights(rack, server, before[server])


def _check_shown(rack: Recorder, server: int, request: Request, reply: bytes) -> None:
    """Every history shown is the one on the disk."""
    vote = decode_vote(split(reply, REPLY)[1])
    for each, history in zip(request.sets, vote.histories, strict=False):
        assert history == rack.disks[server].histories.get(each.object_id, b""), "shown, and not on the disk"


def _check_rights(rack: Recorder, server: int, before: dict[str, bytes]) -> None:
    """A reader writes no version, and leaves alone what it does not know."""
    disk = rack.disks[server]
    for name, history in disk.histories.items():
        if history == before.get(name):
            continue
        newest = rack.entries(server, ObjectId(name))[-1].candidate
        assert newest.is_barrier or not newest.is_method or client_of(newest.timestamp) != READER, name
        assert name != SECRET or any(part.object_id != SECRET for part in newest.parts), "a reader froze the secret"


def _is_alive(rack: Recorder, names: Iterable[ObjectId]) -> bool:
    """An honest client, alone with all servers, updates and reads every object."""
    desk = Desk(rack, Y, seed=3)
    return all(
        getattr(desk.call(method, b"z", name, timeout_s=60), "answers", ())
        for name in names
        for method in ("add", "get")
    )


def requests(data: bytes) -> None:
    """Servers: nothing forks, nothing shown is on no disk, no right is passed by, and every object stays alive."""
    script, rack = Script(data), _again()
    steps = 0
    while not script.is_over and steps < 12:
        _deliver(script, rack)
        steps += 1
    assert all(server.pending_requests == 0 for server in rack.servers)
    assert _is_alive(rack, [name for name in NAMES if type_of(name) == "Reg"])
