"""The purse of a run: holds rows back that the budget can't pay for, and keeps word on the disk.

A row that doesn't fit while others are in flight waits here, and smaller ones may go before it. One
that doesn't fit even once nothing is in flight is laid aside: it stays without a result, and a run
with a larger budget sends it. So is a row of which nobody can say what it may cost. Once nothing is
left but such rows, the run stops.

Where rows take several requests, one that has begun goes before those that have not, and what it is
yet to need is held back from them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from itertools import chain
from typing import Final, NamedTuple

import anyio

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.budget import Bound, Bounds, Budget, Fit, Holds, Unbounded
from batcher.engine.aside import Aside
from batcher.engine.task import Task
from batcher.journal import Keeper, Lease

__all__ = ["Purse"]

# Rows that wait for the budget while others are looked at.
_MOST_WAITING: Final = 256
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024

# So many rows without one between them that the budget can pay for, and the search is over.
_LOOK_AHEAD: Final = 10_000


class Pledged(NamedTuple):
    """What a write takes to the disk: all that was settled, a lease, and word to who awaits it."""

    settled: Amount
    lease: Amount | None
    leased: anyio.Event | None


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
        most_turns: The most requests of a row, where its tools are carried out; else 1.
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
        most_turns: int = 1,
    ) -> None:
        self._budget = budget
        self._bounds = bounds
        self._journal = journal
        self._run = run
        self._eager = eager
        self._holds = Holds(most_turns) if most_turns > 1 else None
        # Rows that wait: those that have begun, and those that have not.
        self._halfway: deque[Task] = deque()
        self._waiting: deque[Task] = deque()
        self._waiting_bytes = 0
        # The least that any of them needs; None where they must be looked at.
        self._least: Amount | None = None
        # Set once what is reserved by now is leased; None where nothing waits for that.
        self._leased: anyio.Event | None = None
        self._aside = Aside(called)
        journal.pledge = self

    @property
    def looking(self) -> bool:
        """Whether it makes sense to look at more rows."""
        return (
            self.waiting < _MOST_WAITING
            and self._waiting_bytes < _MOST_WAITING_BYTES
            and self._aside.in_a_row < _LOOK_AHEAD
        )

    @property
    def waiting(self) -> int:
        """Rows that wait here."""
        return len(self._halfway) + len(self._waiting)

    def admits(self, task: Task) -> bool:
        """Say whether a row may leave now; if not, it waits here or is laid aside."""
        fit = self._fit(task)
        if fit is Fit.NOW:
            self._aside.in_a_row = 0
            return True
        if fit is Fit.LATER:
            (self._halfway if self._begun(task) else self._waiting).append(task)
            self._waiting_bytes += len(task.body)
            self._least = None
        return False

    def recall(self) -> Task | None:
        """Give the first row of those that wait here that may leave now."""
        if self._least is not None and self._budget.fit(self._least) is Fit.LATER:
            return None
        for tasks in (self._halfway, self._waiting):
            for _ in range(len(tasks)):
                task = tasks.popleft()
                self._waiting_bytes -= len(task.body)
                if self.admits(task):
                    return task
        self._least = self._least_of(chain(self._halfway, self._waiting))
        return None

    def _least_of(self, tasks: Iterable[Task]) -> Amount | None:
        least: Amount | None = None
        for task in tasks:
            if self._bounds.moves(task.row):
                return None
            amount = _bound(task).amount
            least = amount if least is None else least.smaller(amount)
        return least

    def take(self, task: Task) -> None:
        """Reserve what a row that leaves now can cost."""
        amount = _bound(task).amount
        self._budget.reserve(amount)
        # What is tried again is the same turn.
        if self._holds is not None and task.fresh:
            if task in self._holds:
                self._holds.turn(task, amount)
            elif task.talk is None:
                self._holds.begin(task, amount)

    @property
    def covered(self) -> bool:
        """Whether a row that was taken may leave at once: a lease on the disk covers it."""
        return self._budget.covered

    async def leased(self) -> bool:
        """Wait until a lease on the disk covers all rows taken so far; false where it can't be."""
        leased = self._leased = self._leased or anyio.Event()
        while not leased.is_set():
            self._journal.hurry()
            if not await self._journal.landed():
                return False
        return True

    def end(self, task: Task) -> None:
        """Note that a row asks for nothing more in this run."""
        if self._holds is not None:
            self._holds.end(task, learn=True)

    def settle(self, task: Task, spent: Spend) -> None:
        """Replace what was reserved for an attempt by what it cost, or may have cost."""
        real = spent.most
        if spent.unpriced:
            real = real.larger(Amount(_bound(task).amount.usd, 0))
        self._settle(task, spent.usage, real)

    def pay(self, task: Task, usage: Usage, cost: Decimal | None) -> None:
        """Settle an attempt that told its usage; a `cost` of None is what was reserved."""
        usd = _bound(task).amount.usd if cost is None else cost
        self._settle(task, usage, Amount(usd, usage.total_tokens))

    def _settle(self, task: Task, usage: Usage, real: Amount) -> None:
        bound = _bound(task)
        self._budget.settle(bound.amount, real)
        if usage.total_tokens:
            self._bounds.note(task.row, usage)
            if not real.within(bound.amount):
                self._bounds.widen(task.row.model, bound, usage)

    def spent(self, *, read_all: bool) -> str | None:
        """Say why the run is to stop, once nothing is under way and no row waits elsewhere.

        Args:
            read_all: Whether the source has been read to its end.

        Returns:
            None while there is no reason.
        """
        over = read_all or self._eager or self._aside.in_a_row >= _LOOK_AHEAD
        if not over or not self._aside.count or self.waiting:
            return None
        return "; ".join(self._aside.reasons(self._budget))

    @property
    def due(self) -> bool:
        """Whether there is something to write though no row's line waits."""
        return self._budget.slack

    def writing(self) -> Pledged:
        """Queue the lease that is due, if one is."""
        settled, lease = self._budget.writing()
        if lease is not None:
            self._journal.note_lease(Lease(self._run, lease))
        leased, self._leased = self._leased, None
        return Pledged(settled, lease, leased)

    def written(self, pledged: Pledged) -> None:
        """Let rows go that waited for a lease."""
        settled, lease, leased = pledged
        self._budget.written(settled, lease)
        if leased is not None:
            leased.set()

    def _begun(self, task: Task) -> bool:
        """Whether a row has had answers that are lost unless it is ended."""
        return task.talk is not None or (self._holds is not None and task in self._holds)

    def _fit(self, task: Task) -> Fit | None:
        """Weigh a row against the budget; None where nobody can say what it may cost."""
        if (task.weighed is not task.body or self._bounds.moves(task.row)) and not self._weigh(
            task
        ):
            return None
        amount = _bound(task).amount
        if self._holds is None or self._begun(task):
            fit = self._budget.fit(amount)
        else:
            amount, fit = self._fit_whole(amount, self._holds)
        if fit is Fit.NEVER:
            self._lay_aside(task, amount)
        return fit

    def _fit_whole(self, first: Amount, holds: Holds) -> tuple[Amount, Fit]:
        """Weigh a row that has not begun, with all of its turns, beside those that have."""
        amount = first.plus(holds.rest(first))
        fit = self._budget.fit(amount.plus(holds.total))
        if fit is Fit.NOW:
            return amount, fit
        if holds.learned:
            return amount, Fit.LATER if self._budget.fit(amount) is not Fit.NEVER else Fit.NEVER
        # It may well take fewer turns than it could. One goes ahead to find out.
        fit = self._budget.fit(first)
        alone = holds.empty and self._budget.reserved == NO_AMOUNT
        return first, fit if alone or fit is Fit.NEVER else Fit.LATER

    def _weigh(self, task: Task) -> bool:
        """Say what a row's next request can cost; false where nobody can."""
        bound = self._bounds.most(task.row, task.body, time.time())
        if isinstance(bound, Unbounded):
            self._aside.add_unbounded(task.row, bound.why)
            return False
        if not self._bounds.knows(task.row):
            bound = bound._replace(amount=self._budget.at_most_left(bound.amount))
        task.bound, task.weighed = bound, task.body
        return True

    def _lay_aside(self, task: Task, amount: Amount) -> None:
        self._aside.add(task.row, amount)
        if self._holds is not None:
            self._holds.end(task, learn=False)


def _bound(task: Task) -> Bound:
    assert task.bound is not None
    return task.bound
