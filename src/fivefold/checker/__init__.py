"""A checker of histories, independent of the protocol: were the answers those of one object, one call at a time?

It imports nothing of Fivefold but its errors. :func:`check` and :func:`check_file` are the way in.
"""

from fivefold.checker.check import STEPS_COUNT_MAX, check, check_file
from fivefold.checker.dependencies import Kind
from fivefold.checker.history import (
    HistoryError,
    Observation,
    Outcome,
    encode_observation,
    parse_history,
    read_history,
    write_history,
)
from fivefold.checker.model import (
    Exact,
    FrozenMap,
    Function,
    Invocation,
    Model,
    Models,
    Refused,
    freeze,
    function_of,
    model_of_methods,
)
from fivefold.checker.models import READY_MADE
from fivefold.checker.picture import page, picture, write_picture
from fivefold.checker.result import Dependency, Result
from fivefold.checker.search import Verdict

__all__ = [
    "READY_MADE",
    "STEPS_COUNT_MAX",
    "Dependency",
    "Exact",
    "FrozenMap",
    "Function",
    "HistoryError",
    "Invocation",
    "Kind",
    "Model",
    "Models",
    "Observation",
    "Outcome",
    "Refused",
    "Result",
    "Verdict",
    "check",
    "check_file",
    "encode_observation",
    "freeze",
    "function_of",
    "model_of_methods",
    "page",
    "parse_history",
    "picture",
    "read_history",
    "write_history",
    "write_picture",
]
