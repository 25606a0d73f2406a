"""An amount that cannot become negative."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from fivefold.errors import Rejected
from fivefold.objects.model import Object, query, update

Amount: TypeAlias = Annotated[int, Meta(ge=1)]
"""Whole units of the smallest kind (cents, not euros)."""


class Overdrawn(Rejected):
    """The account holds less than the amount."""


class Account(Object):
    """An account: what is in it is never below 0."""

    funds: int = 0

    @query
    def balance(self) -> int:
        """What the account holds."""
        return self.funds

    @update
    def deposit(self, amount: Amount) -> int:
        """Add ``amount``; returns what the account holds then."""
        self.funds += amount
        return self.funds

    @update
    def withdraw(self, amount: Amount) -> int:
        """Take ``amount`` out; returns what the account holds then.

        Raises:
            Overdrawn: it holds less.
        """
        if self.funds < amount:
            raise Overdrawn(f"the account holds {self.funds}, which is less than {amount}")
        self.funds -= amount
        return self.funds
