"""Every bound of the protocol, with its unit and the reason for its value.

Everything a peer sends is checked against one of these before memory is set aside for it.
"""

from __future__ import annotations

from typing import Final

# --- frames and messages -------------------------------------------------------------------------------------
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""A whole frame, header included: one state at its limit plus 64 histories, with room to spare."""

ARGUMENTS_BYTES_MAX: Final = 1024 * 1024
"""Encoded arguments of one call."""

STATE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Encoded state of one object: the whole state is rewritten by every update, so larger ones should be split."""

ITEMS_MAX: Final = 256 * 1024
"""Items of the arguments of one call, and of one state: numbers, texts, lists, maps and their keys.

Each takes 0.01 to 0.2 µs to decode however few bytes it has, so this is 50 ms at most. Without it, one query of a state
of 4 MiB took a second.
"""

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""Encoded answer of one call."""

ANSWERS_BYTES_MAX: Final = 2 * 1024 * 1024
"""Answers of all calls of one operation together: they must fit into one reply, and into a version."""

OBJECT_ID_BYTES_MAX: Final = 256
"""UTF-8 length of an object id (``Type/key``)."""

METHOD_BYTES_MAX: Final = 128
"""UTF-8 length of a method or function name."""

# --- objects of one operation or repair -----------------------------------------------------------------------
REPAIR_BYTES_MAX: Final = 12 * 1024 * 1024
"""Histories that a client shows in one repair: they must fit into a frame, with authenticators and with room to spare.

Honest ones of 64 objects take far less; two liars could show 15 MiB.
"""

OPERATION_OBJECTS_MAX: Final = 16
"""Objects of one multi-object operation (PROTOCOL §7, Limits)."""

REPAIR_OBJECTS_MAX: Final = 64
"""Objects of one repair: fewer than four different object sets of 16 can be met (PROTOCOL §7, Limits)."""

CODE_BYTES_MAX: Final = 16 * (OPERATION_OBJECTS_MAX + 1)
"""What names the code of an operation: 16 bytes for a function, and for each type that it takes."""

CACHED_OBJECTS_MIN: Final = REPAIR_OBJECTS_MAX + OPERATION_OBJECTS_MAX**2
"""Objects a server must have room for in memory: those of a request, and of what it proves settled for each of them.

With less room, the objects of one request can drive each other out, and are loaded for ever.
"""

CALLS_MAX: Final = 16
"""Calls that one operation may carry (combining)."""

# --- helping: calls that are announced for others to carry (rules H1-H9; ours) ---------------------------------
ANNOUNCED_CALLS_MAX: Final = CALLS_MAX // 2
"""Calls of one announcement: one client's do not fill an operation."""

ANNOUNCED_BYTES_MAX: Final = 16 * 1024
"""Their arguments together. What is larger is not announced: it is tried as without helping."""

POOL_PER_CLIENT_MAX: Final = 4
"""Announcements of one client on one object: one for each of its sessions; a newer one replaces the older."""

POOL_PER_OBJECT_MAX: Final = 1024
"""Announcements on one object. With 64 and a hundred clients, servers held different ones."""

POOL_CLIENT_BYTES_MAX: Final = 256 * 1024
"""What one client's announcements take at one server ..."""

POOL_BYTES_MAX: Final = 16 * 1024 * 1024
"""... and all announcements."""

POOLED_BYTES: Final = 512
"""What an announcement takes beside arguments and names, and each of its calls once more."""

LISTED_ANNOUNCEMENTS_MAX: Final = 32
"""Announcements that a reply lists ..."""

LISTED_ANNOUNCEMENTS_BYTES_MAX: Final = 64 * 1024
"""... and their bytes; the first always has room."""

# --- histories ------------------------------------------------------------------------------------------------
# A history holds one barrier at most, its newest candidate, and versions: two of these in the good case. An acceptor
# bounds its bytes, so that every reader takes what any acceptor signs. Of copies it holds one for each version that r
# servers can show, so a handful.
HISTORY_BARRIER_BYTES_MAX: Final = 24 * 1024
"""A barrier over REPAIR_OBJECTS_MAX objects with the longest ids: it always has room."""

HISTORY_VERSIONS_BYTES_MAX: Final = 96 * 1024
"""Versions in one history: thirteen over 16 objects with the longest ids, several times what can add up."""

HISTORY_BYTES_MAX: Final = HISTORY_VERSIONS_BYTES_MAX + HISTORY_BARRIER_BYTES_MAX
"""Encoded replica history."""

TIME_MAX: Final = 2**127
"""Histories that reach later than this are culled if they are fewer than r (PROTOCOL §4.1)."""

TIME_LEAD_MAX: Final = 2**40
"""A barrier or joint update leads the time that q histories of each of its objects reach by at most this, and one.

Less would not do: an object that is new is led by all the updates of one that it is joined with."""

# --- exactly once ---------------------------------------------------------------------------------------------
RING_ENTRIES: Final = 64
"""What each version remembers, at least (PROTOCOL §6): calls, a client's newest operation counted as one."""

RING_RECENT: Final = 16
"""After this many more a new ring is made (ours): until then versions share one, in memory and on the disk."""

RING_ANSWER_BYTES_MAX: Final = 128
"""Answers up to this size are kept in the ring as they are, larger ones as their digest."""

# --- server ---------------------------------------------------------------------------------------------------
REMEMBERED_MACS_MAX: Final = 2048
"""Histories whose MACs are remembered, and as many of those before: 2 KiB each with 64 servers."""

PENDING_REQUESTS_MAX: Final = 4096
"""Requests that wait for a load or an object sync; one more is refused as *busy*."""

PENDING_BYTES_MAX: Final = 128 * 1024 * 1024
"""... or if these requests, or the replies that wait for the disk, take more than this."""

WAITING_REQUESTS_PER_CLIENT_MAX: Final = 1024
"""Of the requests that wait for a load or an object sync, those of one client: others have room beside them."""

WAITING_BYTES_PER_CLIENT_MAX: Final = 32 * 1024 * 1024
"""... and their bytes: two of the greatest size."""

LOADS_PER_REQUEST_MAX: Final = 4 * CACHED_OBJECTS_MIN
"""Waits of one request. It needs one for each object, unless others drive its objects out of the cache again."""

DAMAGED_SHOWN_MAX: Final = 100
"""Damaged objects that a server's status names; each request for one is counted as ``turned-away.damaged``."""

RETRY_AFTER_FAULT_NS: Final = 20_000_000
"""What an exception kept a server from handing over it tries again this much later."""

SET_ASIDE_MAX: Final = 1024
"""Objects that a server sets aside after exceptions of its own; with more it serves none."""

SET_ASIDE_TIMES_MAX: Final = 8
"""So often an object is taken up again from the disk; then it stays out until the server is restarted."""

SYNCS_MAX: Final = 1024
"""Object syncs under way at one server."""

SYNCS_PER_CLIENT_MAX: Final = 64
"""Versions that one client asks for and that wait for a load."""

SYNC_TIMEOUT_NS: Final = 2_000_000_000
"""An object sync that has not ended by then fails, and the request with it."""

SYNC_RETRY_NS: Final = 50_000_000
"""Silence after which an object sync asks further servers."""

LIST_ENTRIES_MAX: Final = 1000
"""Entries of one page of a list of objects."""

LIST_BYTES_MAX: Final = 1024 * 1024
"""Bytes of its entries; one entry of a history at its limit always has room."""

LISTED_BYTES: Final = 16
"""What an entry takes beside its id, its history and its digest."""

FRAME_BYTES_SPARE: Final = 64 * 1024
"""What a page may take beside its entries: a number, a reason."""

LIST_READ_OBJECTS_MAX: Final = 256
"""Objects that a server reads at once for a page; other loads wait meanwhile ..."""

LIST_READ_BYTES_MAX: Final = 1024 * 1024
"""... and about how many bytes; the object that goes beyond is read to its end."""

LIST_READS_MAX: Final = 16
"""Reads for one page, at most. Then it is sent as it is: a client may have no right on most objects."""

LISTS_MAX: Final = 64
"""Pages that a server is putting together at once ..."""

LISTS_PER_PEER_MAX: Final = 4
"""... and those for one client or server."""

LIST_PATIENCE_NS: Final = 5_000_000_000
"""A page that has not come by then is given up, and its server left out ..."""

LIST_AGAIN_NS: Final = 2_000_000_000
"""... for so long."""

LIST_LONGER_MAX: Final = 10_000
"""A list is not believed that has so many entries more ..."""

LIST_LONGER_FACTOR: Final = 4
"""... than so many times the longest other list: a liar may invent ids."""

ADOPTIONS_MAX: Final = 64
"""Objects that a newcomer takes over at once ..."""

ADOPTIONS_AT_ONCE_MAX: Final = 8
"""... of which it begins this number before clients have their turn ..."""

ADOPTIONS_BYTES_MAX: Final = 32 * 1024 * 1024
"""... and the bytes of their versions, beyond which it begins no other."""

INQUIRIES_MAX: Final = 16
"""Objects that a server reads or repairs at once by requests to the others."""

INQUIRIES_WAITING_MAX: Final = 4096
"""Objects that wait for that; with more, a list is not read further."""

INQUIRY_ROUNDS_MAX: Final = 12
"""Rounds of one such attempt; the object then waits for another one."""

INQUIRY_HEEDS_EVERY: Final = 4
"""Each such round heeds what a server shows alone, though it may be invented."""

INQUIRY_PATIENCE_NS: Final = 1_000_000_000
"""What a round waits for answers at most ..."""

INQUIRY_GRACE_NS: Final = 100_000_000
"""... and from the moment at which enough have come."""

INQUIRY_BACKOFF_NS: Final = 20_000_000
"""Shortest pause before a barrier or a copy; it doubles with each round, ..."""

INQUIRY_BACKOFF_NS_MAX: Final = 1_000_000_000
"""... up to this."""

INQUIRY_AGAIN_NS: Final = 500_000_000
"""An object whose attempt has failed waits for so long."""

MENDED_AT_ONCE_MAX: Final = 64
"""Damaged objects that a server takes over again at once; others wait until they are asked for again."""

MENDED_AGAIN_NS: Final = 10_000_000_000
"""A damaged object that nobody has written since is looked at again after this time."""

SCRUB_PASS_NS: Final = 600_000_000_000
"""A server compares its objects with the others' lists this long after it has done so last ..."""

SCRUB_FIRST_NS: Final = 20_000_000_000
"""... and the first time this long after its start, and once more for its index: not all at the same time ..."""

SCRUB_STEP_NS: Final = 100_000_000
"""... in steps ..."""

SCRUB_STEP_OBJECTS: Final = 256
"""... of so many objects."""

SCRUB_REPAIRS_MAX: Final = 4
"""Objects that it reads or repairs at once ..."""

SCRUB_WAITING_MAX: Final = 1024
"""... and so many wait for that; with more, it compares no further."""

SCRUB_LEFT_NS: Final = 500_000_000_000
"""What a client has left unfinished is repaired if nothing has changed for so long: in the next pass."""

SCRUB_TURN_NS: Final = 60_000_000
"""... one server after the other: so long after the last one, each looks whether there is still something to do."""

UNVERIFIED_MAX: Final = 2048
"""Candidates of one client that a server has accepted and nobody has shown to be established; with more it waits.

A client that writes 4,000 new objects a second has three quarters of it open: from then on each is looked at after a
quarter of a second.
"""

LEFT_NS: Final = 10_000_000
"""What a client has left for others to repair keeps it busy for so long ..."""

LEFT_BURST_NS: Final = 2_560_000_000
"""... and it waits while that adds up to more than this: 256 at once, and 100 a second ..."""

LEFT_DEBT_NS_MAX: Final = 30_000_000_000
"""... but never longer than this."""

VERIFY_CALM_NS: Final = 2_000_000_000
"""A candidate is looked at when it has been the latest for this time: before, its client was still at it ...

A client with thousands of calls under way changes each of its objects less than twice a second. When each change was
looked at, that took servers a third of their time.
"""

VERIFY_AFTER_NS: Final = 250_000_000
"""... or for this time, while a client has three quarters of UNVERIFIED_MAX open: it would have to wait ..."""

VERIFY_STEP_NS: Final = 50_000_000
"""... in steps ..."""

VERIFY_OBJECTS_MAX: Final = 512
"""... of so many objects, all in one frame."""

VERIFY_PATIENCE_NS: Final = 1_000_000_000
"""A step waits for answers at most for so long ..."""

VERIFY_GRACE_NS: Final = 20_000_000
"""... and from the moment at which enough have come."""

VERIFY_TIMES: Final = 2
"""What was asked so often and not confirmed is read, with its histories, ..."""

VERIFY_READ_NS: Final = 100_000_000
"""... one object each time this has passed: whoever leaves much is not to keep the servers busy ..."""

VERIFY_AGAIN_NS: Final = 500_000_000
"""... and again after this time ..."""

VERIFY_DOUBLINGS_MAX: Final = 2
"""... which doubles so often; it is repaired if somebody has left it so, and asked about again."""

WANTED_MAX: Final = 256
"""Objects that requests have named and a newcomer has not adopted: it looks at them first."""

WITNESSED_SETS: Final = 64
"""History sets of ordinary requests that a server remembers for audits ..."""

WITNESSED_BYTES_MAX: Final = 1024 * 1024
"""... and about how many bytes of them it tells at once."""

VERSION_BYTES_MAX: Final = STATE_BYTES_MAX + ANSWERS_BYTES_MAX + 1024 * 1024
"""An encoded version: its state, its answers, and room for its ring."""

SYNC_COPIES_BYTES_MAX: Final = 16 * 1024 * 1024
"""Copies from one server that object syncs keep until others have confirmed them.

A lying server could send one for each sync; without room for more, a copy is taken from another server.
"""

KEPT_VERSIONS: Final = 4
"""Versions of pruned candidates kept for slow syncs and repeated requests, at most."""

KEPT_VERSIONS_AGE_NS: Final = 60_000_000_000
"""... and no longer than this, checked when the object is next written."""

KEPT_VERSIONS_BYTES_MAX: Final = 1024 * 1024
"""... and at most this many bytes of one object: four versions of a large state would take 16 MiB."""

CACHED_BYTES_MAX: Final = 128 * 1024 * 1024
"""Objects in a server's memory beside a store, all together. A count alone says nothing: one can have 4 MiB, or 12 with
the versions that its history needs.

The objects of one request stay until it is done, so 64 of the largest ones can take more for a moment.
"""

PACKED_BYTES_MAX: Final = 64 * 1024
"""An object larger than this is read from the store again rather than packed: to pack 12 MiB takes 0.1 s."""

# --- client ---------------------------------------------------------------------------------------------------
QUEUED_CALLS_MAX: Final = 10_000
"""Calls of one client that may wait in its queues; one more is refused."""

KNOWN_OBJECTS_MAX: Final = 10_000
"""Objects whose histories a client caches; of the others it learns again in one more round trip."""

STRIKES_MAX: Final = 3
"""A server that did this often what no honest server does is suspected: it is tried last."""

ALONE_MAX: Final = 8
"""A server that held the newest candidate alone this often more than not is avoided: it is tried last, too."""

LONG_HISTORY_BYTES: Final = 16 * 1024
"""A longer history counts as if its server had stood alone several times ..."""

LONG_HISTORY_TIMES: Final = 3
"""... namely this many ..."""

LONG_HISTORY_FACTOR: Final = 4
"""... if it is this many times as long as those of all but b servers."""

REASON_CHARACTERS_MAX: Final = 300
"""Of the text with which a server refuses a request, a caller sees no more."""

REPAIRS_UNTIL_ALL_ASKED: Final = 8
"""One in so many repairs of a call waits for what all servers show, not just q of them.

Story: (1) a client and a liar lead three of five honest servers far ahead. (2) The liar says that it accepts all there
is, and shows the initial history. (3) Among the q that are asked first are the liar and two of the three: what q reach
is the beginning, what r reach is the other two, and each barrier goes one step above those. The third shows the way.
Likewise where it is the liar that q servers accept a candidate with, and by its history they have not.
"""

PROBE_AFTER_NS: Final = 50_000_000
"""Silence after which further servers are asked, at least; four smoothed round trips if that is longer."""

PROBE_AFTER_NS_MAX: Final = 2_000_000_000
"""... and at most."""

RESEND_AFTER_NS: Final = 1_000_000_000
"""Silent servers are sent a request again this often; at once only if their connection was lost and is back."""

RECONNECTIONS_AT_ONCE: Final = 3
"""... this often in one round: a connection that comes and goes must not multiply requests."""

TRIAL_AFTER_NS: Final = 1_000_000_000
"""A server that was silent is sent a request beside the others' this often, to see whether it is back."""

RETURN_EVERY_NS: Final = 10_000_000
"""A server whose connection is back is tried with one more object this often, until it has proved useful ..."""

RETURN_OBJECTS_MAX: Final = 64
"""... and with this many of the objects last used."""

BACKOFF_NS: Final = 500_000
"""Shortest back-off under contention; half a round trip if that is longer. Doubles, times 0.5 to 1.5 (PROTOCOL §6)."""

BACKOFF_DOUBLINGS_MAX: Final = 7
"""A call's back-offs double this often."""

BACKOFF_NS_MAX: Final = 200_000_000
"""Longest back-off before its random factor ..."""

RETRY_ROUND_TRIPS_MAX: Final = 4
"""... unless this many round trips are longer, before a new attempt ..."""

REPAIR_ROUND_TRIPS_MAX: Final = 16
"""... or this many before a barrier or copy: a repair takes three, and a shorter pause lets no client finish."""

LOOK_AFTER_ROUND_TRIPS: Final = 8
"""In a longer back-off a client looks after this time what has happened, and again after twice that, and so on."""

# --- editions of the cluster file -------------------------------------------------------------------------------
EDITION_BYTES_MAX: Final = 256 * 1024
"""What a cluster file says of the servers, as they hand it on: 4 KiB for each of 64, which is several times enough."""

EDITION_NUMBER_MAX: Final = 2**31 - 1
"""The greatest number of an edition."""

EDITION_PATIENCE_NS: Final = 2_000_000_000
"""A server that has announced a newer edition and does not hand it over for so long: another one is asked ..."""

EDITION_AGAIN_NS: Final = 10_000_000_000
"""... and it again after this time at the earliest: a liar that announces and never delivers costs a frame."""
