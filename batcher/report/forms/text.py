"""A report for people's eyes without a browser: a table on a terminal, or Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batcher.report.figures import figures
from batcher.report.forms.columns import share, visible
from batcher.report.forms.sheet import Sheet, comparison_sheet, table_sheet
from batcher.report.whole import Report
from batcher.words import money, plural, short

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["as_markdown", "as_table", "escaped", "headline", "line_of", "sheet_of"]

# What a narrow terminal goes without, the first to go first. Texts are folded to this width.
_LEAST_FIRST = ("p99", "reasoning", "cached", "Rate", "per success", "Attempts", "p95", "Wasted",
                "p50", "Output", "Input")  # fmt: skip
_FOLDED = 32


# What Markdown would read as more than text, and HTML within it.
_SPECIAL = re.compile(r"([\\`*_\[\]|#~])")


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


def sheet_of(report: Report) -> Sheet:
    """Give what is laid out: the comparison with an invoice where there is one, else the table."""
    if report.comparison is not None:
        return comparison_sheet(report.comparison)
    return table_sheet(report.table)


def as_table(report: Report, *, width: int) -> RenderableType:
    """Draw a table for rich; of a narrow one, columns are left out rather than cut off."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sheet = _narrowed(sheet_of(report), width)
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, heading in enumerate(sheet.headings):
        is_text = place in sheet.texts
        drawn.add_column(heading, justify="left" if is_text else "right",
                         no_wrap=not is_text, overflow="fold")  # fmt: skip
    for number, row in enumerate(sheet.rows, 1):
        is_total = sheet.has_total and number == len(sheet.rows)
        drawn.add_row(*(Text(visible(each)) for each in row), style="bold" if is_total else None)
    notes = [Text(visible(f"- {note}"), style="yellow") for note in report.notes()]
    return Group(Text(headline(report), style="bold"), Text(), drawn, *([Text()] if notes else []),
                 *notes)  # fmt: skip


def as_markdown(report: Report) -> str:
    """Write a Markdown table, with the headline before it and the notes after it."""
    sheet = sheet_of(report)
    marks = [":--" if place in sheet.texts else "--:" for place in range(len(sheet.headings))]
    lines = [headline(report), "", line_of(sheet.headings), line_of(marks)]
    lines += [line_of([escaped(each) for each in row]) for row in sheet.rows]
    notes = [f"- {escaped(note)}" for note in report.notes()]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _narrowed(sheet: Sheet, width: int) -> Sheet:
    """Leave out the columns that say least until the rest fits."""
    for heading in _LEAST_FIRST:
        columns = range(len(sheet.headings))
        widths = [
            max(len(row[place]) for row in (sheet.headings, *sheet.rows)) for place in columns
        ]
        widths = [min(each, _FOLDED) if place in sheet.texts else each
                  for place, each in enumerate(widths)]  # fmt: skip
        if sum(widths) + 2 * len(widths) <= width:
            break
        if heading in sheet.headings:
            gone = sheet.headings.index(heading)
            sheet = sheet._replace(
                headings=_without(sheet.headings, gone),
                rows=[_without(row, gone) for row in sheet.rows],
            )
    return sheet


def _without(row: list[str], place: int) -> list[str]:
    return row[:place] + row[place + 1 :]


def line_of(cells: list[str]) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Write a text so that Markdown shows it as it is."""
    marked = _SPECIAL.sub(r"\\\1", visible(text))
    return marked.replace("&", "&amp;").replace("<", "&lt;")
