"""What `fivefold server` refuses before it makes anything, and why (R9)."""

import msgspec
import pytest

from fivefold import ClusterStatus
from fivefold.cli.server import refuse_old_file, refuse_too_many
from fivefold.cli.servers import count_up, edition_remarks, state_text
from fivefold.cluster import TWO_FILES, create_cluster, move_server, replace_server
from fivefold.errors import ConfigurationError, Unavailable
from fivefold.node import Place, ServerStatus
from fivefold.protocol.quorums import QuorumSystem


def server(index: int, *, is_standing: bool = True, edition: int = 2, digest: str = "aa") -> ServerStatus:
    born = 1 if is_standing else 2
    place = Place(edition, digest, 0, born, is_standing, None, (1, 2, 3, 4, 5), 5, 7, 6, 1, 100)
    return ServerStatus(index, "0", "sqlite", None, 1.0, 0, (0, 0), 1, {}, 1, place=place)


def status(*servers: ServerStatus | None, t: int = 1, b: int = 1) -> ClusterStatus:
    return ClusterStatus(QuorumSystem(len(servers), t, b), servers, (), {})


ALL = [server(index) for index in range(6)]


def test_a_lost_server_among_well_ones_may_be_replaced() -> None:
    """It counts as the one that may fail."""
    refuse_too_many(status(None, *ALL[1:]), 0)
    refuse_too_many(status(*ALL), 0)


def test_a_second_one_that_is_down_is_named() -> None:
    """With t = 1 nobody else may be missing."""
    with pytest.raises(Unavailable, match="server 3 is down or cannot be reached: with server 0 2 would be missing"):
        refuse_too_many(status(None, *ALL[1:3], None, *ALL[4:]), 0)


def test_a_newcomer_counts_until_it_is_in_standing() -> None:
    """Another slot waits for it; the same slot may be replaced again."""
    catching_up = status(server(0, is_standing=False), *ALL[1:])
    with pytest.raises(Unavailable, match="server 0 is still catching up"):
        refuse_too_many(catching_up, 3)
    refuse_too_many(catching_up, 0)


def test_a_server_with_another_file_of_this_edition_counts_as_missing() -> None:
    """It can do nothing for a newcomer: first all have one file; that very server may be replaced."""
    apart = status(*ALL[:5], server(5, digest="bb"))
    with pytest.raises(Unavailable, match="server 5 uses another file of this edition: two were made"):
        refuse_too_many(apart, 0)
    refuse_too_many(apart, 5)


def test_where_two_may_fail_a_second_slot_may_be_replaced() -> None:
    """N = 9, t = 2, b = 1: one that catches up and one that is lost; a third is refused."""
    nine = [server(index) for index in range(9)]
    refuse_too_many(status(server(0, is_standing=False), None, *nine[2:], t=2), 1)
    with pytest.raises(Unavailable, match="server 2 is down"):
        refuse_too_many(status(server(0, is_standing=False), *nine[1:2], None, *nine[3:], t=2), 1)


def test_an_edition_is_made_from_the_newest_file_alone(tmp_path) -> None:
    """Otherwise there would be two of one number: the message says how to get the newest."""
    old = create_cluster(tmp_path, [f"10.0.0.{i}:7000" for i in range(6)], t=1, b=1)
    new = move_server(tmp_path / "cluster.toml", 2, "10.0.0.9:7000")
    refuse_old_file(new, new)
    with pytest.raises(ConfigurationError, match=r"edition 2 .* edition 1: run `fivefold server update`"):
        refuse_old_file(old, new)


def test_a_replacement_is_the_next_edition_with_a_new_identity_in_one_slot(tmp_path) -> None:
    """Everything else stays; the identity lies beside the file, in a private directory of its own."""
    old = create_cluster(tmp_path, [f"10.0.0.{i}:7000" for i in range(6)], t=1, b=1)
    new, made = replace_server(tmp_path / "cluster.toml", 3)
    assert made == tmp_path / "server-3-edition-2"
    assert (new.edition, [each.since for each in new.servers]) == (2, [1, 1, 1, 2, 1, 1])
    assert new.servers[3].certificate != old.servers[3].certificate
    assert [s for s in new.servers if s.index != 3] == [s for s in old.servers if s.index != 3]
    assert msgspec.structs.replace(new.servers[3], since=1, certificate=b"", exchange_public=b"") == (
        msgspec.structs.replace(old.servers[3], certificate=b"", exchange_public=b"")
    )
    with pytest.raises(ConfigurationError, match="no server 6"):
        replace_server(tmp_path / "cluster.toml", 6)
    with pytest.raises(ConfigurationError, match=r"is at 10\.0\.0\.2:7000 already"):
        move_server(tmp_path / "cluster.toml", 2, "10.0.0.2:7000")


def test_status_does_not_count_a_newcomer_as_up_and_says_how_far_it_is() -> None:
    """Its state is a word of its own, and a line below tells whom it waits for and what it has taken over."""
    found = status(server(0, is_standing=False), *ALL[1:])
    assert count_up(found) == 5
    assert state_text(found.servers[0], None).plain == "newborn"
    [remark] = edition_remarks(found)
    assert "newborn (edition 2)" in remark.plain
    assert "7 listed, 6 adopted, 1 under repair" in remark.plain


def test_status_says_how_far_a_server_is_behind() -> None:
    """Of a server that differs from the others in three objects it says so; of the others nothing."""
    differing = msgspec.structs.replace(ALL[2].place, behind=3)
    found = status(*ALL[:2], msgspec.structs.replace(ALL[2], place=differing), *ALL[3:])
    assert [remark.plain for remark in edition_remarks(found)] == [
        "server 2 differs from the others in 3 objects, and catches up with them"
    ]


def test_status_names_servers_with_another_file() -> None:
    """An older edition, and another file of the newest one."""
    found = status(server(0, edition=1), server(1, digest="bb"), *ALL[2:])
    assert [remark.plain for remark in edition_remarks(found)] == [
        "server 0 uses edition 1 of the cluster file, others 2: bring it the newest",
        f"server 1 uses another file of edition 2: {TWO_FILES}",
    ]
