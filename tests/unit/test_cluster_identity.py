"""Private identities, and the keys that servers derive from them."""

import shutil
import ssl
from contextlib import suppress
from hashlib import blake2b, sha256
from itertools import product
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fivefold.cluster import (
    client_id_of,
    create_cluster,
    create_identity,
    derive_mac_keys,
    fingerprint_of,
    free_addresses,
    load_identity,
    server_directory,
)
from fivefold.cluster.files import replace_file, write_new_file
from fivefold.cluster.identity import _private_pem
from fivefold.errors import ConfigurationError

FILES = ("certificate.pem", "signing-key.pem", "exchange-key.pem")


@pytest.fixture
def identity(tmp_path):
    return create_identity(tmp_path / "me", name="me")


def test_an_identity_comes_back_as_it_was_made(identity):
    """Certificate and exchange key survive the way through the files."""
    loaded = load_identity(identity.directory)
    assert loaded.certificate == identity.certificate
    assert loaded.exchange_public == identity.exchange_public


def test_files_are_private(identity):
    """The directory has mode 0700, each file 0600, whatever the umask; nothing else is left in it."""
    assert identity.directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in identity.directory.iterdir()) == sorted(FILES)
    assert {path.stat().st_mode & 0o777 for path in identity.directory.iterdir()} == {0o600}


def test_an_open_directory_is_closed_to_others(tmp_path):
    """An identity made in a directory that others can enter takes it for itself."""
    (tmp_path / "me").mkdir(mode=0o755)
    assert load_identity(create_identity(tmp_path / "me", name="me").directory)


def test_names_and_ids_are_digests_of_the_certificate(identity):
    """The fingerprint is SHA-256, the client id BLAKE2b-128, both of the DER bytes."""
    assert identity.fingerprint == fingerprint_of(identity.certificate) == sha256(identity.certificate).hexdigest()
    expected = blake2b(identity.certificate, digest_size=16).digest()
    assert identity.client_id == client_id_of(identity.certificate) == expected


def test_repr_shows_no_secret(identity):
    """The repr has the directory and the fingerprint only."""
    secret = identity.exchange.private_bytes_raw()
    shown = repr(identity)
    assert shown == f"Identity({str(identity.directory)!r}, fingerprint={identity.fingerprint})"
    assert secret.hex() not in shown


@pytest.mark.parametrize("file", FILES)
def test_an_identity_is_never_overwritten(identity, file):
    """One file that is left of an identity is enough to refuse making another in its place."""
    for other in FILES:
        if other != file:
            (identity.directory / other).unlink()
    with pytest.raises(ConfigurationError, match="holds an identity already"):
        create_identity(identity.directory, name="me")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
@pytest.mark.parametrize("file", FILES)
def test_files_that_others_may_use_are_refused(identity, file, mode):
    """A looser mode is refused with the command that mends it."""
    (identity.directory / file).chmod(mode)
    with pytest.raises(ConfigurationError, match="run chmod 600"):
        load_identity(identity.directory)


def test_stricter_modes_are_taken(identity):
    """Read-only files are fine."""
    for file in FILES:
        (identity.directory / file).chmod(0o400)
    assert load_identity(identity.directory)


def test_a_directory_that_others_may_enter_is_refused(identity):
    """Who can enter the directory could replace its files."""
    identity.directory.chmod(0o750)
    with pytest.raises(ConfigurationError, match="run chmod 700"):
        load_identity(identity.directory)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(identity, file):
    """The message says which file is missing."""
    (identity.directory / file).unlink()
    with pytest.raises(ConfigurationError, match=f"{file} is missing"):
        load_identity(identity.directory)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_file_is_refused(identity, file, content):
    """Neither an empty nor a garbled file raises anything but a ConfigurationError."""
    (identity.directory / file).write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_identity(identity.directory)


def test_a_foreign_key_is_refused(identity):
    """The signing key must be the certificate's."""
    (identity.directory / "signing-key.pem").write_bytes(_private_pem(Ed25519PrivateKey.generate()))
    with pytest.raises(ConfigurationError, match="do not belong together"):
        load_identity(identity.directory)


def test_a_key_of_another_kind_is_refused(identity):
    """An exchange key in the place of the signing key is noticed."""
    (identity.directory / "signing-key.pem").write_bytes(_private_pem(X25519PrivateKey.generate()))
    with pytest.raises(ConfigurationError, match="keys of another kind"):
        load_identity(identity.directory)


# --- files --------------------------------------------------------------------------------------------------------
def test_a_new_file_replaces_nothing(tmp_path):
    """What is there stays, and no temporary file is left."""
    write_new_file(tmp_path / "file", b"first", mode=0o600)
    with pytest.raises(ConfigurationError, match="exists already"):
        write_new_file(tmp_path / "file", b"second", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_replaced_file_has_the_new_content_and_mode(tmp_path):
    """The mode does not depend on the old file."""
    (tmp_path / "file").write_bytes(b"old")
    replace_file(tmp_path / "file", b"new", mode=0o644)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("write", [write_new_file, replace_file])
def test_a_place_that_cannot_be_written_is_named(tmp_path, write):
    """A missing directory is the caller's mistake, in one sentence."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write(tmp_path / "missing" / "file", b"data", mode=0o600)


def test_a_directory_that_cannot_be_replaced(tmp_path):
    """A directory in the file's place is refused, and no temporary file is left."""
    (tmp_path / "file").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        replace_file(tmp_path / "file", b"data", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_identity_needs_a_directory(tmp_path):
    """A file in the directory's place is refused."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        create_identity(tmp_path / "file", name="me")


# --- keys ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    directory: Path = tmp_path_factory.mktemp("keys")
    configuration = create_cluster(directory, free_addresses(6), t=1, b=1)
    return configuration, [load_identity(server_directory(directory, index)) for index in range(6)]


def keys_of(configuration, identities):
    return [derive_mac_keys(identity, configuration, index) for index, identity in enumerate(identities)]


def test_both_ends_derive_the_same_keys(servers):
    """The key i → j of server i is the key i → j of server j, for all pairs, i = j included."""
    keys = keys_of(*servers)
    for sender, receiver in product(range(6), repeat=2):
        assert keys[sender][0][receiver] == keys[receiver][1][sender]


def test_every_direction_has_its_own_key(servers):
    """The 36 keys of six servers are all different, and 32 bytes long."""
    keys = {key for outgoing, _ in keys_of(*servers) for key in outgoing}
    assert len(keys) == 36
    assert {len(key) for key in keys} == {32}


def test_another_cluster_has_other_keys(servers):
    """An identity used in two clusters shares no key between them."""
    configuration, identities = servers
    other = msgspec.structs.replace(configuration, cluster_id=bytes(16))
    first = {key for keys in derive_mac_keys(identities[0], configuration, 0) for key in keys}
    second = {key for keys in derive_mac_keys(identities[0], other, 0) for key in keys}
    assert not first & second


def test_the_key_is_what_the_documentation_says(servers):
    """A second implementation from the description of the scheme gives the same key."""
    configuration, identities = servers
    shared = identities[4].exchange.exchange(identities[2].exchange.public_key())
    context = configuration.cluster_id + b"\0\2\0\4" + identities[2].exchange_public + identities[4].exchange_public
    expected = blake2b(context, key=shared, person=b"fivefold mac v2", digest_size=32).digest()
    assert derive_mac_keys(identities[4], configuration, 4)[1][2] == expected


def test_keys_need_the_servers_own_identity(servers):
    """Another server's identity derives nothing."""
    configuration, identities = servers
    with pytest.raises(ConfigurationError, match="is not the identity of server 1"):
        derive_mac_keys(identities[0], configuration, 1)


def test_a_degenerate_exchange_key_is_refused(servers):
    """The zero point would make a secret that everybody knows."""
    configuration, identities = servers
    bad = msgspec.structs.replace(configuration.servers[3], exchange_public=bytes(32))
    listed = (*configuration.servers[:3], bad, *configuration.servers[4:])
    with pytest.raises(ConfigurationError, match="exchange key of server 3 is degenerate"):
        derive_mac_keys(identities[0], msgspec.structs.replace(configuration, servers=listed), 0)


def test_a_copied_identity_works_elsewhere(identity, tmp_path):
    """An identity is its three files: it can be moved to its host."""
    shutil.copytree(identity.directory, tmp_path / "host")
    assert load_identity(tmp_path / "host").fingerprint == identity.fingerprint


def test_two_identities_of_one_name_are_both_let_in(tmp_path: Path) -> None:
    """While a client changes its keys, servers trust the old and the new one; TLS looks for them by their subject."""
    server, *clients = (create_identity(tmp_path / where, name="shop") for where in ("server", "old", "new"))
    for client in clients:
        hears = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        hears.load_cert_chain(server.certificate_file, server.signing_key_file)
        hears.verify_mode = ssl.CERT_REQUIRED
        hears.load_verify_locations(cadata=b"".join(each.certificate for each in clients))
        calls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        calls.check_hostname, calls.verify_mode = False, ssl.CERT_NONE
        calls.load_cert_chain(client.certificate_file, client.signing_key_file)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [calls.wrap_bio(down, up), hears.wrap_bio(up, down, server_side=True)]
        for end in ends * 3:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        assert ends[1].getpeercert(binary_form=True) == client.certificate
