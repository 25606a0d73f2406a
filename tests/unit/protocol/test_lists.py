"""A server's list of its objects: pages, rights, what is damaged, and limits."""

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.actions import OWN_LINK, Channel, Damaged, Page
from fivefold.protocol.history import history_digest
from fivefold.protocol.limits import LISTS_PER_PEER_MAX
from fivefold.protocol.messages import (
    LIST,
    LIST_REPLY,
    decode_list,
    decode_list_reply,
    list_frame,
    list_reply_frame,
)
from fivefold.protocol.operations import SHOW, ClientId, ObjectId, digest
from fivefold.protocol.records import Listed, ListReply, ListRequest
from fivefold.protocol.server import Server, encode_version
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import rack_keys
from tests.protocol_rig import A, B, Toy, WatchedRack, X, Y, now, op, send

NAMES = [ObjectId(f"Reg/{number:03}") for number in range(30)]


class Some:
    """X may do everything, Y only ``get`` of objects that end with 7."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        return client == X or (method != SHOW and object_id.endswith("7"))

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        return client == X or object_id.endswith("7")


def filled(names=NAMES) -> WatchedRack:
    rack = WatchedRack(n=4, t=1, b=0, access=Some())
    for name in names:
        send(rack, X, {name: {}}, [0, 1, 2], kind=Kind.METHOD, operation=op("set", b"v", name))
    return rack


def ask(rack, *, after="", entries_max=1000, bytes_max=1 << 20, is_whole=True, peer=3, channel=77) -> ListReply:
    frame = list_frame(ListRequest(5, ObjectId(after), entries_max, bytes_max, is_whole))
    machine, where = rack.servers[0], Channel(channel)
    if isinstance(peer, int):
        rack._perform(0, machine.receive_from_server(0, peer, where, frame))
    else:
        rack._perform(0, machine.receive_from_client(0, peer, where, frame))
    return decode_list_reply(rack._replies.pop((0, where)))


def test_the_list_shows_histories_and_digests_of_the_latest_versions() -> None:
    """Another server is shown every object, its history and the digest that an object sync would give."""
    rack = filled([A, B])
    reply = ask(rack)
    assert (reply.number, reply.is_last, reply.refusal) == (5, True, "")
    assert [(each.object_id, each.history, each.is_held) for each in reply.entries] == [
        (name, rack.history(0, name), True) for name in (A, B)
    ]
    versions = rack.disks[0].versions(A)
    assert reply.entries[0].version_digest == digest(encode_version(versions[max(versions)]))


def test_a_barrier_is_listed_with_the_version_below_it() -> None:
    """The digest is that of the newest candidate that has a version."""
    rack = filled([A])
    before = ask(rack).entries[0].version_digest
    send(rack, X, now(rack, [2, 3]), [0, 2, 3], kind=Kind.BARRIER)
    entry = ask(rack).entries[0]
    assert (entry.version_digest, entry.history) == (before, rack.history(0, A))


def test_digests_alone_can_be_asked_for() -> None:
    """Then a history takes 32 bytes."""
    rack = filled([A])
    assert ask(rack, is_whole=False).entries[0].history == history_digest(A, rack.history(0, A))


@pytest.mark.parametrize("entries_max", [1, 7, 29, 30, 31])
def test_pages_go_on_after_an_id(entries_max: int) -> None:
    """Whatever the size of the pages, together they are the list; only the last one says so."""
    rack, found, pages = filled(), [], 0
    while True:
        reply = ask(rack, after=found[-1] if found else "", entries_max=entries_max)
        found += [entry.object_id for entry in reply.entries]
        pages += 1
        if reply.is_last:
            break
        assert len(reply.entries) == entries_max
    assert found == NAMES
    assert pages == -(-30 // entries_max)


def test_a_page_ends_when_its_bytes_are_used_up() -> None:
    """A page has fewer bytes than were asked for, but one entry at least."""
    rack = filled()
    assert len(ask(rack, bytes_max=1).entries) == 1
    one = len(ask(rack, bytes_max=1).entries[0].history)
    reply = ask(rack, bytes_max=3 * (one + 100))
    assert 2 <= len(reply.entries) <= 4
    assert not reply.is_last


def test_pages_are_put_together_from_many_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of the store brings a few objects; a page of another server is full all the same."""
    monkeypatch.setattr("fivefold.protocol.server.listing.LIST_READ_OBJECTS_MAX", 4)
    assert [each.object_id for each in ask(filled(), entries_max=20).entries] == NAMES[:20]


def test_a_client_is_shown_what_it_has_a_right_on() -> None:
    """It gets histories, which any request would show it, but no digest of whole states without the right to those."""
    rack = filled()
    assert [each.object_id for each in ask(rack, peer=X).entries] == NAMES
    assert all(each.version_digest for each in ask(rack, peer=X).entries)
    some = ask(rack, peer=Y)
    assert [each.object_id for each in some.entries] == ["Reg/007", "Reg/017", "Reg/027"]
    assert [each.version_digest for each in some.entries] == [b""] * 3
    assert some.is_last


def test_a_client_without_rights_goes_on_by_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of objects that it may not see is empty, names none of them, and is followed by the next."""
    monkeypatch.setattr("fivefold.protocol.server.listing.LIST_READ_OBJECTS_MAX", 2)
    monkeypatch.setattr("fivefold.protocol.server.listing.LIST_READS_MAX", 2)
    rack, found, after, asked = filled(), [], "", 0
    while True:
        reply = ask(rack, peer=Y, after=after)
        asked += 1
        found += [each.object_id for each in reply.entries]
        after = found[-1] if found else ""
        if reply.is_last:
            break
        assert asked < 20
    assert found == ["Reg/007", "Reg/017", "Reg/027"]
    assert asked > 3


def test_what_is_not_durable_is_not_listed() -> None:
    """A list shows what the disk holds, not what the server has accepted meanwhile."""
    rack = filled([A])
    before = rack.history(0, A)
    rack.slow = {0}
    send(rack, X, now(rack, [0, 1, 2]), [0, 1, 2], kind=Kind.METHOD, operation=op("set", b"w"), accepts=[1, 2])
    assert ask(rack).entries[0].history == before


def test_of_a_damaged_object_nothing_is_said() -> None:
    """It is in the list as not held; the others are as they are."""
    rack = filled([A, B])
    rack.disks[0].page = lambda listing: Page(((A, Damaged("rotten")), (B, rack.disks[0].record(B))), is_last=True)
    assert ask(rack).entries[0] == Listed(A, b"", b"", False)
    assert ask(rack).entries[1].is_held


def test_a_list_that_cannot_be_read_is_refused() -> None:
    """No list is better than one that hides objects."""
    rack = filled([A])
    rack.disks[0].page = lambda listing: Damaged("rotten")
    assert ask(rack) == ListReply(5, (), False, "damaged on this server")


def test_a_peer_has_a_few_pages_under_way_at_once() -> None:
    """One more is refused, others have room beside it, and an answer makes room."""
    rack = filled([A])
    machine = rack.servers[0]
    frame = list_frame(ListRequest(1, ObjectId(""), 10, 1 << 20, True))
    given = [machine.receive_from_server(0, 3, Channel(50 + k), frame) for k in range(LISTS_PER_PEER_MAX)]
    assert [len(actions.lists) for actions in given] == [1] * LISTS_PER_PEER_MAX
    refused = machine.receive_from_server(0, 3, Channel(80), frame)
    assert decode_list_reply(refused.send[0].frame).refusal
    assert machine.receive_from_server(0, 2, Channel(81), frame).lists
    machine.listed(0, given[0].lists[0].number, Page((), True))
    assert machine.receive_from_server(0, 3, Channel(82), frame).lists


def test_no_list_is_given_over_a_connection_of_our_own() -> None:
    """Who was asked does not ask back over the same connection."""
    rack = filled([A])
    frame = list_frame(ListRequest(1, ObjectId(""), 10, 1 << 20, True))
    assert rack.servers[0].receive_from_server(0, 3, OWN_LINK, frame).send == ()
    assert rack.servers[0].counters["rejected.list-over-own-link"] == 1


def test_a_server_without_a_store_lists_what_it_has_in_memory() -> None:
    """Hot and packed objects, in the order of their ids, and none that was only looked at."""
    machine = Server(filled([]).quorums, rack_keys(0, 4), Toy(), Some(), has_store=False)
    rack = filled([])
    rack.servers[0] = machine
    for name in NAMES[::-1]:
        send(rack, X, {name: {}}, [0], kind=Kind.METHOD, operation=op("set", b"v", name))
    send(rack, X, {A: {}}, [0], kind=Kind.METHOD, operation=op("get"))
    for name in NAMES[:10]:  # as if the cache had cooled them
        machine._replicas._cool(name, machine._replicas.hot[name])
    assert [each.object_id for each in ask(rack).entries] == NAMES
    assert [each.object_id for each in ask(rack, after=NAMES[3], entries_max=8).entries] == NAMES[4:12]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes([LIST]),
        bytes([LIST_REPLY]) + b"\x90",
        list_frame(ListRequest(1, ObjectId(""), 0, 1, True)),
        list_frame(ListRequest(1, ObjectId(""), 1, 0, True)),
        list_frame(ListRequest(1, ObjectId("x" * 300), 1, 1, True)),
        list_frame(ListRequest(1, ObjectId(""), 1, 1, True)) + b"x",
    ],
)
def test_what_is_no_request_for_a_list_is_refused(frame: bytes) -> None:
    """Nothing, another kind, nothing wanted, an id that is too long, bytes behind it."""
    with pytest.raises(PeerViolation):
        decode_list(frame)


@pytest.mark.parametrize(
    "entries",
    [
        (Listed(B, b"", b"", True), Listed(A, b"", b"", True)),
        (Listed(A, b"", b"", True), Listed(A, b"", b"", True)),
        (Listed(A, b"", b"x", True),),
        (Listed(A, bytes(limits.HISTORY_BYTES_MAX + 1), b"", True),),
        (Listed(ObjectId("x" * 300), b"", b"", True),),
        tuple(Listed(ObjectId(f"R/{k:05}"), b"", b"", True) for k in range(limits.LIST_ENTRIES_MAX + 1)),
        tuple(Listed(ObjectId(f"R/{k:05}"), bytes(110_000), b"", True) for k in range(12)),
    ],
)
def test_a_page_that_no_honest_server_sends_is_refused(entries: tuple[Listed, ...]) -> None:
    """Ids out of order or too long, a digest of another length, more entries or bytes than a page has."""
    with pytest.raises(PeerViolation):
        decode_list_reply(list_reply_frame(ListReply(1, entries, True, "")))


def test_the_largest_honest_page_is_read() -> None:
    """A thousand short entries, or as many long ones as a page has bytes for."""
    many = tuple(Listed(ObjectId(f"R/{k:05}"), bytes(900), bytes(32), True) for k in range(limits.LIST_ENTRIES_MAX))
    assert decode_list_reply(list_reply_frame(ListReply(1, many, False, ""))).entries == many
    with pytest.raises(PeerViolation):
        decode_list_reply(b"\x0b")
