"""Replicated objects: the ``Object`` base class, ``@query`` and ``@update``, the registry, and ready-made types.

``standard_registry()`` holds all ready-made types and functions; ``Registry.load`` adds a module of your own.
"""

from fivefold.objects.account import Account, Overdrawn
from fivefold.objects.adoption import Adoption
from fivefold.objects.counter import Counter
from fivefold.objects.describe import Description, MethodDescription, TypeDescription, describe, describe_type
from fivefold.objects.lock import Held, Lease, Lock, NotHolder
from fivefold.objects.map import Map
from fivefold.objects.methods import Method, readable
from fivefold.objects.model import Kind, Object, kind_of, migrate, query, update
from fivefold.objects.portable import state_from_json, state_to_json
from fivefold.objects.queue import Empty, Full, Queue
from fivefold.objects.register import Register
from fivefold.objects.registry import Registry
from fivefold.objects.running import ObjectType
from fivefold.objects.shelf import FunctionCode, Shelf, TypeCode
from fivefold.objects.standard import standard_registry
from fivefold.objects.transfers import KeyTaken, NoSuchKey, acquire_all, move_key, release_all, total, transfer
from fivefold.objects.upgrades import Finding, compare
from fivefold.objects.values import Value
from fivefold.objects.watchdog import KNOCK, TimeLimit, let_signals_in

__all__ = [
    "KNOCK",
    "Account",
    "Adoption",
    "Counter",
    "Description",
    "Empty",
    "Finding",
    "Full",
    "FunctionCode",
    "Held",
    "KeyTaken",
    "Kind",
    "Lease",
    "Lock",
    "Map",
    "Method",
    "MethodDescription",
    "NoSuchKey",
    "NotHolder",
    "Object",
    "ObjectType",
    "Overdrawn",
    "Queue",
    "Register",
    "Registry",
    "Shelf",
    "TimeLimit",
    "TypeCode",
    "TypeDescription",
    "Value",
    "acquire_all",
    "compare",
    "describe",
    "describe_type",
    "kind_of",
    "let_signals_in",
    "migrate",
    "move_key",
    "query",
    "readable",
    "release_all",
    "standard_registry",
    "state_from_json",
    "state_to_json",
    "total",
    "transfer",
    "update",
]
