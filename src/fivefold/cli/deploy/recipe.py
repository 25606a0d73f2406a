"""The image recipe, which Compose and Kubernetes share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

USER: Final = 10001
"""User and group of the server in its image: nobody on the host."""

METRICS_PORT: Final = 9100
"""Metrics, and what tells whether the server is well."""

RECIPE_PATH: Final = "deploy/Containerfile"


def recipe(objects: Sequence[str]) -> str:
    """A recipe for an image that runs ``fivefold serve``, from wheels alone."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"""\
# An image with Fivefold and your object types. Make the wheels first, then the image, both in this directory:
#
#   pip wheel --only-binary :all: --wheel-dir wheels PATH-OF-FIVEFOLD     (and your own package, if you have one)
#   mkdir -p objects && cp YOUR-MODULES.py objects/                       {_named(objects)}
#   docker build -f Containerfile -t fivefold .
#
# All servers of a cluster need the same minor version of Python.
FROM docker.io/library/python:{python}-slim

RUN --mount=type=bind,source=wheels,target=/wheels \\
    pip install --no-cache-dir --no-index --find-links /wheels fivefold
RUN useradd --uid {USER} --no-create-home --shell /usr/sbin/nologin fivefold
COPY objects /objects

ENV PYTHONHASHSEED=0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/objects
USER {USER}:{USER}
STOPSIGNAL SIGTERM
ENTRYPOINT ["fivefold"]
"""


def _named(objects: Sequence[str]) -> str:
    return f"({', '.join(objects)})" if objects else "(may stay empty)"


def object_options(objects: Sequence[str]) -> list[str]:
    """Words of a command line that name modules."""
    return [word for module in objects for word in ("--objects", module)]
