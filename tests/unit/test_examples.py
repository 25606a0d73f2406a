"""The programs of ``examples/`` run and find what they promise."""

from __future__ import annotations

import pytest

from examples import bank
from fivefold import Account, update


@update
def lend(source: Account, target: Account, amount: int) -> None:
    target.deposit(amount)


@pytest.mark.parametrize("seed", range(3))
async def test_the_banks_total_never_changes(seed: int) -> None:
    """Every transfer is made or refused, and no audit, during a crash or after it, finds another total."""
    tally = await bank.run(clients=3, transfers=8, seed=seed)
    assert tally["moved"] + tally["overdrawn"] + tally["unknown"] == 24
    assert tally["moved"] > 0
    assert tally["audits"] >= 2


async def test_the_bank_notices_lost_money(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit that finds another total ends the run: the example does not pass by looking away."""
    monkeypatch.setattr(bank, "transfer", lend)
    with pytest.raises(ExceptionGroup) as caught:
        await bank.run(clients=2, transfers=3)
    assert caught.group_contains(bank.MoneyLost)


def test_the_bank_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """The program says how many transfers were made and what the audits found."""
    bank.main()
    assert capsys.readouterr().out.endswith("every one found 400.\n")
