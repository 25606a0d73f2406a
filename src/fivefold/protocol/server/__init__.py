"""The server's wing: one replica of every object as a state machine (PROTOCOL §4, §5).

Read in this order: ``machine`` (the inputs, and what requests wait for), ``ordinary`` (what nearly every request asks
for), ``admission`` (rights, and the step a request derives to), ``examination`` (any other request, from its step to
its reply), ``replica`` (one object's history and versions), ``versions`` (states and the ring of recent calls),
``execution`` (methods, exactly once), ``acceptance`` (where objects change), ``replies`` (what clients are answered),
``synchronise`` (versions fetched from other servers), ``loading`` (what waits for a read), ``shares`` (who may have how
much waiting), ``listing`` (lists of objects), ``outbox`` (what waits for the disk), ``cache`` (which objects are in
memory).

A newcomer in the place of another server: ``membership`` (editions, and what is promised for good), ``adoption`` (what
may be taken over), ``catchup`` (how it is), ``merging`` (the others' lists), ``inquiry`` (reads and repairs),
``scrub`` (catching up unasked), ``unverified`` and ``verification`` (what clients have left), ``upkeep`` and ``peers``
(how this is joined with the rest).
"""

from fivefold.protocol.server.adoption import Adoption, plan_adoption, view_of
from fivefold.protocol.server.catchup import Progress, may_begin, others_needed
from fivefold.protocol.server.inquiry import Inquiry
from fivefold.protocol.server.machine import Server
from fivefold.protocol.server.membership import OWN_RECORD
from fivefold.protocol.server.replica import Newest
from fivefold.protocol.server.versions import (
    RING_NAME_BYTES,
    decode_version,
    encode_version,
    initial_version,
    kept_outcomes,
    kept_version,
    read_rows,
    ring_key,
    rows_of,
)

__all__ = [
    "OWN_RECORD",
    "RING_NAME_BYTES",
    "Adoption",
    "Inquiry",
    "Newest",
    "Progress",
    "Server",
    "decode_version",
    "encode_version",
    "initial_version",
    "kept_outcomes",
    "kept_version",
    "may_begin",
    "others_needed",
    "plan_adoption",
    "read_rows",
    "ring_key",
    "rows_of",
    "view_of",
]
