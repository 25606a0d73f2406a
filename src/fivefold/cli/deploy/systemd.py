"""A hardened systemd unit, one template for all servers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fivefold.cli.deploy.recipe import METRICS_PORT, object_options
from fivefold.cluster import Configuration

PROGRAM: Final = "/opt/fivefold/bin/fivefold"
"""Where the unit expects the program: a virtual environment in /opt/fivefold."""

UNIT_PATH: Final = "deploy/fivefold@.service"

_UNIT: Final = """\
# One server of cluster {cluster}. On the host of server I:
#
#   install -d -m 700 -o fivefold -g fivefold /var/lib/fivefold       (user and group: useradd --system fivefold)
#   copy cluster.toml and server-I there, all of it owned by fivefold
#   copy this file to /etc/systemd/system, then: systemctl enable --now fivefold@I
[Unit]
Description=Fivefold server %i
Documentation=man:systemd.exec(5)
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
User=fivefold
Group=fivefold
StateDirectory=fivefold
StateDirectoryMode=0700
WorkingDirectory=/var/lib/fivefold
Environment=PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
ExecStart={program} serve --cluster cluster.toml --identity server-%i --metrics 127.0.0.1:{metrics}{objects}
Restart=on-failure
RestartSec=2
# A clean stop stores what is under way; it takes seconds.
TimeoutStopSec=60
LimitNOFILE=65536
LimitCORE=0

# What the server needs is its state directory and the network, so it gets nothing else.
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def files(configuration: Configuration, objects: Sequence[str]) -> dict[str, str]:
    """The unit."""
    return {UNIT_PATH: unit(configuration, objects)}


def unit(configuration: Configuration, objects: Sequence[str], program: str = PROGRAM) -> str:
    """The unit's text; ``program`` is the path of ``fivefold`` on the hosts."""
    words = object_options(objects)
    return _UNIT.format(
        cluster=configuration.cluster_id.hex(),
        program=program,
        metrics=METRICS_PORT,
        objects=(" " + " ".join(words)) if words else "",
    )
