"""Authenticators and culling by hand (PROTOCOL §2, §4.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys, Culled, cull, expected_of
from fivefold.protocol.history import Entry, encode_history, history_digest, make_histories, without
from fivefold.protocol.limits import REMEMBERED_MACS_MAX, TIME_MAX
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation.rack import rack_keys
from tests.protocol_rig import A, B, candidate

SIX = QuorumSystem(6, 1, 1)
KEYS = [rack_keys(server, 6) for server in range(6)]
DIGEST = bytes(range(32))


def mac_for(authenticator: bytes, receiver: int) -> bytes:
    return authenticator[16 * receiver : 16 * receiver + 16]


def history(time: int, name: str = A, flag: bool = False) -> bytes:
    return encode_history((Entry(candidate(time, name), flag),))


def proof(receiver: int, sets: tuple) -> bytes:
    """What honest servers make for the receiver."""
    macs = []
    for each in sets:
        for server, index in enumerate(each.holders):
            if index:
                made = KEYS[server].make(history_digest(each.object_id, each.of(server)))
                macs.append(mac_for(made, receiver))
    return b"".join(macs)


def culled(histories: list[bytes]) -> tuple[int, ...]:
    sets = (make_histories(A, histories),)
    return cull(KEYS[0], SIX, A, sets, proof(0, sets)).servers


def test_an_authenticator_has_one_mac_for_each_server() -> None:
    """N MACs of 16 bytes, all different: a key per receiver."""
    made = KEYS[2].make(DIGEST)
    assert len(made) == 6 * MAC_BYTES
    assert len({mac_for(made, receiver) for receiver in range(6)}) == 6


def test_each_receiver_expects_its_own_mac() -> None:
    """What server 2 makes for server 4 is what server 4 expects of server 2, and of nobody else."""
    mac = mac_for(KEYS[2].make(DIGEST), 4)
    assert KEYS[4].expected(bytes([0, 0, 1, 0, 0, 0]), [b"", DIGEST]) == mac
    assert KEYS[4].expected(bytes([1, 1, 0, 1, 1, 1]), [b"", DIGEST]).find(mac) < 0
    assert KEYS[3].expected(bytes([0, 0, 1, 0, 0, 0]), [b"", DIGEST]) != mac


def test_what_is_made_and_what_is_expected_come_together() -> None:
    """For one digest: this server's authenticator, then the MAC that each server makes for this one."""
    macs = KEYS[4].macs(DIGEST)
    assert macs[:96] == KEYS[4].make(DIGEST)
    assert macs[96:] == b"".join(mac_for(KEYS[server].make(DIGEST), 4) for server in range(6))
    assert expected_of(macs, bytes([0, 1, 0, 0, 1, 0])) == macs[112:128] + macs[160:176]


@pytest.mark.parametrize("bits", range(64))
def test_whoever_is_left_out_has_no_mac_expected(bits: int) -> None:
    """Any subset of holders: one, none, in a row or not, at either end."""
    holders = bytes(bits >> server & 1 for server in range(6))
    assert expected_of(KEYS[4].macs(DIGEST), holders) == KEYS[4].expected(holders, [b"", DIGEST])


def test_macs_are_made_once_and_remembered_for_a_while() -> None:
    """A history that is met again costs no second MAC; after 2 * REMEMBERED_MACS_MAX others it is forgotten."""
    made: list[bytes] = []

    def macs_under(secrets: object) -> Callable[[bytes], bytes]:
        return lambda digest: (made.append(digest), digest + digest)[1]

    keys = AuthenticatorKeys(0, [bytes(32)], [bytes(32)], macs_under)
    assert keys.macs(DIGEST) == keys.macs(DIGEST) == DIGEST + DIGEST
    assert made == [DIGEST]
    for number in range(2 * REMEMBERED_MACS_MAX):
        keys.macs(number.to_bytes(32, "big"))
        keys.macs(DIGEST) if number == REMEMBERED_MACS_MAX - 2 else None
    assert made.count(DIGEST) == 1
    keys.macs(DIGEST)
    assert made.count(DIGEST) == 2


def test_keys_never_show() -> None:
    """The repr names the server and no key."""
    assert repr(KEYS[3]) == "AuthenticatorKeys(own_index=3)"


def test_honest_histories_pass() -> None:
    """Nobody is culled, and the sets stay as they were."""
    sets = (make_histories(A, [history(1)] * 5 + [b""]), make_histories(B, [history(2, B)] * 3 + [b""] * 3))
    found = cull(KEYS[1], SIX, A, sets, proof(1, sets))
    assert (found.sets, found.servers) == (sets, ())


@pytest.mark.parametrize("position", range(8))
def test_one_wrong_mac_culls_one_history(position: int) -> None:
    """The history whose MAC is wrong is treated as initial, on that object alone; the server is reported."""
    sets = (make_histories(A, [history(1)] * 4 + [b""] * 2), make_histories(B, [history(2, B)] * 4 + [b""] * 2))
    good = bytearray(proof(1, sets))
    good[position * 16] ^= 1
    found = cull(KEYS[1], SIX, A, sets, bytes(good))
    server = position if position < 4 else position - 4
    assert found.servers == (server,)
    assert [each.of(server) == b"" for each in found.sets] == [position < 4, position >= 4]
    assert all(found.sets[0].of(other) == history(1) for other in range(4) if other != server)


@pytest.mark.parametrize("change", [b"", b"x" * 15, b"x" * 17, b"x" * 16])
def test_a_proof_of_the_wrong_length_is_a_violation(change: bytes) -> None:
    """Too short, too long, or one MAC more."""
    sets = (make_histories(A, [history(1)] * 2 + [b""] * 4),)
    good = proof(0, sets)
    with pytest.raises(PeerViolation, match="proof-length"):
        cull(KEYS[0], SIX, A, sets, good + change if change else good[:-16])


def test_bytes_that_are_no_history_are_culled() -> None:
    """A server that signs nonsense is treated as one that signs nothing."""
    assert culled([history(1)] * 4 + [b"nonsense", b""]) == (4,)
    assert culled([history(1)] * 4 + [b"\x91" * 5000, b""]) == (4,)
    assert culled([history(1, B)] + [history(1)] * 4 + [b""]) == (0,)


@pytest.mark.parametrize("time", [2, 2**40 + 2, TIME_MAX])
def test_a_history_that_leads_is_not_culled(time: int) -> None:
    """A liar can lead honest servers far ahead: that they are is no proof against them."""
    assert culled([history(1)] * 5 + [history(time)]) == ()


@pytest.mark.parametrize(("time", "expected"), [(TIME_MAX - 1, ()), (TIME_MAX, ()), (TIME_MAX + 1, (0, 1))])
def test_time_ends(time: int, expected: tuple) -> None:
    """Above 2^127 a history is culled: no honest server gets there."""
    assert culled([history(time)] * 2 + [b"", history(1), b"", b""]) == expected


def digest_of(target: str, *sets: object) -> bytes:
    return Culled(target, sets, ()).digest


def test_the_digest_covers_target_sets_holders_and_flags() -> None:
    """S1: whatever a server's derivation depends on changes the digest."""
    a, b = make_histories(A, [history(1)] * 3 + [b""] * 3), make_histories(B, [history(2, B)] * 3 + [b""] * 3)
    digests = [
        digest_of(A, a, b),
        digest_of(B, a, b),
        digest_of(A, a),
        digest_of(A, without(a, {0}), b),
        digest_of(A, a, without(b, {0})),
        digest_of(A, a, make_histories(B, [history(2, B, flag=True)] * 3 + [b""] * 3)),
        digest_of(A, a, make_histories(B, [b"", *[history(2, B)] * 3, b"", b""])),
    ]
    assert len(set(digests)) == len(digests)
    assert digest_of(A, a, b) == digest_of(A, a, b)
