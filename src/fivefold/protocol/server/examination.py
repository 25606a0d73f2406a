"""A request whose objects are in memory, from its step to its reply: currency, versions, execution (PROTOCOL §4.3-4.8).

What a request has to wait for is said, not waited for: an object that is not in memory, a version that has to be
fetched. When that has come it is examined again from its beginning, so that nothing is accepted on the strength of a
check made before a wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from fivefold.protocol.history import time_of
from fivefold.protocol.messages import ANNOUNCE, BUSY, FAIL, LACKING, PENDING, SETTLED, SUCCESS, WITHDRAW
from fivefold.protocol.operations import NOT_RUN, Carrying, ClientId, Executor, ObjectId, Operation
from fivefold.protocol.records import Candidate, Result, Version
from fivefold.protocol.server.acceptance import Acceptance
from fivefold.protocol.server.activity import Activity
from fivefold.protocol.server.admission import VersionKey, Work
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.carrying import execute_carrying
from fivefold.protocol.server.execution import execute, repeated_answers
from fivefold.protocol.server.pool import knows_nothing_of
from fivefold.protocol.server.replica import Replica, held_version, newest_version, newly_settled
from fivefold.protocol.server.replies import Replies
from fivefold.protocol.server.settled import settled_answers
from fivefold.protocol.server.unverified import INLINE
from fivefold.protocol.server.versions import decode_version, joint_digest
from fivefold.protocol.steps import Kind, Step

_ACCEPTED: Final = {kind: f"accepted.{kind.value}" for kind in Kind}
"""Names of counters."""

_UNVERIFIED: Final = "too many of your updates are not established yet: wait until this server has verified them"

Need = list[ObjectId] | VersionKey
"""Objects to be in memory, or a version to be fetched."""


class Examination:
    """Takes requests as far as they go."""

    def __init__(
        self,
        executor: Executor,
        replicas: Cache,
        acceptance: Acceptance,
        replies: Replies,
        counters: Counter[str],
        activity: Activity,
    ) -> None:
        """``executor`` knows the states of objects that nobody has written."""
        self._activity, self._pool = activity, replies.pool
        self._executor, self._replicas = executor, replicas
        self._acceptance, self._replies, self.counters = acceptance, replies, counters

    def examine(self, now_ns: int, work: Work, storage_failure: str | None) -> Need | None:
        """Answer a request whose objects are in memory, or say what it needs before it is examined again."""
        try:
            return self._examine(now_ns, work, storage_failure)
        except AssertionError as error:
            self._acceptance.isolate(work.names if work.step is None else work.step.objects, error)
            raise

    def do_without_version(self, work: Work) -> None:
        """FAIL, with what is held here: the version that a request needs cannot be fetched.

        Story, when this was BUSY: (1) a client is conditioned on a version that all have dropped since. (2) Of six
        servers four say FAIL and show what came after it; one was never asked about the object, and one has lost it.
        (3) Fewer than q tell the client what they hold: it never learns what is new, and asks the same for ever.
        """
        self.counters["sync.failed"] += 1
        is_here = all(name in self._replicas.hot for name in work.names)
        if is_here and not self._replies.membership.has_moved:
            self._fail(work)
        else:
            self._replies.turn_away(work, BUSY, "no-version", "the version could not be fetched")

    def _examine(self, now_ns: int, work: Work, storage_failure: str | None) -> Need | None:
        step = work.step
        if self._replies.membership.has_moved:
            # M4: not even queries. The new cluster may have a newer version by now.
            self._replies.turn_away(work, BUSY, "moved", "this cluster has moved to another one")
            return None
        if work.purpose == WITHDRAW:
            self._withdraw(work)
            return None
        if step is None or work.is_withdrawn:
            self._fail(work)
            return None
        replicas = [self._replicas.hot[part.object_id] for part in step.parts]
        if not work.is_query and self._answer_again(work, step, replicas):
            return None
        # Currency (§4.4): an older version must not be built upon, whatever the client believes.
        for replica, bound in zip(replicas, step.bounds, strict=True):
            if replica.latest > bound and not replica.holds(step.candidate):
                self.counters["stale"] += 1
                self._activity.late.append((now_ns, replica.object_id))
                self._fail(work)
                return None
        if not work.is_query and self._replies.membership.is_sealed_for(work.client, is_repair=work.operation is None):
            self._replies.turn_away(work, BUSY, "sealed", "this cluster is sealed while it moves to another one")
            return None
        if storage_failure is not None and not work.is_query:
            self._replies.turn_away(work, BUSY, "storage", storage_failure)
            return None
        if not work.is_query and step.kind not in INLINE and self._acceptance.must_wait(now_ns, work.client):
            self._replies.turn_away(work, BUSY, "unverified", _UNVERIFIED)
            return None
        versions = self._versions(work, step, replicas)
        if isinstance(versions, tuple):
            return versions
        settled = [] if work.is_query else newly_settled(step, replicas, work.views)
        flagged = [name for each in settled for name in each.objects if name not in work.absent]
        if any(name not in self._replicas.hot for name in flagged):
            return flagged
        self._perform(now_ns, work, step, versions, settled)
        return None

    def _answer_again(self, work: Work, step: Step, replicas: list[Replica]) -> bool:
        """§4.3: a candidate already accepted is answered as it was; nothing is executed twice."""
        timestamp = step.candidate.timestamp
        for replica in replicas:
            if not replica.holds(step.candidate) and timestamp not in replica.versions:
                return False
        self.counters["repeated"] += 1
        if work.operation is None:
            self._reply(work, SUCCESS, candidate=timestamp)
            return True
        versions = [version for replica in replicas if (version := replica.versions.get(timestamp)) is not None]
        # All objects record their calls together, in the order of the ids: the first is the least.
        answers = repeated_answers(work.client, work.operation, versions[0])
        joint = joint_digest(versions)
        self._reply(work, SUCCESS, answers=answers, candidate=timestamp, version_digest=joint)
        return True

    def _fail(self, work: Work) -> None:
        """FAIL with the histories; for a query with the answer on the latest versions (optimistic execution, §4.4).

        For an update with what the ring of the latest version says of it: one who keeps losing under contention must
        not have to wait for its turn to hear that it was not applied, or the ring has forgotten that by then. SETTLED,
        if what it says holds for every version to come.
        """
        operation = work.operation
        if operation is None:
            self._reply(work, FAIL)
            return
        replica = self._replicas.hot[min(operation.objects)]
        settled = None if work.is_query else settled_answers(replica, work.client, operation)
        if settled is not None:
            self._reply(work, SETTLED, candidate=settled[0], answers=settled[1])
            return
        if not work.is_query and self._announce(work, replica):
            self._reply(work, PENDING, answers=(NOT_RUN,) * len(operation.calls))
            return
        versions = {}
        for name in operation.objects:
            data = held_version(self._executor, self._replicas.hot[name], self._replicas.hot[name].latest)
            if data is None:
                self._reply(work, FAIL)
                return
            versions[name] = data
        if not work.is_query:
            self._reply(work, FAIL, answers=repeated_answers(work.client, operation, versions[min(versions)]))
            return
        result = execute(_executor_of(work), work.client, operation, versions, is_query=True, time=0)
        self._reply(work, FAIL, answers=result.answers if result.status == SUCCESS else ())

    def _announce(self, work: Work, replica: Replica) -> bool:
        """H1: the calls of an announcement, or of a refused operation, wait in the pool; whether they do.

        An operation that is conditioned on nothing is not announced by its refusal: its client does not know yet when
        its calls were made, in logical time.
        """
        operation = work.operation
        assert operation is not None, "only calls are announced"
        is_asked = work.purpose == ANNOUNCE or (
            self._pool.is_used_by(work.channel, work.number) and any(each.histories for each in work.request.sets)
        )
        if not is_asked or work.is_withdrawn or not operation.calls or len(operation.objects) > 1:
            return False
        newest = newest_version(self._executor, replica)
        return self._pool.announce(work.channel, work.client, work.number, operation, newest)

    def _withdraw(self, work: Work) -> None:
        """H9: forget announced calls, and say whether no version of the history shown has any of them."""
        operation = work.operation
        assert operation is not None, "a withdrawal names calls"
        self._pool.withdraw(work.client, operation)
        (replica,) = [self._replicas.hot[name] for name in work.names]
        held = [
            held_version(self._executor, replica, entry.candidate.timestamp)
            for entry in replica.entries
            if not entry.candidate.is_barrier
        ]
        is_gone = all(
            version is not None and knows_nothing_of(version, work.client, operation.calls) for version in held
        )
        self._reply(work, SUCCESS if is_gone else FAIL)

    def _versions(self, work: Work, step: Step, replicas: list[Replica]) -> list[Version] | VersionKey:
        """§4.5: the versions the step needs, one for each object; or the first that has to be fetched."""
        found: list[Version] = []
        if step.kind is Kind.BARRIER or step.kind is Kind.INLINE_BARRIER:
            return found
        for replica, part in zip(replicas, step.parts, strict=True):
            timestamp = step.candidate.timestamp if step.kind is Kind.INLINE_METHOD else part.conditioned_on
            version = held_version(self._executor, replica, timestamp)
            if version is None:
                key = (replica.object_id, timestamp)
                if key not in work.fetched:
                    return key
                version = decode_version(work.fetched[key])
            found.append(version)
        return found

    def _perform(self, now_ns: int, work: Work, step: Step, versions: list[Version], settled: list[Candidate]) -> None:
        """§4.6 and §4.7, without a wait in between: execute, accept, hand to the store, reply when it is durable."""
        if step.kind is not Kind.METHOD:
            if not self._acceptance.has_room(step):
                reason = "the history is full of candidates that are not established"
                self._replies.turn_away(work, BUSY, "history-full", reason)
                return
            self._accept(now_ns, step, versions, settled)
            self._reply(work, SUCCESS, candidate=step.candidate.timestamp)
            self._push(work, step, versions)
            return
        operation = work.operation
        assert operation is not None, "METHOD is planned for operations only"
        by_name: dict[ObjectId, Version] = {}
        for part, version in zip(step.parts, versions, strict=True):
            by_name[part.object_id] = version
        timestamp = step.candidate.timestamp
        result = self._execute(work, operation, by_name, time_of(timestamp))
        if result is None:
            return
        joint = b""
        if result.versions is not None:
            joint = joint_digest(result.versions)
            self._accept(now_ns, step, result.versions, settled)
        self._reply(work, result.status, answers=result.answers, candidate=timestamp, version_digest=joint)
        self._push(work, step, result.versions or ())

    def _execute(self, work: Work, operation: Operation, versions: dict[ObjectId, Version], time: int) -> Result | None:
        """Run the operation; None if it carries what it may not: then it is answered (H3)."""
        executor = _executor_of(work)
        if not isinstance(operation, Carrying):
            if self._pool.objects and not work.is_query:
                self._settle(versions)
            return execute(executor, work.client, operation, versions, is_query=work.is_query, time=time)
        (base,) = versions.values()
        objects = operation.objects
        is_update = partial(executor.is_update, objects)
        lacking = self._pool.lacking(work.client, operation, base, is_update)
        result: Result | ClientId | None = None
        if not lacking:
            result = execute_carrying(executor, work.client, operation, base, time=time)
            if isinstance(result, Result):
                self._settle(versions)
                self.counters["helping.carried"] += len(operation.carried)
                return result
            self._pool.drop_stopped(objects[0], result)
            lacking = [result]
        self.counters["helping.lacking"] += 1
        (replica,) = [self._replicas.hot[name] for name in objects]
        self._announce(work, replica)
        answers = repeated_answers(work.client, operation, base)
        self._reply(work, LACKING, answers=answers, lacking=tuple(lacking))
        return None

    def _settle(self, versions: dict[ObjectId, Version]) -> None:
        """H4: an update that is accepted proves established what it builds upon."""
        for name, version in versions.items():
            if name in self._pool.objects:
                self._pool.settle(name, version)

    def _push(self, work: Work, step: Step, versions: Sequence[Version]) -> None:
        if self._pool.objects and len(versions) == 1 and not step.candidate.is_barrier:
            replica = self._replicas.hot[step.parts[0].object_id]
            self._replies.push(replica, step.candidate.timestamp, versions[0], work.channel)

    def _accept(self, now_ns: int, step: Step, versions: Sequence[Version], settled: list[Candidate]) -> None:
        """Append the candidate everywhere, flag what became settled, and stage it all as one transaction."""
        self.counters[_ACCEPTED[step.kind]] += 1
        self._acceptance.accept(now_ns, step, versions, settled)

    def _reply(
        self,
        work: Work,
        status: int,
        *,
        answers: tuple[bytes, ...] = (),
        candidate: bytes = b"",
        version_digest: bytes = b"",
        lacking: tuple[ClientId, ...] = (),
    ) -> None:
        replicas = [self._replicas.hot[name] for name in work.names]
        self._replies.show(
            work,
            replicas,
            status,
            answers=answers,
            candidate=candidate,
            version_digest=version_digest,
            lacking=lacking,
        )


def _executor_of(work: Work) -> Executor:
    assert work.executor is not None, "an operation is admitted with what runs it"
    return work.executor
