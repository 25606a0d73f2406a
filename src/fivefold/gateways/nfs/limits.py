"""Bounds of the NFS gateway, with their units and the reasons for their values."""

from __future__ import annotations

from typing import Final

CHUNK_BYTES: Final = 64 * 1024
"""One piece of a file. Every write in it rewrites it at each server; every piece of a large file costs a call."""

SMALL_BYTES_MAX: Final = 16 * 1024
"""The data of a file up to this size lies in its inode. It costs no object of its own; every change rewrites it."""

TRANSFER_BYTES_MAX: Final = 512 * 1024
"""Data of one READ or WRITE: nine chunks at most, and well below what one operation may carry (1 MiB)."""

FILE_BYTES_MAX: Final = 1 << 44
"""16 TiB: a larger file is NFS3ERR_FBIG."""

NAME_BYTES_MAX: Final = 255
"""One name, as in every Unix file system."""

TARGET_BYTES_MAX: Final = 4096
"""Target of a symbolic link, and path of MNT."""

LINKS_MAX: Final = 65_000
"""Names of one file, and subdirectories of one directory."""

BUCKET_LOAD: Final = 48
"""Entries in a bucket of a directory, on the average: more, and the directory gets another bucket."""

SMALL_ENTRIES_MAX: Final = 128
"""A directory with up to so many entries has no bucket: they lie in its inode."""

BUCKET_ENTRIES_MAX: Final = 2048
"""Entries in one bucket. Only names that were chosen to meet in one bucket get there: NFS3ERR_NOSPC."""

LEVEL_MAX: Final = 24
"""2**24 buckets: a directory with more entries than that many loads of 48 only has fuller ones."""

RANGES_MAX: Final = 64
"""Ranges of written chunks, and of emptied ones, that an inode keeps apart."""

GROUP: Final = 15
"""Objects of one operation beside the inode that it is about; one operation takes 16."""

RECORD_BYTES_MAX: Final = TRANSFER_BYTES_MAX + 8 * 1024
"""One RPC message: a WRITE of the greatest size and its head. More ends the connection."""

FRAGMENTS_MAX: Final = 64
"""Fragments of one RPC message: one is usual."""

CONNECTIONS_MAX: Final = 64
"""Clients at once. One more is turned away."""

CALLS_PER_CONNECTION_MAX: Final = 64
"""Calls of one connection that are under way; with more, nothing more is read from it."""

INPUT_BYTES_PER_CONNECTION_MAX: Final = 8 * 1024 * 1024
"""... and their bytes."""

RUNNING_CALLS_MAX: Final = 4096
"""Calls under way of all connections, those of clients that have gone included; one more is told to come back ..."""

RUNNING_BYTES_MAX: Final = 128 * 1024 * 1024
"""... or if they take more than this."""

OUTPUT_BYTES_HIGH: Final = 4 * 1024 * 1024
"""Answers that a client has not taken; with more, nothing more is read from it."""

ANSWERS_MAX: Final = 4096
"""Answers kept for calls that are sent again ..."""

ANSWERS_BYTES_MAX: Final = 8 * 1024 * 1024
"""... and their bytes."""

ANSWERS_AGE_S: Final = 600.0
"""... and how long: a client that gets no answer sends its call again within a minute or two."""

HINTS_MAX: Final = 65_536
"""Guesses at which objects a name leads to. A wrong one costs a round trip, never a wrong answer."""

ATTEMPTS_MAX: Final = 64
"""How often an operation is tried with better guesses before the client is told to come back (NFS3ERR_JUKEBOX)."""

IDS_AT_ONCE: Final = 256
"""File ids that a gateway takes from the counter at once."""

SECONDS_MAX: Final = 2**32 - 1
"""The last second of ``nfstime3``: in the year 2106."""

RESOLVE_PAUSE_S: Final = 1.0
"""Pause between two attempts to learn what became of an update that was made when a quorum was lost."""

DIRTY_IDS_MAX: Final = 64
"""Freed files whose chunks may wait to be emptied or overwritten; of more the oldest are emptied at once ..."""

DIRTY_AGE_S: Final = 5.0
"""... and of all that have waited so long."""

FREE_IDS_MAX: Final = 65_536
"""Free ids that a gateway remembers: the search for them pauses there."""

DEPTH_MAX: Final = 4096
"""Directories above one another that a rename climbs to see that there is no cycle."""

COPIES_AT_ONCE: Final = 8
"""Files that a copy of a whole tree works on side by side."""

LIST_AT_ONCE: Final = 256
"""Entries of a directory that such a copy reads at a time."""

FUSE_CALL_S: Final = 90.0
"""A call by FUSE that takes longer, since a quorum is missing, ends with ETIMEDOUT."""

FUSE_OPEN_MAX: Final = 65_536
"""Files that are open by FUSE at once."""
