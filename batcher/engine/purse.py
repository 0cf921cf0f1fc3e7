"""The purse of a run: holds rows back that the budget can't pay for, and keeps word on the disk.

A row that doesn't fit while others are in flight waits here, and smaller ones may go before it. One
that doesn't fit even once nothing is in flight is laid aside: it stays without a result, and a run
with a larger budget sends it. So is a row of which nobody can say what it may cost. Once nothing is
left but such rows, the run stops.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from decimal import ROUND_UP, Decimal
from typing import Final

from batcher.amounts import Amount, Spend
from batcher.budget import Bound, Bounds, Budget, Fit, Unbounded
from batcher.engine.task import Task
from batcher.journal import Keeper, Lease
from batcher.spend import cost_text

__all__ = ["Purse"]

# Rows that wait for the budget while others are looked at.
_MOST_WAITING: Final = 256
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024

# So many rows without one between them that the budget can pay for, and the search is over.
_LOOK_AHEAD: Final = 10_000

_NAMED: Final = 3
_PLACES: Final = Decimal("0.0001")


class Purse:
    """Says which rows may leave, and is told what they cost.

    Args:
        budget: The account.
        bounds: What attempts can cost.
        journal: Keeps the leases.
        run: Names the run in them.
        called: What the user calls the budget in dollars.
        eager: Whether the first row that is laid aside ends the run: the rows that come next may
            wait for its result.
        wake: Called when a row that waited may go.
    """

    def __init__(
        self,
        budget: Budget,
        bounds: Bounds,
        journal: Keeper,
        *,
        run: str,
        called: str = "the budget",
        eager: bool = False,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._budget = budget
        self._bounds = bounds
        self._journal = journal
        self._run = run
        self._called = called
        self._eager = eager
        self.wake = wake
        self._waiting: deque[Task] = deque()
        self._waiting_bytes = 0
        # The least that a row needs of those that were laid aside, whether that row says how long
        # its answer may be, and how many in a row were laid aside.
        self._cheapest: Amount | None = None
        self._names_limit = True
        self._in_a_row = 0
        self._laid_aside = 0
        # Models by why nobody can say what a request may cost.
        self._unbounded: dict[str, set[str]] = {}
        journal.pledge = self

    @property
    def looking(self) -> bool:
        """Whether it makes sense to look at more rows."""
        return (
            len(self._waiting) < _MOST_WAITING
            and self._waiting_bytes < _MOST_WAITING_BYTES
            and self._in_a_row < _LOOK_AHEAD
        )

    @property
    def waiting(self) -> int:
        """Rows that wait here."""
        return len(self._waiting)

    def admits(self, task: Task) -> bool:
        """Say whether a row may leave now; if not, it waits here or is laid aside."""
        fit = self._fit(task)
        if fit is Fit.NOW:
            self._in_a_row = 0
            return True
        if fit is not None and fit is not Fit.NEVER:
            self._waiting.append(task)
            self._waiting_bytes += len(task.body)
        return False

    def recall(self) -> Task | None:
        """Give the first row of those that wait here that may leave now."""
        for _ in range(len(self._waiting)):
            task = self._waiting.popleft()
            self._waiting_bytes -= len(task.body)
            if self.admits(task):
                return task
        return None

    def take(self, task: Task) -> None:
        """Reserve what a row that leaves now can cost."""
        self._budget.reserve(_bound(task).amount)

    def settle(self, task: Task, spent: Spend) -> None:
        """Replace what was reserved for an attempt by what it cost, or may have cost."""
        bound, real = _bound(task), spent.most
        if spent.unpriced:
            real = real.larger(Amount(bound.amount.usd, 0))
        self._budget.settle(bound.amount, real)
        if spent.usage.total_tokens:
            self._bounds.note(task.row, spent.usage)
            if not real.within(bound.amount):
                self._bounds.widen(task.row.model, bound, spent.usage)

    def spent(self, *, read_all: bool) -> str | None:
        """Say why the run is to stop, once nothing is under way and no row waits elsewhere.

        Args:
            read_all: Whether the source has been read to its end.

        Returns:
            None while there is no reason.
        """
        over = read_all or self._eager or self._in_a_row >= _LOOK_AHEAD
        if not over or not self._laid_aside or self._waiting:
            return None
        return "; ".join(self._reasons())

    def writing(self) -> tuple[Amount, Amount | None]:
        """Queue the lease that is due, if one is."""
        settled, lease = self._budget.writing()
        if lease is not None:
            self._journal.note_lease(Lease(self._run, lease))
        return settled, lease

    def written(self, pledged: tuple[Amount, Amount | None]) -> None:
        """Let rows go that waited for a lease."""
        settled, lease = pledged
        self._budget.written(settled, lease)
        if lease is not None and self._waiting:
            self.wake()

    def _fit(self, task: Task) -> Fit | None:
        """Weigh a row against the budget; None where nobody can say what it may cost."""
        if task.weighed is not task.body or self._bounds.moves(task.row):
            bound = self._bounds.most(task.row, task.body, time.time())
            if isinstance(bound, Unbounded):
                self._unbounded.setdefault(bound.why, set()).add(task.row.model)
                self._laid_aside += 1
                return None
            if not self._bounds.knows(task.row):
                bound = bound._replace(amount=self._budget.at_most_left(bound.amount))
            task.bound, task.weighed = bound, task.body
        amount = _bound(task).amount
        fit = self._budget.fit(amount)
        if fit is Fit.NEVER:
            self._laid_aside += 1
            self._in_a_row += 1
            if self._cheapest is None or amount < self._cheapest:
                self._cheapest = amount
                self._names_limit = task.row.max_output_tokens is not None
        elif self._budget.asks:
            self._journal.hurry()
            # What keeps nothing has nothing to be waited for.
            fit = self._budget.fit(amount)
        return fit

    def _reasons(self) -> Iterator[str]:
        if self._cheapest is not None:
            limit, spent = self._budget.limit, self._budget.spent
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


def _bound(task: Task) -> Bound:
    assert task.bound is not None
    return task.bound


def _usd(amount: Decimal) -> str:
    """Write an amount to four places, rounded up: a budget is not to look less spent than it is."""
    return f"${cost_text(amount.quantize(_PLACES, ROUND_UP))}"
