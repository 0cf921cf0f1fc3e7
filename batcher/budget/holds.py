"""What rows of several requests are yet to need: money that no other row may begin on.

A row whose tools are carried out asks again, and what it has cost by then buys nothing unless it
can be ended. So a row begins only where the budget has room for all of its turns, and what those to
come may cost is held back for it until it has ended.

How many times its first turn a row takes in all is known once some have ended: the most that any
did, less with each that does with less. Before, it is the most turns that a row may have.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from decimal import Decimal
from typing import Final

from batcher.amounts import NO_AMOUNT, Amount

__all__ = ["Holds"]

_THOUSAND: Final = 1000

# By what part of the way one row that takes less than those before lowers what is expected.
_FORGETTING: Final = 32


class _Row:
    """A row under way: its first turn, what its turns came to, what is still held."""

    __slots__ = ("first", "held", "turns")

    def __init__(self, first: Amount, held: Amount) -> None:
        self.first = self.turns = first
        self.held = held


class Holds:
    """The money held back for rows under way.

    Args:
        most_turns: The most requests of a row, where none has ended yet.

    Attributes:
        total: All that is held.
        learned: Whether a row has ended, so that it is known what they take.
    """

    def __init__(self, most_turns: int) -> None:
        self.total = NO_AMOUNT
        self._rows: dict[Hashable, _Row] = {}
        # What a row takes in all, in thousandths of its first turn: dollars and tokens.
        self._takes: tuple[int, int] = (most_turns * _THOUSAND,) * 2
        self.learned = False

    @property
    def empty(self) -> bool:
        """Whether no row is under way."""
        return not self._rows

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def rest(self, first: Amount) -> Amount:
        """Say what the later turns of a row may cost whose first one may cost `first`."""
        usd, tokens = self._takes
        return Amount(
            first.times(usd - _THOUSAND).usd.scaleb(-3),
            first.tokens * (tokens - _THOUSAND) // _THOUSAND,
        )

    def begin(self, key: Hashable, first: Amount) -> None:
        """Hold what a row's later turns may cost."""
        row = self._rows[key] = _Row(first, self.rest(first))
        self.total = self.total.plus(row.held)

    def turn(self, key: Hashable, amount: Amount) -> None:
        """Give a row what it needs for its next turn out of what is held for it."""
        row = self._rows[key]
        row.turns = row.turns.plus(amount)
        held = row.held.minus(amount).larger(NO_AMOUNT)
        self.total = self.total.minus(row.held.minus(held))
        row.held = held

    def end(self, key: Hashable, *, learn: bool) -> None:
        """Free what is held for a row; with `learn`, expect of others what it came to."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        self.total = self.total.minus(row.held)
        if learn:
            usd = _ratio(row.turns.usd, row.first.usd)
            tokens = _ratio(Decimal(row.turns.tokens), Decimal(row.first.tokens))
            before = self._takes if self.learned else (0, 0)
            self._takes = (_expected(before[0], usd), _expected(before[1], tokens))
            self.learned = True


def _ratio(whole: Decimal, part: Decimal) -> int:
    return math.ceil(whole * _THOUSAND / part) if part else _THOUSAND


def _expected(before: int, now: int) -> int:
    return now if now >= before else before - (before - now) // _FORGETTING
