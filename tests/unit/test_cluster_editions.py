"""Editions of the cluster file: what they cover, and which may follow which."""

from pathlib import Path

import msgspec
import pytest

from fivefold.cluster import (
    Configuration,
    activate_version,
    add_client,
    create_cluster,
    create_identity,
    decode_edition,
    edition_of,
    encode_edition,
    follow,
    format_configuration,
    keep_edition,
    load_configuration,
    newest_edition,
    parse_configuration,
)
from fivefold.errors import ConfigurationError


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Configuration:
    """A cluster of four servers, as it was made."""
    return create_cluster(tmp_path_factory.mktemp("first"), [f"10.0.0.{i}:7000" for i in range(4)], t=1, b=0)


@pytest.fixture(scope="module")
def identities(tmp_path_factory) -> list[tuple[bytes, bytes]]:
    """Certificates and exchange keys of further servers."""
    made = [create_identity(tmp_path_factory.mktemp("more") / str(i), name=str(i)) for i in range(3)]
    return [(each.certificate, each.exchange_public) for each in made]


def next_edition(old: Configuration, index: int, **changes: object) -> Configuration:
    """The next edition, with these changes of one server."""
    number = old.edition + 1
    server = msgspec.structs.replace(old.servers[index], **changes)
    servers = (*old.servers[:index], server, *old.servers[index + 1 :])
    return msgspec.structs.replace(old, servers=servers, edition=number)


def moved(old: Configuration, index: int, port: int = 7001) -> Configuration:
    return next_edition(old, index, port=port)


def replaced(old: Configuration, index: int, identity: tuple[bytes, bytes]) -> Configuration:
    return next_edition(old, index, certificate=identity[0], exchange_public=identity[1], since=old.edition + 1)


def test_a_file_without_a_number_is_edition_1(first: Configuration) -> None:
    """Files of before have no edition and no since: all of it began with 1, and it is the same edition."""
    text = "".join(line for line in format_configuration(first).splitlines(True) if not line.startswith("edition"))
    old = parse_configuration(text)
    assert (old.edition, [server.since for server in old.servers]) == (1, [1, 1, 1, 1])
    assert edition_of(old) == edition_of(first)


def test_a_file_comes_back_as_it_was_written(first: Configuration, identities) -> None:
    """Number and since are in the text."""
    third = replaced(moved(first, 1), 2, identities[0])
    read = parse_configuration(format_configuration(third))
    assert (read.edition, [server.since for server in read.servers]) == (3, [1, 1, 3, 1])
    assert edition_of(read) == edition_of(third)


def test_clients_and_versions_are_no_part_of_an_edition(first: Configuration, tmp_path: Path) -> None:
    """`fivefold client add` and `fivefold upgrade` change the file, and neither the number nor the digest."""
    create_cluster(tmp_path, [f"10.0.0.{i}:7000" for i in range(4)], t=1, b=0)
    file = tmp_path / "cluster.toml"
    before = edition_of(load_configuration(file))
    add_client(file, "guest", ["*"])
    activate_version(file, "Names", 2)
    assert edition_of(load_configuration(file)) == before


@pytest.mark.parametrize("change", [{"port": 7001}, {"host": "10.0.0.9"}, {"exchange_public": b"x" * 32}])
def test_each_change_of_a_server_changes_the_digest(first: Configuration, change) -> None:
    """Address and keys are covered."""
    assert edition_of(next_edition(first, 0, **change)).digest != edition_of(first).digest


@pytest.mark.parametrize(
    ("edition", "since", "message"),
    [
        (0, (1, 1, 1, 1), "edition = 0 is no number"),
        (2**31, (1, 1, 1, 1), "is no number of an edition"),
        (2, (1, 3, 1, 1), "server 1 is said to be there since edition 3 of 2"),
        (2, (2, 2, 1, 1), "beginning of an identity in edition 2 appears twice"),
    ],
)
def test_numbers_that_cannot_be(first: Configuration, edition, since, message) -> None:
    """Numbers are from 1 on, no identity is newer than its edition, and no two began in the same one."""
    servers = [msgspec.structs.replace(s, since=since[s.index]) for s in first.servers]
    text = format_configuration(msgspec.structs.replace(first, servers=tuple(servers), edition=edition))
    with pytest.raises(ConfigurationError, match=message):
        parse_configuration(text)


def test_since_0_is_refused(first: Configuration) -> None:
    """Also in the text, where 1 may be left out."""
    text = format_configuration(first).replace("index = 1\n", "index = 1\nsince = 0\n")
    with pytest.raises(ConfigurationError, match="since edition 0"):
        parse_configuration(text)


def test_what_is_handed_over_comes_back(first: Configuration, identities) -> None:
    """A later edition, with the clients and versions of whoever gets it."""
    third = replaced(moved(first, 1), 2, identities[0])
    own = msgspec.structs.replace(first, versions={"Names": 2})
    got = decode_edition(encode_edition(third), own)
    assert edition_of(got) == edition_of(third)
    assert got.servers == third.servers
    assert (got.clients, got.versions) == (own.clients, own.versions)


def test_damaged_contents_are_refused(first: Configuration) -> None:
    """Each byte of what is handed over matters, and none of them raises anything else."""
    contents = encode_edition(moved(first, 1))
    good = edition_of(moved(first, 1)).digest
    for position in range(0, len(contents), 11):
        damaged = contents[:position] + bytes([contents[position] ^ 0x55]) + contents[position + 1 :]
        try:
            assert edition_of(decode_edition(damaged, first)).digest != good
        except ConfigurationError:
            pass
    for size in (0, 1, len(contents) - 1):
        with pytest.raises(ConfigurationError):
            decode_edition(contents[:size], first)
    with pytest.raises(ConfigurationError):
        decode_edition(contents + b"\0", first)


def test_an_older_edition_is_refused_and_named(first: Configuration) -> None:
    """Nobody goes back: the message has both numbers."""
    with pytest.raises(ConfigurationError, match=r"it is of edition 1, and edition 2 is in use"):
        decode_edition(encode_edition(first), moved(first, 1))


def test_two_files_of_one_number_are_refused_and_named(first: Configuration) -> None:
    """The message has both digests."""
    one, other = moved(first, 1), moved(first, 2)
    digests = f"{edition_of(other).digest.hex()[:8]}, not {edition_of(one).digest.hex()[:8]}"
    with pytest.raises(ConfigurationError, match=f"another file of edition 2 than the one in use .{digests}"):
        follow(one, other)


def test_a_foreign_file_is_refused_and_named(first: Configuration) -> None:
    """Another cluster's id, or another size."""
    foreign = msgspec.structs.replace(moved(first, 1), cluster_id=bytes(16))
    with pytest.raises(ConfigurationError, match=f"another cluster .{bytes(16).hex()}, not {first.cluster_id.hex()}"):
        follow(first, foreign)
    other = parse_configuration(format_configuration(moved(first, 1)).replace("t = 1 ", "t = 0 "))
    with pytest.raises(ConfigurationError, match="another n, t or b"):
        follow(first, other)


def test_a_replaced_identity_never_comes_back(first: Configuration, identities) -> None:
    """Not under a later number either, and not as if it had been there all the time."""
    second = replaced(first, 1, identities[0])
    old = first.servers[1]
    back = next_edition(second, 1, certificate=old.certificate, exchange_public=old.exchange_public, since=1)
    with pytest.raises(ConfigurationError, match="server 1 has another identity since edition 1"):
        follow(second, back)


def test_another_identity_says_since_when(first: Configuration, identities) -> None:
    """A new key without a new since is refused; so is a new since without a new key."""
    certificate, exchange_public = identities[0]
    silent = next_edition(first, 1, certificate=certificate, exchange_public=exchange_public)
    with pytest.raises(ConfigurationError, match="server 1 has another identity since edition 1"):
        follow(first, silent)
    with pytest.raises(ConfigurationError, match="server 1 has the same identity since edition 2"):
        follow(first, next_edition(first, 1, since=2))


def test_of_two_files_of_one_number_the_next_edition_leads_out(first: Configuration, identities) -> None:
    """Two operators replaced servers 0 and 1; whoever uses either file takes the next one, made from one of them."""
    one, other = replaced(first, 0, identities[0]), replaced(first, 1, identities[1])
    out = replaced(one, 1, identities[2])
    assert follow(one, out) is out
    assert follow(other, out) is out


def test_an_edition_may_be_left_out(first: Configuration, identities) -> None:
    """A server that was down while two editions came takes the second at once."""
    third = replaced(replaced(first, 0, identities[0]), 1, identities[1])
    assert follow(first, third) is third


def test_an_older_file_still_brings_its_clients(first: Configuration) -> None:
    """The operator's file may be older than what servers have handed on; who may call is what it says."""
    second = moved(first, 1)
    found = follow(second, msgspec.structs.replace(first, versions={"Names": 3}))
    assert edition_of(found) == edition_of(second)
    assert found.versions == {"Names": 3}


def test_a_server_never_goes_back(first: Configuration, tmp_path: Path) -> None:
    """What it has used stays in its identity's directory: a later start with an older file uses it again."""
    second = moved(first, 1)
    assert newest_edition(first, tmp_path) is first
    keep_edition(second, tmp_path)
    assert edition_of(newest_edition(first, tmp_path)) == edition_of(second)
    assert newest_edition(moved(second, 1, port=7002), tmp_path).edition == 3
    with pytest.raises(ConfigurationError, match="another file of edition 2"):
        newest_edition(moved(first, 2), tmp_path)
