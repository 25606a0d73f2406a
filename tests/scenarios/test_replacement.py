"""A server is replaced: what the newcomer may take over, and what must not get lost (R2-R6, R8)."""

from itertools import pairwise

from fivefold.protocol.actions import Actions, Channel
from fivefold.protocol.limits import ADOPTIONS_AT_ONCE_MAX
from fivefold.protocol.messages import BUSY, decode_list, decode_list_reply, list_frame
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import ListReply, ListRequest
from fivefold.protocol.server import OWN_RECORD
from fivefold.protocol.server.merging import Merge
from tests.protocol_rig import A, B, X, Y, op
from tests.replacement_rig import MILLISECOND, ReplacedRack

NAMES = [ObjectId(f"Reg/{number:02}") for number in range(20)]


def written(rack: ReplacedRack, *names: ObjectId, to=(0, 1, 2)) -> None:
    for name in names:
        assert rack.request({name: {}}, to, operation=op("set", b"v", name)).to(to) == list(to)


def test_a_newcomer_takes_over_what_the_others_hold() -> None:
    """It reads lists and versions, and is in standing when all is adopted; it then answers like any other."""
    rack = ReplacedRack()
    written(rack, *NAMES)
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node)
    assert rack.servers[node].progress.is_standing
    assert rack.servers[node].counters["adopted"] == len(NAMES)
    for name in NAMES:
        assert rack.entries(node, name)[-1] == rack.entries(1, name)[-1]
        assert rack.state(node, name) == b"v"
    assert rack.look(node)[A].history == b"", "what nobody has written is initial"


def replaced(*told: int, has_lists: bool = True) -> tuple[ReplacedRack, int]:
    rack = ReplacedRack()
    written(rack, A)
    node = rack.replace(0)
    if not has_lists:
        rack.list_lies = {1: lambda request: None}
    rack.tell(*told)
    return rack, node


def test_a_newcomer_in_standing_has_nothing_to_wake_for() -> None:
    """One server was silent when its list was asked for; once the others' lists are adopted, nobody waits for it."""
    rack = ReplacedRack(n=7, t=2)
    written(rack, A, to=(0, 1, 2, 3, 4))
    node = rack.replace(0)
    rack.list_lies = {1: lambda request: None}
    rack.tell(1, 2, 3, 4, 5, 6)
    rack.run(node, 15)
    assert rack.servers[node].progress.is_standing
    rack.now_ns += 10**12
    catch_up = rack.servers[node].upkeep.catch_up
    catch_up.is_touched = True
    rack.wake(node)
    assert catch_up.wake_at_ns is None


def test_no_list_is_waited_for_that_is_not_asked_for_again() -> None:
    """A server is silent once, and lies when it is asked again; another is not asked any more."""
    merge = Merge(0, 2, iter(range(1, 9)).__next__, is_whole=True)
    merge.ask(0, [1, 2, 3])
    merge.ask(10**12, [1, 2, 3])
    assert merge.wake_at_ns is not None
    assert merge.wake_at_ns > 10**12
    [asked, _] = merge.ask(2 * 10**12, [1, 2])
    number = decode_list(asked.frame).number
    assert merge.receive(2 * 10**12, 1, ListReply(number, (), False, ""), 10) == "a list with pages that are not full"
    merge.ask(3 * 10**12, [1])
    merge.ask(4 * 10**12, [1])
    assert merge.wake_at_ns is None


# --- what a newcomer says and does not say ----------------------------------------------------------------------


def test_a_newcomer_says_nothing_of_what_it_has_not_adopted() -> None:
    """R4: neither a history, the initial one least of all, nor a vote; it accepts nothing, barriers included."""
    rack, node = replaced(1, 2)
    assert rack.look(node) == {}
    posted = rack.request({A: {}}, [node], operation=op("set", b"w"))
    assert posted.votes[node].status == BUSY
    assert b"catching up" in posted.votes[node].answers[0]
    barrier = rack.request(rack.now([2, 3]), [node])
    assert barrier.votes[node].status == BUSY
    assert rack.history(node, A) == b""
    both = rack.request({A: {}, B: {}}, [node], target=B)
    assert both.votes[node].status == BUSY


def test_it_reads_only_when_a_quorum_of_others_has_followed() -> None:
    """R5: with one fewer than q it asks nobody; with q it is done."""
    rack, node = replaced(1, 2)
    rack.run(node, 1)
    assert rack.servers[node].progress.followed == (1, 2)
    assert rack.servers[node].progress.listed == 0
    rack.tell(3)
    rack.run(node)
    assert rack.servers[node].progress.is_standing


def test_an_object_that_a_request_names_comes_first() -> None:
    """R4: the others' lists have not come yet, and it is adopted all the same."""
    rack, node = replaced(1, 2, 3, has_lists=False)
    rack.wake(node)
    assert rack.look(node) == {}
    rack.wake(node)
    assert rack.look(node)[A].history == rack.history(node, A) != b""
    assert not rack.servers[node].progress.is_standing


def test_until_it_is_in_standing_it_gives_no_list() -> None:
    """Its list would say that objects were never written which it has only not adopted yet."""
    rack, node = replaced(1, 2)
    frame = list_frame(ListRequest(1, ObjectId(""), 9, 1 << 20, True))
    sent = rack.servers[node].receive_from_server(0, 2, Channel(99), frame).send
    assert "catching up" in decode_list_reply(sent[0].frame).refusal


# --- what survives a crash --------------------------------------------------------------------------------------


def test_what_is_adopted_stays_so_through_a_crash() -> None:
    """R8: the newcomer goes on as a newcomer, keeps what it has, and reads the rest."""
    rack = ReplacedRack()
    written(rack, A, B)
    node = rack.replace(0)
    rack.list_lies = {1: lambda request: None}
    rack.tell(1, 2, 3)
    rack.look(node, A)
    rack.wake(node)
    assert rack.history(node, A) != b""
    assert rack.history(node, B) == b""
    rack.restart(node)
    assert not rack.servers[node].progress.is_standing
    assert rack.look(node, A)[A].history == rack.history(node, A)
    assert rack.look(node, B) == {}
    rack.list_lies = {}
    rack.tell(1, 2, 3)
    rack.run(node)
    assert rack.servers[node].progress.is_standing
    rack.restart(node)
    assert rack.servers[node].progress.is_standing


def test_an_adopted_object_is_not_adopted_again() -> None:
    """What it has accepted since is not forgotten when a list that was read before names the object."""
    rack, node = replaced(1, 2, 3, has_lists=False)
    rack.look(node)
    rack.wake(node)
    rack.request(rack.now([1, 2, node]), [node, 1, 2], operation=op("set", b"w"))
    held = rack.history(node, A)
    rack.list_lies = {}
    rack.run(node, 20)
    assert rack.servers[node].progress.is_standing
    assert rack.history(node, A) == held
    assert rack.state(node, A) == b"w"


def test_standing_holds_once_it_is_durable() -> None:
    """R8: a crash before that would make unknown again what it has answered for as initial."""
    rack, node = replaced(1, 2)
    rack.slow = {node}
    rack.tell(3)
    while not any(write.object_id == OWN_RECORD for store in rack._staged[node] for write in store.writes):
        rack.settle(node)
        rack.now_ns += 20 * MILLISECOND
        rack.wake(node)
    assert not rack.servers[node].progress.is_standing
    assert rack.look(node, B) == {}
    rack.settle(node)
    assert rack.servers[node].progress.is_standing
    assert rack.look(node, B)[B].history == b""
    assert rack.state(node, A) == b"v"


# --- what has to be repaired first ------------------------------------------------------------------------------


def test_a_barrier_is_repaired_before_it_is_adopted() -> None:
    """R6: the newcomer has the others finish what a client left, without itself."""
    rack = ReplacedRack()
    written(rack, A)
    rack.request(rack.now([2, 3]), [1, 2, 3])
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node, 20)
    assert rack.servers[node].progress.is_standing
    assert rack.state(node, A) == b"v"
    assert len(rack.entries(node, A)) == 1, "it adopted what q others hold"


def test_rivals_are_repaired_before_they_are_adopted() -> None:
    """R6: of two candidates that nobody can have completed, one becomes the next version everywhere."""
    rack = ReplacedRack()
    rack.request({A: {}}, [1], operation=op("set", b"x"), client=X)
    rack.request({A: {}}, [2], operation=op("set", b"y"), client=Y)
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node, 20)
    assert rack.servers[node].progress.is_standing
    assert rack.entries(node, A)[-1].candidate == rack.entries(1, A)[-1].candidate == rack.entries(3, A)[-1].candidate


def test_an_unsettled_candidate_over_two_objects_is_adopted_on_both() -> None:
    """R6: in one transaction."""
    rack = ReplacedRack()
    rack.request({A: {}, B: {}}, [1, 2], operation=op("set", b"v", A, B))
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node)
    assert rack.servers[node].progress.is_standing
    assert rack.entries(node, A)[-1].candidate.is_multi
    assert rack.entries(node, A)[-1].candidate == rack.entries(node, B)[-1].candidate
    assert not rack.entries(node, A)[-1].is_settled


def test_a_candidate_over_two_objects_that_q_hold_is_flagged_settled() -> None:
    """R6: order q proves it established."""
    rack = ReplacedRack()
    rack.request({A: {}, B: {}}, [1, 2, 3], operation=op("set", b"v", A, B))
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node)
    assert [rack.entries(node, name)[-1].is_settled for name in (A, B)] == [True, True]


# --- what the others promise ------------------------------------------------------------------------------------


def masked(rack: ReplacedRack, node: int) -> list[int]:
    """The slots for which a node makes no MACs now."""
    macs = rack.look(node)[A].macs
    return [slot for slot in range(rack.quorums.n) if macs[16 * slot : 16 * slot + 16] == bytes(16)]


def test_who_has_answered_a_newcomer_makes_no_macs_for_the_untold() -> None:
    """R3: zeros, until they announce the edition; also after a restart. The untold make MACs for all."""
    rack = ReplacedRack(n=7, t=2, b=0)
    rack.request({A: {}}, range(7), operation=op("set", b"v"))
    node = rack.replace(0)
    rack.tell(1, 2, 3, 4)
    assert masked(rack, 1) == []
    rack.tell(5)
    rack.run(node)
    assert rack.servers[node].progress.is_standing
    assert masked(rack, 1) == [6]
    assert masked(rack, 6) == []
    rack.restart(1)
    assert rack.servers[1].membership.cut == 2
    assert masked(rack, 1) == [0, 2, 3, 4, 5, 6], "nobody has announced anything to it yet"
    rack.tell()
    assert masked(rack, 1) == [6]
    rack.tell(6)
    assert masked(rack, 1) == []


def test_the_cut_is_durable_before_the_first_answer() -> None:
    """R3: a server whose disk is slow keeps its list back; a crash that forgets the cut has told nobody anything."""
    rack, node = replaced(1, 2)
    rack.slow = {1}
    rack.tell(3)
    rack.run(node, 2)
    assert not rack.servers[node].progress.is_standing
    assert rack.servers[1].membership.cut == 2
    rack.restart(1)
    assert rack.servers[1].membership.cut == 0
    rack.slow = set()
    rack.tell(1)
    rack.run(node, 20)
    assert rack.servers[node].progress.is_standing


def test_a_request_that_waits_is_judged_again_after_a_switch() -> None:
    """R2: it was judged with a history of the replaced identity; from the switch on that is culled."""
    rack = ReplacedRack()
    written(rack, A)
    posted_view = rack.now([0, 1], A)
    rack.holds_syncs = True
    posted = rack.request(posted_view, [3])
    assert posted.votes == {}, "it waits for a version"
    rack.replace(0)
    rack.tell(1, 2, 3)
    rack.release_syncs()
    assert rack.entries(3, A)[-1].candidate.is_barrier, "one history is not enough for an inline repair"


# --- what yields to clients ---------------------------------------------------------------------------------------


def test_a_newcomer_that_is_to_rest_begins_nothing_new() -> None:
    """What is under way goes on; when the rest is over it goes on from there, and comes to an end."""
    rack = ReplacedRack()
    written(rack, *NAMES)
    node = rack.replace(0)
    upkeep = rack.servers[node].upkeep
    upkeep.rest_until_ns = rack.now_ns + 1000 * MILLISECOND
    rack.tell(1, 2, 3)
    rack.run(node, 0.5)
    assert rack.servers[node].counters["upkeep-asks"] == 0
    assert upkeep.catch_up.wake_at_ns == upkeep.rest_until_ns, "it sleeps until then"
    rack.run(node, 5)
    assert rack.servers[node].progress.is_standing
    assert rack.servers[node].counters["adopted"] == len(NAMES)


class Resting(ReplacedRack):
    """Each server is to rest after each of its inputs, as a driver demands it on a busy machine."""

    def _perform(self, index: int, actions: Actions) -> None:
        self.servers[index].upkeep.rest_until_ns = self.now_ns + 100 * MILLISECOND
        super()._perform(index, actions)


def test_a_newcomer_takes_over_a_few_objects_at_a_time() -> None:
    """So that whoever drives it can make it rest; all of them, in the end."""
    rack = Resting()
    written(rack, *NAMES)
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    counts = [0]
    while not rack.servers[node].progress.is_standing and len(counts) < 100:
        rack.now_ns += 150 * MILLISECOND
        rack.wake(node)
        counts.append(rack.servers[node].counters["adopted"])
    assert max(after - before for before, after in pairwise(counts)) <= ADOPTIONS_AT_ONCE_MAX
    assert counts[-1] == len(NAMES)
