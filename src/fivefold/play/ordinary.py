"""Scenarios without a liar: what calls cost when nothing, or something ordinary, is in their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fivefold.play.recording import Note
from fivefold.play.staging import MILLISECOND, Cue, Line, Staged
from fivefold.simulation import Card, Crashed, Died, Ended, Fault, Restarted

CARD: Final = ("Card/trick",)


def suit(method: str, arguments: Mapping[str, object]) -> str:
    """What a version of a card is worth: its suit."""
    return str(arguments.get("suit", "♥"))


def _set(client: int, at_ms: float, suit: str) -> Line:
    return Line(client, at_ms, CARD, "set", {"suit": suit})


def _get(client: int, at_ms: float) -> Line:
    return Line(client, at_ms, CARD, "get")


UPDATE: Final = Staged(
    name="update",
    title="An update without a fault",
    summary="Two updates and a query by one client that nobody disturbs: a round trip to a quorum each.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _set(0, 8, "♠"), _get(0, 15)),
    clients=("X",),
    value_of=suit,
    until_ms=30,
    rows=(
        Note(
            0,
            "The first update",
            "X knows nothing of the object, so it sends the empty history set: all servers at ⟨0⟩. That is the "
            "truth, so five servers derive ⟨1⟩ from it, execute the call, write it to disk, and only then answer.",
        ),
        Note(
            1,
            "The next one builds on it",
            "X has kept the five histories of the first answers. It conditions its second update on ⟨1⟩: one "
            "round trip again.",
        ),
        Note(
            2,
            "A query writes nothing",
            "For a query the servers check the same things and answer. No candidate is accepted, and no disk is "
            "written.",
        ),
    ),
)

QUERY: Final = Staged(
    name="optimistic-query",
    title="An optimistic query",
    summary="Y asks with an outdated history set. The servers call the request stale, and still answer on their "
    "latest version: b + 1 equal answers on a complete candidate are enough, and the query is over in one "
    "round trip.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _get(1, 8), _set(0, 14, "♠"), _get(1, 22)),
    value_of=suit,
    until_ms=40,
    rows=(
        Note(0, "X writes", "X sets ♣ on five servers."),
        Note(
            1,
            "Y knows nothing of it",
            "Y conditions its query on ⟨0⟩, which is outdated. The servers refuse the condition, and send their "
            "histories and the answer on their latest version along.",
        ),
        Note(2, "X writes again", "What Y has in its cache is outdated again."),
        Note(
            3,
            "One round trip all the same",
            "The histories that came back show ⟨2⟩ on a quorum, and b + 1 = 2 servers agree on the answer. Y "
            "believes them, without a second round.",
        ),
    ),
)

CRASHED_CLIENT: Final = Staged(
    name="dead-client",
    title="A client dies, another one cleans up",
    summary="X dies while its update is on the way to the servers. The next client finds it half done, and "
    "decides its fate.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _set(0, 8, "♦"), _get(1, 16), _get(1, 40)),
    seed=1,
    value_of=suit,
    until_ms=70,
    faults=(Fault("death of client", int(9.12 * MILLISECOND), 0, (0,)),),
    rows=(
        Note(0, "Before", "X sets ♣ on a quorum."),
        Note(1, "In the middle", "X sends ♦ to five servers, and dies before all of them have it."),
        Note(
            2,
            "Y asks",
            "Y wants to read. What it must not do: return ♦ now and have it vanish later, or pass over a ♦ that "
            "somebody may have been told is done.",
        ),
    ),
    cues=(
        Cue(
            lambda event: isinstance(event, Died),
            "X is dead",
            "What had not arrived is lost with its connections. Whether ♦ is done is not decided yet.",
        ),
    ),
)

CONTENTION: Final = Staged(
    name="contention",
    title="Contention and back-off",
    summary="Three clients update one object at the same moment. Nobody has a quorum, so they repair, and each "
    "backs off for a random while, so that one gets through.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _set(1, 1.05, "♦"), _set(2, 1.1, "♠"), _get(0, 60)),
    clients=("X", "Y", "Z"),
    seed=4,
    value_of=suit,
    until_ms=150,
    rows=(
        Note(0, "Three at once", "X, Y and Z each set a suit, all on ⟨0⟩. Each server accepts what comes first."),
        Note(
            3,
            "Repair",
            "From the answers the clients see that no candidate is complete. They put up barriers, copy what may "
            "be complete, and pause for a random time before they try again, longer each time.",
        ),
    ),
)

HELPING: Final = Staged(
    name="helping",
    title="Helping: contention becomes a batch",
    summary="Three clients update one object at the same moment, and help each other. Those that have to wait announce "
    "their calls; who gets through next carries another’s call along with its own.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _set(1, 1.05, "♦"), _set(2, 1.1, "♠")),
    clients=("X", "Y", "Z"),
    seed=137,
    value_of=suit,
    until_ms=60,
    helping=frozenset({0, 1, 2}),
    rows=(
        Note(
            0,
            "Three at once",
            "X, Y and Z each set a suit, all on ⟨0⟩. Nobody has a quorum. So far nothing differs from a cluster "
            "without helping.",
        ),
        Note(3, "Z gets through", "A barrier, a copy, and Z’s own call: three round trips. The others came too late."),
        Note(
            8,
            "Y announces its call",
            "Instead of one more attempt Y tells all servers what it wants. They keep that in memory: nothing of it is "
            "durable, and nobody has promised anything.",
        ),
        Note(
            9,
            "So does X",
            "Replies to X tell it of Y’s call: look at the message of one. A server tells others only what it has "
            "heard from Y itself.",
        ),
        Note(
            10,
            "One operation, two calls",
            "X has waited long enough and acts. q - b = 4 servers list Y’s call alike, so X carries it: first ♦, then "
            "its own ♣, in one candidate. Each server compares what X carries with what Y has announced, byte for "
            "byte.",
        ),
    ),
    cues=(
        Cue(
            lambda event: isinstance(event, Ended) and event.client == 1,
            "Y is done without a further message",
            "Each server has told Y once the candidate was on its disk. q of them name the same candidate, and Y’s "
            "caller has its answer. Two calls of two clients took one round trip.",
        ),
    ),
)

RETURNING: Final = Staged(
    name="returning-server",
    title="A server that was down catches up",
    summary="A server crashes, misses two updates, and starts again from its disk. The first request that needs "
    "it lets it fetch the version it lacks from its peers.",
    things=(Card,),
    script=(_set(0, 1, "♣"), _set(0, 12, "♦"), _set(0, 30, "♠"), _set(0, 330, "♥"), _get(1, 360)),
    seed=2,
    value_of=suit,
    until_ms=400,
    faults=(Fault("crash", 8 * MILLISECOND, 42 * MILLISECOND, (3,)),),
    rows=(
        Note(1, "One of six is missing", "X sends to a quorum without s3: n ≥ q + t leaves one."),
        Note(
            3,
            "Object sync",
            "s3 is asked again. The request is conditioned on a version that s3 never saw. It asks its peers for "
            "it and believes b + 1 = 2 equal digests, then accepts like everybody else.",
        ),
    ),
    cues=(
        Cue(lambda event: isinstance(event, Crashed), "s3 crashes", "Its connections break, and X notices."),
        Cue(
            lambda event: isinstance(event, Restarted),
            "s3 is back",
            "It has what was on its disk: ♣. That it missed something is no lie: its history is signed and old.",
        ),
    ),
)
