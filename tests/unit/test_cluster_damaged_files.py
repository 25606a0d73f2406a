"""Files of a cluster that a disk has damaged end in a sentence that names the file, whatever the damage."""

import os
import warnings
from pathlib import Path
from random import Random

import pytest

from fivefold.cluster import Identity
from fivefold.cluster.files import (
    make_log_directory,
    make_private_directory,
    open_log,
    replace_file,
    write_new_file,
)
from fivefold.cluster.identity import create_identity, load_identity, x509_pem
from fivefold.cluster.launcher import ServerProcess
from fivefold.errors import ConfigurationError


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return create_identity(tmp_path / "identity", name="server-0")


def loads(identity: Identity) -> bool:
    """Whether it loads as it was; damage that leaves another identity is for the cluster file to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's, on what it will refuse one day
        try:
            assert load_identity(identity.directory).certificate == identity.certificate
        except ConfigurationError as error:
            message = str(error)
        else:
            return True
    assert "\n" not in message
    assert str(identity.directory) in message
    return False


@pytest.mark.long
@pytest.mark.ci
def test_any_flipped_bit_of_an_identity_is_a_sentence(identity: Identity) -> None:
    """Every bit of its three files: loaded as it was, or a sentence that names them."""
    refused = 0
    for path in sorted(identity.directory.iterdir()):
        whole = path.read_bytes()
        for bit in range(8 * len(whole)):
            path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
            refused += not loads(identity)
        path.write_bytes(whole)
    assert refused > 4000
    assert loads(identity)


def test_random_damage_to_an_identity_is_a_sentence(identity: Identity) -> None:
    """Cut, emptied, overwritten, or another file's contents."""
    random = Random(0)
    paths = sorted(identity.directory.iterdir())
    for _ in range(300):
        path = random.choice(paths)
        whole = path.read_bytes()
        start = random.randrange(len(whole))
        damaged = (
            whole[:start],
            whole[:start] + random.randbytes(8) + whole[start + 8 :],
            random.choice(paths).read_bytes(),
            bytes(len(whole)),
            b"",
        )
        path.write_bytes(random.choice(damaged))
        loads(identity)
        path.write_bytes(whole)


def test_a_certificate_that_is_not_as_it_was_made_is_refused(identity: Identity) -> None:
    """Its own signature tells, although the key in it is the right one."""
    der = identity.certificate
    path = identity.certificate_file
    name = der.index(b"server-0")
    path.write_text(x509_pem(der[:name] + b"server-1" + der[name + 8 :]))
    with pytest.raises(ConfigurationError, match="do not belong together: restore the identity"):
        load_identity(identity.directory)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177, 0o277])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    """Files have the mode that they are given, and logs 0640."""
    before = os.umask(umask)
    try:
        write_new_file(tmp_path / "new", b"", mode=0o600)
        replace_file(tmp_path / "replaced", b"", mode=0o644)
        open_log(tmp_path / "log").close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"new": 0o600, "replaced": 0o644, "log": 0o640}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_write_where_identities_and_logs_are(tmp_path: Path, umask: int) -> None:
    """Directories that are made, and all that are made above them; one that is there already keeps its mode."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o777)
    before = os.umask(umask)
    try:
        make_private_directory(tmp_path / "there" / "a" / "b" / "identity")
        make_log_directory(tmp_path / "there" / "a" / "logs")
        make_log_directory(tmp_path / "there" / "a" / "logs")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    shared = 0o755 & ~umask
    assert modes == {"there": 0o777, "a": shared, "b": shared, "identity": 0o700, "logs": 0o750 & ~umask}


def test_a_log_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """One that is there already is appended to, and gets the mode that a new one has; a stricter one stays."""
    for mode, expected in ((0o666, 0o640), (0o600, 0o600)):
        path = tmp_path / f"{mode:o}"
        path.write_bytes(b"before\n")
        path.chmod(mode)
        with open_log(path) as log:
            log.write(b"after\n")
        assert path.read_bytes() == b"before\nafter\n"
        assert path.stat().st_mode & 0o777 == expected


def test_a_servers_log_is_not_for_everybody(tmp_path: Path) -> None:
    """The launcher's logs are 0640 whatever the umask."""
    before = os.umask(0)
    try:
        server = ServerProcess(0, ["true"], tmp_path / "server-0.log", dict(os.environ))
        server.start()
        server.kill()
    finally:
        os.umask(before)
    assert (tmp_path / "server-0.log").stat().st_mode & 0o777 == 0o640
