"""A client for real: the protocol's session between a transport and the clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fivefold.cluster import Configuration, Credentials, Identity, successor_of
from fivefold.errors import CallerError, ConfigurationError, PeerViolation, Unavailable
from fivefold.node.codes import CODES, CodeTable
from fivefold.node.editions import Editions
from fivefold.node.sayings import charge_of, saying_frame
from fivefold.node.status import STATUS_REPLY, ServerStatus, decode_status, status_frame
from fivefold.protocol.client import ClientActions, Outcome, Pending, Session
from fivefold.protocol.editions import Edition, is_about_editions
from fivefold.protocol.operations import Operation
from fivefold.transport import Link, StreamTransport, Transport

if TYPE_CHECKING:  # an extra
    from fivefold.node.tracing import ClientTracer

ERROR: Final = "an error in this client: please report it"

RETRY_NS: Final = 20_000_000
"""So long after an exception has come out of the session it is woken."""

LAST_SERVERS_S: Final = 0.05
"""How long to wait for the rest when a quorum is connected. A client that does not would ask a server beyond an
object's preferred quorum in place of the slowest to connect; that one may never have seen the object and accepts the
update on its initial state, which takes a barrier to mend."""

_LOOK_S: Final = 0.01
"""How often a question to a server looks whether its link is up by now."""

TELL_EVERY_NS: Final = 500_000_000
"""How often a client that doubts a server looks whether it holds proof."""

CLOSED: Final = "this connection is closed and nothing was changed: make calls within the block of connect()"
"""What a call gets that comes after the end."""


log = logging.getLogger("fivefold.client")


class ClientNode:
    """One client identity's connections to all servers.

    Attributes:
        session: the protocol.
        editions: the cluster file in use; None for a cluster without one.
    """

    def __init__(
        self,
        session: Session,
        transport: Transport,
        codes: CodeTable | None = None,
        *,
        member: tuple[Configuration, Identity] | None = None,
        tracer: ClientTracer | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Nothing is opened yet.

        Args:
            session: the protocol.
            transport: the way to the servers.
            codes: hears what the servers run; a server that has not said so is not up.
            member: the cluster file, from which the transport knows the servers, and the own identity. With it the
                client follows the servers to later editions of the file.
            tracer: hears of calls and of their rounds.
            clock: in ns.
        """
        self.session = session
        self._tracer = tracer
        self._said: set[tuple[int, str]] = set()
        self._tell_ns = 0
        self.editions: Editions | None = None
        self._on_moved: Callable[[Configuration], None] | None = None
        if member is not None:
            configuration, self._identity = member
            self.editions = Editions(
                configuration,
                adopt=self._switch,
                send=lambda server, frame: self._links[server].send(frame),
                reachable=lambda: [link.server for link in self._links if link.is_up],
                clock=clock,
            )
        self._codes = codes
        self._transport = transport
        self._clock = clock
        self._links: list[Link] = []
        self._futures: dict[int, asyncio.Future[Outcome]] = {}
        self._status_futures: dict[int, asyncio.Future[ServerStatus]] = {}
        self._status_numbers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self, timeout_s: float, *, needs_quorum: bool = True) -> None:
        """Connect to all servers; return once a quorum is connected, and the others are or had a moment to be.

        With ``needs_quorum=False`` (diagnosis), return when all are connected or time is up.

        Raises:
            Unavailable: fewer servers than a quorum could be reached in time, or let us in; says why.
        """
        self._loop = asyncio.get_running_loop()
        n = self.session.knowledge.quorums.n
        self.session.standing.down = set(range(n))
        self._links[:] = [self._link(server) for server in range(n)]
        for link in self._links:
            link.start()
        try:
            await self._until_connected(timeout_s, needs_quorum)
        except BaseException:
            await self.close()  # also if we are cancelled: what was never handed over, nobody else will close
            raise

    async def _until_connected(self, timeout_s: float, needs_quorum: bool) -> None:
        quorums = self.session.knowledge.quorums
        try:
            async with asyncio.timeout(timeout_s):
                while needs_quorum and self._count_up() < quorums.q:
                    self._give_up_if_refused()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._until_up(quorums.q)
                await self._until_up(0 if needs_quorum else quorums.n)
        except TimeoutError:
            up = self._count_up()
            if up >= quorums.q or not needs_quorum:  # the last one may come up in the turn in which time is up
                return
            reasons = failures_text(self.failures)
            raise Unavailable(
                f"only {up} of the {quorums.q} servers needed could be reached: start them, or check the addresses "
                f"({reasons})"
            ) from None
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SERVERS_S):
                await self._until_up(quorums.n)

    def _give_up_if_refused(self) -> None:
        """Too few servers are left if these refuse us: waiting would only hide the reason."""
        quorums = self.session.knowledge.quorums
        refused = {link.server: link.failure or "" for link in self._links if link.is_refused and not link.is_up}
        if len(refused) > quorums.n - quorums.q:
            raise Unavailable(
                f"{len(refused)} of the {quorums.n} servers refuse this connection, and {quorums.q} are needed "
                f"({failures_text(refused)})"
            )

    async def _until_up(self, count: int) -> None:
        while self._count_up() < count:
            self._changed.clear()
            await self._changed.wait()

    async def until_announced(self, count: int) -> None:
        """Wait until servers have said more often than ``count`` times what they run."""
        assert self._codes is not None, "this client listens to announcements"
        while self._codes.count <= count:
            self._changed.clear()
            await self._changed.wait()

    def _count_up(self) -> int:
        heard = None if self._codes is None else self._codes.heard
        return sum(link.is_up and (heard is None or link.server in heard) for link in self._links)

    def _link(self, server: int) -> Link:
        session, clock = self.session, self._clock

        def hear(frames: list[bytes]) -> None:
            if links[server] is not link:
                return  # another server is in its place, or at another address
            for frame in frames:
                if frame[0] >= STATUS_REPLY:
                    frames = self._only_replies(server, frames)
                    break
            try:
                actions = session.receive(clock(), server, *frames)
            except Exception as error:
                self._recover(error)
            else:
                self._perform(actions)

        def up() -> None:
            self._give(session.connected, server)
            self._changed.set()

        def down() -> None:
            if links[server] is link:
                self._lose(server)

        links = self._links
        link = self._transport.link(server, on_frames=hear, on_up=up, on_down=down)
        return link

    def _lose(self, server: int) -> None:
        if self._codes is not None:
            self._codes.lose(server)
        self._give(self.session.disconnected, server)

    def _switch(self, new: Configuration) -> None:
        """Use a later edition of the cluster file, which servers have handed over."""
        assert self.editions is not None, "only a client with a file follows another"
        assert isinstance(self._transport, StreamTransport), "and knows the servers from it"
        old = self.editions.configuration
        self._transport.use(Credentials(new, self._identity))
        self.editions.use(new)
        for before, after in zip(old.servers, new.servers, strict=True):
            if before != after:
                self._replace_link(after.index)
            if before.certificate != after.certificate:
                self._said = {said for said in self._said if said[0] != after.index}
        self._give(self.session.switch, self.editions.edition)
        self._changed.set()
        self._maybe_leave(self.editions)

    def follow(self, on_moved: Callable[[Configuration], None]) -> None:
        """Have ``on_moved`` called once with the cluster that has taken this one's place, when that is certain (M4)."""
        self._on_moved = on_moved
        if self.editions is not None:
            self._maybe_leave(self.editions)

    def _maybe_leave(self, editions: Editions) -> None:
        if self._on_moved is None or not editions.edition.has_moved or not editions.announced.is_agreed:
            return
        on_moved, self._on_moved = self._on_moved, None
        try:
            new = successor_of(editions.configuration)
        except ConfigurationError as error:
            log.error("the cluster has moved, and its file does not say where to: %s", error)
        else:
            assert new is not None, "an edition that has moved names the new cluster"
            on_moved(new)

    def _replace_link(self, server: int) -> None:
        old = self._links[server]
        self._links[server] = self._link(server)
        if old.is_up:
            self._lose(server)
        closing = asyncio.get_running_loop().create_task(old.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._links[server].start()

    async def close(self) -> None:
        """Give up what is under way and disconnect; calls are refused from now on."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.editions is not None:
            self.editions.close()
        await asyncio.gather(*(link.close() for link in self._links), *self._closing)
        for ticket in list(self._futures):
            self._give(self.session.abandon, ticket)

    @property
    def transport(self) -> Transport:
        """Its way to the servers."""
        return self._transport

    @property
    def servers_up(self) -> list[bool]:
        """Which servers are connected."""
        return [link.is_up for link in self._links]

    @property
    def failures(self) -> dict[int, str]:
        """Why a server is not connected, for each that is not."""
        return {link.server: link.failure or "silent" for link in self._links if not link.is_up}

    # --- calls ------------------------------------------------------------------------------------------------

    def call(
        self, operation: Operation, *, is_query: bool, deadline_s: float, is_fixed: bool = False
    ) -> asyncio.Future[Outcome]:
        """Start one operation; its outcome comes by the deadline at the latest.

        A caller that stops waiting, because its task was cancelled, says so with ``give_up``.

        Raises:
            QueueFull: too many calls wait already.
            CallerError: ``close`` has been called, so nothing would ever come of it.
        """
        assert self._loop is not None, "start() comes first"
        if self._is_closed:
            raise CallerError(CLOSED)
        now_ns = self._clock()
        future: asyncio.Future[Outcome] = self._loop.create_future()
        ticket, actions = self.session.call(
            now_ns, operation, is_query=is_query, deadline_ns=now_ns + int(deadline_s * 1e9), is_fixed=is_fixed
        )
        self._futures[ticket] = future
        if self._tracer is not None:
            self._tracer.called(ticket, operation, is_query=is_query)
        self._perform(actions)
        return future

    def give_calls_away(self) -> list[tuple[Pending, asyncio.Future[Outcome]]]:
        """All calls that are under way or wait, for another node; nothing becomes of them here."""
        calls = self.session.leave()
        return [(pending, self._futures.pop(pending.ticket)) for pending in calls if pending.ticket in self._futures]

    def take_calls(self, calls: Sequence[tuple[Pending, asyncio.Future[Outcome]]]) -> None:
        """Go on with calls of another node."""
        tickets, actions = self.session.take(self._clock(), [pending for pending, _ in calls])
        self._futures.update(zip(tickets, [future for _, future in calls], strict=True))
        if self._tracer is not None:
            for ticket, (pending, _) in zip(tickets, calls, strict=True):
                self._tracer.called(ticket, pending.operation, is_query=pending.is_query)
        self._perform(actions)

    def give_up(self, future: asyncio.Future[Outcome]) -> Outcome | None:
        """End a call that nobody waits for any more as if its deadline had come, and say what is known of it then."""
        for ticket, each in self._futures.items():
            if each is future:
                del self._futures[ticket]
                actions = self.session.abandon(self._clock(), ticket)
                self._perform(actions)
                return next((finished.outcome for finished in actions.finished if finished.ticket == ticket), None)
        return future.result() if future.done() and not future.cancelled() else None

    async def status(self, server: int, timeout_s: float) -> ServerStatus | None:
        """What a server says about itself; None if it does not answer in time, and at once if it cannot be reached.

        A link that has not been tried yet is waited for.
        """
        assert self._loop is not None, "start() comes first"
        link, end_s = self._links[server], self._loop.time() + timeout_s
        while not link.is_up:
            if link.failure is not None or self._loop.time() >= end_s:
                return None
            await asyncio.sleep(min(_LOOK_S, timeout_s))
        self._status_numbers += 1
        number = self._status_numbers
        future: asyncio.Future[ServerStatus] = self._loop.create_future()
        self._status_futures[number] = future
        try:
            link.send(status_frame(number))
            async with asyncio.timeout_at(end_s):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._status_futures[number]

    # --- driving the session ----------------------------------------------------------------------------------

    def _only_replies(self, server: int, frames: list[bytes]) -> list[bytes]:
        """The replies among the frames; the others are taken care of."""
        for frame in frames:
            if frame[0] == STATUS_REPLY:
                self._on_status(server, frame)
            elif frame[0] == CODES:
                self._on_codes(server, frame)
            elif is_about_editions(frame):
                self._on_edition(server, frame)
        return [f for f in frames if f[0] not in (STATUS_REPLY, CODES) and not is_about_editions(f)]

    def _on_edition(self, server: int, frame: bytes) -> None:
        if self.editions is None:
            return
        try:
            name = self.editions.hear(server, frame)
            if name is not None:
                self._perform(self.session.announced(self._clock(), server, *name))
                self._maybe_leave(self.editions)
        except PeerViolation:
            self.session.standing.strike(server, "malformed")

    def _on_codes(self, server: int, frame: bytes | None = None) -> None:
        """An announcement has come, or the time to read one that came too early."""
        if self._codes is None or self._loop is None:
            return
        try:
            if frame is None:
                wait_ns = self._codes.take_late(self._clock(), server)
            else:
                wait_ns = self._codes.take(self._clock(), server, frame)
        except PeerViolation:
            self.session.standing.strike(server, "malformed")
        else:
            if wait_ns is not None:
                self._loop.call_later(wait_ns / 1e9, self._on_codes, server)
        self._changed.set()

    def _on_status(self, server: int, frame: bytes) -> None:
        try:
            number, status = decode_status(frame)
        except PeerViolation:
            self.session.standing.strike(server, "malformed")
            return
        future = self._status_futures.get(number)
        if future is not None and not future.done():
            future.set_result(status)

    def _give(self, act: Callable[..., ClientActions], *arguments: int | Edition) -> None:
        try:
            actions = act(self._clock(), *arguments)
        except Exception as error:
            self._recover(error)
        else:
            self._perform(actions)

    def _recover(self, error: Exception) -> None:
        """An exception of our own has come out of the session: what it has to do is still to be done, so wake it."""
        log.error(ERROR, exc_info=error)
        if self._loop is not None:
            self._wake_at(self._clock() + RETRY_NS)

    def _perform(self, actions: ClientActions) -> None:
        links = self._links
        if self._tracer is not None:
            self._tracer.sent(actions.send)
            for finished in actions.finished:
                self._tracer.finished(finished.ticket, finished.outcome)
        for ask in actions.send:
            links[ask.server].send(ask.frame)
        if actions.finished and self.session.standing.is_anybody_doubted:
            self._maybe_tell()
        for finished in actions.finished:
            future = self._futures.pop(finished.ticket, None)
            if future is not None and not future.done():
                future.set_result(finished.outcome)
        for fault in actions.faults:
            log.error(ERROR, exc_info=fault)
        at_ns = actions.wake_at_ns
        if at_ns is not None and (self._timer is None or at_ns < self._timer_ns):
            self._wake_at(at_ns)

    def _maybe_tell(self) -> None:
        """Log what speaks against a server, once, and hand it to the others for their operators."""
        now_ns = self._clock()
        if now_ns < self._tell_ns:
            return
        self._tell_ns = now_ns + TELL_EVERY_NS
        for each in self.session.knowledge.evidence():
            verdict, what = charge_of(each)
            if verdict and (each.server, verdict) not in self._said:
                self._said.add((each.server, verdict))
                log.warning("server %d %s: %s", each.server, verdict, what)
                self.say(each.server, what)

    def say(self, server: int, what: str) -> None:
        """Tell all servers what speaks against one of them; they show it as said by this client."""
        for link in self._links:
            link.send(saying_frame(server, what))

    def _wake_at(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = at_ns
        assert self._loop is not None, "a session has alarms only after a call"
        self._timer = self._loop.call_later(max(0, at_ns - self._clock()) / 1e9, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self.editions is not None and self.session.knowledge.following.edition.name != self.editions.edition.name:
            self._give(self.session.switch, self.editions.edition)  # an exception has kept it from that
        self._give(self.session.wake)


def failures_text(failures: Mapping[int, str]) -> str:
    """Why servers are not connected, for people: those with the same reason together."""
    servers: dict[str, list[int]] = {}
    for server, failure in sorted(failures.items()):
        servers.setdefault(failure, []).append(server)
    return "; ".join(
        f"server{'s' * (len(those) > 1)} {', '.join(map(str, those))}: {failure}" for failure, those in servers.items()
    )
