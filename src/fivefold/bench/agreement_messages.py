"""The baseline's messages and MACs: canonical MessagePack and keyed BLAKE2b, as in the protocol itself."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import ClientId, Operation, digest

BATCH_MAX: Final = 64
"""Requests of one batch."""

_SHORT_BYTES: Final = 96
"""Up to here a MAC is made over the bytes themselves: one block of BLAKE2b. Longer ones are digested first, once."""


class Request(Struct, frozen=True, array_like=True, gc=False):
    """An operation that a client asks for.

    Attributes:
        client: who.
        number: chosen by the client; the reply repeats it.
        is_query: answered from the committed state, without being ordered.
        operation: canonical bytes of an Operation.
        authenticator: the client's MACs over the rest, one for each replica.
    """

    client: bytes
    number: int
    is_query: bool
    operation: bytes
    authenticator: bytes


class PrePrepare(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The leader gives a batch its sequence number."""

    sequence: int
    requests: tuple[Request, ...]


class Prepare(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A backup has accepted the batch with this digest under this number."""

    sequence: int
    digest: bytes


class Commit(Struct, frozen=True, array_like=True, tag=3, gc=False):
    """A replica has seen the batch prepared."""

    sequence: int
    digest: bytes


class AgreementReply(Struct, frozen=True, array_like=True, gc=False):
    """The answers to a request; tentative ones hold once 2f + 1 replicas give them."""

    number: int
    is_tentative: bool
    answers: tuple[bytes, ...]


Message = PrePrepare | Prepare | Commit

_messages: Final = msgspec.msgpack.Decoder(Message)
_requests: Final = msgspec.msgpack.Decoder(Request)
_operations: Final = msgspec.msgpack.Decoder(Operation)
_replies: Final = msgspec.msgpack.Decoder(AgreementReply)

T = TypeVar("T")


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, name: str) -> T:
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation(f"{name}-malformed") from None
    if encode(value) != data:
        raise PeerViolation(f"{name}-not-canonical")
    return value


def message_frame(message: Message) -> bytes:
    """The part of a frame between replicas that is the same for all receivers; the MAC goes before it."""
    return encode(message)


def decode_message(frame: bytes) -> Message:
    """The message of a frame between replicas, its MAC not yet checked.

    Raises:
        PeerViolation: malformed.
    """
    message: Message = _decode(_messages, frame[MAC_BYTES:], "message")
    return message


def decode_request(frame: bytes) -> Request:
    """A request, its MAC not yet checked.

    Raises:
        PeerViolation: malformed.
    """
    return _decode(_requests, frame, "request")


def decode_reply(frame: bytes) -> AgreementReply:
    """A reply.

    Raises:
        PeerViolation: malformed.
    """
    return _decode(_replies, frame, "reply")


def operation_of(request: Request) -> Operation:
    """The operation of a request.

    Raises:
        PeerViolation: malformed.
    """
    return _decode(_operations, request.operation, "operation")


def client_key(cluster_id: bytes, client: ClientId, replica: int) -> bytes:
    """The key between a client and a replica.

    Anybody with the cluster file can compute it: it is no secret, and enough to measure the cost of MACs.
    """
    return blake2b(client + replica.to_bytes(2, "big"), key=cluster_id, digest_size=32).digest()


def make_request(
    client: ClientId, number: int, operation: bytes, keys: Sequence[blake2b], *, is_query: bool
) -> Request:
    """A request with the MACs of its client."""
    authenticated = _authenticated_request(client, number, operation, is_query=is_query)
    return Request(client, number, is_query, operation, b"".join([_mac(key, authenticated) for key in keys]))


def mac_state(key: bytes) -> blake2b:
    """A hash state to be copied for each MAC: BLAKE2b-128 over key ‖ what is authenticated, in one block.

    Not the protocol's MACs: those are cheap for all receivers of one digest together, and dear for a single one.
    """
    return blake2b(key, digest_size=MAC_BYTES, person=b"fivefold mac")


class AgreementKeys:
    """One replica's keys: with every replica in both directions, and with clients."""

    def __init__(self, cluster_id: bytes, outgoing: Sequence[bytes], incoming: Sequence[bytes]) -> None:
        """Take one key per direction: ``outgoing[j]`` is own→j, ``incoming[j]`` is j→own."""
        self._cluster_id = cluster_id
        self._outgoing = [mac_state(key) for key in outgoing]
        self._incoming = [mac_state(key) for key in incoming]
        self._clients: dict[bytes, blake2b] = {}

    @staticmethod
    def authenticated(body: bytes) -> bytes:
        """What the MACs of a frame are made over."""
        return body if len(body) <= _SHORT_BYTES else digest(body)

    def make(self, replica: int, authenticated: bytes) -> bytes:
        """The MAC for one replica."""
        return _mac(self._outgoing[replica], authenticated)

    def check(self, sender: int, frame: bytes) -> None:
        """Check the MAC of a frame from another replica.

        Raises:
            PeerViolation: it is wrong.
        """
        expected = _mac(self._incoming[sender], self.authenticated(frame[MAC_BYTES:]))
        if not compare_digest(frame[:MAC_BYTES], expected):
            raise PeerViolation("mac")

    def check_client(self, request: Request, own_index: int) -> None:
        """Check a client's MAC for this replica.

        Raises:
            PeerViolation: it is wrong.
        """
        key = self._clients.get(request.client)
        if key is None:
            client = ClientId(request.client)
            key = self._clients[client] = mac_state(client_key(self._cluster_id, client, own_index))
        authenticated = _authenticated_request(
            ClientId(request.client), request.number, request.operation, is_query=request.is_query
        )
        start = own_index * MAC_BYTES
        if not compare_digest(request.authenticator[start : start + MAC_BYTES], _mac(key, authenticated)):
            raise PeerViolation("client-mac")


def _authenticated_request(client: ClientId, number: int, operation: bytes, *, is_query: bool) -> bytes:
    head = client + number.to_bytes(8, "big") + bytes([is_query])
    return digest(head + operation)


def _mac(key: blake2b, data: bytes) -> bytes:
    state = key.copy()
    state.update(data)
    return state.digest()
