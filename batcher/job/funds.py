"""What a run may spend, by its own budget and by a month's; and what it did spend."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from batcher.amounts import Spend
from batcher.budget import NO_LIMIT, Bounds, Budget, Limit
from batcher.daemon import in_daemon
from batcher.engine.clerk import timestamp
from batcher.engine.purse import Purse
from batcher.journal import Keeper
from batcher.ledger import Ledger
from batcher.pricing import Pricer
from batcher.records import StopReason
from batcher.settings import Settings
from batcher.words import plural

if TYPE_CHECKING:
    from batcher.spendbook import Grant, SpendBook

__all__ = ["Funds"]


class Funds:
    """The money of one run.

    Attributes:
        bounds: What its attempts can cost.
        limit: What the whole job may spend, as far as it is known: `open` may narrow it.
        note: What the user should know of the ledger that jobs share; empty where nothing.
    """

    def __init__(self, settings: Settings, pricer: Pricer) -> None:
        self._settings = settings
        own = settings.max_cost_usd
        self.limit = Limit(None if own is None else Decimal(own), settings.max_tokens_total)
        priced = own is not None or settings.max_cost_month_usd is not None
        self.bounds = Bounds(pricer, priced=priced, seen=settings.budget_basis == "seen")
        self._called = "the budget" if own is None else f"the budget of ${own}"
        self._began_unix = time.time()
        self._book: SpendBook | None = None
        self.note = ""
        self._before: tuple[Spend, dict[str, Spend]] = (Spend(), {})

    async def open(self, ledger: Ledger, run: str) -> str | None:
        """Take a lease from the ledger that jobs share, where there is one.

        Returns:
            Why nothing may be sent, or None.

        Raises:
            UsageError: The ledger can't be used.
        """
        if self._settings.ledger is None:
            return None
        from batcher.spendbook import SpendBook

        month = datetime.fromtimestamp(self._began_unix, UTC).strftime("%Y-%m")
        output = self._settings.output.resolve()
        book = SpendBook(self._settings.ledger, run=run, month=month, output=output)
        grant = await in_daemon(partial(self._ask, book, ledger))
        month_usd = self._settings.max_cost_month_usd
        if month_usd is not None and grant.unbounded:
            self.note = (
                f"{plural(grant.unbounded, 'run')} without a budget under way on this ledger:"
                f" what is being spent there counts for ${month_usd} once it has ended"
            )
        if grant.left_usd is not None and grant.left_usd <= 0:
            return f"the budget of ${month_usd} for {month} is spent, or leased to other runs"
        if grant.usd is None or grant.usd > 0:
            self._book = book
            self._before = (ledger.spend, ledger.by_model())
        if grant.left_usd is not None and grant.usd == grant.left_usd:
            self.limit = self.limit._replace(usd=ledger.most.usd + grant.left_usd)
            self._called = f"what was left for this job of the ${month_usd} for {month}"
        return None

    def _ask(self, book: SpendBook, ledger: Ledger) -> Grant:
        own, month_usd = self.limit.usd, self._settings.max_cost_month_usd
        return book.open(
            at=timestamp(self._began_unix),
            spent=ledger.spend,
            killed=ledger.killed,
            wanted_usd=None if own is None else max(Decimal(0), own - ledger.most.usd),
            month_usd=None if month_usd is None else Decimal(month_usd),
            fresh=self._settings.fresh,
        )

    def purse(self, journal: Keeper, run: str, *, most_turns: int, eager: bool) -> Purse | None:
        """Make the purse; None without any budget. The rest is as `Purse` takes it."""
        if self.limit == NO_LIMIT:
            return None
        return Purse(
            Budget(self.limit, journal.state.ledger.most),
            self.bounds,
            journal,
            run=run,
            called=self._called,
            eager=eager,
            most_turns=most_turns,
        )

    async def close(self, ledger: Ledger, stop: StopReason | None) -> None:
        """Write into the shared ledger what the run spent, and give back what it did not.

        Raises:
            UsageError: The ledger can't be written.
        """
        if self._book is None:
            return
        from batcher.spendbook import RunSpend

        before, models = self._before
        by_model = {
            model: (models.get(model, Spend()), spend) for model, spend in ledger.by_model().items()
        }
        source = self._settings.source
        write = partial(
            self._book.close,
            RunSpend(before, ledger.spend, by_model),
            source="-" if source is None else str(source),
            endpoint=self._settings.endpoint,
            started_at=timestamp(self._began_unix),
            finished_at=timestamp(time.time()),
            stop_reason=None if stop is None else stop.word,
        )
        await in_daemon(write)
