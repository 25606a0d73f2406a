"""One value of any JSON-like shape."""

from __future__ import annotations

from fivefold.objects.model import Object, query, update
from fivefold.objects.values import Value, is_same_value


class Register(Object):
    """Holds one value; None until the first write."""

    value: Value = None

    @query
    def read(self) -> Value:
        """The value written last."""
        return self.value

    @update
    def write(self, value: Value) -> None:
        """Replace the value."""
        self.value = value

    @update
    def compare_and_set(self, expected: Value, value: Value) -> bool:
        """Replace the value if it is ``expected``; returns whether it was.

        Types count: 1, 1.0 and True are three different values.
        """
        if not is_same_value(self.value, expected):
            return False
        self.value = value
        return True
