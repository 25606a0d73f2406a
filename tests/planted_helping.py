"""Planted bugs in helping (H1-H7, H9): each leaves out one rule. They are on the list of ``planted.py``."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import msgspec

from fivefold.protocol import messages
from fivefold.protocol.client import crowd, helped, rounds
from fivefold.protocol.server import announcing, carrying, examination, pool, replies, versions
from fivefold.simulation import rack as rack_module

Patch = tuple[object, str, Any]
"""Where, which attribute, what instead."""

HELPING_BUGS: dict[str, Callable[[], list[Patch]]] = {}
"""By name; each makes its patches anew."""


def bug(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    """Register a bug under its function's name."""
    HELPING_BUGS[make.__name__] = make
    return make


@bug
def announced_calls_kept_silent() -> list[Patch]:
    """H2: replies do not list what others have announced."""
    return [(pool.Pool, "_listed", lambda self, name, reader, newest: iter(()))]


@bug
def forgotten_calls_are_listed() -> list[Patch]:
    """H2: what the ring does not know is listed, although the ring may have forgotten it."""

    def recalled(version: Any, key: bytes, since: int) -> bytes | None:
        return versions.find_answer(version, key)

    return [(pool, "recall", recalled)]


@bug
def carried_calls_need_not_be_held() -> list[Patch]:
    """H3: a server runs what an operation carries, whether its owner has announced it or not."""
    return [(pool.Pool, "lacking", lambda self, carrier, operation, base, is_update: [])]


@bug
def carried_calls_are_the_carriers() -> list[Patch]:
    """H3: rings keep a carried call under the key of the client that carries it."""
    honest = carrying.execute_carrying

    def execute(executor: Any, client: Any, operation: Any, base: Any, *, time: int) -> Any:
        mine = tuple(msgspec.structs.replace(each, owner=client) for each in operation.carried)
        return honest(executor, client, msgspec.structs.replace(operation, carried=mine), base, time=time)

    return [(examination, "execute_carrying", execute)]


@bug
def carried_twice() -> list[Patch]:
    """H3: an operation may carry one call several times."""
    return [(messages, "_others_calls", lambda operation: [each.call for each in operation.carried])]


@bug
def owners_rights_unchecked() -> list[Patch]:
    """H3: a carried call is run although its owner may not make it any more."""
    honest = pool.Pool.lacking

    def lacking(self: Any, carrier: Any, operation: Any, base: Any, is_update: Any) -> Any:
        allowing, self._access = self._access, rack_module.Everyone()
        try:
            return honest(self, carrier, operation, base, is_update)
        finally:
            self._access = allowing

    return [(pool.Pool, "lacking", lacking)]


@bug
def carriers_rights_unchecked() -> list[Patch]:
    """H3: a client that has lost its right to a call may carry it."""
    honest = pool.Pool.lacking

    def lacking(self: Any, carrier: Any, operation: Any, base: Any, is_update: Any) -> Any:
        return honest(self, operation.carried[0].owner, operation, base, is_update)

    return [(pool.Pool, "lacking", lacking)]


@bug
def others_answers_take_all_the_room() -> list[Patch]:
    """H3: answers of carried calls leave no room for those of the carrier's own."""
    return [(carrying, "ANSWER_BYTES_MAX", 0)]


@bug
def what_is_announced_twice_is_carried_twice() -> list[Patch]:
    """H5: a client carries all that is listed, even if a call is in two announcements."""
    return [(crowd, "key_of", lambda owner, call: id(call).to_bytes(8, "big"))]


@bug
def rejections_of_carried_calls_not_recorded() -> list[Patch]:
    """H3: of an operation that carries only what changes something is recorded."""
    honest = carrying._Run.call

    def call(self: Any, owner: Any, each: Any) -> bytes:
        before = self.fresh
        answer = honest(self, owner, each)
        if answer.startswith(b"r"):
            self.fresh = before
        return answer

    return [(carrying._Run, "call", call)]


@bug
def announcements_end_when_accepted() -> list[Patch]:
    """H4: a server forgets an announcement as soon as it accepts a version with its calls."""
    honest = replies.Replies.push

    def push(self: Any, replica: Any, candidate: Any, version: Any, proposer: Any) -> None:
        honest(self, replica, candidate, version, proposer)
        self.pool.settle(replica.object_id, version)

    return [(replies.Replies, "push", push)]


@bug
def owners_are_not_told() -> list[Patch]:
    """H4: nobody pushes answers."""
    return [(replies.Replies, "push", lambda self, *arguments: None)]


@bug
def pushes_of_any_candidate_count() -> list[Patch]:
    """H4: pushes of different candidates are counted together."""
    honest = helped.HelpedInvocation._take_push

    def take(self: Any, now_ns: int, server: int, vote: Any, tail: bytes) -> bool:
        same = msgspec.structs.replace(vote, candidate=b"one for all", version_digest=b"the same")
        return honest(self, now_ns, server, same, tail)

    return [(helped.HelpedInvocation, "_take_push", take)]


@bug
def what_b_plus_one_list_is_carried() -> list[Patch]:
    """H5: a client carries what b + 1 servers list."""
    honest = crowd.agreed

    def agreed(helps: Any, quorums: Any) -> Any:
        fewer = copy(quorums)
        fewer.q = 2 * quorums.b + 1
        return honest(helps, fewer)

    return [(crowd, "agreed", agreed)]


@bug
def nobody_carries_without_own_calls() -> list[Patch]:
    """H5: a client that has no call of its own left does not carry others'."""
    return [(helped.HelpedInvocation, "carries_on", False)]


@bug
def nobody_follows() -> list[Patch]:
    """H6: a client that was carried tries its next call itself."""
    return [(helped, "FOLLOW_ROUND_TRIPS", 0)]


@bug
def updates_under_way_are_repaired() -> list[Patch]:
    """H7: a client that waits for others does so for no time, and repairs what is under way."""
    return [(helped, "WAIT_ROUND_TRIPS", 0)]


@bug
def pending_means_dead() -> list[Patch]:
    """H9: a server that keeps a call for others to carry counts as one that has refused it."""

    def weigh(self: Any, more: Any = None) -> None:
        self._may_be_applied = self._is_attempt_alive

    return [(helped.HelpedInvocation, "_weigh", weigh)]


@bug
def refused_calls_are_plain() -> list[Patch]:
    """H3: a call that a refusal has announced is tried again as one that nobody can carry: unrecorded if rejected."""

    def encoded(self: Any, since: int, attempt: int) -> bytes:
        is_plain = not (self._carried or self._is_announced)
        return messages.encode_operation(self.operation, since, attempt, None if is_plain else self._carried)

    return [(helped.HelpedInvocation, "_encoded", encoded)]


@bug
def dead_while_its_operation_goes_on() -> list[Patch]:
    """H9: a call is told to be dead because no attempt at its operation lives, though its operation is under way."""
    honest = helped.HelpedInvocation._timed_out

    def timed_out(self: Any, delay: Any, reason: str = "") -> Any:
        found = honest(self, delay, reason)
        return found if self._may_be_applied else msgspec.structs.replace(found, since=None)

    return [(helped.HelpedInvocation, "_timed_out", timed_out)]


@bug
def one_confirmation_is_enough() -> list[Patch]:
    """H9: a call counts as withdrawn when one server says so."""

    def evaluate(self: Any, now_ns: int, *, is_patient: bool = True) -> None:
        round_ = self._round
        if round_ is not None and round_.purpose is rounds.Purpose.WITHDRAWAL and round_.votes:
            self._held.clear()
        honest(self, now_ns, is_patient=is_patient)

    honest = helped.HelpedInvocation.evaluate
    return [(helped.HelpedInvocation, "evaluate", evaluate)]


@bug
def withdrawals_pass_what_waits() -> list[Patch]:
    """H9: an attempt that waits for a sync when its calls are withdrawn is accepted afterwards."""
    return [(announcing.Announcing, "_withdraw_parked", lambda self, client, operation: None)]


@bug
def withdrawals_confirmed_by_holders() -> list[Patch]:
    """H9: a server confirms a withdrawal although its history has a version with the call."""
    return [(examination, "knows_nothing_of", lambda version, owner, calls: True)]
