"""A report for people's eyes without a browser: a table on a terminal, or Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batcher.report.figures import figures
from batcher.report.forms.columns import headings, rows, share, visible
from batcher.report.whole import Report
from batcher.words import money, plural, short

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["as_markdown", "as_table", "headline"]

# What Markdown would read as more than text, and HTML within it.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def headline(report: Report) -> str:
    """Say the most in one sentence."""
    row = figures(report.table.whole)
    days = report.days
    when = f", {' to '.join(days)}" if days else ""
    if row["cost_usd"] is None:
        cost = "nothing is priced"
    else:
        cost = ("at least " if row["unpriced"] else "") + money(row["cost_usd"])
        cost += f" ({money(row['wasted_usd'])} of it wasted)" if row["wasted_usd"] else ""
    return (
        f"{plural(row['requests'], 'request')}, {share(row['success_rate'])} succeeded, "
        f"{short(row['total_tokens'])} tokens, {cost}; "
        f"{plural(report.gathered.outputs, 'output')}{when}"
    )


def as_table(report: Report) -> RenderableType:
    """Draw a table for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = report.table
    names = len(table.by)
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings(table)):
        left = number < names
        drawn.add_column(heading, justify="left" if left else "right",
                         no_wrap=not left, overflow="fold")  # fmt: skip
    written = rows(table)
    for number, row in enumerate(written):
        is_total = len(written) > 1 and number == len(written) - 1
        drawn.add_row(*(Text(visible(each)) for each in row), style="bold" if is_total else None)
    notes = [Text(visible(f"- {note}"), style="yellow") for note in report.notes()]
    return Group(Text(headline(report), style="bold"), Text(), drawn, *([Text()] if notes else []),
                 *notes)  # fmt: skip


def as_markdown(report: Report) -> str:
    """Write a Markdown table, with the headline before it and the notes after it."""
    table = report.table
    names = len(table.by)
    heads = headings(table)
    lines = [headline(report), ""]
    lines.append(_line(heads))
    lines.append(_line([":--" if number < names else "--:" for number in range(len(heads))]))
    lines += [_line([_escaped(each) for each in row]) for row in rows(table)]
    notes = [f"- {_escaped(note)}" for note in report.notes()]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(text))
