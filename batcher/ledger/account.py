"""Counters of results and of what they cost: put in, and taken out again.

They are plain integers, because a fold runs for every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from functools import reduce
from typing import Any

from batcher.amounts import NO_AMOUNT, Spend, Usage
from batcher.spend import amount_json, cost_text, usage_json

__all__ = ["Account", "cost_json", "sum_of"]

# Sums stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36 dollars so.
_EXACT = Context(prec=60)


class Account:
    """Counters of one model, or of whatever else is added up."""

    __slots__ = (
        "attempts",
        "cache_write",
        "cached",
        "completed",
        "completion",
        "cost",
        "failed",
        "prompt",
        "reasoning",
        "total",
        "uncertain",
        "unpriced",
        "with_cost",
        "without_usage",
    )

    def __init__(self) -> None:
        self.completed = self.failed = self.attempts = self.without_usage = 0
        self.prompt = self.completion = self.total = 0
        self.cached = self.cache_write = self.reasoning = 0
        # How many spends have a cost, how many are unpriced: counts, so that a removal undoes them.
        self.with_cost = self.unpriced = 0
        self.cost = Decimal(0)
        self.uncertain = NO_AMOUNT

    def post(self, spend: Spend, sign: int) -> None:
        """Put a spend in (`sign` 1) or take it out (-1)."""
        attempts, without_usage, usage, cost, unpriced, uncertain = spend
        prompt, completion, total, cached, cache_write, reasoning = usage
        self.attempts += sign * attempts
        self.prompt += sign * prompt
        self.completion += sign * completion
        self.total += sign * total
        if without_usage:
            self.without_usage += sign * without_usage
        if cached:
            self.cached += sign * cached
        if cache_write:
            self.cache_write += sign * cache_write
        if reasoning:
            self.reasoning += sign * reasoning
        if cost is not None:
            self.with_cost += sign
            self.cost = (_EXACT.add if sign > 0 else _EXACT.subtract)(self.cost, cost)
        if unpriced:
            self.unpriced += sign
        if uncertain is not NO_AMOUNT:
            post = self.uncertain.plus if sign > 0 else self.uncertain.minus
            self.uncertain = post(uncertain)

    def post_sum(self, spend: Spend, *, with_cost: int, unpriced: int) -> None:
        """Put in the spend of many, so many of which have a cost or are unpriced."""
        self.post(spend, 1)
        self.with_cost += with_cost - (spend.cost_usd is not None)
        self.unpriced += unpriced - spend.unpriced

    def post_successes(self, each: Sequence[tuple[Usage, Decimal | None]]) -> None:
        """Count successes of one attempt each, by what they used and cost."""
        usages, prices = zip(*each, strict=True)
        usage = Usage(*map(sum, zip(*usages, strict=True)))
        costs = [cost for cost in prices if cost is not None]
        self.completed += len(each)
        self.post(Spend(len(each), 0, usage), 1)
        self.with_cost += len(costs)
        self.unpriced += len(each) - len(costs)
        self.cost = reduce(_EXACT.add, costs, self.cost)

    def absorb(self, other: Account) -> None:
        """Add another account's counters to this one's."""
        for name in Account.__slots__:
            if name not in ("cost", "uncertain"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cost = _EXACT.add(self.cost, other.cost)
        self.uncertain = self.uncertain.plus(other.uncertain)

    def shown(self, model: str) -> bool:
        """Whether anything is left to tell; rows that were never sent may well name no model."""
        if not model and not self.attempts:
            return False
        counters = (getattr(self, name) for name in Account.__slots__ if name != "uncertain")
        return any(counters) or self.uncertain != NO_AMOUNT

    def request_counts(self, pending: int = 0) -> dict[str, int]:
        """The account's rows, as the Batch API names them."""
        total = self.completed + self.failed + pending
        return {"total": total, "completed": self.completed, "failed": self.failed}

    def fields(self) -> dict[str, Any]:
        """The account as a value of `by_model`."""
        spend = self.spend
        fields = {
            "request_counts": self.request_counts(),
            "usage": usage_json(spend.usage),
            "cost_usd": cost_json(spend),
            "attempts": spend.attempts,
            "attempts_without_usage": spend.attempts_without_usage,
        }
        if spend.uncertain != NO_AMOUNT:
            fields["uncertain"] = amount_json(spend.uncertain)
        return fields

    @property
    def spend(self) -> Spend:
        """The account's spend as a record."""
        parts = (self.cached, self.cache_write, self.reasoning)
        usage = Usage(self.prompt, self.completion, self.total, *parts)
        cost = self.cost if self.with_cost else None
        unpriced = self.unpriced > 0
        return Spend(self.attempts, self.without_usage, usage, cost, unpriced, self.uncertain)


def sum_of(accounts: Iterable[Account]) -> Account:
    """Add accounts up."""
    whole = Account()
    for account in accounts:
        whole.absorb(account)
    return whole


def cost_json(spend: Spend) -> str | None:
    """Give a cost as JSON has it; None while nothing is priced."""
    return None if spend.cost_usd is None else cost_text(spend.cost_usd)
