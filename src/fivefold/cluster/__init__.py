"""Who belongs to a cluster: the cluster file, identities, keys, access rules, and a launcher for local clusters."""

from fivefold.cluster.access import AccessRules, Rule, access_rules
from fivefold.cluster.configuration import (
    ClientEntry,
    Configuration,
    ServerEntry,
    format_configuration,
    join_address,
    load_configuration,
    make_configuration,
    parse_configuration,
    save_configuration,
    split_address,
)
from fivefold.cluster.credentials import Credentials
from fivefold.cluster.identity import Identity, client_id_of, create_identity, fingerprint_of, load_identity
from fivefold.cluster.keys import derive_mac_keys
from fivefold.cluster.launcher import READY, LocalCluster, ServerProcess, free_addresses, serve_command, watch_parent
from fivefold.cluster.macs import macs_under
from fivefold.cluster.publishing import PublicHalf, load_public, public_half, save_public
from fivefold.cluster.setup import (
    CLUSTER_FILE,
    activate_version,
    add_client,
    client_directory,
    create_cluster,
    find_identity,
    limit_client,
    quorums_of,
    remove_client,
    server_directory,
)

__all__ = [
    "CLUSTER_FILE",
    "READY",
    "AccessRules",
    "ClientEntry",
    "Configuration",
    "Credentials",
    "Identity",
    "LocalCluster",
    "PublicHalf",
    "Rule",
    "ServerEntry",
    "ServerProcess",
    "access_rules",
    "activate_version",
    "add_client",
    "client_directory",
    "client_id_of",
    "create_cluster",
    "create_identity",
    "derive_mac_keys",
    "find_identity",
    "fingerprint_of",
    "format_configuration",
    "free_addresses",
    "join_address",
    "limit_client",
    "load_configuration",
    "load_identity",
    "load_public",
    "macs_under",
    "make_configuration",
    "parse_configuration",
    "public_half",
    "quorums_of",
    "remove_client",
    "save_configuration",
    "save_public",
    "serve_command",
    "server_directory",
    "split_address",
    "watch_parent",
]
