"""For mypy: the methods of remote objects with their own types, so that ``await hits.increment("two")`` is an error.

Add to ``pyproject.toml``::

    [tool.mypy]
    plugins = ["fivefold.mypy_plugin"]

A type checker has no other means to say "every method of that class, as a coroutine". Blocking objects need no plugin:
their methods have the very types of the class. Nor does a ``TypedRemote``, which names its methods one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from mypy.errorcodes import ATTR_DEFINED
from mypy.nodes import Decorator, TypeInfo
from mypy.plugin import AttributeContext, MethodSigContext, Plugin
from mypy.typeops import bind_self
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    Parameters,
    Type,
    TypeOfAny,
    TypeVarType,
    get_proper_type,
)

OBJECT: Final = "fivefold.objects.model.Object"
REMOTE: Final = "fivefold.api.proxies.Remote"
CALLS: Final = frozenset({"fivefold.api.cluster.Cluster.call", "fivefold.testing.cluster.LocalCluster.call"})
COROUTINE: Final = "typing.Coroutine"


class FivefoldPlugin(Plugin):
    """Knows what ``Remote.__getattr__`` and ``Cluster.call`` do."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """For attributes that are found by ``Remote.__getattr__``."""
        owner, _, name = fullname.rpartition(".")
        return partial(remote_method, name) if owner == REMOTE else None

    def get_method_signature_hook(self, fullname: str) -> Callable[[MethodSigContext], FunctionLike] | None:
        """For calls of functions over several objects."""
        return self._function_call if fullname in CALLS else None

    def _function_call(self, context: MethodSigContext) -> FunctionLike:
        """``call`` as if it had the function's own parameters, with a remote object for each object."""
        function = get_proper_type(context.api.get_expression_type(context.args[0][0])) if context.args[0] else None
        if not isinstance(function, CallableType):
            return context.default_signature
        signature = context.default_signature
        expanded = function.copy_modified(
            arg_types=[function, *map(self._as_remote, function.arg_types)],
            arg_kinds=[signature.arg_kinds[0], *function.arg_kinds],
            arg_names=[None, *function.arg_names],
            name=signature.name,
        )
        return _as_coroutine(expanded, context)

    def _as_remote(self, declared: Type) -> Type:
        proper, remote = get_proper_type(declared), self.lookup_fully_qualified(REMOTE)
        if not isinstance(proper, Instance) or not proper.type.has_base(OBJECT):
            return declared
        assert remote is not None, "the caller has imported it"
        assert isinstance(remote.node, TypeInfo)
        return Instance(remote.node, [proper])


def remote_method(name: str, context: AttributeContext) -> Type:
    """The method of the object's class, with a coroutine in place of its answer."""
    cls = _class_of(context.type)
    if cls is None:
        return context.default_attr_type
    symbol = cls.type.get(name)
    if symbol is None or not isinstance(symbol.node, Decorator):
        context.api.fail(f'"{cls.type.name}" has no query or update "{name}"', context.context, code=ATTR_DEFINED)
        return AnyType(TypeOfAny.from_error)
    # The type as written, not as decorated: marks change nothing, and mypy may not have come to the decorators yet.
    declared = symbol.node.func.type
    if not isinstance(declared, CallableType):
        return context.default_attr_type
    bound = _as_coroutine(bind_self(declared, cls), context)
    method = get_proper_type(context.default_attr_type)
    if isinstance(method, Instance):  # what a method has besides, such as with_id, is found on its fallback
        answer = get_proper_type(bound.ret_type)
        assert isinstance(answer, Instance), "a coroutine"
        parameters = Parameters(bound.arg_types, bound.arg_kinds, bound.arg_names)
        bound = bound.copy_modified(fallback=Instance(method.type, [parameters, answer.args[2]]))
    return bound


def _as_coroutine(function: CallableType, context: AttributeContext | MethodSigContext) -> CallableType:
    nothing = AnyType(TypeOfAny.explicit)
    answer = context.api.named_generic_type(COROUTINE, [nothing, nothing, function.ret_type])
    return function.copy_modified(ret_type=answer)


def _class_of(remote: Type) -> Instance | None:
    """The object class of a remote type, if it is known."""
    proper = get_proper_type(remote)
    if not isinstance(proper, Instance) or not proper.args:
        return None
    cls = get_proper_type(proper.args[0])
    if isinstance(cls, TypeVarType):
        cls = get_proper_type(cls.upper_bound)
    return cls if isinstance(cls, Instance) else None


def plugin(version: str) -> type[Plugin]:
    """What mypy asks for, whatever its version."""
    return FivefoldPlugin
