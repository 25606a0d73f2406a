"""The baseline by agreement: PBFT's normal case, without sockets."""

import os
from collections import deque
from hashlib import blake2b
from random import Random

import pytest

from fivefold.bench.agreement import Replica, Send, ToClient, ToReplica
from fivefold.bench.agreement_client import Ballot
from fivefold.bench.agreement_messages import (
    MAC_BYTES,
    AgreementKeys,
    AgreementReply,
    Commit,
    Prepare,
    PrePrepare,
    client_key,
    decode_message,
    decode_reply,
    decode_request,
    mac_state,
    make_request,
    message_frame,
)
from fivefold.objects import standard_registry
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import Call, ClientId, ObjectId, Operation, digest

CLUSTER = b"c" * 16
CLIENT = ClientId(b"client-client-00")
NAME = ObjectId("Counter/hits")
REGISTRY = standard_registry()


def key(sender: int, receiver: int) -> bytes:
    return blake2b(bytes([sender, receiver]), digest_size=32).digest()


def keys(index: int, n: int) -> AgreementKeys:
    return AgreementKeys(CLUSTER, [key(index, j) for j in range(n)], [key(j, index) for j in range(n)])


class Rig:
    """Replicas and one client, joined by queues that keep the order of each pair and nothing else."""

    def __init__(
        self, f: int = 1, seed: int = 0, *, batching: bool = True, crashed: frozenset[int] = frozenset()
    ) -> None:
        self.n, self.f = 3 * f + 1, f
        self.random = Random(seed)
        self.crashed = crashed
        self.replicas = [Replica(i, f, keys(i, self.n), REGISTRY, is_batching=batching) for i in range(self.n)]
        self.queues: dict[tuple[int, int], deque[bytes]] = {}
        self.ballots: dict[int, Ballot] = {}
        self.answers: dict[int, tuple[bytes, ...]] = {}

    def request(self, number: int, method: str = "increment", *, is_query: bool = False) -> bytes:
        arguments = REGISTRY.encode_arguments((NAME,), method, (), {})
        operation = encode(Operation((NAME,), (Call(os.urandom(16), 0, method, arguments),)))
        secrets = [mac_state(client_key(CLUSTER, CLIENT, replica)) for replica in range(self.n)]
        self.ballots[number] = Ballot(self.f, is_query=is_query)
        return encode(make_request(CLIENT, number, operation, secrets, is_query=is_query))

    def deliver(self, replica: int, frame: bytes) -> None:
        if replica not in self.crashed:
            self.carry(replica, self.replicas[replica].receive_from_client(CLIENT, frame))

    def carry(self, sender: int, sends: list[Send]) -> None:
        for send in sends:
            match send:
                case ToReplica():
                    self.queues.setdefault((sender, send.replica), deque()).append(send.frame)
                case ToClient():
                    reply = decode_reply(send.frame)
                    answers = self.ballots[reply.number].count(sender, reply)
                    if answers is not None:
                        assert self.answers.setdefault(reply.number, answers) == answers

    def step(self) -> bool:
        ready = [pair for pair, queue in self.queues.items() if queue]
        if not ready:
            return False
        sender, receiver = self.random.choice(ready)
        frame = self.queues[sender, receiver].popleft()
        if receiver not in self.crashed:
            self.carry(receiver, self.replicas[receiver].receive_from_replica(sender, frame))
        return True

    def finish(self) -> None:
        while self.step():
            pass

    @property
    def correct(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.index not in self.crashed]


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("crashed", [frozenset(), frozenset({1}), frozenset({3})])
@pytest.mark.parametrize("seed", range(8))
def test_correct_replicas_agree(seed: int, crashed: frozenset[int], batching: bool) -> None:
    """Whatever order messages arrive in, with a backup down: one order, one state, every client answered from it."""
    rig = Rig(seed=seed, batching=batching, crashed=crashed)
    for number in range(1, 21):
        rig.deliver(0, rig.request(number))
        for _ in range(rig.random.randrange(12)):
            rig.step()
    rig.finish()
    assert len({(replica.executed, replica.states[NAME]) for replica in rig.correct}) == 1
    assert sorted(rig.answers) == list(range(1, 21))
    values = [REGISTRY.decode_answer((NAME,), "increment", answers[0]) for answers in rig.answers.values()]
    assert sorted(values) == list(range(1, 21))


def test_two_backups_down_are_too_many() -> None:
    """With f + 1 replicas down nothing is executed: safe, and stuck."""
    rig = Rig(crashed=frozenset({2, 3}))
    rig.deliver(0, rig.request(1))
    rig.finish()
    assert [replica.executed for replica in rig.correct] == [0, 0]
    assert rig.answers == {}


def test_seven_replicas_tolerate_two_crashes() -> None:
    """With f = 2, n = 7 with two backups down goes on."""
    rig = Rig(f=2, crashed=frozenset({4, 6}))
    for number in range(1, 6):
        rig.deliver(0, rig.request(number))
    rig.finish()
    assert sorted(rig.answers) == [1, 2, 3, 4, 5]


def test_requests_that_wait_become_one_batch() -> None:
    """While the first batch is under way the others gather: two batches, not twenty."""
    rig = Rig()
    for number in range(1, 21):
        rig.deliver(0, rig.request(number))
    rig.finish()
    assert rig.replicas[0].executed == 2


def test_without_batching_every_request_has_its_own_number() -> None:
    """Twenty requests, twenty sequence numbers."""
    rig = Rig(batching=False)
    for number in range(1, 21):
        rig.deliver(0, rig.request(number))
    rig.finish()
    assert rig.replicas[0].executed == 20


def test_queries_are_answered_without_agreement() -> None:
    """A read-only request causes no message between replicas, and sees what was committed."""
    rig = Rig()
    rig.deliver(0, rig.request(1))
    rig.finish()
    query = rig.request(2, "get", is_query=True)
    for replica in range(4):
        rig.deliver(replica, query)
    assert not any(rig.queues.values())
    assert REGISTRY.decode_answer((NAME,), "get", rig.answers[2][0]) == 1


def test_a_wrong_mac_between_replicas_is_refused() -> None:
    """A pre-prepare whose MAC is not the leader's changes nothing."""
    rig = Rig()
    body = message_frame(PrePrepare(1, (decode_request(rig.request(1)),)))
    assert rig.replicas[1].receive_from_replica(0, b"x" * MAC_BYTES + body) == []
    assert rig.replicas[1].counters["rejected.mac"] == 1


def test_a_leader_cannot_invent_requests() -> None:
    """A backup checks the client's own MAC on every request of a batch."""
    rig = Rig()
    forged = decode_request(rig.request(1))
    forged = type(forged)(forged.client, 99, forged.is_query, forged.operation, forged.authenticator)
    body = message_frame(PrePrepare(1, (forged,)))
    frame = keys(0, 4).make(1, AgreementKeys.authenticated(body)) + body
    assert rig.replicas[1].receive_from_replica(0, frame) == []
    assert rig.replicas[1].counters["rejected.client-mac"] == 1


def test_one_number_gets_one_batch() -> None:
    """A leader that proposes two batches under one number is refused the second."""
    rig = Rig()
    for number in (1, 2):
        body = message_frame(PrePrepare(1, (decode_request(rig.request(number)),)))
        frame = keys(0, 4).make(1, AgreementKeys.authenticated(body)) + body
        rig.carry(1, rig.replicas[1].receive_from_replica(0, frame))
    assert rig.replicas[1].counters["rejected.proposed-twice"] == 1


def test_only_the_leader_proposes() -> None:
    """A backup's pre-prepare is refused."""
    rig = Rig()
    body = message_frame(PrePrepare(1, (decode_request(rig.request(1)),)))
    frame = keys(2, 4).make(1, AgreementKeys.authenticated(body)) + body
    assert rig.replicas[1].receive_from_replica(2, frame) == []
    assert rig.replicas[1].counters["rejected.not-the-leader"] == 1


def frame_for_1(sender: int, message: PrePrepare | Prepare | Commit) -> bytes:
    body = message_frame(message)
    return keys(sender, 4).make(1, AgreementKeys.authenticated(body)) + body


def kinds(sends: list[Send]) -> list[str]:
    """What a replica sent, to whom: ``Prepare 2``, ``tentative`` or ``final`` for a reply."""
    said = []
    for send in sends:
        match send:
            case ToReplica():
                said.append(f"{type(decode_message(send.frame)).__name__} {send.replica}")
            case ToClient():
                said.append("tentative" if decode_reply(send.frame).is_tentative else "final")
    return said


def test_each_phase_waits_for_its_quorum() -> None:
    """At backup 1 of four: two prepares, its own too, make a commit and a tentative reply; three commits an end."""
    rig = Rig()
    replica = rig.replicas[1]
    first = PrePrepare(1, (decode_request(rig.request(1)),))
    agreed = digest(encode(first))
    assert kinds(replica.receive_from_replica(0, frame_for_1(0, first))) == ["Prepare 0", "Prepare 2", "Prepare 3"]
    assert replica.receive_from_replica(0, frame_for_1(0, Prepare(1, agreed))) == []  # the leader's is none
    assert replica.receive_from_replica(3, frame_for_1(3, Prepare(1, b"another batch"))) == []
    prepared = kinds(replica.receive_from_replica(2, frame_for_1(2, Prepare(1, agreed))))
    assert prepared == ["Commit 0", "Commit 2", "Commit 3", "tentative"]
    assert replica.receive_from_client(CLIENT, rig.request(2, "get", is_query=True)) == []  # not of what is tentative
    assert replica.receive_from_replica(0, frame_for_1(0, Commit(1, agreed))) == []
    assert replica.receive_from_replica(3, frame_for_1(3, Commit(1, b"another batch"))) == []
    assert replica.executed == 0
    assert kinds(replica.receive_from_replica(2, frame_for_1(2, Commit(1, agreed)))) == ["final"]  # the query's
    assert replica.executed == 1


def test_what_was_committed_before_it_was_executed_is_final() -> None:
    """Commits may overtake prepares: the reply then says that it will stand."""
    rig = Rig()
    replica = rig.replicas[1]
    first = PrePrepare(1, (decode_request(rig.request(1)),))
    agreed = digest(encode(first))
    for sender in (0, 2, 3):
        replica.receive_from_replica(sender, frame_for_1(sender, Commit(1, agreed)))
    replica.receive_from_replica(0, frame_for_1(0, first))
    assert kinds(replica.receive_from_replica(2, frame_for_1(2, Prepare(1, agreed))))[-1] == "final"


def test_a_prepare_of_the_leader_is_ignored() -> None:
    """Also one under a number of which nothing is known."""
    replica = Rig().replicas[1]
    assert replica.receive_from_replica(0, frame_for_1(0, Prepare(7, b"some batch"))) == []


def reply(answer: bytes, *, is_tentative: bool) -> AgreementReply:
    return AgreementReply(1, is_tentative, (answer,))


def test_an_update_needs_three_tentative_replies() -> None:
    """With f = 1, 2f + 1 equal tentative replies make an answer, two do not."""
    ballot = Ballot(1, is_query=False)
    counted = [ballot.count(replica, reply(b"a", is_tentative=True)) for replica in range(3)]
    assert counted == [None, None, (b"a",)]


def test_two_final_replies_are_enough() -> None:
    """Any f + 1 equal replies that are not tentative come from at least one correct replica."""
    ballot = Ballot(1, is_query=False)
    assert ballot.count(0, reply(b"a", is_tentative=False)) is None
    assert ballot.count(0, reply(b"a", is_tentative=False)) is None
    assert ballot.count(3, reply(b"b", is_tentative=False)) is None
    assert ballot.count(1, reply(b"a", is_tentative=False)) == (b"a",)


def test_a_query_that_finds_no_majority_is_ordered() -> None:
    """Four replies without three alike: the client must have the query ordered."""
    ballot = Ballot(1, is_query=True)
    for replica, answer in enumerate((b"a", b"b", b"a", b"b")):
        assert ballot.count(replica, reply(answer, is_tentative=False)) is None
    assert ballot.has_failed
