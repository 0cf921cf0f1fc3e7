"""One pass over outputs: what is asked for is added up, a line at a time, and nothing is held.

Rules:
    * A row counts in whole when it finished: also what earlier attempts of it had cost before.
    * A row without a result is no request, but what it has cost is cost: `batch.attempt` lines,
      failures taken back by `--retry-failed`, rows that `--prune` dropped. All of that is waste.
    * Prices are those that the run recorded, or those of a pricer, for each line by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter

import orjson

from batcher.errors import UsageError
from batcher.journal import RunNote
from batcher.records import NOTHING_SPENT, Spend, Usage
from batcher.report.cells import DIMENSIONS, Cell, Cells
from batcher.report.clock import Clock, Period
from batcher.report.reading import Output, Standing
from batcher.report.timeline import Timeline
from batcher.spend import read_spend

__all__ = ["Gathered", "Price", "gather"]

# Endpoint, model, usage and Unix time to US dollars, or None where no price is known.
Price = Callable[[str, str, Usage, float], Decimal | None]

_ZERO = Decimal(0)


@dataclass
class Gathered:
    """What outputs hold.

    Attributes:
        cells: The figures, by the dimensions asked for.
        timeline: Spend and results over time, where that was asked for.
        outputs: How many were read.
        unfinished: Names of those whose job has not finished.
        broken: Where lines stand that can't be read: the output and the line's number.
    """

    cells: Cells
    timeline: Timeline | None = None
    outputs: int = 0
    unfinished: list[str] = field(default_factory=list)
    broken: list[tuple[str, int]] = field(default_factory=list)


def gather(
    outputs: Iterable[Output],
    *,
    by: Sequence[str],
    clock: Clock,
    period: Period,
    price: Price | None = None,
    over_time: bool = False,
) -> Gathered:
    """Read outputs through.

    Args:
        by: The dimensions to tell apart.
        clock: Says on which day something was.
        period: What finished outside of it is left out.
        price: Prices that stand for the recorded ones; None leaves those.
        over_time: Whether to keep a timeline as well.

    Raises:
        UsageError: A file can't be opened, or holds no results at all.
        StorageError: One can't be read on.
    """
    gathered = Gathered(Cells(by), Timeline() if over_time else None)
    for output in outputs:
        fold = _Fold(gathered, output, clock, period, price)
        legible = 0
        for line in output.standing():
            if fold.line(line):
                legible += 1
            else:
                output.broken.append(line.number)
        for note in output.notes:
            fold.note(note)
        if output.lines and not legible and not output.notes:
            raise UsageError(f"{output.name} holds no results of batcher")
        gathered.outputs += 1
        gathered.broken += [(output.name, number) for number in sorted(output.broken)]
        if not output.finished:
            gathered.unfinished.append(output.name)
    return gathered


class _Fold:
    """Adds one output to what was gathered before."""

    def __init__(
        self, into: Gathered, output: Output, clock: Clock, period: Period, price: Price | None
    ) -> None:
        self._into = into
        self._timeline = into.timeline
        self._pick = _picker(into.cells.by)
        self._job = output.name
        self._read_time = clock.read
        self._since_s, self._until_s = period
        self._price = price

    def line(self, line: Standing) -> bool:
        """Count a line; return whether it could be read. This runs for every one."""
        ours = line.ours
        try:
            model, endpoint = ours["model"], ours["endpoint"]
            error, label = ours.get("error_code", ""), ours.get("label", "")
            latency_s = ours["latency_s"]
            spend = read_spend(ours)
            thrown_away = ours.get("thrown_away")
            wasted = NOTHING_SPENT if thrown_away is None else read_spend(thrown_away)
            moment = self._read_time(ours["finished_at"])
            if not (type(model) is type(endpoint) is type(error) is str and latency_s >= 0):
                return False
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        at_s = moment[0]
        if not self._since_s <= at_s < self._until_s:
            return True
        if type(label) is not str:
            label = orjson.dumps(label).decode()
        if self._price is not None:
            spend = self._priced(endpoint, model, spend, at_s)
            wasted = self._priced(endpoint, model, wasted, at_s)
        cell = self._cell((model, moment[1], self._job, label, endpoint, error))
        _count(cell, spend, error, wasted, is_result=line.is_result)
        if line.is_result and spend.attempts:
            cell.time(latency_s, at_s)
        if self._timeline is not None:
            self._timeline.add(
                at_s,
                model,
                spend,
                latency_s,
                is_result=line.is_result,
                failed=bool(error) and line.is_result,
            )
        return True

    def note(self, note: RunNote) -> None:
        """Count what a run's note says of rows that were dropped."""
        moment = self._read_time(note.finished_at)
        if not note.pruned or not self._since_s <= moment.unix_s < self._until_s:
            return
        for model, fields in note.pruned.get("by_model", {}).items():
            spend = self._priced("", model, read_spend(fields), moment.unix_s)
            cell = self._cell((model, moment.day, self._job, "", "", ""))
            cell.account.post(spend, 1)
            cell.waste(spend.cost_usd or _ZERO)
        self._cell(("", moment.day, self._job, "", "", "")).pruned += note.pruned.get("rows", 0)

    def _cell(self, names: tuple[str, str, str, str, str, str]) -> Cell:
        """Give the cell of a result's names, in the order of `DIMENSIONS`."""
        return self._into.cells.at(self._pick(names))

    def _priced(self, endpoint: str, model: str, spend: Spend, at_s: int) -> Spend:
        """Price a spend as one request; what used nothing has no cost to be known or unknown."""
        if self._price is None or not any(spend.usage):
            return spend
        cost = self._price(endpoint, model, spend.usage, at_s)
        return spend._replace(cost_usd=cost, unpriced=cost is None)


def _count(cell: Cell, spend: Spend, error: str, wasted: Spend, *, is_result: bool) -> None:
    account = cell.account
    account.post(spend, 1)
    cost = spend.cost_usd
    if not is_result:
        cell.unfinished += 1
    elif error:
        account.failed += 1
    else:
        account.completed += 1
        cost = wasted.cost_usd
    if cost:
        cell.waste(cost)
    if spend.attempts > 1 and is_result:
        cell.summed += spend.attempts - spend.attempts_without_usage > 1


def _picker(by: Sequence[str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Give what takes the names of some dimensions out of those of all."""
    places = [DIMENSIONS.index(name) for name in by]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda names: tuple(names[place] for place in places)
