"""The cluster file of a cluster that moves: sealed, open again, moved; and what may follow what."""

from pathlib import Path

import pytest

from fivefold.cluster import (
    Configuration,
    check_follows,
    create_cluster,
    decode_edition,
    edition_of,
    encode_edition,
    format_configuration,
    hand_over,
    load_configuration,
    move_server,
    open_again,
    parse_configuration,
    replace_server,
    seal_cluster,
    successor_of,
)
from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ClientId

ADDRESSES = [f"a{index}.example:7000" for index in range(4)]
MOVER = ClientId(b"m" * 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create_cluster(tmp_path / "old", ADDRESSES, t=1, b=0)
    return tmp_path / "old" / "cluster.toml"


def make_new(tmp_path: Path, file: Path):
    addresses = [f"b{index}.example:7000" for index in range(6)]
    old = load_configuration(file)
    return create_cluster(tmp_path / "new", addresses, t=1, b=1, successor_of=old, imported=b"d" * 32)


def same(one: Configuration, other: Configuration) -> bool:
    return format_configuration(one) == format_configuration(other)


def test_each_state_is_an_edition_that_the_file_and_the_servers_tell_alike(file: Path, tmp_path: Path) -> None:
    """Sealed, and then moved: written, read, handed on by its canonical bytes, and followed."""
    first = load_configuration(file)
    sealed = seal_cluster(file, MOVER)
    assert edition_of(sealed).mover == MOVER
    assert not edition_of(sealed).has_moved
    new = make_new(tmp_path, file)
    moved = hand_over(file, sealed, new)
    assert edition_of(moved).has_moved
    for before, after in ((first, sealed), (sealed, moved), (first, moved)):
        assert same(parse_configuration(format_configuration(after)), after)
        assert same(decode_edition(encode_edition(after), before), after)
        check_follows(before, after)
    found = successor_of(moved)
    assert found is not None
    assert same(found, new)
    assert found.clients == first.clients
    assert found.imported == b"d" * 32


def test_an_edition_of_an_open_cluster_has_the_digest_that_it_always_had(file: Path) -> None:
    """Its canonical bytes have no room for what it does not say: servers of older programs agree on it."""
    import msgspec

    assert len(msgspec.msgpack.decode(encode_edition(load_configuration(file)))) == 6


def test_a_cluster_that_is_opened_again_is_open(file: Path) -> None:
    """The third edition says nothing of a mover, and may be sealed again."""
    first, sealed = load_configuration(file), seal_cluster(file, MOVER)
    again = open_again(file)
    assert again.edition == 3
    assert again.servers == first.servers
    check_follows(sealed, again)
    assert seal_cluster(file, MOVER).edition == 4


def test_what_is_out_of_order_is_refused(file: Path, tmp_path: Path) -> None:
    """Sealed twice; opened or handed over without a seal, under another one, or after it has moved."""
    with pytest.raises(ConfigurationError, match="not sealed"):
        open_again(file)
    sealed, new = seal_cluster(file, MOVER), make_new(tmp_path, file)
    with pytest.raises(ConfigurationError, match="sealed"):
        seal_cluster(file, MOVER)
    open_again(file)
    with pytest.raises(ConfigurationError, match="not sealed"):
        hand_over(file, sealed, new)
    newer = seal_cluster(file, MOVER)
    with pytest.raises(ConfigurationError, match="another edition"):
        hand_over(file, sealed, new)
    moved = hand_over(file, newer, new)
    with pytest.raises(ConfigurationError, match="for good"):
        open_again(file)
    with pytest.raises(ConfigurationError, match="has moved"):
        seal_cluster(file, MOVER)
    later = parse_configuration(format_configuration(newer).replace("edition = 4", "edition = 6"))
    with pytest.raises(ConfigurationError, match="for good"):
        check_follows(moved, later)


def test_servers_do_not_change_while_the_cluster_is_sealed(file: Path) -> None:
    """Neither identity nor address; and no identity is left behind."""
    seal_cluster(file, MOVER)
    with pytest.raises(ConfigurationError, match="fivefold move"):
        move_server(file, 0, "c.example:7000")
    with pytest.raises(ConfigurationError, match="fivefold move"):
        replace_server(file, 0)
    assert not list(file.parent.glob("server-0-edition*"))


def test_a_successor_that_is_none_is_refused(file: Path, tmp_path: Path) -> None:
    """Bytes that are no edition, the cluster itself, and a successor without a seal."""
    sealed = seal_cluster(file, MOVER)
    moved = hand_over(file, sealed, make_new(tmp_path, file))
    text = format_configuration(moved)
    for other in (b"nonsense", encode_edition(sealed)):
        with pytest.raises(ConfigurationError):
            successor_of(parse_configuration(text.replace(moved.successor.hex(), other.hex())))
    lines = [line for line in text.splitlines() if not line.startswith("mover")]
    with pytest.raises(ConfigurationError, match="never sealed"):
        parse_configuration("\n".join(lines))
    with pytest.raises(ConfigurationError, match="mover"):
        parse_configuration(text.replace(MOVER.hex(), "abc"))
