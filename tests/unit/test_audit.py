"""Audits: each kind of faulty server is named within one pass, and no honest one is."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import typer

from fivefold import Account, Counter, InvalidArguments, Map, transfer
from fivefold.cli.audit import _load, audit_command
from fivefold.node import Inquiry
from fivefold.node.server import ServerNode
from fivefold.protocol.actions import Damaged
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history, initial_entry, make_timestamp
from fivefold.protocol.operations import ClientId, ObjectId, digest
from fivefold.protocol.records import Candidate, Entry, ObjectHistories, Part
from fivefold.protocol.server import Server
from fivefold.testing import local_cluster
from fivefold.testing.cluster import SurvivingStorage, _Everyone, _keys
from fivefold.transport import MemoryNetwork
from fivefold.upkeep import Charge, Report, audit
from fivefold.upkeep.judging import contradicts, forgetters, outvoted

A = ObjectId("Counter/a")


async def filled(cluster, count: int = 12, times: int = 3) -> None:
    for _ in range(times):
        await asyncio.gather(*(cluster.object(Counter, f"c{n}").increment() for n in range(count)))


def copied(storage: SurvivingStorage) -> SurvivingStorage:
    made = SurvivingStorage()
    made._records = dict(storage._records)
    return made


async def audited(cluster, **options) -> Report:
    async with (
        cluster.cluster.inquiry(connect_timeout=1, needs_quorum=False) as one,
        cluster.cluster.inquiry(connect_timeout=1, needs_quorum=False) as other,
    ):
        return await audit(cluster.cluster, one, other, cluster_id="c", **options)


async def test_nobody_is_named_in_a_healthy_cluster() -> None:
    """Also after operations over several objects, with one server that was down meanwhile, and while others write."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        for name in "xy":
            await cluster.object(Account, name).deposit(10)
        await cluster.call(transfer, cluster.object(Account, "x"), cluster.object(Account, "y"), amount=3)
        assert (await audited(cluster)).findings == ()
        await cluster.crash(4)
        await filled(cluster)
        down = await audited(cluster)
        assert (down.findings, down.answered) == ((), (0, 1, 2, 3, 5))
        assert any("server 4 did not answer" in note for note in down.notes)
        await cluster.restart(4)
        report = await audited(cluster)
        assert report.findings == ()
        assert any("server 4 has older versions" in note for note in report.notes)
        writing = asyncio.create_task(filled(cluster, 12, 30))
        reports = [await audited(cluster) for _ in range(3)]
        await writing
        assert [each.findings for each in reports] == [()] * 3
        assert (report.objects, report.listed) == (14, 14)


@pytest.mark.parametrize(("lie", "charges"), [("macs", {Charge.MACS}), ("answers", {Charge.ANSWERS, Charge.ROTTEN})])
async def test_liars_are_named(lie: str, charges: set[Charge]) -> None:
    """Each of the existing ones, and nobody else."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        await cluster.lie(2, lie)
        await filled(cluster)
        report = await audited(cluster)
    assert set(report.named) == {2}
    assert report.named[2] <= charges


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_server_that_forgot_is_named(*, is_emptied: bool) -> None:
    """Put back to an older copy of its disk, or to an empty one."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster, times=2)
        old = SurvivingStorage() if is_emptied else copied(cluster._storages[2])
        await filled(cluster, times=3)
        await cluster.crash(2)
        cluster._storages[2] = old
        await cluster.restart(2)
        report = await audited(cluster)
    assert report.named == {2: {Charge.FORGOT}}
    [finding, *_] = report.findings
    assert len(finding.by) > 1
    assert len(finding.shown) == 2


async def test_a_damaged_object_is_named() -> None:
    """A server says so itself of rows that do not match their checksums."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        await cluster.crash(3)
        records = cluster._storages[3]._records
        name = next(iter(sorted(records)))
        records[name] = Damaged(f"{name} does not match its checksum")
        await cluster.restart(3)
        report = await audited(cluster)
    assert report.named == {3: {Charge.ROTTEN}}
    assert report.findings[0].object_id == name


async def test_silently_other_rows_are_named() -> None:
    """A version that is whole by its checksum and another one than that of b + 1 others."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        await cluster.crash(3)
        records = cluster._storages[3]._records
        name = next(iter(sorted(records)))
        rows = [(key, data.replace(b"\x91\x03", b"\x91\x07")) for key, data in records[name].rows]
        records[name] = msgspec.structs.replace(records[name], rows=tuple(rows))
        await cluster.restart(3)
        report = await audited(cluster)
    assert set(report.named) == {3}
    assert Charge.ROTTEN in report.named[3]


class Split:
    """A transport that reaches a twin of one server."""

    def __init__(self, usual, server: int, other) -> None:
        self._usual, self._server, self._other = usual, server, other

    def link(self, server: int, **callbacks):
        return (self._other if server == self._server else self._usual).link(server, **callbacks)


@pytest.mark.parametrize("is_in_step", [False, True])
async def test_twins_are_named(*, is_in_step: bool) -> None:
    """Two processes of one identity: with different data, or with equal ones and another start."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster, times=2)
        storage = copied(cluster._storages[2])
        if not is_in_step:
            await filled(cluster, times=2)
        network = MemoryNetwork()
        machine = Server(cluster.quorums, _keys(2, 6), cluster.registry, _Everyone(), codes=cluster.registry.shelf)
        clock = cluster.servers[2]._clock
        twin = ServerNode(
            machine, network.transport(2), storage.open, storage_name="memory", shelf=cluster.registry.shelf,
            clock=(lambda: clock() + 10**9) if is_in_step else clock,
        )  # fmt: skip
        await twin.start()
        if is_in_step:
            twin._started_ns -= 60 * 10**9
        me = ClientId(digest(b"auditor")[:16])
        usual = cluster.cluster._node.transport
        other = Inquiry(cluster.quorums, Split(usual, 2, network.transport(me)))
        async with cluster.cluster.inquiry() as one:
            await other.start(1)
            report = await audit(cluster.cluster, one, other, cluster_id="c")
            await other.close()
        await twin.close()
    assert set(report.named) == {2}
    assert Charge.TWIN in report.named[2]


async def test_b_liars_name_nobody() -> None:
    """The word of b servers about what another one has signed is no proof."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        witness = cluster.servers[5].machine._peers.witness
        ahead = future(9)
        witness.seen = {0: ObjectHistories(ObjectId("Counter/c1"), (ahead,), b"\1\1\1\1\1\0")}
        report = await audited(cluster)
    assert report.findings == ()
    assert any("that is no proof" in note for note in report.notes)


class Suspicious(AuthenticatorKeys):
    """Finds everybody's MACs wrong but its own."""

    def macs(self, authenticated):
        """Those for others are right, those that it expects are not."""
        right, end = super().macs(authenticated), self.n * MAC_BYTES
        return right[:end] + bytes(byte ^ 1 for byte in right[end:])


async def test_b_servers_that_find_all_macs_wrong_name_nobody() -> None:
    """Their word is noted, and is no proof."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        await cluster.crash(2)
        await cluster._start(2, _keys(2, 6, Suspicious), cluster.registry.shelf)
        report = await audited(cluster)
    assert not any(each.charge is Charge.MACS for each in report.findings)
    assert any("servers 2 say that its authenticators are wrong; that is no proof" in note for note in report.notes)


async def test_a_sample_looks_at_some() -> None:
    """And says how many there are."""
    async with local_cluster() as cluster:
        await filled(cluster, 60, 1)
        report = await audited(cluster, sample=20)
    assert report.listed == 60
    assert 0 < report.objects < 60


async def test_the_audit_changes_nothing() -> None:
    """Not even an object that is waiting for a repair."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster)
        await cluster.crash(1)
        await filled(cluster)
        await cluster.restart(1)
        await cluster.object(Map, "m").put("k", 1)
        before = {index: dict(storage._records) for index, storage in cluster._storages.items()}
        await audited(cluster)
        assert {index: storage._records for index, storage in cluster._storages.items()} == before


# --- rules ----------------------------------------------------------------------------------------------------------
def stamp(time: int, *, barrier: bool = False):
    return make_timestamp(
        time, is_barrier=barrier, client=ClientId(b"c" * 16), operation_digest=b"o" * 32, history_set_digest=b"h" * 32
    )


def history(*times: int) -> bytes:
    """Versions of these times, each on the one before; a negative time is a barrier."""
    entries, before = [], INITIAL_TIMESTAMP
    for time in times:
        own = stamp(abs(time), barrier=time < 0)
        entries.append(Entry(Candidate(own, (Part(A, before, None),)), False))
        before = before if time < 0 else own
    return encode_history(tuple(entries))


def future(time: int) -> bytes:
    own = stamp(time)
    part = Part(ObjectId("Counter/c1"), INITIAL_TIMESTAMP, None)
    return encode_history((Entry(Candidate(own, (part,)), False),))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (history(1, 2), history(1, 2), False),
        (history(1, 2), history(2, 3), False),
        (history(1, 2), history(5, 6), False),  # pruned
        (history(1, 2), history(1, 3), True),
        (history(1, 3), history(1, 2), True),
        (history(1, -2), history(1, 3), False),  # a barrier may go
        (b"", history(1, 2), False),
        (encode_history((initial_entry(A), *())), history(1, 2), False),
        (history(1, 2), b"\xff", False),
    ],
)
def test_what_no_single_server_can_sign(one: bytes, other: bytes, *, expected: bool) -> None:
    """A version that is gone although an older one is still kept."""
    assert contradicts(A, one, other) is expected


def test_more_than_b_witnesses_are_needed() -> None:
    """One at b = 1 is not enough, two are; who is ahead by now has not forgotten."""
    seen = {s: [ObjectHistories(A, (history(1, 2),), b"\1\0\0\0\0\0")] for s in (3, 4)}
    assert [f.server for f in forgetters(seen, {(0, A): history(1)}, 1)[0]] == [0]
    assert forgetters({3: seen[3]}, {(0, A): history(1)}, 1) == ([], {0: {3}})
    for fine in (history(1, 2), history(2, 3)):
        assert forgetters(seen, {(0, A): fine}, 1) == ([], {})


def test_who_is_outvoted() -> None:
    """B servers against more than b; if more than b differ, honest ones do, and nobody is named."""
    assert outvoted({0: b"x", 1: b"x", 2: b"y"}, 1) == {2: (0, 1)}
    assert outvoted({0: b"x", 2: b"y"}, 1) == {}
    assert outvoted({0: b"x", 1: b"x", 2: b"y", 3: b"z"}, 1) == {}
    assert outvoted({}, 1) == {}


# --- the evidence ---------------------------------------------------------------------------------------------------
async def test_evidence_is_kept_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file says again what the audit said, and what to do."""
    async with local_cluster(t=1, b=1) as cluster:
        await cluster.lie(2, "macs")
        await filled(cluster)
        report = await audited(cluster)
    path = tmp_path / "audit.json"
    path.write_bytes(msgspec.json.encode(report))
    assert _load(path) == report
    with pytest.raises(typer.Exit) as left:
        audit_command(show=path)
    out = capsys.readouterr().out
    assert left.value.exit_code == 5
    assert "server 2" in out
    assert "authenticators wrong" in out
    path.write_bytes(b"{}")
    with pytest.raises(InvalidArguments, match="not what an audit has written"):
        audit_command(show=path)
