"""Histories: what the callers saw of their operations, one JSON line each.

``{"process":"p1","method":"get","objects":["Counter/hits"],"invoke_ns":10,"return_ns":25,"outcome":"ok","answer":7}``

A history is all that the checker knows: it reads nothing of the protocol, so a bug there cannot hide itself here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, ValidationError, json

from fivefold.errors import CallerError

Nanoseconds = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]

DEPTH_MAX = 64
"""Lists and maps inside each other in arguments and answers; Python's own limit comes far later."""


class HistoryError(CallerError):
    """A history that cannot be checked as it is: a line of wrong form, or an operation that its model cannot run.

    Attributes:
        line: the line in question, counted from 1; None if the mistake is not in one line.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class Outcome(StrEnum):
    """What the caller knows about its operation's end."""

    OK = "ok"
    """It returned ``answer``."""
    REJECTED = "rejected"
    """Its method refused it (a ``Rejected``, whose name is ``answer``): nothing changed."""
    FAILED = "failed"
    """It failed and nothing changed; why is not checked."""
    UNKNOWN = "unknown"
    """Nobody knows: it may take effect at any time after its invocation, or never."""
    CANCELLED = "cancelled"
    """It was resolved as not applied, and never will be."""


class Observation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One operation as its caller saw it: one line of a history.

    Attributes:
        process: who called. One process calls one thing at a time; give concurrent tasks names of their own.
        method: name of the method, or of the function if the operation is one over several objects.
        objects: ids (``Type/key``) in the order of the function's parameters, each once.
        arguments: by parameter name, the objects left out.
        invoke_ns: when it was called, on one clock for the whole history.
        return_ns: when it returned; None if it did not.
        outcome: what the caller knows about its end.
        answer: what it returned; for a rejection the class name, dotted or not. Left out means not recorded:
            anything goes.
        read: for each object the number of the version that the operation ran on, if known.
        written: for each object the number of the version that it made, if known. Numbers of one object grow
            with every update, and each belongs to one operation; they need not be without gaps.
        operation: id of the operation, the same for all its retries (which together are one line); may be empty.
    """

    process: Name
    method: Name
    objects: Annotated[tuple[Name, ...], Meta(min_length=1)]
    invoke_ns: Nanoseconds
    outcome: Outcome
    arguments: dict[str, object] = {}
    return_ns: Nanoseconds | None = None
    answer: object | UnsetType = UNSET
    read: dict[str, Number] = {}
    written: dict[str, Number] = {}
    operation: str = ""

    def __str__(self) -> str:
        """The call and its end, as in ``p1: Counter/hits.increment(by=1) → 7``."""
        return f"{self.process}: {', '.join(self.objects)}.{label(self)}"


def label(observation: Observation) -> str:
    """The operation in a few characters, without process and objects: ``increment(by=1) → 7``."""
    arguments = ", ".join(f"{name}={_short(value)}" for name, value in observation.arguments.items())
    call = f"{observation.method}({arguments})"
    answer = "" if isinstance(observation.answer, UnsetType) else _short(observation.answer)
    match observation.outcome:
        case Outcome.OK:
            return f"{call} → {answer}" if answer else call
        case Outcome.REJECTED:
            return f"{call} ✗ {observation.answer if isinstance(observation.answer, str) else 'rejected'}"
        case Outcome.UNKNOWN:
            return f"{call} → ?"
        case Outcome.FAILED | Outcome.CANCELLED:
            return f"{call} ({observation.outcome})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 24 else text[:23] + "…"


def encode_observation(observation: Observation) -> bytes:
    """The observation's line, with its line feed."""
    return json.encode(observation) + b"\n"


def write_history(path: Path | str, history: Iterable[Observation]) -> None:
    """Write a history as JSON lines, over whatever ``path`` held."""
    with open(path, "wb") as file:
        file.writelines(map(encode_observation, history))


def read_history(path: Path | str) -> tuple[Observation, ...]:
    """Read a history from a file of JSON lines; empty lines are skipped.

    Raises:
        HistoryError: the file cannot be read, or a line is not an observation; the line is named.
    """
    try:
        with open(path, "rb") as file:
            return parse_history(file)
    except OSError as error:
        raise HistoryError(f"{path} cannot be read ({error.strerror}): name a file of JSON lines") from error


def parse_history(lines: Iterable[bytes | str]) -> tuple[Observation, ...]:
    """Parse and validate a history's lines; empty ones are skipped.

    Raises:
        HistoryError: a line is not an observation, or contradicts itself or an earlier one; the line is named.
    """
    return validate(_decode(lines))


def _decode(lines: Iterable[bytes | str]) -> Iterator[tuple[int, Observation]]:
    decoder = json.Decoder(Observation)
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            yield line, decoder.decode(text)
        except ValidationError as error:
            raise HistoryError(f"{error}: correct the field", line) from error
        except (DecodeError, UnicodeError, RecursionError) as error:
            raise HistoryError(f"not a JSON object ({error}): write one operation a line", line) from error


def validate(numbered: Iterable[tuple[int, Observation]]) -> tuple[Observation, ...]:
    """The observations, each checked for contradictions; every number is what errors call its line.

    Raises:
        HistoryError: an observation contradicts itself, or repeats an operation's id.
    """
    seen: dict[str, int] = {}
    history = []
    for line, observation in numbered:
        complaint = _complaint(observation)
        if complaint:
            raise HistoryError(complaint, line)
        first = seen.setdefault(observation.operation, line) if observation.operation else line
        if first != line:
            raise HistoryError(f"repeats the operation of line {first}: write retries as one line", line)
        history.append(observation)
    return tuple(history)


def _is_deep(value: object, depth_max: int) -> bool:
    """Whether lists and maps are nested more than ``depth_max`` deep; itself never goes deeper than that."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if not isinstance(value, list | tuple | set | frozenset):
        return False
    return depth_max < 0 or any(_is_deep(inner, depth_max - 1) for inner in value)


def _complaint(observation: Observation) -> str:
    """What is wrong with one observation by itself; empty if nothing is."""
    returned = observation.return_ns
    if observation.outcome not in tuple(Outcome):  # only decoding checks types
        return f"has the outcome {observation.outcome!r}: use one of {', '.join(Outcome)}"
    if _is_deep((observation.arguments, observation.answer), DEPTH_MAX):
        return f"nests values deeper than {DEPTH_MAX} levels: record a digest instead"
    if len(set(observation.objects)) != len(observation.objects):
        return "names an object twice: name each object once"
    if returned is not None and returned < observation.invoke_ns:
        return "returns before it is invoked: take both times from one clock that never goes back"
    if returned is None and observation.outcome in (Outcome.OK, Outcome.REJECTED):
        return f"outcome {observation.outcome} without return_ns: give the time, or make the outcome unknown"
    if observation.outcome == Outcome.REJECTED and not isinstance(observation.answer, str | UnsetType):
        return "is rejected with something else than a class name as its answer: give the name, or leave it out"
    strangers = (observation.read.keys() | observation.written.keys()) - set(observation.objects)
    if strangers:
        return f"has a version of {min(strangers)}, which is not among its objects: add it to objects"
    return ""
