"""Tokens and money: what was used, what it cost, and what it may yet cost.

They add up exactly, in any order. Named tuples, as all that is made for every row.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final, NamedTuple

__all__ = ["NOTHING_SPENT", "NO_AMOUNT", "Amount", "Spend", "Usage"]


class Usage(NamedTuple):
    """Tokens, as the endpoint counted them, in one normal form for every family of endpoints.

    `cached_tokens` and `cache_write_tokens` are parts of `prompt_tokens`, `reasoning_tokens` a part
    of `completion_tokens`: parts, never additions.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Add field by field."""
        return Usage(*map(int.__add__, self, other))


# Sums of money stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36
# dollars so.
_EXACT: Final = Context(prec=60)


# A named tuple made without its own `__new__`, a call in Python, takes less than half the time; a
# budget makes half a dozen for every row.
_new: Final = tuple.__new__


class Amount(NamedTuple):
    """Money and tokens together, as a budget bounds them. Without a known price, `usd` is 0."""

    usd: Decimal = Decimal(0)
    tokens: int = 0

    def plus(self, other: Amount) -> Amount:
        """Add both."""
        return _new(Amount, (_EXACT.add(self[0], other[0]), self[1] + other[1]))

    def minus(self, other: Amount) -> Amount:
        """Subtract both."""
        return _new(Amount, (_EXACT.subtract(self[0], other[0]), self[1] - other[1]))

    def times(self, factor: int) -> Amount:
        """Multiply both."""
        return Amount(_EXACT.multiply(self.usd, factor), self.tokens * factor)

    def larger(self, other: Amount) -> Amount:
        """Take the larger of each."""
        return Amount(max(self.usd, other.usd), max(self.tokens, other.tokens))

    def smaller(self, other: Amount) -> Amount:
        """Take the smaller of each."""
        return Amount(min(self.usd, other.usd), min(self.tokens, other.tokens))

    def within(self, other: Amount) -> bool:
        """Whether neither is more than the other's."""
        return self[1] <= other[1] and self[0] <= other[0]


NO_AMOUNT: Final = Amount()


class Spend(NamedTuple):
    """What the attempts of one row, or of many, have cost so far.

    `attempts_without_usage` are those that may have been billed though no usage came back, and
    `uncertain` is the most that they may have cost, as far as that can be said; it is not part of
    the rest. `cost_usd` is None while nothing of it is priced. `unpriced` says that some usage in
    it has no price, so that the cost is a lower bound.
    """

    attempts: int = 0
    attempts_without_usage: int = 0
    usage: Usage = Usage()
    cost_usd: Decimal | None = None
    unpriced: bool = False
    uncertain: Amount = NO_AMOUNT

    def plus(self, other: Spend) -> Spend:
        """Add field by field; an unknown cost adds nothing."""
        cost = self.cost_usd
        if other.cost_usd is not None:
            cost = other.cost_usd if cost is None else cost + other.cost_usd
        return Spend(
            self.attempts + other.attempts,
            self.attempts_without_usage + other.attempts_without_usage,
            self.usage.plus(other.usage),
            cost,
            self.unpriced or other.unpriced,
            other.uncertain
            if self.uncertain is NO_AMOUNT
            else self.uncertain.plus(other.uncertain),
        )

    @property
    def most(self) -> Amount:
        """The most that all of it may have cost."""
        usd = self.uncertain.usd
        if self.cost_usd is not None:
            usd = _EXACT.add(usd, self.cost_usd)
        return Amount(usd, self.usage.total_tokens + self.uncertain.tokens)


NOTHING_SPENT: Final = Spend()
