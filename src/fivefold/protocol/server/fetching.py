"""Versions that requests wait for, from the servers that hold them (object sync, PROTOCOL §4.5)."""

from __future__ import annotations

from collections.abc import Callable

from fivefold.protocol.actions import Channel
from fivefold.protocol.messages import BUSY
from fivefold.protocol.records import SyncReply
from fivefold.protocol.server.activity import Activity
from fivefold.protocol.server.admission import VersionKey, Work
from fivefold.protocol.server.examination import Examination
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replies import Replies
from fivefold.protocol.server.shares import Shares
from fivefold.protocol.server.synchronise import SyncTable


class Fetching:
    """Has requests wait for versions, and go on."""

    def __init__(
        self,
        syncs: SyncTable[Work],
        shares: Shares,
        replies: Replies,
        outbox: Outbox,
        activity: Activity,
        examination: Examination,
        resume: Callable[[int, Work], None],
        fault: Callable[[str, Channel | None, Exception], None],
    ) -> None:
        """``resume`` goes on with a request, ``fault`` notes what was raised: neither takes others' work with it."""
        self._syncs, self._shares, self._replies, self._outbox = syncs, shares, replies, outbox
        self._activity, self._examination, self._resume, self._fault = activity, examination, resume, fault

    def start(self, now_ns: int, work: Work, key: VersionKey) -> None:
        """Wait for a version, together with everyone else who waits for it."""
        if self._syncs.is_full:
            self._replies.turn_away(work, BUSY, "syncs-full", "too many versions are being fetched")
            return
        if not self._shares.enter(work):
            self._replies.refuse_to_wait(work)
            return
        histories = next(each for each in work.culled.sets if each.object_id == key[0])
        self._outbox.send += self._syncs.wait(now_ns, work, key, histories)

    def receive(self, now_ns: int, server: int, reply: SyncReply) -> None:
        """Count one server's answer; go on once the version is certain, or nobody can have it any more."""
        asks, sync = self._syncs.receive(server, reply)
        self._outbox.send += asks
        if sync is None:
            return
        waiting = self._syncs.end(sync)
        if sync.version is None:
            self._give_up(waiting)
            return
        self._replies.counters["sync.done"] += 1
        self._activity.syncs.add(now_ns - sync.began_ns)
        for work in waiting:
            try:
                work.fetched[sync.key] = sync.version
                work.absent.clear()
                self._shares.leave(work)
                self._resume(now_ns, work)
            except Exception as error:
                self._fault("going on with a request that waited for a version", work.channel, error)

    def wake(self, now_ns: int) -> None:
        """Time has come to ask further servers for a version, or to give a sync up."""
        for sync in self._syncs.due(now_ns):
            try:
                if sync.deadline_ns > now_ns:
                    self._outbox.send += self._syncs.ask_after_silence(now_ns, sync)
                    continue
                waiting = self._syncs.end(sync)
            except Exception as error:
                self._fault("asking for a version", None, error)
                continue
            self._give_up(waiting)

    def _give_up(self, waiting: list[Work]) -> None:
        for work in waiting:
            try:
                self._shares.leave(work)
                self._examination.do_without_version(work)
            except Exception as error:
                self._fault("answering a request whose version nobody has", work.channel, error)
