"""The figures of a cell by name, and the rows of a table: what every form of the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from batcher.report.cells import Cell
from batcher.report.gather import Gathered

__all__ = ["FIGURES", "Table", "figures", "table"]

# A division of money is cut here: no one is paid less.
_QUANTUM: Final = Decimal("1E-12")

# Every figure and what it says, in the order of the columns.
FIGURES: Final[Mapping[str, str]] = {
    "requests": "rows with a result",
    "succeeded": "of these, the successes",
    "failed": "of these, the failures",
    "success_rate": "successes of all results, 0 to 1",
    "unfinished": "rows that have cost something and have no result",
    "attempts": "HTTP requests that were sent",
    "attempts_without_usage": "attempts that may have been billed though no usage came back",
    "uncertain_usd": "the most that those may have cost, as far as that can be said",
    "prompt_tokens": "input tokens of all attempts",
    "cached_tokens": "part of them that was read from a cache",
    "completion_tokens": "output tokens of all attempts",
    "reasoning_tokens": "part of them that was reasoning",
    "total_tokens": "input and output",
    "cost_usd": "what all attempts cost; a lower bound where `unpriced`, null without any price",
    "unpriced": "whether some usage has no known price",
    "cost_per_success_usd": "cost by successes",
    "wasted_usd": "cost of failed rows, rows without a result, and thrown-away attempts",
    "latency_p50_s": "half of the last attempts took no longer",
    "latency_p95_s": "19 of 20 took no longer",
    "latency_p99_s": "99 of 100 took no longer",
    "results_per_s": "results by the time in which results came",
}


class Table(NamedTuple):
    """Rows of figures.

    Attributes:
        by: The dimensions, one for each name of a row.
        rows: Names and cell, in the order in which they are shown.
        left_out: How many more there are, added up in the last row; 0 where none are.
        whole: All of them added up.
    """

    by: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], Cell]]
    left_out: int
    whole: Cell


def figures(cell: Cell) -> dict[str, Any]:
    """Give the figures of a cell by the names of `FIGURES`; None where there is none."""
    spend, usage = cell.spend, cell.spend.usage
    requests, succeeded = cell.requests, cell.account.completed
    cost, active_s = spend.cost_usd, cell.active_s
    timed = len(cell.latencies)
    return {
        "requests": requests,
        "succeeded": succeeded,
        "failed": cell.account.failed,
        "success_rate": succeeded / requests if requests else None,
        "unfinished": cell.unfinished,
        "attempts": spend.attempts,
        "attempts_without_usage": spend.attempts_without_usage,
        "uncertain_usd": spend.uncertain.usd,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "cost_usd": cost,
        "unpriced": spend.unpriced,
        "cost_per_success_usd": _share(cost, succeeded),
        "wasted_usd": None if cost is None else cell.wasted,
        "latency_p50_s": cell.latencies.quantile(0.50),
        "latency_p95_s": cell.latencies.quantile(0.95),
        "latency_p99_s": cell.latencies.quantile(0.99),
        "results_per_s": timed / active_s if active_s else None,
    }


def table(gathered: Gathered, by: Sequence[str], *, top: int | None = None) -> Table:
    """Make a table of what was gathered.

    Days come in their order; everything else with what cost most first, then what is most.

    Args:
        top: Show so many rows, and one for all others.
    """
    cells = gathered.cells.grouped(by)
    ranked = sorted(cells.items(), key=lambda item: (-_cost(item[1]), -item[1].requests, item[0]))
    kept, rest = ranked[:top], ranked[top:] if top is not None else []
    if by and by[0] == "day":
        kept.sort(key=lambda item: item[0])
    if rest:
        other = Cell()
        for _, cell in rest:
            other.absorb(cell)
        kept.append((("(all others)", *[""] * (len(by) - 1)), other))
    return Table(tuple(by), kept, len(rest), gathered.cells.whole())


def _cost(cell: Cell) -> Decimal:
    return cell.spend.cost_usd or Decimal(0)


def _share(cost: Decimal | None, count: int) -> Decimal | None:
    if cost is None or not count:
        return None
    share = cost / count
    return share if share == 0 else share.quantize(_QUANTUM)
