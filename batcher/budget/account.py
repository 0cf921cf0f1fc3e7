"""What may still be spent: amounts reserved before attempts leave, settled when they come back.

Two things always hold, in whatever order reservations and settlements come:

1. spent + reserved never exceeds the limit, as long as no attempt costs more than was reserved for
   it. So no number of requests in flight can break the budget.
2. What may have been spent without standing in the journal on the disk (reserved and sent, or
   settled but not yet written) never exceeds the lease that does stand there. So a process that is
   killed has spent no more than the journal says.

What a lease names beyond need is charged for nothing after a kill. So each write looks anew at what
is needed: what is in flight, and what the next two writes will find settled if it goes on as it
did. Once nothing comes and goes for a few writes, the lease is what is in flight, exactly. What is
reserved beyond the lease waits for the next write, which is then made at once.
"""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from enum import Enum, auto
from typing import Final, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount

__all__ = ["NO_LIMIT", "Budget", "Fit", "Limit"]

# So many writes are looked back at: the fifth part of a second while rows come and go.
_LOOK_BACK: Final = 4

# A lease is not renewed for so small a part of it while rows come and go: a line for each write
# would be a good part of a journal whose rows are slow.
_WORTH_A_LINE: Final = 8


class Limit(NamedTuple):
    """The most that may be spent; None where there is no limit."""

    usd: Decimal | None = None
    tokens: int | None = None

    def allows(self, amount: Amount) -> bool:
        """Whether an amount in all is within the limit."""
        usd, tokens = self
        return (usd is None or amount[0] <= usd) and (tokens is None or amount[1] <= tokens)

    def left(self, spent: Amount) -> tuple[Decimal, float]:
        """Say what is left beyond what was spent; infinity where there is no limit."""
        usd, tokens = self
        return (
            Decimal("Infinity") if usd is None else usd - spent.usd,
            math.inf if tokens is None else tokens - spent.tokens,
        )


NO_LIMIT: Final = Limit()


class Fit(Enum):
    """Whether an amount can be reserved."""

    NOW = auto()
    LATER = auto()
    """Something in flight must be settled first."""
    NEVER = auto()
    """Not even once nothing is in flight."""


class Budget:
    """The account of one run.

    Args:
        limit: Of the whole job.
        spent: The most that the job may have cost before this run.

    Attributes:
        limit: As given.
        spent: The most that the job may have cost so far, what is in flight not counted.
        lease: What the journal on the disk allows this run to have spent unseen.
    """

    def __init__(self, limit: Limit, spent: Amount = NO_AMOUNT) -> None:
        self.limit = limit
        self.spent = spent
        self.lease = NO_AMOUNT
        # Spent and reserved; and how far that may go by what stands on the disk, or may.
        self._total = spent
        self._ceiling = spent
        # At each of the last writes: what was reserved, and what had been settled since the last.
        self._seen: deque[tuple[Amount, Amount]] = deque(maxlen=_LOOK_BACK)
        self._told = spent

    @property
    def reserved(self) -> Amount:
        """The most that what is in flight can cost."""
        return self._total.minus(self.spent)

    @property
    def covered(self) -> bool:
        """Whether the lease on the disk covers all that is reserved."""
        return self._total.within(self._ceiling)

    @property
    def slack(self) -> bool:
        """Whether the lease names more than is in flight: a write would renew it."""
        return self.lease != self.reserved

    def fit(self, amount: Amount) -> Fit:
        """Say whether an amount can be reserved."""
        if self.limit.allows(self._total.plus(amount)):
            return Fit.NOW
        return Fit.LATER if self.limit.allows(self.spent.plus(amount)) else Fit.NEVER

    def at_most_left(self, amount: Amount) -> Amount:
        """Cut an amount to all that is left, so that it fits once nothing else is in flight."""
        usd, tokens = self.limit.left(self.spent)
        return Amount(
            min(amount.usd, usd) if usd > 0 else amount.usd,
            int(min(amount.tokens, tokens)) if tokens > 0 else amount.tokens,
        )

    def reserve(self, amount: Amount) -> None:
        """Reserve an amount that fits now; it may be used once it is `covered`."""
        self._total = self._total.plus(amount)

    def settle(self, reserved: Amount, real: Amount) -> None:
        """Take a reservation back for what the attempt really cost, or may have cost."""
        if real is not reserved:
            self._total = self._total.minus(reserved).plus(real)
        self.spent = self.spent.plus(real)

    def writing(self) -> tuple[Amount, Amount | None]:
        """Note that all that is settled is on its way to the disk, and what a lease is to go too.

        Returns:
            What is spent, to be given to `written`; and the lease to be written after it, where
            the last one does no more.
        """
        self._seen.append((self.reserved, self.spent.minus(self._told)))
        self._told = self.spent
        wanted = self._wanted()
        lease = wanted if self._worth_writing(wanted) else None
        # From now on either may be what stands on the disk.
        self._ceiling = self._ceiling.smaller(self.spent.plus(lease or self.lease))
        return self.spent, lease

    def written(self, spent: Amount, lease: Amount | None) -> None:
        """Note that what `writing` gave is on the disk."""
        if lease is not None:
            self.lease = lease
        self._ceiling = spent.plus(self.lease)

    def _wanted(self) -> Amount:
        """Say what a lease should name that holds until the write after the next is on the disk."""
        reserved = settled = NO_AMOUNT
        for each in self._seen:
            reserved, settled = reserved.larger(each[0]), settled.larger(each[1])
        lease = reserved.plus(settled.times(2))
        usd, tokens = self.limit.left(self.spent)
        lease = Amount(min(lease.usd, usd), int(min(lease.tokens, tokens)))
        return lease.larger(self.reserved)

    def _worth_writing(self, wanted: Amount) -> bool:
        if not wanted.within(self.lease):
            # One that lasts until the next write need not grow yet.
            needed = self.reserved.plus(self._seen[-1][1])
            return not needed.smaller(wanted).within(self.lease)
        still = all(settled == NO_AMOUNT for _, settled in self._seen)
        more = wanted.times(_WORTH_A_LINE + 1).within(self.lease.times(_WORTH_A_LINE))
        return wanted != self.lease and (still or more)
