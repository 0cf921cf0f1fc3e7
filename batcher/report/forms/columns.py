"""The columns of a table that people read, and the words in them."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from batcher.report.cells import Cell
from batcher.report.figures import Table, figures
from batcher.words import count, money, short

__all__ = ["Column", "columns", "headings", "name_words", "rows", "seconds", "share", "unit_money"]

_HEADINGS: Final = {
    "model": "Model",
    "day": "Day",
    "job": "Job",
    "label": "Label",
    "endpoint": "Endpoint",
    "error": "Error",
}
# What a result without one is called.
_WITHOUT: Final = {"label": "(no label)", "error": "(success)"}

_CENT = Decimal("0.01")
# What would move a cursor, break a line, or turn the text around.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TENTH, _TEN = 0.1, 10
_PERCENT_EDGE = 0.9995


class Column(NamedTuple):
    """A column: its heading, and its words for the figures of a row."""

    heading: str
    words: Callable[[Mapping[str, Any]], str]
    shown: Callable[[Mapping[str, Any]], bool] = lambda _: True


def share(value: float | None) -> str:
    """`99.8%`; never 100% of what was not whole."""
    if value is None:
        return "-"
    if _PERCENT_EDGE <= value < 1:
        return "99.9%"
    return "100%" if value == 1 else f"{value:.1%}"


def seconds(value: float | None) -> str:
    """`0.012 s`, `1.42 s`, `17.4 s`."""
    if value is None:
        return "-"
    if value < _TENTH:
        return f"{value:.3f} s"
    return f"{value:.2f} s" if value < _TEN else f"{value:.1f} s"


def visible(text: str) -> str:
    """Put marks in place of what would move the cursor, break the line or turn the text round."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def name_words(by: str, name: str) -> str:
    """Name a row: what has no name is called so."""
    return name or _WITHOUT.get(by, "(none)")


def unit_money(amount_usd: Decimal) -> str:
    """`$0.000023`: what one of many costs, to two digits at least."""
    amount = Decimal(amount_usd)
    if amount >= _CENT or amount == 0:
        return money(amount)
    return f"${amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1)):f}"


def _cost(key: str) -> Callable[[Mapping[str, Any]], str]:
    def words(row: Mapping[str, Any]) -> str:
        if row[key] is None:
            return "unpriced" if row["unpriced"] else "-"
        written = unit_money if key == "cost_per_success_usd" else money
        return ("≥ " if row["unpriced"] else "") + written(row[key])

    return words


def rate_words(per_s: float | None) -> str:
    """`212/s`, `1.4/s`, `7.6/min`."""
    if per_s is None:
        return "-"
    if per_s < 1:
        return f"{per_s * 60:.1f}/min"
    return f"{short(per_s) if per_s >= _TEN else f'{per_s:.1f}'}/s"


def _count(key: str, *, always: bool = True) -> Column:
    heading = _COUNTS[key]
    shown = (lambda _: True) if always else (lambda row: bool(row[key]))
    return Column(heading, lambda row: short(row[key]), shown)


_COUNTS: Final = {
    "attempts": "Attempts",
    "prompt_tokens": "Input",
    "cached_tokens": "cached",
    "completion_tokens": "Output",
    "reasoning_tokens": "reasoning",
}

_COLUMNS: Final = (
    Column("Requests", lambda row: count(row["requests"])),
    Column("Success", lambda row: share(row["success_rate"])),
    Column("Attempts", lambda row: count(row["attempts"])),
    _count("prompt_tokens"),
    _count("cached_tokens", always=False),
    _count("completion_tokens"),
    _count("reasoning_tokens", always=False),
    Column("Cost", _cost("cost_usd")),
    Column("per success", _cost("cost_per_success_usd")),
    Column("Wasted", _cost("wasted_usd")),
    Column("p50", lambda row: seconds(row["latency_p50_s"])),
    Column("p95", lambda row: seconds(row["latency_p95_s"])),
    Column("p99", lambda row: seconds(row["latency_p99_s"])),
    Column("Rate", lambda row: rate_words(row["results_per_s"])),
)


def columns(table: Table) -> list[Column]:
    """Choose the columns that say something of a table."""
    whole = figures(table.whole)
    return [column for column in _COLUMNS if column.shown(whole)]


def headings(table: Table) -> list[str]:
    """Write the headings, those of the names first."""
    return [*(_HEADINGS[by] for by in table.by), *(each.heading for each in columns(table))]


def rows(table: Table) -> list[list[str]]:
    """Write all rows, and the sum of them where there is more than one."""
    shown = columns(table)
    folder = _common_folder(table)
    written = []
    for number, (names, cell) in enumerate(table.rows, 1):
        is_rest = table.left_out and number == len(table.rows)
        words = list(names) if is_rest else _words(table.by, names, folder)
        written.append([*words, *_figures(shown, cell)])
    if len(written) > 1:
        total = ["Total", *[""] * (len(table.by) - 1)]
        written.append([*total, *_figures(shown, table.whole)])
    return written


def _words(by: Sequence[str], names: Sequence[str], folder: str) -> list[str]:
    pairs = zip(by, names, strict=True)
    return [
        name_words(each, name.removeprefix(folder) if each == "job" else name)
        for each, name in pairs
    ]


def _figures(shown: Sequence[Column], cell: Cell) -> list[str]:
    row = figures(cell)
    return [column.words(row) for column in shown]


def _common_folder(table: Table) -> str:
    """Give the folder in which all jobs of a table are, with its slash; or nothing."""
    if "job" not in table.by:
        return ""
    place = table.by.index("job")
    jobs = [names[place] for names, _ in table.rows[: len(table.rows) - bool(table.left_out)]]
    folders = {str(Path(job).parent) for job in jobs}
    if len({Path(folder).is_absolute() for folder in folders}) != 1:
        return ""
    common = os.path.commonpath(folders)
    return "" if common in ("", ".") else f"{common}/"
