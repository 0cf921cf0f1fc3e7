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

from batcher.amounts import NOTHING_SPENT, Spend, Usage
from batcher.errors import UsageError
from batcher.journal import RunNote
from batcher.report.cells import DIMENSIONS, Cells
from batcher.report.clock import Clock, Period
from batcher.report.reading import Output, Results, Standing
from batcher.report.timeline import Timeline
from batcher.report.together import groups_of, read_together, within
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
        unseen_usd: The most that runs may have spent beyond what they wrote down.
        broken: Where lines stand that can't be read: the output and the line's number.
    """

    cells: Cells
    timeline: Timeline | None = None
    outputs: int = 0
    unfinished: list[str] = field(default_factory=list)
    broken: list[tuple[str, int]] = field(default_factory=list)
    unseen_usd: Decimal = _ZERO


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
        legible = fold.read(output)
        for note in output.notes:
            fold.note(note)
        if output.lines and not legible and not output.notes:
            raise UsageError(f"{output.name} holds no results of batcher")
        gathered.outputs += 1
        gathered.unseen_usd += output.unseen.usd
        gathered.broken += [(output.name, number) for number in sorted(output.broken)]
        if not output.finished:
            gathered.unfinished.append(output.name)
    return gathered


class _Fold:
    """Adds one output to what was gathered before."""

    def __init__(
        self, into: Gathered, output: Output, clock: Clock, period: Period, price: Price | None
    ) -> None:
        self._cells = into.cells
        self._timeline = into.timeline
        self._pick = _picker(into.cells.by)
        self._job = output.name
        self._clock = clock
        self._period = period
        self._price = price

    def read(self, output: Output) -> int:
        """Count the lines of an output; return how many could be read."""
        legible = 0
        for part in output.parts():
            if isinstance(part, Standing):
                legible += self._take(part, output)
            elif self._take_all(part):
                legible += len(part.raws)
            else:
                legible += sum([self._take(line, output) for line in output.each(part)])
        return legible

    def _take_all(self, results: Results) -> bool:
        """Count results that are as most are; or none of them: False."""
        if self._price is not None:
            return False
        rows = read_together(results.raws, self._clock)
        if rows is None:
            return False
        groups = groups_of(rows, self._cells.by, self._job)
        if groups is None:
            return False
        inside = within(self._period, rows)
        if inside is not rows:
            rows, groups = inside, groups_of(inside, self._cells.by, self._job) or []
        for group in groups:
            self._cells[group.names].add_all(group.rows)
        if self._timeline is not None:
            for told, at_s in zip(rows.told, rows.ends, strict=True):
                cost_usd = None if told.cost_usd is None else Decimal(told.cost_usd)
                self._timeline.add(
                    at_s, told.model, told.usage.total_tokens, cost_usd, told.latency_s,
                    is_result=True, failed=bool(told.error_code),
                )  # fmt: skip
        return True

    def _take(self, line: Standing, output: Output) -> bool:
        """Count a line; return whether it could be read."""
        ours, is_result = line.ours, line.is_result
        try:
            model, endpoint, latency_s = ours["model"], ours["endpoint"], ours["latency_s"]
            error, label = ours.get("error_code", ""), ours.get("label", "")
            spend = read_spend(ours)
            wasted = read_spend(ours["thrown_away"]) if "thrown_away" in ours else NOTHING_SPENT
            at_s, day = self._clock.read(ours["finished_at"])
            _check(model, endpoint, error, latency_s)
        except (ValueError, TypeError, KeyError, AttributeError):
            output.broken.append(line.number)
            return False
        if not self._period.since_s <= at_s < self._period.until_s:
            return True
        if type(label) is not str:
            label = orjson.dumps(label).decode()
        if self._price is not None:
            spend = self._priced(endpoint, model, spend, at_s)
            wasted = self._priced(endpoint, model, wasted, at_s)
        cell = self._cells[self._pick((model, day, self._job, label, endpoint, error))]
        cell.add(spend, wasted.cost_usd, latency_s, at_s, is_result=is_result,
                 failed=bool(error))  # fmt: skip
        if self._timeline is not None:
            self._timeline.add(at_s, model, spend.usage.total_tokens, spend.cost_usd, latency_s,
                               is_result=is_result, failed=is_result and bool(error))  # fmt: skip
        return True

    def note(self, note: RunNote) -> None:
        """Count what a run's note says of rows that were dropped."""
        moment = self._clock.read(note.finished_at)
        if not note.pruned or not self._period.since_s <= moment.unix_s < self._period.until_s:
            return
        for model, fields in note.pruned.get("by_model", {}).items():
            spend = self._priced("", model, read_spend(fields), moment.unix_s)
            cell = self._cells[self._pick((model, moment.day, self._job, "", "", ""))]
            cell.account.post(spend, 1)
            cell.waste(spend.cost_usd or _ZERO)
        nobody = self._pick(("", moment.day, self._job, "", "", ""))
        self._cells[nobody].pruned += note.pruned.get("rows", 0)

    def _priced(self, endpoint: str, model: str, spend: Spend, at_s: int) -> Spend:
        """Price a spend as one request; what used nothing has no cost to be known or unknown."""
        if self._price is None or not any(spend.usage):
            return spend
        cost = self._price(endpoint, model, spend.usage, at_s)
        return spend._replace(cost_usd=cost, unpriced=cost is None)


def _check(model: object, endpoint: object, error: object, latency_s: float) -> None:
    if not (type(model) is type(endpoint) is type(error) is str and latency_s >= 0):
        raise ValueError("a name is no text, or a latency below 0")


def _picker(by: Sequence[str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Give what takes the names of some dimensions out of those of all."""
    places = [DIMENSIONS.index(name) for name in by]
    if len(places) > 1:
        return itemgetter(*places)
    only = slice(places[0], places[0] + 1) if places else slice(0)
    return itemgetter(only)
