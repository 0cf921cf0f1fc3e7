"""What may still be spent: amounts reserved before attempts leave, settled when they come back.

Two things always hold, in whatever order reservations and settlements come:

1. spent + reserved never exceeds the limit, as long as no attempt costs more than was reserved for
   it. So no number of requests in flight can break the budget.
2. What may have been spent without standing in the journal on the disk (reserved, or settled but
   not yet written) never exceeds the lease that does stand there. So a process that is killed has
   spent no more than the journal says.

Leases are written in steps of some attempts, so that few are; one that is larger than need gives
way to a smaller one, for what it names beyond need would be charged for nothing after a kill.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, auto
from typing import Final, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount

__all__ = ["NO_LIMIT", "Budget", "Fit", "Limit"]

# A lease is looked at anew after so many writes to the journal, a few seconds' worth.
_LOOK_EVERY: Final = 64


class Limit(NamedTuple):
    """The most that may be spent; None where there is no limit."""

    usd: Decimal | None = None
    tokens: int | None = None

    def allows(self, amount: Amount) -> bool:
        """Whether an amount in all is within the limit."""
        usd, tokens = self
        return (usd is None or amount.usd <= usd) and (tokens is None or amount.tokens <= tokens)


NO_LIMIT: Final = Limit()


class Fit(Enum):
    """Whether an amount can be reserved."""

    NOW = auto()
    LATER = auto()
    """Something in flight must be settled first."""
    LEASE = auto()
    """A larger lease must be on the disk first."""
    NEVER = auto()
    """Not even once nothing is in flight."""


class Budget:
    """The account of one run.

    Args:
        limit: Of the whole job.
        spent: The most that the job may have cost before this run.
        ahead: For how many more attempts than are under way a lease is asked.

    Attributes:
        spent: The most that the job may have cost so far, what is in flight not counted.
        reserved: The most that what is in flight can cost.
        lease: What the journal on the disk allows this run to have spent unseen.
    """

    def __init__(self, limit: Limit, spent: Amount = NO_AMOUNT, *, ahead: int = 32) -> None:
        self.limit = limit
        self.spent = spent
        self.reserved = NO_AMOUNT
        self.lease = NO_AMOUNT
        self._ahead = ahead
        # How much of `spent` stands on the disk.
        self._on_disk = spent
        self._asked: Amount | None = None
        # What may be reserved without a closer look: within the limit, and within the lease less
        # what is kept back of it so that the next one is asked for in time.
        self._free = NO_AMOUNT
        self._kept_back = NO_AMOUNT
        # The most exposed since leases were last looked at.
        self._peak = NO_AMOUNT
        self._writes = 0

    @property
    def exposed(self) -> Amount:
        """What may have been spent without standing in the journal on the disk."""
        return self.reserved.plus(self.spent).minus(self._on_disk)

    @property
    def asks(self) -> bool:
        """Whether a larger lease is waited for."""
        return self._asked is not None

    def fit(self, amount: Amount) -> Fit:
        """Say whether an amount can be reserved; where a lease is wanting, it is asked for."""
        if amount.within(self._free):
            return Fit.NOW
        after = self.spent.plus(amount)
        if not self.limit.allows(after):
            return Fit.NEVER
        if not self.limit.allows(after.plus(self.reserved)):
            return Fit.LATER
        needed = self.exposed.plus(amount)
        self._kept_back = amount.times(self._ahead // 2)
        if not needed.plus(self._kept_back).within(self.lease):
            self._ask(needed.plus(amount.times(self._ahead)))
        self._look()
        return Fit.NOW if needed.within(self.lease) else Fit.LEASE

    def at_most_left(self, amount: Amount) -> Amount:
        """Cut an amount to all that is left, so that it fits once nothing else is in flight."""
        usd, tokens = self.limit
        left = self._left(amount, self.spent)
        if usd is not None and left.usd > 0:
            amount = amount._replace(usd=min(amount.usd, left.usd))
        if tokens is not None and left.tokens > 0:
            amount = amount._replace(tokens=min(amount.tokens, left.tokens))
        return amount

    def reserve(self, amount: Amount) -> None:
        """Reserve an amount that fits now."""
        self.reserved = self.reserved.plus(amount)
        self._free = self._free.minus(amount)

    def settle(self, reserved: Amount, real: Amount) -> None:
        """Take a reservation back for what the attempt really cost, or may have cost."""
        self.reserved = self.reserved.minus(reserved)
        self.spent = self.spent.plus(real)
        self._free = self._free.plus(reserved.minus(real))

    def writing(self) -> tuple[Amount, Amount | None]:
        """Note that all that is settled is on its way to the disk, and what a lease is to go too.

        Returns:
            What is spent, to be given to `written`; and the lease to be written after it, where
            the last one does no more.
        """
        self._peak = self._peak.larger(self.exposed)
        lease, self._asked = self._asked, None
        self._writes += 1
        if lease is not None:
            lease = lease.larger(self.lease)
        elif self._writes % _LOOK_EVERY == 0:
            lease = self._smaller()
        return self.spent, lease

    def written(self, spent: Amount, lease: Amount | None) -> None:
        """Note that what `writing` gave is on the disk."""
        self._on_disk = spent
        if lease is not None:
            self.lease = lease
        self._look()

    def _ask(self, wanted: Amount) -> None:
        wanted = self._cut(wanted)
        if not wanted.within(self.lease):
            self._asked = wanted.larger(self._asked or NO_AMOUNT)

    def _smaller(self) -> Amount | None:
        """Give up a lease of which little is in use."""
        peak, self._peak = self._peak, NO_AMOUNT
        if self.lease == NO_AMOUNT or not peak.times(3).within(self.lease):
            return None
        # From now on the smaller one holds: it may be on the disk at any moment.
        self.lease = self._cut(peak.times(2)).larger(self.exposed)
        self._kept_back = NO_AMOUNT
        self._look()
        return self.lease

    def _look(self) -> None:
        """See anew what is free."""
        leased = self.lease.minus(self.exposed).minus(self._kept_back)
        self._free = leased.smaller(self._left(leased, self.spent.plus(self.reserved)))

    def _cut(self, lease: Amount) -> Amount:
        """Cut a lease to what the limit leaves beyond what stands on the disk."""
        return lease.smaller(self._left(lease, self._on_disk))

    def _left(self, otherwise: Amount, spent: Amount) -> Amount:
        """Say what the limit leaves beyond `spent`; `otherwise`, where there is none."""
        usd, tokens = self.limit
        left = Amount(usd or NO_AMOUNT.usd, tokens or 0).minus(spent)
        return Amount(
            otherwise.usd if usd is None else left.usd,
            otherwise.tokens if tokens is None else left.tokens,
        )
