"""Rows of words under headings: what a table on a screen, in Markdown and on a page have alike."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from batcher.report.figures import Table
from batcher.report.forms.columns import headings, name_words, rows
from batcher.report.invoice import Comparison, Pair
from batcher.words import money

__all__ = ["Sheet", "comparison_sheet", "table_sheet"]


class Sheet(NamedTuple):
    """Words to be laid out.

    Attributes:
        title: What it shows.
        headings: Of the columns.
        rows: Their words.
        texts: The places of the columns that hold texts rather than figures.
        has_total: Whether the last row is the sum of the others.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    texts: frozenset[int]
    has_total: bool


def table_sheet(table: Table) -> Sheet:
    """Write a table of figures."""
    written = rows(table)
    texts = frozenset(range(len(table.by)))
    title = f"By {' and '.join(table.by)}"
    return Sheet(title, headings(table), written, texts, len(written) > len(table.rows))


def comparison_sheet(comparison: Comparison) -> Sheet:
    """Write what an invoice says beside what outputs say."""
    pairs = comparison.pairs
    written = [[pair.day, name_words("model", pair.model), *_amounts(pair), pair.why]
               for pair in pairs]  # fmt: skip
    ours = sum((pair.ours_usd for pair in pairs), Decimal(0))
    theirs = sum((pair.theirs_usd for pair in pairs), Decimal(0))
    if len(pairs) > 1:
        total = [money(ours), money(theirs), *_difference(ours, theirs)]
        written.append(["Total", "", *total, ""])
    heads = ["Day", "Model", "Outputs", "Invoice", "Difference", "", "Why it can"]
    return Sheet("Against the invoice", heads, written, frozenset({0, 1, 6}), len(pairs) > 1)


def _amounts(pair: Pair) -> list[str]:
    ours = "-" if pair.ours is None or pair.ours.spend.cost_usd is None else money(pair.ours_usd)
    theirs = "-" if pair.theirs is None else _signed(pair.theirs_usd, plus="")
    return [ours, theirs, *_difference(pair.ours_usd, pair.theirs_usd)]


def _difference(ours: Decimal, theirs: Decimal) -> tuple[str, str]:
    gap = theirs - ours
    part = f"{float(gap / ours):+.1%}" if ours and gap else ""
    return (_signed(gap) if gap else "0"), part


def _signed(amount: Decimal, *, plus: str = "+") -> str:
    return f"-{money(-amount)}" if amount < 0 else f"{plus}{money(amount)}"
