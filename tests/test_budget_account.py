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
        # What was reserved: what may have left, and what waits for a lease.
        self.sent: list[Amount] = []
        self.held_up: list[Amount] = []
        # The disk, on which writes come to stand in their order: what was settled, and the lease;
        # and how many of those that were held up at its beginning a write lets go.
        self.unwritten: list[tuple[Amount, Amount | None, int]] = []
        self.disk_spent, self.disk_lease = NO_AMOUNT, NO_AMOUNT
        self.spent = NO_AMOUNT

    @rule(limit=limits, before=amounts)
    @precondition(lambda self: not hasattr(self, "budget"))
    def begin(self, limit: Limit, before: Amount) -> None:
        """Open the account, perhaps with nothing left."""
        self.budget = Budget(limit, before)
        self.before, self.limit = before, limit
        self.spent = self.disk_spent = before

    @rule(amount=amounts)
    @precondition(lambda self: hasattr(self, "budget"))
    def reserve(self, amount: Amount) -> None:
        """Let an attempt leave, if it may; one that no lease covers waits for the next write."""
        fit = self.budget.fit(amount)
        if fit is Fit.NOW:
            self.budget.reserve(amount)
            (self.sent if self.budget.covered else self.held_up).append(amount)
        elif not (self.sent or self.held_up):
            assert fit is Fit.NEVER, "nothing is in flight that it could wait for"

    @rule(at=st.integers(0, 10**6), part=st.integers(0, 100))
    @precondition(lambda self: bool(self.sent))
    def settle(self, at: int, part: int) -> None:
        """Let an attempt come back; it cost no more than was reserved."""
        amount = self.sent.pop(at % len(self.sent))
        real = Amount(amount.usd * part / 100, amount.tokens * part // 100)
        self.budget.settle(amount, real)
        self.spent = self.spent.plus(real)

    @rule()
    @precondition(lambda self: hasattr(self, "budget") and not self.unwritten)
    def write(self) -> None:
        """Begin a write."""
        self.unwritten.append((*self.budget.writing(), len(self.held_up)))

    @rule()
    @precondition(lambda self: bool(self.unwritten))
    def sync(self) -> None:
        """End a write: it is on the disk, and what waited for it leaves."""
        spent, lease, count = self.unwritten.pop()
        self.disk_spent = spent
        self.disk_lease = self.disk_lease if lease is None else lease
        self.budget.written(spent, lease)
        self.sent += self.held_up[:count]
        del self.held_up[:count]

    @invariant()
    def within_the_limit(self) -> None:
        """What was there before, what was spent and what is in flight is within the limit."""
        if hasattr(self, "budget") and self.limit.allows(self.before):
            assert self.limit.allows(self.spent.plus(_sum(self.sent + self.held_up)))
            assert self.budget.spent == self.spent

    @invariant()
    def within_the_lease(self) -> None:
        """Wherever the process dies, what it spent unseen is within the lease on the disk."""
        if hasattr(self, "budget"):
            unseen = self.spent.plus(_sum(self.sent))
            assert unseen.minus(self.disk_spent).within(self.disk_lease)
            for spent, lease, _ in self.unwritten:  # it may stand there already
                assert unseen.minus(spent).within(lease or self.disk_lease)

    @rule()
    @precondition(lambda self: hasattr(self, "budget") and not self.unwritten)
    def rest(self) -> None:
        """Once nothing comes or goes for some writes, the lease is what is in flight, exactly."""
        for _ in range(6):
            self.write()
            self.sync()
        assert not self.budget.slack
        assert self.budget.lease == _sum(self.sent)


def _sum(amounts: list[Amount]) -> Amount:
    return reduce(Amount.plus, amounts, NO_AMOUNT)


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def _cycle(budget: Budget, one: Amount, each: int) -> bool:
    """Settle and send so many between two writes; return whether a lease was written."""
    for _ in range(each):
        budget.settle(one, one)
        budget.reserve(one)
    spent, lease = budget.writing()
    budget.written(spent, lease)
    return lease is not None


@given(in_flight=st.integers(1, 300), each=st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_leases_are_few(in_flight: int, each: int) -> None:
    """While rows come and go steadily, no lease is written, and none is waited for."""
    budget, one = Budget(Limit()), Amount(Decimal("0.01"), 100)
    for _ in range(in_flight):
        budget.reserve(one)
    for _ in range(6):
        _cycle(budget, one, min(each, in_flight))
    leases = 0
    for _ in range(100):
        leases += _cycle(budget, one, min(each, in_flight))
        assert budget.covered
    assert not leases
    assert budget.lease.within(one.times(in_flight + 2 * each)), "what two writes settle, no more"


def test_a_lease_shrinks_with_what_is_in_flight() -> None:
    """After a crowd has gone, what a kill would be charged is what is still in flight."""
    budget, one = Budget(Limit()), Amount(Decimal("0.01"), 100)
    for _ in range(500):
        budget.reserve(one)
    _cycle(budget, one, 0)
    for _ in range(499):
        budget.settle(one, one)
    for _ in range(6):
        _cycle(budget, one, 0)
    assert budget.lease == one


@pytest.mark.parametrize(
    ("spent", "fit"),
    [("1.00", Fit.NEVER), ("0.90", Fit.LATER), ("0.50", Fit.NOW)],
)
def test_fits(spent: str, fit: Fit) -> None:
    """A row that can't be paid for ever is told from one that must wait."""
    budget = Budget(Limit(Decimal(1)), Amount(Decimal(spent)))
    budget.reserve(Amount(Decimal("0.05")))
    assert budget.fit(Amount(Decimal("0.08"))) is fit
