"""A running cluster as a page in a browser (docs/decisions/0020-dashboard.md).

Read in this order: ``watcher`` (looks at the cluster, as its client), ``guard`` (which requests are refused), ``app``
(what the page asks for), ``serving`` (the HTTP server). All of it needs the extra ``fivefold[dashboard]``.
"""

from fivefold.dashboard.app import make_app
from fivefold.dashboard.guard import Doors, check_address
from fivefold.dashboard.serving import serve
from fivefold.dashboard.watcher import Watcher

__all__ = ["Doors", "Watcher", "check_address", "make_app", "serve"]
