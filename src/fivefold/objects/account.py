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
    """An account whose balance never falls below 0."""

    funds: int = 0

    @query
    def balance(self) -> int:
        """The balance."""
        return self.funds

    @update
    def deposit(self, amount: Amount) -> int:
        """Add ``amount`` and return the new balance."""
        self.funds += amount
        return self.funds

    @update
    def withdraw(self, amount: Amount) -> int:
        """Take ``amount`` out and return the new balance.

        Raises:
            Overdrawn: the balance is less than ``amount``.
        """
        if self.funds < amount:
            raise Overdrawn(f"the account holds {self.funds}, which is less than {amount}")
        self.funds -= amount
        return self.funds
