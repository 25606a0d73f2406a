"""What a client hears of the servers' code, and what its calls mean by that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.errors import PeerViolation, UnknownMethod, UnknownType, Upgrading
from fivefold.node import codes
from fivefold.node.codes import CODES, Announcement, CodeTable, announcement_frame, decode_announcement
from fivefold.objects import FunctionCode, TypeCode
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem

SIX = QuorumSystem(6, 1, 1)
ONE = (ObjectId("Names/a"),)
OLD, NEW, EDITED = TypeCode("Names", 1, b"o" * 16), TypeCode("Names", 2, b"n" * 16), TypeCode("Names", 1, b"e" * 16)


def said(*types: TypeCode, active: int = 1, functions: tuple[FunctionCode, ...] = ()) -> Announcement:
    return Announcement(types, functions, {"Names": active})


def table(*announcements: Announcement | None) -> CodeTable:
    heard = CodeTable(SIX)
    for server, announcement in enumerate(announcements):
        if announcement is not None:
            heard.hear(server, announcement)
    return heard


def test_a_call_names_what_a_quorum_runs() -> None:
    """Five of six are enough, the sixth may say anything."""
    assert table(*[said(OLD)] * 5, said(EDITED)).code_of(ONE, "get") == OLD.code
    assert table(*[said(OLD)] * 5, None).code_of(ONE, "get") == OLD.code


def test_with_fewer_than_a_quorum_the_call_has_to_wait() -> None:
    """The error names who runs what."""
    with pytest.raises(
        Upgrading, match=r"servers 0, 1, 2, 3 run Names 1 \(6f6f6f6f\), servers 4, 5 run Names 1 \(6565"
    ):
        table(*[said(OLD)] * 4, *[said(EDITED)] * 2).code_of(ONE, "get")
    with pytest.raises(Upgrading, match="only 4 servers have said what they run"):
        table(*[said(OLD)] * 4).code_of(ONE, "get")


def test_clients_move_over_when_a_quorum_is_active() -> None:
    """While all hold both versions, the active one decides."""
    ready = said(OLD, NEW)
    active = said(OLD, NEW, active=2)
    assert table(*[ready] * 6).code_of(ONE, "get") == OLD.code
    assert table(*[active] * 4, *[ready] * 2).code_of(ONE, "get") == OLD.code
    assert table(*[active] * 5, ready).code_of(ONE, "get") == NEW.code


def test_what_a_server_says_anew_counts_at_once() -> None:
    """A choice is remembered only until then."""
    heard = table(*[said(OLD)] * 5)
    assert heard.code_of(ONE, "get") == OLD.code
    for server in range(5):
        heard.hear(server, said(EDITED))
    assert heard.code_of(ONE, "get") == EDITED.code


def test_an_announcement_that_says_what_was_said_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard all the same: the server may have been gone in between."""
    heard = table(*[said(OLD)] * 4)
    frame = announcement_frame(said(OLD))
    assert heard.take(0, 4, frame) is None
    heard.lose(4)
    monkeypatch.setattr(codes, "decode_announcement", lambda frame: pytest.fail("it was read again"))
    assert [heard.take(0, 4, frame) for _ in range(100)] == [None] * 100
    assert (heard.count, heard.code_of(ONE, "get")) == (105, OLD.code)


def test_a_server_that_changes_its_announcement_all_the_time_is_read_once_a_second() -> None:
    """The newest one, so that an honest server's last word counts; one that is gone is not heard later."""
    heard = table(*[said(OLD)] * 4)
    frames = [announcement_frame(said(OLD, TypeCode("Other", number, b"x" * 16))) for number in range(1, 101)]
    waits = [heard.take(0, 4, frame) for frame in frames]
    assert waits == [None] * codes.ANNOUNCEMENTS_AT_ONCE + [codes.ANNOUNCEMENT_EVERY_NS] + [None] * 83
    assert heard.count == 4 + codes.ANNOUNCEMENTS_AT_ONCE
    assert heard._heard[4].types[1].version == codes.ANNOUNCEMENTS_AT_ONCE
    assert heard.take_late(codes.ANNOUNCEMENT_EVERY_NS, 4) is None
    assert heard._heard[4].types[1].version == 100
    assert heard.take(codes.ANNOUNCEMENT_EVERY_NS, 4, frames[0]) == codes.ANNOUNCEMENT_EVERY_NS
    heard.lose(4)
    assert heard.take_late(3 * codes.ANNOUNCEMENT_EVERY_NS, 4) is None
    assert heard._heard[4].types[1].version == 100


def test_a_type_that_nobody_holds_is_unknown() -> None:
    """Once a quorum has spoken; before that it may still turn up."""
    with pytest.raises(UnknownType, match="no object type 'Other'"):
        table(*[said(OLD)] * 5).code_of((ObjectId("Other/a"),), "get")
    with pytest.raises(Upgrading):
        table(*[said(OLD)] * 4).code_of((ObjectId("Other/a"),), "get")


def test_a_function_goes_with_the_versions_of_its_types() -> None:
    """Of the two codes of a function the one over the chosen version, in front of the type's."""
    old, new = (
        FunctionCode("names.swap", b"1" * 16, (("Names", 1),)),
        FunctionCode("names.swap", b"2" * 16, (("Names", 2),)),
    )
    ready, active = said(OLD, NEW, functions=(old, new)), said(OLD, NEW, active=2, functions=(old, new))
    two = (ObjectId("Names/a"), ObjectId("Names/b"))
    assert table(*[ready] * 6).code_of(two, "names.swap") == old.code + OLD.code
    assert table(*[active] * 6).code_of(two, "names.swap") == new.code + NEW.code
    with pytest.raises(UnknownMethod):
        table(*[ready] * 6).code_of(two, "names.other")
    with pytest.raises(Upgrading):
        table(*[ready] * 4, *[said(OLD)] * 2).code_of(two, "names.swap")


def test_a_server_has_one_voice_however_often_it_says_a_thing() -> None:
    """A liar that announces code five times is still one server: its code is never what calls name."""
    bogus = TypeCode("Names", 9, b"b" * 16)
    swap, forged = FunctionCode("names.swap", b"1" * 16, ()), FunctionCode("names.swap", b"2" * 16, ())
    liar = Announcement((*[bogus] * 9, OLD), (*[forged] * 9,), {"Names": 9})
    heard = table(liar, *[said(OLD, functions=(swap,))] * 5)
    assert heard.code_of(ONE, "get") == OLD.code
    two = (ObjectId("Names/a"), ObjectId("Names/b"))
    assert heard.code_of(two, "names.swap") == swap.code + OLD.code


def test_announcements_survive_the_wire() -> None:
    """Framed and read back."""
    announcement = said(OLD, NEW, active=2, functions=(FunctionCode("names.swap", b"1" * 16, (("Names", 1),)),))
    frame = announcement_frame(announcement)
    assert frame[0] == CODES
    assert decode_announcement(frame) == announcement


@given(st.binary(max_size=200))
def test_anything_else_is_a_violation(data: bytes) -> None:
    """A liar's announcement is refused whole, and never raises anything else."""
    try:
        decode_announcement(bytes([CODES]) + data)
    except PeerViolation:
        return


@pytest.mark.parametrize("code", [b"", b"x" * 15, b"x" * 17])
def test_codes_have_one_size(code: bytes) -> None:
    """Codes stand one after the other in an operation: another size would shift the next."""
    with pytest.raises(PeerViolation):
        decode_announcement(announcement_frame(said(TypeCode("Names", 1, code))))


def test_announcements_are_bounded() -> None:
    """A megabyte is refused before it is read."""
    with pytest.raises(PeerViolation, match="codes-too-large"):
        decode_announcement(bytes([CODES]) + bytes(1024 * 1024))


def test_a_gone_servers_word_counts_as_long_as_nobody_contradicts_it() -> None:
    """Two of six are gone: with four alike a call goes out; with one that runs other code it gets an error."""
    heard = table(*[said(OLD)] * 6)
    for server in (0, 1):
        heard.lose(server)
    assert heard.code_of(ONE, "get") == OLD.code
    heard.hear(0, said(EDITED))
    with pytest.raises(Upgrading, match=r"server 0 runs Names 1 \(6565"):
        heard.code_of(ONE, "get")
    heard.hear(1, said(OLD))
    assert heard.code_of(ONE, "get") == OLD.code


def test_a_gone_servers_function_counts_likewise() -> None:
    """The same for functions over several objects."""
    one, other = (FunctionCode("names.swap", code * 16, (("Names", 1),)) for code in (b"1", b"2"))
    heard = table(*[said(OLD, functions=(one,))] * 6)
    heard.lose(0)
    heard.lose(1)
    two = (ObjectId("Names/a"), ObjectId("Names/b"))
    assert heard.code_of(two, "names.swap") == one.code + OLD.code
    heard.hear(0, said(OLD, functions=(other,)))
    with pytest.raises(Upgrading):
        heard.code_of(two, "names.swap")
