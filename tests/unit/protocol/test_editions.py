"""Editions of the cluster file: their frames, and what it takes to believe in a newer one."""

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol.editions import (
    ANNOUNCE,
    FILE,
    FILE_REPLY,
    Announced,
    Edition,
    EditionName,
    announce_frame,
    decode_edition_frame,
    file_frame,
    file_reply_frame,
    first_edition,
)
from fivefold.protocol.limits import EDITION_AGAIN_NS, EDITION_BYTES_MAX, EDITION_PATIENCE_NS
from fivefold.protocol.operations import digest
from fivefold.protocol.quorums import QuorumSystem

SIX = QuorumSystem(6, 1, 1)
ALL = range(6)
FIRST = first_edition(6).name
CONTENTS = b"who the servers are"
SECOND = EditionName(2, digest(CONTENTS))


def heard(*announcements: tuple[int, EditionName]) -> Announced:
    announced = Announced(SIX, FIRST)
    for server, name in announcements:
        announced.hear(server, name)
    return announced


def test_frames_come_back_as_they_were() -> None:
    """What was framed is read again: kind, number, digest, contents."""
    assert decode_edition_frame(announce_frame(SECOND)) == (ANNOUNCE, SECOND, b"")
    assert decode_edition_frame(file_frame(SECOND)) == (FILE, SECOND, b"")
    assert decode_edition_frame(file_reply_frame(SECOND, CONTENTS)) == (FILE_REPLY, SECOND, CONTENTS)


@pytest.mark.parametrize(
    "frame",
    [
        announce_frame(SECOND)[:-1],
        announce_frame(SECOND) + b"x",
        announce_frame(EditionName(0, bytes(32))),
        announce_frame(EditionName(2**31, bytes(32))),
        file_reply_frame(SECOND, bytes(EDITION_BYTES_MAX + 1)),
    ],
)
def test_malformed_frames_are_refused(frame: bytes) -> None:
    """Too short, too long, or a number that no edition has."""
    with pytest.raises(PeerViolation):
        decode_edition_frame(frame)


def test_the_longest_file_is_read() -> None:
    """A file of the greatest size is not refused."""
    assert len(decode_edition_frame(file_reply_frame(SECOND, bytes(EDITION_BYTES_MAX)))[2]) == EDITION_BYTES_MAX


def test_a_replaced_server_is_told_by_its_since() -> None:
    """Identities differ where `since` differs, and nowhere else."""
    old, new = Edition(4, b"", (1, 3, 1)), Edition(5, b"", (1, 5, 1))
    assert new.replaced(old) == (1,)
    assert new.replaced(new) == ()


def test_b_servers_convince_nobody() -> None:
    """One of six may lie: what it announces alone is not asked for, b + 1 = 2 are believed."""
    assert heard((3, SECOND)).wanted is None
    assert heard((3, SECOND), (4, SECOND)).wanted == SECOND


def test_two_files_of_one_number_are_not_counted_together() -> None:
    """Two servers that announce edition 2 with different digests announce different editions."""
    other = EditionName(2, digest(b"another"))
    announced = heard((3, SECOND), (4, other))
    assert announced.wanted is None


def test_an_older_edition_is_not_wanted() -> None:
    """Five servers that announce edition 1 to one that uses 2 change nothing."""
    announced = Announced(SIX, SECOND)
    for server in range(5):
        announced.hear(server, FIRST)
    assert announced.wanted is None


def test_the_newest_that_convinces_is_wanted() -> None:
    """A liar's edition 99 does not hide edition 2; edition 3 of two servers comes before it."""
    third = EditionName(3, digest(b"third"))
    announced = heard((0, SECOND), (1, SECOND), (2, EditionName(99, bytes(32))))
    assert announced.wanted == SECOND
    announced.hear(3, third)
    announced.hear(4, third)
    assert announced.wanted == third


def test_one_server_is_asked_at_a_time_and_a_fitting_copy_is_taken() -> None:
    """The first that announced it is asked; what it hands over counts if the digest is that of the announcements."""
    announced = heard((3, SECOND), (4, SECOND))
    assert announced.ask(0, ALL) == (3, file_frame(SECOND))
    assert announced.ask(1, ALL) is None
    assert announced.receive(3, SECOND, CONTENTS) == CONTENTS


def test_a_silent_liar_costs_one_wait() -> None:
    """After the patience another server is asked, and the silent one's late answer is not looked at."""
    announced = heard((3, SECOND), (4, SECOND))
    announced.ask(0, ALL)
    assert announced.ask(EDITION_PATIENCE_NS - 1, ALL) is None
    assert announced.ask(EDITION_PATIENCE_NS, ALL) == (4, file_frame(SECOND))
    assert announced.receive(3, SECOND, CONTENTS) is None
    assert announced.receive(4, SECOND, CONTENTS) == CONTENTS


def test_a_wrong_copy_costs_one_frame() -> None:
    """A copy that does not fit is dropped, the next server is asked at once, and the liar not for a while."""
    announced = heard((3, SECOND), (4, SECOND))
    announced.ask(0, ALL)
    assert announced.receive(3, SECOND, b"something else") is None
    assert announced.ask(1, ALL) == (4, file_frame(SECOND))
    assert announced.receive(4, SECOND, b"something else") is None
    assert announced.ask(2, ALL) is None
    assert announced.ask(EDITION_AGAIN_NS, ALL) == (3, file_frame(SECOND))


def test_only_reachable_servers_are_asked() -> None:
    """A server without a connection is passed over."""
    assert heard((3, SECOND), (4, SECOND)).ask(0, [4, 5]) == (4, file_frame(SECOND))


def test_what_nobody_asked_for_is_not_looked_at() -> None:
    """A copy that comes unasked is dropped, also from a server that would be asked next."""
    announced = heard((3, SECOND), (4, SECOND))
    assert announced.receive(3, SECOND, CONTENTS) is None
    announced.ask(0, ALL)
    assert announced.receive(3, EditionName(3, digest(CONTENTS)), CONTENTS) is None


def test_a_replaced_server_s_word_is_forgotten() -> None:
    """What the old identity announced does not count for the new one."""
    announced = heard((0, SECOND), (4, SECOND))
    announced.use(SECOND, (0,))
    assert announced.by[0] is None
    assert announced.by[4] == SECOND
    assert announced.wanted is None
