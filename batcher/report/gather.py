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
from typing import Any, NamedTuple

import orjson

from batcher.errors import UsageError
from batcher.journal import RunNote
from batcher.records import NOTHING_SPENT, Spend, Usage
from batcher.report.cells import Cell, Cells
from batcher.report.clock import Clock, Moment, Period
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
        timeline: Spend and results over time.
        outputs: How many were read.
        unfinished: Names of those whose job has not finished.
        broken: Where lines stand that can't be read: the output and the line's number.
        first, last: When the first and the last of the results that count came, RFC 3339.
    """

    cells: Cells
    timeline: Timeline = field(default_factory=Timeline)
    outputs: int = 0
    unfinished: list[str] = field(default_factory=list)
    broken: list[tuple[str, int]] = field(default_factory=list)
    first: str = ""
    last: str = ""


def gather(
    outputs: Iterable[Output],
    *,
    by: Sequence[str],
    clock: Clock,
    period: Period,
    price: Price | None = None,
) -> Gathered:
    """Read outputs through.

    Args:
        by: The dimensions to tell apart.
        clock: Says on which day something was.
        period: What finished outside of it is left out.
        price: Prices that stand for the recorded ones; None leaves those.

    Raises:
        UsageError: A file can't be opened, or holds no results at all.
        StorageError: One can't be read on.
    """
    gathered = Gathered(Cells(by))
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


class _Facts(NamedTuple):
    """A line, checked."""

    model: str
    endpoint: str
    label: str
    error: str
    finished_at: str
    latency_s: float
    spend: Spend
    thrown_away: Spend


class _Fold:
    """Adds one output to what was gathered before."""

    def __init__(
        self, into: Gathered, output: Output, clock: Clock, period: Period, price: Price | None
    ) -> None:
        self._into = into
        self._by = into.cells.by
        self._job = output.name
        self._clock = clock
        self._since_s, self._until_s = period
        self._price = price

    def line(self, line: Standing) -> bool:
        """Count a line; return whether it could be read."""
        try:
            facts = _facts(line.ours)
            moment = self._clock.read(facts.finished_at)
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        if self._since_s <= moment.unix_s < self._until_s:
            self._count(facts, moment, is_result=line.is_result)
        return True

    def note(self, note: RunNote) -> None:
        """Count what a run's note says of rows that were dropped."""
        moment = self._clock.read(note.finished_at)
        if not note.pruned or not self._since_s <= moment.unix_s < self._until_s:
            return
        for model, fields in note.pruned.get("by_model", {}).items():
            spend = self._priced("", model, read_spend(fields), moment.unix_s)
            cell = self._cell(model, moment.day)
            cell.account.post(spend, 1)
            cell.waste(spend.cost_usd or _ZERO)
        self._cell("", moment.day).pruned += note.pruned.get("rows", 0)

    def _count(self, facts: _Facts, moment: Moment, *, is_result: bool) -> None:
        model, endpoint, label, error, _, latency_s, spend, thrown_away = facts
        if self._price is not None and spend.attempts:
            spend = self._priced(endpoint, model, spend, moment.unix_s)
            thrown_away = self._priced(endpoint, model, thrown_away, moment.unix_s)
        cell = self._cell(model, moment.day, label, endpoint, error)
        account = cell.account
        account.post(spend, 1)
        cost = spend.cost_usd
        if not is_result:
            cell.unfinished += 1
        elif error:
            account.failed += 1
        else:
            account.completed += 1
            cost = thrown_away.cost_usd
        if cost:
            cell.waste(cost)
        if is_result and spend.attempts:
            cell.time(latency_s, *moment)
            cell.summed += spend.attempts - spend.attempts_without_usage > 1
        self._over_time(facts, moment, spend, is_result=is_result)

    def _over_time(self, facts: _Facts, moment: Moment, spend: Spend, *, is_result: bool) -> None:
        into, finished_at = self._into, facts.finished_at
        if not into.first or finished_at < into.first:
            into.first = finished_at
        into.last = max(into.last, finished_at)
        into.timeline.add(
            moment.unix_s,
            model=facts.model,
            cost_usd=spend.cost_usd,
            tokens=spend.usage.total_tokens,
            latency_s=facts.latency_s,
            results=is_result,
            failed=is_result and bool(facts.error),
        )

    def _cell(
        self, model: str, day: str, label: str = "", endpoint: str = "", error: str = ""
    ) -> Cell:
        names = {"model": model, "day": day, "job": self._job, "label": label,
                 "endpoint": endpoint, "error": error}  # fmt: skip
        return self._into.cells.at(tuple([names[name] for name in self._by]))

    def _priced(self, endpoint: str, model: str, spend: Spend, at_s: int) -> Spend:
        """Price a spend as one request; what used nothing has no cost to be known or unknown."""
        if self._price is None or not any(spend.usage):
            return spend
        cost = self._price(endpoint, model, spend.usage, at_s)
        return spend._replace(cost_usd=cost, unpriced=cost is None)


def _facts(ours: dict[str, Any]) -> _Facts:
    """Check a line's `batcher` object.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is not as we write it.
    """
    model, endpoint, error = ours["model"], ours["endpoint"], ours.get("error_code", "")
    latency_s, finished_at = ours["latency_s"], ours["finished_at"]
    if not type(model) is type(endpoint) is type(error) is type(finished_at) is str:
        raise ValueError("a name is no text")
    if not latency_s >= 0:
        raise ValueError("a latency below 0")
    thrown_away = ours.get("thrown_away")
    return _Facts(
        model,
        endpoint,
        _label(ours["label"]) if "label" in ours else "",
        error,
        finished_at,
        latency_s,
        read_spend(ours),
        NOTHING_SPENT if thrown_away is None else read_spend(thrown_away),
    )


def _label(label: object) -> str:
    return label if isinstance(label, str) else orjson.dumps(label).decode()
