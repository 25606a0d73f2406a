"""Replicated objects: the ``Object`` base class, ``@query`` and ``@update``, the registry, and ready-made types."""

from fivefold.objects.counter import Counter
from fivefold.objects.model import Object, query, update
from fivefold.objects.registry import Registry
from fivefold.objects.values import Value
from fivefold.objects.watchdog import TimeLimit

__all__ = ["Counter", "Object", "Registry", "TimeLimit", "Value", "query", "update"]
