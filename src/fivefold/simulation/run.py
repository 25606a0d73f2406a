"""One run of one plan: safety while everything goes wrong, then liveness once it is healed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fivefold.checker import Observation, Verdict, check
from fivefold.checker import Outcome as Seen
from fivefold.protocol.actions import Write
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import ring_key
from fivefold.simulation.announcers import ANNOUNCING, Announcer
from fivefold.simulation.chains import Violation
from fivefold.simulation.clients import ClientHost, Task
from fivefold.simulation.disk import Disk
from fivefold.simulation.events import Happened, Healed, Raised, Replaced, Violated, trace_of
from fivefold.simulation.executors import TroubledExecutor
from fivefold.simulation.explain import Explainer
from fivefold.simulation.faults import OF_CLIENTS, TURNING, Stage, crash, heal, schedule
from fivefold.simulation.hostile import CARRYING, HOSTILITIES, LEAVINGS, Hostile, right_of
from fivefold.simulation.injection import CLIENT, SERVER, Injector
from fivefold.simulation.judges import HISTORY_BYTES_JUDGED, Judges
from fivefold.simulation.leads import write_leads
from fivefold.simulation.leftovers import Leftovers
from fivefold.simulation.liars import HONEST, LyingHost, TwinHost
from fivefold.simulation.lies import Liar
from fivefold.simulation.moving import Move
from fivefold.simulation.network import Connection, Network
from fivefold.simulation.plan import SECOND, Plan, Weather, liveness_ns, one_of_each, round_ns
from fivefold.simulation.rack import client_id
from fivefold.simulation.replacement import Book, Member
from fivefold.simulation.rights import Rules
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.successor import Successor
from fivefold.simulation.villains import Villain
from fivefold.simulation.watch import Signature, Watch
from fivefold.simulation.workload import TOYS, Workload
from fivefold.simulation.world import World

SCHEMING = (*HOSTILITIES, *LEAVINGS, CARRYING)
"""Strategies of malevolent clients with rights of their own."""

PROBE_NS = 60 * SECOND
PROBE_ROUNDS = 300
"""What one last query and update of every object may take, one client at work at a time; the longer of the two."""

STANDING_NS = 120 * SECOND
"""Virtual time after healing by which every newcomer must be in standing."""

QUIET_NS = 10 * SECOND
"""Virtual time after which a server that nobody asks anything has nothing left to do."""

TURNED = ("anything", "anything", "spoiling", "outbidding", "promising")
"""What a server does that begins to lie in a run."""

CHECK_STEPS_MAX = 300_000
"""Steps of the history checker; histories that need more are counted as undecided."""


Host = TypeVar("Host", bound=ServerHost)


class Report(Struct, frozen=True):
    """What came of a run.

    Attributes:
        plan: what was run.
        rule: the name of what went wrong; empty if nothing did ...
        failure: ... and a sentence on it; None.
        digest: of everything that happened.
        operations_count: operations of correct clients that ended.
        simulated_ns: virtual time that passed.
        counters: faults, repairs, rejections and outcomes by kind.
        events: what happened, and what it means, if the run was to keep them.
        history: what the callers saw.
    """

    plan: Plan
    rule: str
    failure: str | None
    digest: str
    operations_count: int
    simulated_ns: int
    counters: dict[str, int]
    events: tuple[Happened, ...]
    history: tuple[Observation, ...]

    @property
    def trace(self) -> tuple[str, ...]:
        """The events in lines for people."""
        return trace_of(self.events)


class Run:
    """A cluster, its clients and its weather, put together from a plan."""

    def __init__(self, plan: Plan, workload: Workload = TOYS, *, is_traced: bool = False) -> None:
        """Put everything in its place at time 0."""
        self.plan, self.workload = plan, workload
        self.world = World(plan.seed, is_traced=is_traced)
        self.network = Network(self.world, plan.weather)
        self.quorums = QuorumSystem(plan.n, plan.t, plan.b)
        self.book = Book(plan.n, is_handed_on=plan.is_handed_on)
        self.retired: list[ServerHost] = []
        self._turning = {server for fault in plan.faults if fault.kind == TURNING for server in fault.targets}
        self._is_replacing = any(fault.kind.startswith("replacement") for fault in plan.faults)
        self.watch = Watch(self.quorums, len(plan.liars), self.world.tell, self.book)
        self.watch.is_noisy = plan.is_noisy
        if plan.is_judged:
            self.watch.history_bytes_max = HISTORY_BYTES_JUDGED
        self.leftovers = self._leftovers()
        self.liars: dict[int, Liar] = {}
        self._unknown: dict[str, bytes] = {}
        lying = dict(plan.liars)
        self.servers = [self._server(index, lying.get(index)) for index in range(plan.n)]
        write_leads(plan.leads, [server.disk for server in self.servers])
        self.book.hosts = {server.index: server for server in self.servers}
        self.book.lies_since = dict.fromkeys(lying, 1)
        # One client more than planned: it comes last, alone.
        make = partial(ClientHost, self.world, self.book, self.quorums, workload, tolerated=plan.tolerated)
        self.clients = [make(index=i, is_helping=i in plan.helping) for i in range(plan.clients + 1)]
        harmed = {server for fault in plan.faults for server in fault.targets if fault.kind not in OF_CLIENTS}
        self.judges = Judges(self.watch, self.quorums, self.liars, harmed)
        self._listen_to_clients()
        self.network.far_ns = {plan.n + client: far_ns for client, far_ns in enumerate(plan.far_ns)}
        self.network.on_reset = self._reset
        names = sorted({ObjectId(name) for call in plan.calls for name in call.objects})
        machines = plan.n + len(self.clients)
        self.villains = [
            (Hostile if strategy in SCHEMING else Announcer if strategy in ANNOUNCING else Villain)(
                self.world,
                self.servers,
                self.watch,
                self.quorums,
                index=index,
                machine=machines + index,
                strategy=strategy,
                names=names,
                liars=self.liars,
            )
            for index, strategy in enumerate(plan.villains)
        ]
        self.watch.names = {client.id: f"c{client.index}" for client in self.clients}
        self.watch.names |= {villain.id: f"villain {villain.index}" for villain in self.villains}
        if is_traced:
            everybody = [(client.machine, client.id) for client in self.clients]
            everybody += [(villain.machine, villain.id) for villain in self.villains]
            explainer = Explainer(self.world, self.quorums, dict(everybody), self.workload.executor)
            explainer.liars = frozenset(lying)
            explainer.evidence = {client.machine: client.evidence for client in self.clients}
        machines += len(self.villains)
        self.move = self._move(machines) if plan.is_moved else None
        self.stage = self._stage(machines + plan.is_moved)

    def _move(self, machine: int) -> Move:
        """Who seals and copies the cluster; and the one to which it hands over, if the plan has one."""
        move = Move(self.world, self.book, self.quorums, self.watch, machine)
        if self.plan.successor:
            new = move.successor = Successor(self.world, self.plan, self.workload, self.watch, self.clients)
            for client in self.clients:
                client.successor = new.book, new.quorums
        return move

    def _stage(self, machines: int) -> Stage:
        hosts, deeds = (self.servers, self.clients), (self._replace, self._turn)
        return Stage(self.world, self.network, *hosts, *deeds, machines, self.plan, self.move)

    def _leftovers(self) -> Leftovers:
        """Give malevolent clients their rights; what they leave is judged."""
        villains = [(client_id(f"v{index}"), index, each) for index, each in enumerate(self.plan.villains)]
        self.watch.rights = {name: right_of(index, each) for name, index, each in villains if each in SCHEMING}
        leaving = [name for name, _, each in villains if each in LEAVINGS]
        return Leftovers(self.watch, self.plan.unverified_max or 0, leaving, len(self.plan.liars))

    def _listen_to_clients(self) -> None:
        plan = self.plan
        for client in self.clients:
            client.on_end = self._ended
            client.on_start = self.watch.issued.add
            if plan.injected:
                client.injector = self._injector_of(client)
            if plan.is_judged:
                client.on_ask, client.on_frame = self.judges.asked, self.judges.heard
                client.on_forgotten = self.judges.forgotten

    def _replace(self, slot: int, how: str) -> None:
        """A newcomer in a slot, unless that is refused (R9); its predecessor ends, or runs on."""
        book, old = self.book, self.servers[slot]
        catching_up = [s for s in self.servers if s.index != slot and not s.machine.progress.is_standing]
        if len(catching_up) + 1 > self.plan.t:
            return
        if how == "twin" and isinstance(old, LyingHost) and old.strategy != HONEST:
            how = "lying"
        member = book.replace(slot)
        self.world.tell(Replaced(slot, book.newest, how))
        self.world.counters[f"replaced.{how}"] += 1
        if how == "crashed":
            crash(self.stage, slot)
            old.member.is_ended = True
        self.retired.append(old)
        host = self._benign(slot, member)
        self.servers[slot] = host
        book.hosts[member.number] = host
        host.announce()

    def _turn(self, slot: int) -> None:
        """A server begins to lie, if the liars that there were have been replaced, and nobody counts them any more."""
        book, host = self.book, self.servers[slot]
        lying = sum(book.lies(identity, book.newest) for identity in book.file(book.newest))
        used = [*(server.member.uses for server in self.servers if server.is_up), *(c.uses for c in self.clients)]
        if lying >= self.plan.b or not isinstance(host, LyingHost) or min(used) < book.newest:
            return
        host.strategy = host.liar.random.choice(TURNED)
        self.world.counters[f"turned.{host.strategy}"] += 1
        host.disk.on_commit, host.on_reply = (lambda writes: None), None
        self.liars[slot] = host.liar
        self.judges.liars |= {slot}
        book.lies_since[host.member.number] = book.newest
        self.watch.chains.reconsider()

    def _host(self, kind: type[Host], index: int, name: str = "disk", member: Member | None = None) -> Host:
        plan, world = self.plan, self.world
        weather = plan.weather
        return kind(
            world,
            self.network,
            Disk(world, world.stream(f"{name}/{index}"), commit_ns=weather.commit_ns, load_ns=weather.load_ns),
            index=index,
            quorums=self.quorums,
            executor=TroubledExecutor(self.workload.executor, world.stream(f"trouble/{index}"), index),
            rules=Rules(self.watch.rights),
            cached_objects_max=plan.cached_objects_max,
            unverified_max=plan.unverified_max,
            is_helping=bool(plan.helping),
            book=self.book,
            member=member,
        )

    def _server(self, index: int, strategy: str | None) -> ServerHost:
        if strategy is None:
            return self._benign(index)
        plan = self.plan
        self.world.counters[f"liar.{strategy}"] += 1
        self.liars[index] = Liar(index, self.world.stream(f"liar/{index}"), self.watch, n=plan.n, b=plan.b)
        if strategy == "twins":
            twin = self._host(TwinHost, index)
            twin.other = self._host(ServerHost, index, "twin's disk")
            return twin
        host = self._host(LyingHost, index)
        host.become(self.liars[index], strategy)
        return host

    def _benign(self, index: int, member: Member | None = None) -> ServerHost:
        name = "disk" if member is None else f"disk of {member.number}"
        host = self._host(LyingHost if index in self._turning else ServerHost, index, name, member)
        if isinstance(host, LyingHost):
            random = self.world.stream(f"later liar/{index}")
            host.become(Liar(index, random, self.watch, n=self.plan.n, b=self.plan.b), HONEST)
        disk, identity = host.disk, host.member

        def committed(writes: Sequence[Write]) -> None:
            if self._is_replacing:
                untold = host.machine.membership.untold if host.is_up else ()
                self.watch.sign(index, identity.number, writes, Signature(host.keys, untold))
            self.watch.committed(identity.number, disk, writes, identity.uses)
            if self.plan.unverified_max is not None:
                self.leftovers.committed(host, writes)

        host.on_established = partial(self.leftovers.established, index)
        disk.on_commit = committed
        host.on_reply = lambda frame: self.watch.replied(identity.number, host.machine, frame)
        if self.plan.injected:
            random = self.world.stream(f"injection/{index}")
            host.injector = Injector(
                random, self.plan.injected, SERVER, lambda where: self.world.tell(Raised(index, where))
            )
        return host

    def _injector_of(self, client: ClientHost) -> Injector:
        random = self.world.stream(f"injection/client/{client.index}")
        machine, tell = client.machine, self.world.tell
        return Injector(random, self.plan.injected / 4, CLIENT, lambda where: tell(Raised(machine, where)))

    def _reset(self, connection: Connection) -> None:
        """A connection breaks, and who called notices."""
        index = connection.caller - self.plan.n
        if 0 <= index < len(self.clients):
            self.clients[index].lost(connection)

    # --- the two phases ---------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Run both phases and check the history."""
        broken: Violation | None = None
        try:
            self._safety()
            self._liveness()
            self._check()
            if self.plan.is_judged:
                self._judge()
        except Violation as violation:
            broken = violation
            self.world.tell(Violated(violation.rule, violation.text))
        return self._report(broken)

    def _safety(self) -> None:
        plan, world = self.plan, self.world
        for fault in plan.faults:
            schedule(self.stage, fault, plan.safety_ns)
        for call in plan.calls:
            world.at(call.at_ns, partial(self.clients[call.client].start, call))
        world.run(plan.safety_ns)

    def _liveness(self) -> None:
        """Heal; every call of a correct client must end, and then every object must serve a client that is alone."""
        world = self.world
        world.tell(Healed())
        weather = self.plan.weather
        for villain in self.villains:
            villain.is_at_it = False
        calm = Weather(0, 0, 0, weather.delay_ns, weather.delay_spread_ns, weather.commit_ns)
        self.network.weather = calm
        self._let_liars_repent()
        for client in self.clients:
            client.injector = None
        if self.move is not None and self.move.is_sealed:
            heal(self.stage, self.plan.dead)
            self.move.finish(self.servers, calm)
        self._tell_everybody()
        heal(self.stage, self.plan.dead)
        self._wait(liveness_ns(weather, max(self.plan.far_ns, default=0)), "after everything was healed")
        self._await_standing()
        if not self.plan.is_noisy:
            self._probe()

    def _let_liars_repent(self) -> None:
        """Some liars turn honest, half of them by a restart: whom clients excluded is to be asked again."""
        for index, liar in self.liars.items():
            host = self.servers[index]
            if isinstance(host, LyingHost) and host.repent() and liar.random.random() < 0.5:
                at_home = [client for client in self.clients if client.is_at_home]
                excluding = [each.index for each in at_home if each.session.standing.is_excluded(index)]
                self.judges.restarted |= {(client, index) for client in excluding}
                crash(self.stage, index)

    def _tell_everybody(self) -> None:
        """Replaced identities end; all servers are told, or b + 1 that tell the others.

        Liars help a newcomer if it needs them.
        """
        book = self.book
        if book.newest == 1:
            return
        for old in self.retired:
            old.crash()
            old.member.is_ended = True
            for client in self.clients:
                client.lose(old)
        for server in self.servers:
            if isinstance(server, LyingHost):
                server.strategy = HONEST
        told = [server for server in self.servers if server.member.number < self.plan.n and server.is_up]
        for server in told[: self.plan.b + 1] if book.is_handed_on else self.servers:
            if server.is_up:
                server.switch(book.newest)
            else:
                server.member.uses = book.newest
                server.keys = book.keys(server.index, server.member)
        for server in self.servers:
            server.announce()

    def _await_standing(self) -> None:
        """Every newcomer is in standing at the end."""

        def is_done() -> bool:
            return all(s.machine.progress.is_standing for s in self.servers if s.index not in self.plan.dead)

        if not is_done():
            self.world.run(self.world.now_ns + STANDING_NS, is_done)
        for server in self.servers:
            if server.index not in self.plan.dead and not server.machine.progress.is_standing:
                raise Violation("not in standing", f"server {server.index} is not: {server.machine.progress}")

    def _probe(self) -> None:
        """Every object must serve a client that is alone: one update and one query of the plan for each."""
        last = self.clients[-1]
        probe_ns = max(PROBE_NS, PROBE_ROUNDS * round_ns(self.plan.weather))
        number = 1 + max((call.number for call in self.plan.calls), default=0)
        for step, call in enumerate(one_of_each(self.plan.calls)):
            now_ns = self.world.now_ns
            last.start(replace(call, number=number + step, client=last.index, at_ns=now_ns, patience_ns=probe_ns))
            self._wait(probe_ns, "for a client that is alone")
            if last.history[-1].outcome not in (Seen.OK, Seen.REJECTED):
                raise Violation("not live", f"not live: {last.history[-1]} for a client that is alone")

    def _wait(self, time_ns: int, when: str) -> None:
        until_ns = self.world.now_ns + time_ns

        def is_done() -> bool:
            return not any(client.unfinished for client in self.clients)

        if not is_done():
            self.world.run(until_ns, is_done)
        self._look_for_failures()
        for client in self.clients:
            for task in client.unfinished.values():
                raise Violation(
                    "not live",
                    f"not live: {task.call.method} of {', '.join(task.call.objects)} by c{client.index} had not ended "
                    f"{time_ns / SECOND:g} s {when}",
                )

    # --- checks -----------------------------------------------------------------------------------------------

    def _ended(self, client: ClientHost, task: Task, seen: Observation) -> None:
        if seen.outcome is Seen.UNKNOWN:
            self._unknown[seen.process] = ring_key(client.id, task.call_id)
        self.watch.ended(client.id, task.call_id, seen, is_query=task.call.is_query)
        if self.plan.is_judged:
            self.judges.look_at_client(client)
            if not task.call.is_query:
                self.judges.ended(client.id, task.call_id, seen)

    def _look_for_failures(self) -> None:
        for client in self.clients:
            if client.failure is not None:
                raise client.failure

    def _judge(self) -> None:
        self.world.run(self.world.now_ns + QUIET_NS)
        if self.plan.unverified_max is not None:
            self.leftovers.look_at(self.world, [each for each in self.servers if each.index not in self.liars])
        self.judges.look_at_servers(self.servers)
        self.judges.look_at_clients(self.clients)

    def _check(self) -> None:
        self.watch.closed()
        if self.move is not None:
            self.move.close()
        if self.plan.is_noisy:
            return
        result = check(
            [seen for seen in self._history() if self._may_count(seen)],
            self.workload.models,
            steps_count_max=CHECK_STEPS_MAX,
        )
        if result.verdict is Verdict.VIOLATION:
            raise Violation("not linearizable", f"not linearizable: {result.message}")
        if result.verdict is Verdict.UNDECIDED:
            self.world.counters["check.undecided"] += 1

    def _may_count(self, seen: Observation) -> bool:
        """Calls of unknown outcome that are in no chain had no effect: the checker need not try to place them."""
        key = self._unknown.get(seen.process)
        return key is None or self.watch.is_applied(key, seen)

    def _history(self) -> tuple[Observation, ...]:
        known = [seen for client in self.clients for seen in client.history]
        return tuple(sorted([*known, *(seen for villain in self.villains for seen in villain.history())], key=_when))

    def _report(self, broken: Violation | None) -> Report:
        counters = self.world.counters.copy()
        for server in self.servers:
            counters.update({f"server.{name}": count for name, count in server.counters.items()})
        history = self._history()
        return Report(
            plan=self.plan,
            rule="" if broken is None else broken.rule,
            failure=None if broken is None else broken.text,
            digest=self.world.digest,
            operations_count=sum(len(client.history) for client in self.clients),
            simulated_ns=self.world.now_ns,
            counters=dict(sorted(counters.items())),
            events=tuple(self.world.happened or ()),
            history=history,
        )


def raised(error: Exception) -> str:
    """The rule that an exception of the machines breaks: they never raise for what a peer sent."""
    return f"raised {type(error).__name__}"


def _when(seen: Observation) -> tuple[int, str]:
    return seen.invoke_ns, seen.process


def run_plan(plan: Plan, workload: Workload = TOYS, *, is_traced: bool = False) -> Report:
    """Run a plan from beginning to end."""
    return Run(plan, workload, is_traced=is_traced).run()
