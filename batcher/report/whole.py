"""A report: what was gathered, and all that must be said beside the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from batcher.report.clock import Period
from batcher.report.figures import Table
from batcher.report.gather import Gathered
from batcher.report.invoice import Comparison
from batcher.words import count, money, plural

__all__ = ["Report"]

_MOST_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is shown, in whatever form.

    Attributes:
        title: What a page is called.
        gathered: Holds more dimensions than the table shows where the form has charts.
        table: The figures by what was asked for.
        zone: The time zone's name.
        made_at: When the report was made, in that zone.
        prices: What costs were reckoned with again; empty where they are as recorded.
        comparison: What an invoice says to it.
        budget_usd: What may be spent, to be drawn beside what was.
    """

    title: str
    gathered: Gathered
    table: Table
    period: Period
    zone: str
    made_at: datetime
    prices: str = ""
    budget_usd: Decimal | None = None
    comparison: Comparison | None = None

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the first attempt that counts began and the last one ended; None without any."""
        cell = self.table.whole
        if not cell.latencies:
            return None
        zone = self.made_at.tzinfo
        return datetime.fromtimestamp(cell.first_s, zone), datetime.fromtimestamp(cell.last_s, zone)

    @property
    def days(self) -> list[str]:
        """The first day and the last one: one where they are the same, none without results."""
        return list(dict.fromkeys(moment.date().isoformat() for moment in self.span or ()))

    def notes(self) -> list[str]:
        """Say what a reader must know to trust the figures."""
        return [
            *self._unread(),
            *self._unknown(),
            *self._wasted(),
            *self._reckoned_again(),
            *(self.comparison.notes if self.comparison else ()),
        ]

    def _unread(self) -> Iterator[str]:
        gathered = self.gathered
        if gathered.broken:
            places = [f"{name}:{number}" for name, number in gathered.broken]
            lines = plural(len(places), "line")
            yield f"{lines} could not be read and are not in it: {_named(places)}"
        if gathered.unfinished:
            outputs = plural(len(gathered.unfinished), "output")
            yield f"{outputs} not finished: {_named(gathered.unfinished)}"

    def _unknown(self) -> Iterator[str]:
        gathered, spend = self.gathered, self.table.whole.spend
        if spend.unpriced:
            by_model = gathered.cells.grouped(("model",))
            models = [names[0] for names, each in by_model.items() if each.spend.unpriced]
            yield f"costs are a lower bound: no price for {_named(sorted(models))}"
        if spend.attempts_without_usage:
            attempts, most = plural(spend.attempts_without_usage, "attempt"), spend.uncertain.usd
            yield (
                f"{attempts} may have been billed though no usage came back"
                f"{f': up to {money(most)}' if most else ''}; it is not in the cost"
            )
        if gathered.unseen_usd:
            yield (
                f"runs that were killed or go on may have spent up to {money(gathered.unseen_usd)} "
                "that they have not written down; it is not in the cost"
            )

    def _wasted(self) -> Iterator[str]:
        cell = self.table.whole
        if cell.unfinished or cell.pruned:
            rows = plural(cell.unfinished + cell.pruned, "row")
            yield f"what {rows} without a result have cost is in it, as waste"

    def _reckoned_again(self) -> Iterator[str]:
        if not self.prices:
            return
        yield f"costs were reckoned again, with {self.prices}"
        if summed := self.table.whole.summed:
            yield (
                f"{plural(summed, 'result')} sum the usage of several attempts and were "
                "priced as one request each: tiers by prompt length and prices per request "
                "can't be recovered for them"
            )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(name or "(none)" for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {count(more)} more" if more > 0 else shown
