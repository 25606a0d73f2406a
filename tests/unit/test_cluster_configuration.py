"""The cluster file and the commands that make it."""

import msgspec
import pytest

from fivefold.cluster import (
    ClientEntry,
    add_client,
    client_directory,
    create_cluster,
    find_identity,
    format_configuration,
    free_addresses,
    join_address,
    limit_client,
    load_configuration,
    load_identity,
    make_configuration,
    parse_configuration,
    remove_client,
    server_directory,
    split_address,
)
from fivefold.errors import ConfigurationError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cluster file of six servers on 10.0.0.1 … 10.0.0.6, port 7000."""
    directory = tmp_path_factory.mktemp("cluster")
    create_cluster(directory, [f"10.0.0.{number}:7000" for number in range(1, 7)], t=1, b=1)
    return directory / "cluster.toml"


@pytest.fixture
def cluster_file(tmp_path):
    create_cluster(tmp_path / "c", free_addresses(4), t=1, b=0)
    return tmp_path / "c" / "cluster.toml"


def test_the_file_comes_back_as_it_was_written(made):
    """Reading what was written gives an equal configuration, and writing that the same text."""
    configuration = load_configuration(made)
    assert format_configuration(configuration) == made.read_text()
    again = parse_configuration(made.read_text())
    assert (again.cluster_id, again.servers, again.clients) == (
        configuration.cluster_id,
        configuration.servers,
        configuration.clients,
    )
    assert (again.quorums.n, again.quorums.t, again.quorums.b, again.quorums.q) == (6, 1, 1, 5)


def test_the_file_is_public_and_the_identities_are_not_in_it(made):
    """Everybody may read the file; no private key is in it."""
    assert made.stat().st_mode & 0o777 == 0o644
    assert "PRIVATE" not in made.read_text()
    assert [server.address for server in load_configuration(made).servers][:2] == ["10.0.0.1:7000", "10.0.0.2:7000"]


def test_each_member_has_its_identity(made):
    """The directories beside the file hold the identities that the file lists."""
    configuration = load_configuration(made)
    for server in configuration.servers:
        identity = load_identity(server_directory(made.parent, server.index))
        assert configuration.server_of(identity.certificate) == server
        assert configuration.client_of(identity.certificate) is None
        assert identity.exchange_public == server.exchange_public
    admin = load_identity(client_directory(made.parent, "admin"))
    assert configuration.client_of(admin.certificate).name == "admin"
    assert configuration.client_of(admin.certificate).id == admin.client_id


def replaced(made, old, new, count=1):
    text = made.read_text()
    assert old in text
    return text.replace(old, new, count)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n = 6 ", "n = 5 ", "need at least 6 servers: got 5"),
        ("b = 1 ", "b = 2 ", "b must be between 0 and t"),
        ("b = 1 ", "b = -1 ", "b must be between 0 and t"),
        ("n = 6 ", "n = 7 ", "n is 7 but 6 servers are listed"),
        ("n = 6 ", "n = 65 ", "at most 64 servers"),
        ("n = 6 ", 'n = "6" ', r"Expected `int`, got `str` - at `\$\.n`"),
        ("n = 6 ", "m = 6 ", "unknown field `m`"),
        ("format = 1", "format = 2", "format"),
        ("index = 1", "index = 0", "indices must be 0, 1, 2"),
        ("10.0.0.2:7000", "10.0.0.1:7000", "server address 10.0.0.1:7000 appears twice"),
        ("10.0.0.2:7000", "10.0.0.2", "is no address"),
        ("10.0.0.2:7000", "10.0.0.2:0", "has no valid port"),
        ("10.0.0.2:7000", "10.0.0.2:65536", "has no valid port"),
        ("10.0.0.2:7000", "10.0.0.2:70²", "has no valid port"),
        ("10.0.0.2:7000", "ten hosts:7000", "is no address"),
        ('fingerprint = "', 'fingerprint = "00', "fingerprint of server 0 is not that of its certificate"),
        ('exchange_key = "', 'exchange_key = "zz', "exchange_key of server 0 must be 64 hexadecimal digits"),
        ('cluster = "', 'cluster = "00', "cluster must be 32 hexadecimal digits"),
        ("-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA", "holds no valid certificate"),
        ("-----BEGIN CERTIFICATE-----\n", "", "server 0 holds no valid certificate"),
        ('allow = ["*"]', 'allow = ["Counter:"]', "client admin: the access rule 'Counter:' has no method"),
        ('allow = ["*"]', 'allow = "*"', "Expected `array`"),
        ('name = "admin"', 'name = "ad min"', "cannot name a client"),
        ('name = "admin"', 'name = ""', "cannot name a client"),
        ('name = "admin"', 'name = "admin"\nrole = "root"', "unknown field `role`"),
        ('name = "admin"', 'name = "admin"\nrate = 0', "client admin: a rate is 1 to 1000000 requests a second, not 0"),
        ('name = "admin"', 'name = "admin"\nrate = 1000001', "a rate is 1 to 1000000 requests a second, not 1000001"),
        ('name = "admin"', 'name = "admin"\nrate = 2.5', "Expected `int"),
        ("format = 1", "format = 1\nformat = 1", "not valid TOML"),
        ("[[servers]]", "[[servers", "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used(made, old, new, message):
    """Each mistake gets a sentence of its own."""
    with pytest.raises(ConfigurationError, match=message):
        parse_configuration(replaced(made, old, new))


def test_an_exchange_key_of_two_servers_is_refused(made):
    """Two servers with one exchange key would share their MAC keys."""
    configuration = load_configuration(made)
    first, second, *rest = configuration.servers
    twin = msgspec.structs.replace(second, exchange_public=first.exchange_public)
    with pytest.raises(ConfigurationError, match=r"exchange key .* appears twice"):
        make_configuration(
            cluster_id=configuration.cluster_id,
            quorums=configuration.quorums,
            servers=(first, twin, *rest),
            clients=configuration.clients,
        )


@pytest.mark.parametrize(
    ("name", "certificate_of", "message"),
    [
        ("admin", None, "client name admin appears twice"),
        ("other", "admin", "the certificate .* appears twice"),
        ("other", "server", "the certificate .* appears twice"),
    ],
)
def test_members_do_not_share_names_or_certificates(made, tmp_path, name, certificate_of, message):
    """Two clients of one name, or two members with one certificate, are refused."""
    configuration = load_configuration(made)
    certificates = {
        "admin": configuration.clients[0].certificate,
        "server": configuration.servers[0].certificate,
        None: b"another certificate",
    }
    with pytest.raises(ConfigurationError, match=message):
        make_configuration(
            cluster_id=configuration.cluster_id,
            quorums=configuration.quorums,
            servers=configuration.servers,
            clients=(*configuration.clients, ClientEntry(name, ("*",), certificates[certificate_of])),
        )


def test_a_missing_file_says_what_to_do(tmp_path):
    """The message names the path and the command that makes one."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read .* `fivefold init`"):
        load_configuration(tmp_path / "nowhere.toml")


def test_errors_name_the_file(tmp_path):
    """A mistake in a file begins with its path; so does one in its encoding."""
    (tmp_path / "a.toml").write_bytes(b"format = ")
    with pytest.raises(ConfigurationError, match=r"a\.toml: not valid TOML"):
        load_configuration(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"b\.toml: not UTF-8"):
        load_configuration(tmp_path / "b.toml")


def test_a_huge_file_is_not_read_whole(tmp_path, monkeypatch):
    """A file over the bound is refused."""
    monkeypatch.setattr("fivefold.cluster.configuration.FILE_BYTES_MAX", 10)
    (tmp_path / "a.toml").write_bytes(b"#" * 11)
    with pytest.raises(ConfigurationError, match="larger than 10 bytes"):
        load_configuration(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("host-1.example.org:7000", ("host-1.example.org", 7000)),
    ],
)
def test_addresses_both_ways(address, parts):
    """Host and port are split and joined again."""
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize("address", ["", ":", ":1", "host", "host:", "host:x", "::1:7000", "a b:1", 'h"\n:1', "h:-1"])
def test_bad_addresses(address):
    """What is no host and port is refused."""
    with pytest.raises(ConfigurationError):
        split_address(address)


# --- init and client add ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        (["h:1", "h:2", "h:3", "h:4", "h:5"], "need at least 6 servers: got 5"),
        (["h:1", "h:2", "h:3", "h:4", "h:5", "h:1"], "an address is given twice"),
        (["h:1", "h:2", "h:3", "h:4", "h:5", "h"], "is no address"),
    ],
)
def test_init_checks_before_it_writes(tmp_path, addresses, message):
    """A bad list of hosts leaves nothing behind."""
    with pytest.raises(ConfigurationError, match=message):
        create_cluster(tmp_path / "c", addresses, t=1, b=1)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("left", ["cluster.toml", "server-3", "client-admin"])
def test_init_overwrites_nothing(tmp_path, left):
    """A file or directory of another cluster stops it before the first identity is made."""
    (tmp_path / left).mkdir()
    with pytest.raises(ConfigurationError, match="exists already"):
        create_cluster(tmp_path, free_addresses(4), t=1, b=0)
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_a_client_is_added_to_the_file(cluster_file):
    """The new client is last, with its rules, and its identity lies beside the file."""
    identity = add_client(cluster_file, "audit", ["*:@query", 'Map/"a\\b"'])
    added = load_configuration(cluster_file).clients[-1]
    assert (added.name, added.rules) == ("audit", ("*:@query", 'Map/"a\\b"'))
    assert added.certificate == identity.certificate
    assert identity.directory == client_directory(cluster_file.parent, "audit")


def test_a_client_may_have_a_rate(cluster_file):
    """It stands in the file, comes back from it, and can be changed and taken away; the others have none."""
    identity = add_client(cluster_file, "guest", ["*"], rate=50)
    for rate in (7, None, 1_000_000):
        configuration = load_configuration(cluster_file)
        assert format_configuration(configuration) == cluster_file.read_text()
        limit_client(cluster_file, "guest", rate)
        configuration = load_configuration(cluster_file)
        assert [(client.name, client.rate) for client in configuration.clients] == [("admin", None), ("guest", rate)]
        assert configuration.rates == ({} if rate is None else {identity.client_id: rate})


@pytest.mark.parametrize(
    ("name", "rate", "message"), [("nobody", 5, "no client is named"), ("admin", 0, "a rate is 1")]
)
def test_a_rate_that_cannot_be_given(cluster_file, name, rate, message):
    """The file stays as it was."""
    before = cluster_file.read_text()
    with pytest.raises(ConfigurationError, match=message):
        limit_client(cluster_file, name, rate)
    assert cluster_file.read_text() == before


@pytest.mark.parametrize(
    ("name", "rules", "message"),
    [
        ("admin", ["*"], "is named 'admin' already"),
        ("../admin", ["*"], "cannot name a client"),
        ("x", ["Counter:@all"], "other than @query and @update"),
        ("x", [], "at least one rule"),
    ],
)
def test_a_client_that_cannot_be_added(cluster_file, name, rules, message):
    """The file stays as it was, and no identity is made."""
    before = cluster_file.read_text()
    with pytest.raises(ConfigurationError, match=message):
        add_client(cluster_file, name, rules)
    assert cluster_file.read_text() == before
    assert sorted(path.name for path in cluster_file.parent.glob("client-*")) == ["client-admin"]


def test_clients_added_to_a_missing_cluster(tmp_path):
    """There must be a cluster file."""
    with pytest.raises(ConfigurationError, match="cannot be found"):
        add_client(tmp_path / "no" / "cluster.toml", "x", ["*"])


def test_a_client_is_removed(cluster_file):
    """Afterwards the file does not know it; its identity stays where it is."""
    add_client(cluster_file, "guest", ["*"])
    remove_client(cluster_file, "guest")
    assert [client.name for client in load_configuration(cluster_file).clients] == ["admin"]
    with pytest.raises(ConfigurationError, match=r"no client is named 'guest' \(known: admin\)"):
        remove_client(cluster_file, "guest")


def test_an_identity_is_found_by_name_or_alone(cluster_file, monkeypatch, tmp_path):
    """A name, then FIVEFOLD_IDENTITY, then the only identity, then admin's."""
    monkeypatch.delenv("FIVEFOLD_IDENTITY", raising=False)
    directory = cluster_file.parent
    assert find_identity(cluster_file) == directory / "client-admin"
    add_client(cluster_file, "guest", ["*"])
    assert find_identity(cluster_file) == directory / "client-admin"
    assert find_identity(cluster_file, "guest") == directory / "client-guest"
    (directory / "client-admin").rename(tmp_path / "elsewhere")
    assert find_identity(cluster_file) == directory / "client-guest"
    add_client(cluster_file, "second", ["*"])
    with pytest.raises(ConfigurationError, match="2 identities lie beside"):
        find_identity(cluster_file)
    monkeypatch.setenv("FIVEFOLD_IDENTITY", str(tmp_path / "elsewhere"))
    assert find_identity(cluster_file) == tmp_path / "elsewhere"
    with pytest.raises(ConfigurationError, match="no identity is in"):
        find_identity(cluster_file, "nobody")
