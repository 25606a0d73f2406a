"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import fivefold

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fivefold.__path__, prefix="fivefold.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_true(name: str) -> None:
    """Every `>>>` example of the module gives what it says."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
