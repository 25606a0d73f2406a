"""What a newcomer may take over of an object: decided by what the others show it (R6; ours).

*V* are the histories of at least q others, each asked after the newcomer was born. *V'* is V without the entries that
b or fewer of them show: liars cannot make it read or repair what they invent. An entry that a completed call has made
is shown by r - b > b of V at least, so nothing that counts is left out.

Only what an empty server could have accepted is taken over: a candidate of order >= q alone, or a method's candidate
of order >= r with the version that it rests on. Everything else is repaired first, with q others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.classify import View, is_settled
from fivefold.protocol.history import INITIAL_TIMESTAMP, make_histories, reaches, read_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, Entry, Part, ReplicaHistory
from fivefold.protocol.steps import Missing


class Adoption(Struct, frozen=True):
    """Histories to be taken over together; none of them if the object is initial.

    Attributes:
        histories: the new history of each object.
        settled: candidates over several objects that this proves established: flagged wherever they are held (S2).
    """

    histories: tuple[tuple[ObjectId, ReplicaHistory], ...]
    settled: tuple[Candidate, ...] = ()


def view_of(quorums: QuorumSystem, object_id: ObjectId, histories: Sequence[bytes]) -> View:
    """V', counted: ``histories`` decode, and each is another server's.

    Copies of one version take each other's place in histories, so they are counted together.
    """
    view = View(quorums, make_histories(object_id, histories))
    copies: Counter[tuple[Part, ...]] = Counter()
    for candidate, order in view.orders.items():
        if candidate.is_copy:
            copies[candidate.parts] += order
    shown = [
        candidate.timestamp
        for candidate, order in view.orders.items()
        if (copies[candidate.parts] if candidate.is_copy else order) > quorums.b
    ]
    view.latest = max(shown, default=view.latest)
    return view


def plan_adoption(
    quorums: QuorumSystem, name: ObjectId, views: Mapping[ObjectId, View], adopted: Container[ObjectId] = ()
) -> Adoption | Missing | None:
    """What to take over for an object; None if it has to be repaired first; or which views have to be added.

    ``adopted`` objects are not taken over again: what would need that is repaired by the others.
    """
    view = views[name]
    if not view.repairable or view.repairable[0].timestamp != view.latest:
        return None  # something newer is shown more than b times: a barrier, or what has an order below r (D5)
    candidate = view.repairable[0]
    if candidate.timestamp == INITIAL_TIMESTAMP:
        return Adoption(())
    if view.order(candidate) >= quorums.q:
        entry = Entry(candidate, candidate.is_multi)
        itself = (candidate,) if candidate.is_multi else ()
        return Adoption(((name, (entry,)),), (*itself, *_bases(candidate, name, view)))
    if not candidate.is_method:
        return None  # a copy's older rivals would have to be taken along, and answered SUCCESS for (D7)
    if is_settled(quorums, candidate, name, views):
        history = _with_base(quorums, candidate, name, view, is_flagged=candidate.is_multi)
        return None if history is None else Adoption(((name, history),), _bases(candidate, name, view))
    if any(each in adopted for each in candidate.objects):
        return None
    return _plan_joint(quorums, candidate, views)


def _plan_joint(
    quorums: QuorumSystem, candidate: Candidate, views: Mapping[ObjectId, View]
) -> Adoption | Missing | None:
    """An unsettled candidate over several objects: for all of them, or for none (D6)."""
    if any(each not in views for each in candidate.objects):
        return Missing(candidate.objects)
    histories: list[tuple[ObjectId, ReplicaHistory]] = []
    settled: list[Candidate] = []
    for each in candidate.objects:
        view = views[each]
        if view.latest != candidate.timestamp or view.order(candidate) < quorums.r:
            return None
        history = _with_base(quorums, candidate, each, view, is_flagged=False)
        if history is None:
            return None
        histories.append((each, history))
        settled += _bases(candidate, each, view)
    return Adoption(tuple(histories), tuple(settled))


def _with_base(
    quorums: QuorumSystem, candidate: Candidate, name: ObjectId, view: View, *, is_flagged: bool
) -> ReplicaHistory | None:
    """{LT_co, c}: the base stays, as with any METHOD (§4 Pruning); None if it is not of order >= r itself."""
    base = candidate.part(name).conditioned_on
    below = next((each for each in view.repairable if each.timestamp == base), None)
    if below is None or view.order(below) < quorums.r:
        return None
    assert below.timestamp < candidate.timestamp, "an adopted history is in order"
    return (Entry(below, below.is_multi), Entry(candidate, is_flagged))


def _bases(candidate: Candidate, name: ObjectId, view: View) -> tuple[Candidate, ...]:
    """S2: the base of what is accepted is established."""
    base = candidate.part(name).base_or_conditioned_on
    return tuple([each for each in view.orders if each.is_multi and each.original == base])


def may_mend(adoption: Adoption, floor: bytes) -> bool:
    """Whether a server in standing may take a damaged object over so.

    It has forgotten what it promised, so that reading alone is not enough. Story: (1) e is complete; x on it, and then
    a barrier above x, reach s0 alone. (2) s0's rows rot; it takes e over, which q others hold, and m on e is complete
    with it. (3) The barrier reaches s2 and s3, with s0's old history as its witness; it is complete, e is copied, and m
    is lost. So a store keeps apart from the rows how far an object has got, its *floor*.

    What is taken over is one candidate that q others hold (METHOD), and that reaches the floor. That is as if this
    server had taken the candidate inline, on top of all it had accepted, and then a method on it: below that it prunes.
    All that it has promised, its barriers included, is older or this candidate, and holds.
    """
    if len(adoption.histories) != 1 or len(adoption.histories[0][1]) != 1:
        return False
    return reaches(adoption.histories[0][1][0].candidate.timestamp, floor)


def is_readable(name: ObjectId, history: bytes) -> bool:
    """Whether these are the bytes of a history of this object."""
    try:
        read_history(name, history)
    except PeerViolation:
        return False
    return True
