"""Rows that a budget can't pay for: how many there are, and why, in words for its owner."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_UP, Decimal
from typing import Final

from batcher.amounts import Amount
from batcher.budget import Budget
from batcher.records import Row
from batcher.spend import cost_text

__all__ = ["Aside"]

_NAMED: Final = 3
_PLACES: Final = Decimal("0.0001")


class Aside:
    """The rows that were laid aside.

    Args:
        called: What the user calls the budget in dollars.

    Attributes:
        count: How many.
        in_a_row: How many since the last one that could be paid for.
    """

    def __init__(self, called: str) -> None:
        self._called = called
        self.count = 0
        self.in_a_row = 0
        # The least that any of them needs, and whether that row says how long its answer may be.
        self._cheapest: Amount | None = None
        self._names_limit = True
        # Models by why nobody can say what a request may cost.
        self._unbounded: dict[str, set[str]] = {}

    def add(self, row: Row, amount: Amount) -> None:
        """Lay a row aside that needs more than is left."""
        self.count += 1
        self.in_a_row += 1
        if self._cheapest is None or amount < self._cheapest:
            self._cheapest = amount
            self._names_limit = row.max_output_tokens is not None

    def add_unbounded(self, row: Row, why: str) -> None:
        """Lay a row aside of which nobody can say what it needs."""
        self.count += 1
        self._unbounded.setdefault(why, set()).add(row.model)

    def reasons(self, budget: Budget) -> Iterator[str]:
        """Say what stands in the way of all of them."""
        if self._cheapest is not None:
            limit, spent = budget.limit, budget.spent
            if limit.usd is not None:
                yield (
                    f"{self._called} is spent: {_usd(spent.usd)} so far, and the"
                    f" next request may cost {_usd(self._cheapest.usd)}"
                )
            if limit.tokens is not None:
                yield (
                    f"the budget of {limit.tokens:,} tokens is spent: {spent.tokens:,} so far, and"
                    f" the next request may take {self._cheapest.tokens:,}"
                )
            if not self._names_limit:
                yield "a row without max_tokens reserves the longest answer of its model"
        for why, models in self._unbounded.items():
            named = ", ".join(sorted(models)[:_NAMED]) + (", ..." if len(models) > _NAMED else "")
            yield f"not sent under a budget: {named} {why}"


def _usd(amount: Decimal) -> str:
    """Write an amount to four places, rounded up: a budget is not to look less spent than it is."""
    return f"${cost_text(amount.quantize(_PLACES, ROUND_UP))}"
