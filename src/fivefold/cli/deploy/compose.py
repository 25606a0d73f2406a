"""A Compose file with a service for each server: all on one host for trying things out, or one on each host."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from fivefold.cli.deploy.recipe import METRICS_PORT, RECIPE_PATH, object_options, recipe
from fivefold.cluster import Configuration, ServerEntry, format_configuration

COMPOSE_PATH: Final = "deploy/compose.yaml"
PUBLIC_PATH: Final = "deploy/public/cluster.toml"

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""A name that other services can be told to know a service by; anything else is another machine's."""

_HEAD: Final = """\
# The servers of cluster {cluster}. Each runs with its own identity, which no other service sees.
#
# On a host of its own, bring server I these files: deploy/, and beside it server-I. Then
#
#   mkdir -m 700 server-I.data
#   docker compose -f deploy/compose.yaml up -d server-I
#
# The directories must belong to the user under which it runs: FIVEFOLD_UID and FIVEFOLD_GID.
# All servers read public/cluster.toml: put a changed cluster file there.
name: fivefold
services:
"""

_SERVICE: Final = """\
  server-{index}:
    image: fivefold
    build:
      context: .
      dockerfile: Containerfile
    command: {command}
    user: "${{FIVEFOLD_UID:-1000}}:${{FIVEFOLD_GID:-1000}}"
    restart: unless-stopped
    stop_grace_period: 60s
    init: true
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    pids_limit: 128
    ulimits:
      nofile: 65536
      core: 0
    tmpfs: ["/tmp:size=16m,mode=1777"]
    volumes:
      - {{type: bind, source: ./public, target: /fivefold/public, read_only: true}}
      - {{type: bind, source: ../server-{index}, target: /fivefold/identity, bind: {{create_host_path: false}}}}
      - {{type: bind, source: ../server-{index}.data, target: /fivefold/data, bind: {{create_host_path: false}}}}
{place}    healthcheck:
      test: {health}
      interval: 10s
      timeout: 5s
      start_period: 60s
"""


def files(configuration: Configuration, objects: Sequence[str]) -> dict[str, str]:
    """The Compose file, the image recipe, and the public file that all services read."""
    head = _HEAD.format(cluster=configuration.cluster_id.hex())
    services = [_service(server, objects) for server in configuration.servers]
    return {
        COMPOSE_PATH: head + "".join(services),
        RECIPE_PATH: recipe(objects),
        PUBLIC_PATH: format_configuration(configuration),
    }


def _service(server: ServerEntry, objects: Sequence[str]) -> str:
    command = [
        *("serve", "--cluster", "/fivefold/public/cluster.toml", "--identity", "/fivefold/identity"),
        *("--data", "/fivefold/data", "--listen", f"0.0.0.0:{server.port}"),
        *("--metrics", f"127.0.0.1:{METRICS_PORT}", *object_options(objects)),
    ]
    look = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{METRICS_PORT}/healthz', timeout=4)"
    return _SERVICE.format(
        index=server.index,
        command=json.dumps(command),
        health=json.dumps(["CMD", "python", "-c", look]),
        place=_place(server),
    )


def _place(server: ServerEntry) -> str:
    """How others reach it: under its name among the services, or at a port of its host."""
    if _NAME.fullmatch(server.host):
        return f'    networks:\n      default:\n        aliases: ["{server.host}"]\n'
    return f'    ports: ["{server.port}:{server.port}"]\n'
