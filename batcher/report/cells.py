"""What is added up: a cell of figures, and cells by whatever one wants to see them by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from math import inf
from operator import sub
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.amounts import Spend
from batcher.ledger import Account
from batcher.report.sketch import Sketch

if TYPE_CHECKING:
    from batcher.journal.spent import Spent, Sum

__all__ = ["DIMENSIONS", "OTHER", "Cell", "Cells", "Rows"]

# What results can be told apart by, in the order in which they are told.
DIMENSIONS: Final = ("model", "day", "job", "label", "endpoint", "error")

# Names that come from rows and answers may be as many as there are rows. Beyond so many of a kind,
# and so many cells in all, the rest is one.
OTHER: Final = "(other)"
_MAX_NAMES: Final = 1_000
_MAX_NAME_CHARS: Final = 200
_MAX_CELLS: Final = 20_000
_FREE: Final = frozenset({"model", "label", "endpoint", "error"})

_EXACT: Final = Context(prec=60)
_MINUTE_S: Final = 60


class Rows(NamedTuple):
    """Some results of one cell, seen together.

    Attributes:
        told: What their lines say.
        ends: Unix times, when each ended.
        spent: What they have cost.
        wasted_usd: How much of it bought nothing.
    """

    told: Sequence[Spent]
    ends: Sequence[int]
    spent: Sum
    wasted_usd: Decimal


class Cell:
    """Figures of some results.

    Attributes:
        account: Results, attempts, tokens and cost.
        unfinished: Rows that have cost something and have no result.
        pruned: Rows that `--prune` has dropped.
        summed: Results whose usage is the sum over several attempts.
        wasted: What was paid, in USD, for what nobody has: failed rows, rows without a result, and
            all attempts of a row but the one that counted.
        latencies: Of the last attempt of each result that took one, in seconds.
        first_s, last_s: Unix times, when the first of these attempts began and the last one ended.
    """

    __slots__ = (
        "_minute",
        "_minutes",
        "account",
        "first_s",
        "last_s",
        "latencies",
        "pruned",
        "summed",
        "unfinished",
        "wasted",
    )

    def __init__(self) -> None:
        self.account = Account()
        self.unfinished = self.pruned = self.summed = 0
        self.wasted = Decimal(0)
        self.latencies = Sketch()
        self.first_s, self.last_s = inf, -inf
        # Minutes of each hour in which a result came, as the bits of a number.
        self._minutes: dict[int, int] = {}
        self._minute = -1

    def waste(self, cost: Decimal) -> None:
        """Count money that bought nothing."""
        self.wasted = _EXACT.add(self.wasted, cost)

    def add(
        self,
        spend: Spend,
        wasted_usd: Decimal | None,
        latency_s: float,
        at_s: int,
        *,
        is_result: bool,
        failed: bool,
    ) -> None:
        """Count a row that ended at a Unix time. This runs for every line.

        Args:
            wasted_usd: What of a success's cost bought nothing; of all else, all did.
        """
        account = self.account
        account.post(spend, 1)
        if not is_result:
            self.unfinished += 1
            wasted_usd = spend.cost_usd
        elif failed:
            account.failed += 1
            wasted_usd = spend.cost_usd
        else:
            account.completed += 1
        if wasted_usd:
            self.waste(wasted_usd)
        if not is_result or not spend.attempts:
            return
        if spend.attempts > 1:
            self.summed += spend.attempts - spend.attempts_without_usage > 1
        self.latencies.add(latency_s)
        minute = at_s // _MINUTE_S
        if minute != self._minute:
            self._minute = minute
            hour, place = divmod(minute, 60)
            self._minutes[hour] = self._minutes.get(hour, 0) | (1 << place)
        if at_s > self.last_s:  # noqa: PLR1730 - a call costs more than all of it
            self.last_s = at_s
        if at_s - latency_s < self.first_s:  # noqa: PLR1730 - the same
            self.first_s = at_s - latency_s

    def add_all(self, rows: Rows) -> None:
        """Count results that ended at Unix times, as `add` does each.

        All but `summed`, which is for costs that are reckoned again: those are read one by one.
        """
        told, ends, spent, wasted = rows
        self.account.post_sum(spent.spend, with_cost=spent.with_cost, unpriced=spent.unpriced)
        failed = sum([bool(each.error_code) for each in told])
        self.account.failed += failed
        self.account.completed += len(told) - failed
        self.waste(wasted)
        if not all(each.attempts for each in told):
            ends = [end for each, end in zip(told, ends, strict=True) if each.attempts]
            told = [each for each in told if each.attempts]
        if not told:
            return
        latencies = [each.latency_s for each in told]
        self.latencies.add_all(latencies)
        self.first_s = min(self.first_s, *map(sub, ends, latencies))
        self.last_s = max(self.last_s, *ends)
        for minute in {end // _MINUTE_S for end in set(ends)}:
            hour, place = divmod(minute, 60)
            self._minutes[hour] = self._minutes.get(hour, 0) | (1 << place)

    def absorb(self, other: Cell) -> None:
        """Add all that another cell counted."""
        self.account.absorb(other.account)
        self.unfinished += other.unfinished
        self.pruned += other.pruned
        self.summed += other.summed
        self.waste(other.wasted)
        self.latencies.absorb(other.latencies)
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)
        for hour, minutes in other._minutes.items():
            self._minutes[hour] = self._minutes.get(hour, 0) | minutes

    @property
    def requests(self) -> int:
        """Rows with a result."""
        return self.account.completed + self.account.failed

    @property
    def spend(self) -> Spend:
        """Attempts, tokens and cost."""
        return self.account.spend

    @property
    def active_s(self) -> float:
        """How long it went on: the minutes in which results came, so that nights don't count."""
        minutes = sum(value.bit_count() for value in self._minutes.values())
        return min(minutes * _MINUTE_S, self.last_s + 1 - self.first_s) if minutes else 0.0


class Cells(dict[tuple[str, ...], Cell]):
    """Cells by names, one for each dimension in the order of `by`; asked for, they are there.

    Args:
        by: The dimensions.
    """

    def __init__(self, by: Sequence[str]) -> None:
        super().__init__()
        self.by = tuple(by)
        self._names: dict[str, set[str]] = {name: set() for name in self.by if name in _FREE}

    def __missing__(self, names: tuple[str, ...]) -> Cell:
        bounded = tuple(self._bounded(names))
        if len(self) >= _MAX_CELLS and bounded not in self:
            bounded = tuple(name if by == "job" else OTHER
                            for by, name in zip(self.by, names, strict=True))  # fmt: skip
        return self.setdefault(bounded, Cell())

    def whole(self) -> Cell:
        """Add up all cells."""
        return self.grouped(())[()]

    def grouped(self, by: Sequence[str]) -> Mapping[tuple[str, ...], Cell]:
        """Add up the cells by some of the dimensions; by none of them there is one cell."""
        places = [self.by.index(name) for name in by]
        groups: dict[tuple[str, ...], Cell] = {} if by else {(): Cell()}
        for names, cell in self.items():
            groups.setdefault(tuple(names[place] for place in places), Cell()).absorb(cell)
        return groups

    def _bounded(self, names: tuple[str, ...]) -> Iterator[str]:
        for by, full in zip(self.by, names, strict=True):
            known = self._names.get(by)
            name = full if len(full) <= _MAX_NAME_CHARS else f"{full[:_MAX_NAME_CHARS]}..."
            if known is None:
                yield full
            elif name in known or len(known) < _MAX_NAMES:
                known.add(name)
                yield name
            else:
                yield OTHER
