"""Access rules: which client may invoke what.

::

    rule    = objects [":" methods]
    objects = TYPE | TYPE "/" KEY        TYPE and KEY may contain *, which stands for any characters, also "/"
    methods = NAME | "@query" | "@update"   NAME may contain *; of a function its dotted name

``Counter`` is every counter, ``*`` every object; without ``:`` every method is meant. The last colon separates, so a
key with a colon needs the method part: ``Map/a:b:*``. A function over several objects needs a right on each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from fivefold.errors import ConfigurationError
from fivefold.objects import Registry
from fivefold.protocol.limits import METHOD_BYTES_MAX, OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import ADOPT, CANCEL, SHOW, ClientId, ObjectId, type_of

if TYPE_CHECKING:
    from fivefold.cluster.configuration import Configuration

CACHED_ANSWERS_MAX: Final = 4096
"""Answers kept for one client: its own flood of names costs its own cache only."""

RULES_MAX: Final = 256
"""Rules of one client."""

IsUpdate: TypeAlias = Callable[[str, str], bool | None]
"""Whether a method (or function) of a type is an update; None if there is no such method."""


class Kind(Enum):
    """Which methods a rule is about."""

    ANY = "*"
    QUERY = "@query"
    UPDATE = "@update"
    NAMED = "name"


class Glob(Struct, frozen=True):
    """A pattern whose stars stand for any characters.

    Matched by looking for its parts from left to right, each at its first place after the one before: a later place
    never lets more match. So one name takes at most (length of the pattern) x (length of the name) steps. A regular
    expression tries all places of all stars: four of them and a name made for it held a server for more than a second.

    Attributes:
        parts: what stands between the stars.
    """

    parts: tuple[str, ...]

    @staticmethod
    def parse(pattern: str) -> Glob:
        """The pattern as its text says."""
        return Glob(tuple(pattern.split("*")))

    def matches(self, text: str) -> bool:
        """Whether the stars can be filled in so that the pattern becomes the text."""
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return text == first
        at, end = len(first), len(text) - len(last)
        if end < at or not (text.startswith(first) and text.endswith(last)):
            return False
        for part in self.parts[1:-1]:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class Rule(Struct, frozen=True):
    """One parsed rule.

    Attributes:
        text: as it was written.
        objects: pattern of whole object ids.
        kind: which methods it is about.
        methods: pattern of method names, for NAMED rules.
        is_of_type: it decides alike for all objects of a type: it names one, or all, and no key.
    """

    text: str
    objects: Glob
    kind: Kind
    methods: Glob
    is_of_type: bool

    @staticmethod
    def parse(text: str) -> Rule:
        """Read a rule.

        Raises:
            ConfigurationError: it does not follow the grammar.
        """
        objects, colon, methods = text.rpartition(":") if ":" in text else (text, "", "*")
        if colon and not methods:
            raise _bad(text, "has no method after the colon")
        if len(objects.encode()) > OBJECT_ID_BYTES_MAX or len(methods.encode()) > METHOD_BYTES_MAX:
            raise _bad(text, "is too long")
        is_of_type = objects == "*" or not ("*" in objects or "/" in objects)
        return Rule(text, _objects_pattern(text, objects), _kind_of(text, methods), _glob(text, methods), is_of_type)

    def covers(self, object_id: ObjectId) -> bool:
        """Whether the rule is about this object."""
        return self.objects.matches(object_id)

    def permits(self, type_name: str, method: str, is_update: IsUpdate) -> bool:
        """Whether the rule is about this method of an object it covers."""
        if method in (SHOW, ADOPT):  # past the object's own methods: for the owner of everything alone
            return self.text == "*"
        match self.kind:
            case Kind.ANY:
                return True
            case Kind.UPDATE:
                # Who may update may also find out what became of an update: CANCEL writes, but only to the ring.
                return method == CANCEL or is_update(type_name, method) is True
            case Kind.QUERY:
                return method != CANCEL and is_update(type_name, method) is False
            case Kind.NAMED:
                return self._is_named(type_name, method, is_update)

    def _is_named(self, type_name: str, method: str, is_update: IsUpdate) -> bool:
        if method != CANCEL:
            return self.methods.matches(method)
        # A rule for one query gives no right to write; one with a star may name updates.
        name = self.text.rpartition(":")[2]
        return "*" in name or is_update(type_name, name) is True


class AccessRules:
    """The rules of all clients; implements :class:`fivefold.protocol.operations.AccessPolicy`."""

    def __init__(self, rules: Mapping[ClientId, Sequence[str]], is_update: IsUpdate) -> None:
        """Parse the rules.

        Args:
            rules: those of each client; who is not listed may do nothing.
            is_update: looks a method up, for ``@query`` and ``@update``.

        Raises:
            ConfigurationError: a rule does not follow the grammar, or there are too many.
        """
        self._is_update = is_update
        self.replace(rules)

    def replace(self, rules: Mapping[ClientId, Sequence[str]]) -> None:
        """Take other rules in the place of all those so far.

        Raises:
            ConfigurationError: as at the start; the rules so far stay.
        """
        self._rules = {client: _parse_all(texts) for client, texts in rules.items()}
        self._answers: dict[ClientId, dict[tuple[str, str], bool]] = {client: {} for client in rules}
        # Where no rule looks at keys, answers are remembered by type: there are few, so they are at hand.
        self._is_by_type = {client: all(rule.is_of_type for rule in parsed) for client, parsed in self._rules.items()}

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """Whether ``client`` may invoke ``method`` on the object."""
        answers = self._answers.get(client)
        if answers is None:
            return False
        named = object_id[: object_id.find("/") + 1] if self._is_by_type[client] else object_id
        answer = answers.get((named, method))
        if answer is None:
            answer = self._decide(client, object_id, method)
            if len(answers) >= CACHED_ANSWERS_MAX:
                answers.clear()
            answers[named, method] = answer
        return answer

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """Whether ``client`` has any right on the object: then it may repair it."""
        return any(rule.covers(object_id) for rule in self._rules.get(client, ()))

    def _decide(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        type_name = type_of(object_id)
        return any(
            rule.covers(object_id) and rule.permits(type_name, method, self._is_update) for rule in self._rules[client]
        )


def access_rules(configuration: Configuration, registry: Registry) -> AccessRules:
    """The access rules of the cluster file's clients, about the methods that the registry knows."""

    def is_update(type_name: str, method: str) -> bool | None:
        found = registry.functions.get(method)
        return found.is_update if found else registry.is_update((ObjectId(f"{type_name}/-"),), method)

    return AccessRules(configuration.rules, is_update)


def _parse_all(texts: Sequence[str]) -> tuple[Rule, ...]:
    if len(texts) > RULES_MAX:
        raise ConfigurationError(f"a client has {len(texts)} rules, {RULES_MAX} are allowed: use patterns with *")
    return tuple(map(Rule.parse, texts))


def _objects_pattern(text: str, objects: str) -> Glob:
    type_name, slash, key = objects.partition("/")
    if not type_name:
        raise _bad(text, "names no type")
    if slash and not key:
        raise _bad(text, "has no key after the slash")
    if not re.fullmatch(r"[\w.*]+", type_name):
        raise _bad(text, "has a type with characters that no type name has")
    return _glob(text, f"{type_name}/{key or '*'}")


def _kind_of(text: str, methods: str) -> Kind:
    if methods.startswith("@"):
        try:
            return {"@query": Kind.QUERY, "@update": Kind.UPDATE}[methods]
        except KeyError:
            raise _bad(text, "names a class of methods other than @query and @update") from None
    if not re.fullmatch(r"[\w.*]+", methods):
        raise _bad(text, "has a method with characters that no method name has")
    return Kind.ANY if methods == "*" else Kind.NAMED


def _glob(text: str, pattern: str) -> Glob:
    if not pattern.isprintable():
        raise _bad(text, "contains control characters")
    return Glob.parse(pattern)


def _bad(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the access rule {text!r} {why}: write Type, Type/key or *, then maybe :method")
