"""What clients say of servers: shown to operators, bounded, and believed by nobody."""

import asyncio
import logging
import re

import pytest

from fivefold import Counter
from fivefold.cli.servers import servers_view
from fivefold.errors import PeerViolation
from fivefold.node.sayings import (
    CLIENTS_MAX,
    SAID,
    SAYING_CHARACTERS_MAX,
    Said,
    Saying,
    Sayings,
    charge_of,
    decode_saying,
    saying_frame,
)
from fivefold.protocol.client import Evidence
from fivefold.protocol.operations import ClientId, digest
from fivefold.testing import local_cluster


async def test_proof_reaches_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    """A client that has proof says so in its log, once, and the servers show who said it."""
    async with local_cluster(t=1, b=1) as cluster:
        await cluster.lie(2, "macs")
        other = await cluster.client("other")
        with caplog.at_level(logging.WARNING, "fivefold.client"):
            for number in range(200):
                await cluster.object(Counter, f"c{number % 8}").increment()
                if cluster.servers[0].status().said:
                    break
                await asyncio.sleep(0.02)
        [said, *_] = cluster.servers[0].status().said
        me = ClientId(digest(b"first")[:16]).hex()
        assert (said.client, said.server) == (me, 2)
        assert "found its MACs wrong" in said.what
        assert sum("server 2 is proven to lie" in record.message for record in caplog.records) == 1
        assert other.evidence() == ()  # nobody else believes it
        from rich.console import Console

        console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, ASYNC230
        console.print(servers_view(await cluster.status(), [f"a{n}:1" for n in range(6)]))
        console.file.close()
        assert f"said by client {me} of server 2" in console.export_text()


async def test_answers_that_differ_are_told_and_called_no_proof(caplog: pytest.LogCaptureFixture) -> None:
    """A server that lies in answers is named with what it does, and nobody says that it is proven to lie."""
    async with local_cluster(t=1, b=1) as cluster:
        await cluster.lie(2, "answers")
        with caplog.at_level(logging.WARNING, "fivefold.client"):
            for number in range(200):
                await cluster.object(Counter, f"c{number % 8}").increment()
                if cluster.servers[0].status().said:
                    break
                await asyncio.sleep(0.02)
        [said] = cluster.servers[0].status().said
        assert said.server == 2
        assert re.fullmatch(r"answered differently \(\d+ times\)", said.what)
        assert sum("server 2 does what no honest server does" in record.message for record in caplog.records) == 1
        assert not any("proven" in record.message for record in caplog.records)


def test_what_may_be_bad_luck_is_no_charge() -> None:
    """That a server stood alone is not told to anybody: a client can bring that about."""
    assert charge_of(Evidence(1, False, False, (), {"stood alone": 99}, False)) == ("", "")
    told = charge_of(Evidence(1, False, True, (2,), {"stood alone": 99, "answered differently": 3}, False))
    assert told == ("does what no honest server does", "answered differently (3 times)")
    assert charge_of(Evidence(1, True, True, (0, 2), {"answered differently": 3}, False))[1].startswith("servers 0, 2")


def test_of_a_replaced_server_nothing_is_said() -> None:
    """What was said of the old identity is not shown of the new one; the same words about that one are new."""
    sayings, client = Sayings(), ClientId(bytes(16))
    sayings.hear(client, Saying(1, "a"), since=(1, 1, 1))
    assert [each.server for each in sayings.shown((1, 1, 1))] == [1]
    assert sayings.shown((1, 2, 1)) == ()
    assert sayings.hear(client, Saying(1, "a"), since=(1, 2, 1))
    assert [each.server for each in sayings.shown((1, 2, 1))] == [1]


async def test_a_lying_client_has_nobody_excluded() -> None:
    """It may say of every server what it wants; calls go on as before."""
    async with local_cluster(t=1, b=1) as cluster:
        for server in range(6):
            cluster.cluster.say(server, "it lies")
        before = cluster.cluster.requests_sent
        assert await cluster.object(Counter, "c").increment() == 1
        assert cluster.cluster.requests_sent - before == 5
        assert (await cluster.status()).evidence == ()
        assert len(cluster.servers[0].status().said) == 6


def test_sayings_are_bounded() -> None:
    """One of each client about each server, of the last clients."""
    sayings = Sayings()
    for number in range(CLIENTS_MAX + 5):
        client = ClientId(number.to_bytes(16, "big"))
        assert sayings.hear(client, Saying(1, "a"))
        assert not sayings.hear(client, Saying(1, "a"))
        assert sayings.hear(client, Saying(1, "b"))
    shown = sayings.shown()
    assert len(shown) == CLIENTS_MAX
    last = ClientId((CLIENTS_MAX + 4).to_bytes(16, "big")).hex()
    assert (shown[-1].client, shown[-1].server, shown[-1].what) == (last, 1, "b")


@pytest.mark.parametrize(
    "frame",
    [
        bytes((SAID,)),
        saying_frame(6, "a"),
        saying_frame(-1, "a"),
        saying_frame(1, "a\x1b[2J"),
        bytes((SAID,)) + b"\x92\x01" + b"\xd9\xc9" + b"a" * 201,
        bytes((SAID,)) + b"\x91" * 5000,
    ],
)
def test_bad_sayings_are_refused(frame: bytes) -> None:
    """Of no server, too long, or with what a terminal would obey."""
    with pytest.raises(PeerViolation):
        decode_saying(frame, 6)


def test_a_long_saying_is_cut() -> None:
    """By the client that says it."""
    assert len(decode_saying(saying_frame(1, "a" * 999), 6).what) == SAYING_CHARACTERS_MAX


def test_a_saying_is_as_old_as_the_first_time_it_was_heard() -> None:
    """Said again it grows older; another word about the same server begins anew."""
    now = [5_000_000_000]
    sayings, client = Sayings(lambda: now[0]), ClientId(bytes(16))
    assert sayings.hear(client, Saying(1, "a"))
    now[0] = 8_000_000_000
    assert not sayings.hear(client, Saying(1, "a"))
    assert sayings.shown() == (Said(client.hex(), 1, "a", 3.0),)
    assert sayings.hear(client, Saying(1, "b"))
    assert sayings.shown() == (Said(client.hex(), 1, "b", 0.0),)
