"""A report for programs: CSV and JSON, with every figure as it is."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import orjson

from batcher import __version__
from batcher.report.figures import FIGURES, figures
from batcher.report.invoice import Comparison, Pair
from batcher.report.whole import Report
from batcher.spend import cost_text

__all__ = ["as_csv", "as_json"]

# A spreadsheet takes a text that begins so for a formula. Source: OWASP, CSV Injection.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SIGNIFICANT = 6

_PAIR = (
    "day",
    "model",
    "outputs_usd",
    "invoice_usd",
    "difference_usd",
    "differs",
    "attempts_without_usage",
    "why",
)
_PAIR_TEXTS = frozenset({"day", "model", "why"})


def as_csv(report: Report) -> str:
    """Write the rows of the table; a name that a spreadsheet would run gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if report.comparison is not None:
        _write_pairs(writer, report.comparison)
        return text.getvalue()
    writer.writerow([*report.table.by, *FIGURES])
    for names, cell in report.table.rows:
        values = [_plain(value) for value in figures(cell).values()]
        writer.writerow([*map(_harmless, names), *values])
    return text.getvalue()


def _write_pairs(writer: Any, comparison: Comparison) -> None:
    writer.writerow([*_PAIR])
    for pair in comparison.pairs:
        fields = _pair(pair)
        writer.writerow([_harmless(_plain(value)) if name in _PAIR_TEXTS else _plain(value)
                         for name, value in fields.items()])  # fmt: skip


def _pair(pair: Pair) -> dict[str, Any]:
    ours, theirs = pair.ours, pair.theirs
    values = (
        pair.day,
        pair.model,
        ours.spend.cost_usd if ours else None,
        theirs.cost_usd if theirs else None,
        pair.theirs_usd - pair.ours_usd,
        pair.differs,
        ours.spend.attempts_without_usage if ours else 0,
        pair.why,
    )
    return dict(zip(_PAIR, values, strict=True))


def as_json(report: Report) -> str:
    """Write the whole and the rows as one line; money is decimal text."""
    table, gathered, span = report.table, report.gathered, report.span
    fields: dict[str, Any] = {
        "object": "batch.report",
        "version": __version__,
        "made_at": report.made_at.isoformat(timespec="seconds"),
        "time_zone": report.zone,
        "first": span[0].isoformat(timespec="seconds") if span else None,
        "last": span[1].isoformat(timespec="seconds") if span else None,
        "prices": report.prices or "recorded",
        "outputs": gathered.outputs,
        "unfinished_outputs": gathered.unfinished,
        "broken_lines": [{"output": name, "line": line} for name, line in gathered.broken],
        "by": table.by,
        "totals": _values(figures(table.whole)),
        "rows": [
            {**dict(zip(table.by, names, strict=True)), **_values(figures(cell))}
            for names, cell in table.rows
        ],
        "left_out": table.left_out,
        "notes": report.notes(),
    }
    if report.comparison is not None:
        fields["invoice"] = [_values(_pair(pair)) for pair in report.comparison.pairs]
    return orjson.dumps(fields).decode() + "\n"


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in fields.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return cost_text(value)
    return float(f"{value:.{_SIGNIFICANT}g}") if isinstance(value, float) else value


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(_value(value))


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name
