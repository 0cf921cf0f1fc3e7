"""The account of a budget: what always holds, in whatever order things come."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batcher.amounts import NO_AMOUNT, Amount
from batcher.budget import Budget, Fit, Limit

# With 24 decimals, as list prices have per token: sums must stay exact.
dollars = st.integers(0, 10**25).map(lambda n: Decimal(n).scaleb(-24))
amounts = st.builds(Amount, dollars, st.integers(0, 1000))
limits = st.builds(
    Limit,
    st.none() | st.integers(0, 10**26).map(lambda n: Decimal(n).scaleb(-24)),
    st.none() | st.integers(0, 10_000),
)


class Accounting(RuleBasedStateMachine):
    """Reservations and settlements in any order, written to the disk now and then, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[Amount] = []
        # The disk, on which writes come to stand in their order: what was settled, and the lease.
        self.unwritten: list[tuple[Amount, Amount | None]] = []
        self.disk_spent, self.disk_lease = NO_AMOUNT, NO_AMOUNT
        self.spent = NO_AMOUNT

    @rule(limit=limits, before=amounts, ahead=st.integers(1, 40))
    @precondition(lambda self: not hasattr(self, "budget"))
    def begin(self, limit: Limit, before: Amount, ahead: int) -> None:
        """Open the account, perhaps with nothing left."""
        self.budget = Budget(limit, before, ahead=ahead)
        self.before, self.limit = before, limit
        self.spent = self.disk_spent = before

    @rule(amount=amounts)
    @precondition(lambda self: hasattr(self, "budget"))
    def reserve(self, amount: Amount) -> None:
        """Let an attempt leave, if it may."""
        fit = self.budget.fit(amount)
        if fit is Fit.NOW:
            self.budget.reserve(amount)
            self.under_way.append(amount)
        elif fit is Fit.LEASE:
            assert self.budget.asks, "a lease that nobody asks for never comes"
        elif not self.under_way:
            assert fit is Fit.NEVER, "nothing is in flight that it could wait for"

    @rule(at=st.integers(0, 10**6), part=st.integers(0, 100))
    @precondition(lambda self: bool(self.under_way))
    def settle(self, at: int, part: int) -> None:
        """Let an attempt come back; it cost no more than was reserved."""
        amount = self.under_way.pop(at % len(self.under_way))
        real = Amount(amount.usd * part / 100, amount.tokens * part // 100)
        self.budget.settle(amount, real)
        self.spent = self.spent.plus(real)

    @rule()
    @precondition(lambda self: hasattr(self, "budget") and not self.unwritten)
    def write(self) -> None:
        """Begin a write."""
        self.unwritten.append(self.budget.writing())

    @rule()
    @precondition(lambda self: bool(self.unwritten))
    def sync(self) -> None:
        """End a write: it is on the disk."""
        spent, lease = self.unwritten.pop()
        self.disk_spent = spent
        self.disk_lease = self.disk_lease if lease is None else lease
        self.budget.written(spent, lease)

    @invariant()
    def within_the_limit(self) -> None:
        """What was there before, what was spent and what is in flight is within the limit."""
        if hasattr(self, "budget") and self.limit.allows(self.before):
            assert self.limit.allows(self.spent.plus(self.in_flight()))
            assert self.budget.spent == self.spent

    @invariant()
    def within_the_lease(self) -> None:
        """Wherever the process dies, what it spent unseen is within the lease on the disk."""
        if hasattr(self, "budget"):
            unseen = self.spent.plus(self.in_flight())
            assert unseen.minus(self.disk_spent).within(self.disk_lease)
            for spent, lease in self.unwritten:  # it may stand there already
                assert unseen.minus(spent).within(lease or self.disk_lease)

    def in_flight(self) -> Amount:
        """The most that what is under way can cost."""
        return reduce(Amount.plus, self.under_way, NO_AMOUNT)


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(amount=amounts, times=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_leases_are_few(amount: Amount, times: int) -> None:
    """Attempts that leave one after another take a lease for many of them, not one each."""
    budget, leases = Budget(Limit()), 0
    for _ in range(times):
        while budget.fit(amount) is not Fit.NOW:
            spent, lease = budget.writing()
            leases += lease is not None
            budget.written(spent, lease)
        budget.reserve(amount)
    assert leases <= 1 + times // 16


def test_a_lease_shrinks_when_little_is_under_way() -> None:
    """After a crowd has gone, what a kill would be charged goes down with it."""
    budget, one = Budget(Limit()), Amount(Decimal("0.01"), 100)
    for _ in range(500):
        while budget.fit(one) is not Fit.NOW:
            budget.written(*budget.writing())
        budget.reserve(one)
    for _ in range(499):
        budget.settle(one, one)
    for _ in range(500):
        budget.written(*budget.writing())
    assert budget.lease.usd <= one.usd * 3


@pytest.mark.parametrize(
    ("spent", "fit"),
    [("1.00", Fit.NEVER), ("0.90", Fit.LATER), ("0.50", Fit.LEASE)],
)
def test_fits(spent: str, fit: Fit) -> None:
    """A row that can't be paid for ever is told from one that must wait."""
    budget = Budget(Limit(Decimal(1)), Amount(Decimal(spent)))
    budget.reserve(Amount(Decimal("0.05")))
    assert budget.fit(Amount(Decimal("0.08"))) is fit
