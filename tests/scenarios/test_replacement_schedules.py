"""Schedules in which one rule of replacing a server is needed: nothing is lost with it, and something without it.

D1 to D9 are those of the design: a model found them. Each runs on the production machines with all rules here, and with
one rule left out in ``test_mutations``. D3 is a client's (R7).
"""

from fivefold.protocol.operations import ObjectId, Operation
from tests.protocol_rig import A, B, Y, op
from tests.replacement_rig import NOTHING, ReplacedRack, Shown, mimic


def view(rack: ReplacedRack, *nodes: int, name: ObjectId = A, **lies: Shown) -> dict[ObjectId, dict[int, Shown]]:
    """What these nodes show now, and what liars show: ``s5=…`` for slot 5."""
    shown = rack.now(nodes, name)
    shown[name].update({int(slot[1:]): each for slot, each in lies.items()})
    return shown


def set_to(value: bytes, *names: ObjectId) -> Operation:
    return op("set", value, *names)


def test_d1_a_newcomer_is_silent() -> None:
    """D1, n=4: e on s0 s1 s2; the newcomer shows the initial history; a barrier, then a copy of the initial version."""
    rack = ReplacedRack()
    rack.request({A: {}}, [0, 1, 2], operation=set_to(b"e"))
    node = rack.replace(0)
    rack.mute = {1, 2, 3}
    rack.tell(1, 2, 3)
    for _ in range(2):
        rack.request(view(rack, node, 2, 3), [node, 2, 3])


def _old_barrier(*, is_told: bool) -> None:
    """D2 and D2b, n=4: x, then a barrier on it, reach s0 alone; the newcomer takes over "initial"; m is complete.

    The barrier reaches s2 and s3 later, with s0's old history as its witness: a copy of the initial version, and m is
    lost.
    """
    rack = ReplacedRack()
    rack.request({A: {}}, [0], operation=set_to(b"x"))
    barrier = rack.request(view(rack, 0), [0])
    old = rack.look(0)[A]
    node = rack.replace(0)
    if is_told:
        rack.tell(1, 2, 3)
    rack.run(node, 2)
    if not rack.servers[node].progress.is_standing:
        rack.tell(1, 2, 3)
        rack.run(node, 2)
    assert rack.servers[node].progress.is_standing
    assert rack.request({A: {}}, [node, 1, 2], operation=set_to(b"m")).votes[node].status == 0
    barrier.to([2, 3])
    rack.request(view(rack, 2, 3, s0=old), [2, 3])
    rack.request(view(rack, 1, 2, 3), [1])


def test_d2_untold_servers_are_not_read() -> None:
    """D2."""
    _old_barrier(is_told=False)


def test_d2b_a_switch_takes_the_old_keys_away() -> None:
    """D2b."""
    _old_barrier(is_told=True)


def _one_mark(*, has_four: bool) -> None:
    """D4 and D5, n=6, s5 lies: m on s0 s1 s2, then on s3: complete with one answer from after the switch.

    In D4 the newcomer has read s2 to s5, which show m once; in D5 all, which show it twice, of order below r.
    """
    rack = ReplacedRack(n=6, t=1, b=1, liars=[5])
    rack.request({A: {}}, range(5), operation=set_to(b"e"))
    shown = rack.history(4, A)
    lie = rack.lie(5, shown)
    late = rack.request(view(rack, 1, 2, 3, 4, s5=lie), [0, 1, 2], operation=set_to(b"m"))
    node = rack.replace(0)
    rack.list_lies = {5: mimic(rack, 4)}
    rack.mute = {1} if has_four else set()
    rack.tell(1, 2, 3, 4, 5)
    rack.run(node, 10)
    late.to([3])
    rack.mute = set()
    rack.run(node, 60)
    assert rack.servers[node].progress.is_standing
    rack.request(view(rack, node, 1, 2, 4, s5=rack.lie(5, shown)), [node, 1, 2, 4])
    second = rack.lie(5, rack.history(4, A))
    rack.request(view(rack, node, 1, 2, 4, s5=second), [node, 1, 2, 4])
    rack.request(view(rack, 1, 2, 3, 4, s5=rack.lie(5, rack.history(4, A))), [1, 2, 3, 4])


def test_d4_q_others_are_read() -> None:
    """D4."""
    _one_mark(has_four=True)


def test_d5_what_is_newer_stops_an_adoption() -> None:
    """D5."""
    _one_mark(has_four=False)


def test_d6_a_candidate_over_two_objects_is_adopted_on_both() -> None:
    """D6, n=4: B is adopted; M over A and B then reaches s1 and s2; the newcomer reads A, and takes M over there alone.

    M is complete on A, and a copy passes over it on B.
    """
    rack = ReplacedRack()
    rack.request({B: {}}, range(4), operation=set_to(b"old", B))
    node = rack.replace(0)
    rack.list_lies = {1: lambda request: None}
    rack.tell(1, 2, 3)
    rack.look(node, B)
    rack.wake(node)
    assert rack.history(node, B)
    rack.request({A: {}, **rack.now([1, 2, 3], B)}, [1, 2], operation=set_to(b"M", A, B))
    rack.look(node, A)
    rack.wake(node)
    for _ in range(2):
        rack.request(view(rack, node, 1, 3, name=B), [node, 1, 3], target=B)
    rack.run(node, 20)


def test_d7_copies_are_repaired_first() -> None:
    """D7, n=4: y on s2 s3; x on s0 s1, then on s2: complete; a barrier, and a copy of x on s2 s3.

    A newcomer that takes the older candidates along with the copy makes y complete, too.
    """
    rack = ReplacedRack()
    rack.request({A: {}}, [2, 3], operation=set_to(b"y"))
    rack.request({A: {}}, [0, 1], operation=set_to(b"x"), client=Y)
    rack.request(view(rack, 0, 1), [2], client=Y)
    rack.request(view(rack, 2, 3), [1, 2, 3], client=Y)
    rack.request(view(rack, 1, 2, 3), [2, 3], client=Y)
    node = rack.replace(0)
    rack.tell(1, 2, 3)
    rack.run(node, 20)
    assert rack.servers[node].progress.is_standing


def test_d8_who_was_read_makes_no_macs_for_the_untold() -> None:
    """D8, n=9, s8 lies: s1 and s6 are not told; x reaches s2 s3 s4 after these were read.

    With s0's old history that makes x established for s1 and s6: they accept c on it and prune e, which the newcomer
    has taken over.
    """
    rack = ReplacedRack(n=9, t=2, b=1, liars=[8])
    rack.request({A: {}}, range(7), operation=set_to(b"e"))
    late = rack.request(
        view(rack, *range(1, 7), s8=rack.lie(8, rack.history(6, A))), [0, 1, 6], operation=set_to(b"x"), client=Y
    )
    old = rack.look(0)[A]
    node = rack.replace(0)
    rack.list_lies = {8: mimic(rack, 5)}
    rack.tell(2, 3, 4, 5, 7, 8)
    late.to([2, 3, 4])
    lie = rack.lie(8, rack.history(1, A))
    rack.request(view(rack, 1, 6, 2, 3, 4, s0=old, s8=lie), [1, 6], operation=set_to(b"c"))
    rack.tell(1)
    rack.run(node, 3)
    rack.tell(6)
    rack.run(node, 60)
    assert rack.servers[node].progress.is_standing
    rack.request(view(rack, node, 1, 4, 5, 6, 7, s8=NOTHING), [node, 1, 4, 5, 6, 7])
    lie = rack.lie(8, rack.history(7, A))
    rack.request(view(rack, node, 1, 4, 5, 6, 7, s8=lie), [node, 1, 4, 5, 6, 7])


def test_d9_not_even_if_q_others_have_followed() -> None:
    """D9, n=11, s9 and s10 lie: the same, although q others have switched before anything was read; s6 has not."""
    rack = ReplacedRack(n=11, t=2, b=2, liars=[9, 10])
    rack.request({A: {}}, range(9), operation=set_to(b"p"))
    oldest = rack.history(8, A)
    rack.request(view(rack, *range(9)), range(7), operation=set_to(b"e"))

    def lies(history: bytes) -> dict[str, Shown]:
        return {"s9": rack.lie(9, history), "s10": rack.lie(10, history)}

    rack.request(view(rack, *range(7), **lies(rack.history(1, A))), [0, 1, 2, 6], operation=set_to(b"x"), client=Y)
    old = rack.look(0)[A]
    node = rack.replace(0)
    rack.list_lies = {9: mimic(rack, 3), 10: mimic(rack, 3)}
    rack.tell(1, 2, 3, 4, 5, 7, 8, 9, 10)
    rack.run(node, 3)
    assert rack.servers[node].progress.is_standing
    rack.request(view(rack, 1, 2, 6, **lies(rack.history(1, A))), [3, 4, 5], client=Y)
    shown = view(rack, 6, 1, 2, 3, 4, 5, s0=old, **lies(rack.history(1, A)))
    rack.request(shown, [6], operation=set_to(b"c"))
    rack.tell(6)
    for is_first in (True, False):
        shown = view(rack, node, 6, 3, 4, 5, 7, 8, **lies(oldest if is_first else rack.history(8, A)))
        rack.request(shown, [node, 6, 3, 4, 5, 7, 8])
