"""A report as one HTML page that holds all it needs: nothing is fetched and nothing runs.

The charts are written by hand rather than by a plotting library: their colours must follow the
page's light and dark ones, their text must keep its size on a phone, and what comes from rows and
answers must be escaped; all of which is a few lines of SVG, and some 100 MB less to install. A
policy within the page forbids it scripts and requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from importlib.resources import files
from typing import Any, Final

from batcher import __version__
from batcher.report.cells import Cell
from batcher.report.figures import figures, table
from batcher.report.forms import charts
from batcher.report.forms.axis import axis_of
from batcher.report.forms.charts import Figure
from batcher.report.forms.columns import (
    rate_words,
    seconds,
    share,
    unit_money,
    visible,
)
from batcher.report.forms.sheet import Sheet, comparison_sheet, table_sheet
from batcher.report.whole import Report
from batcher.words import count, money, plural, short

__all__ = ["as_html"]

# A table of more rows is no reading; the CSV has them all.
_MOST_DAYS: Final = 62
_MOST_ROWS: Final = 15
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_WIDE: Final = ' class="wide"'
# Slots of no more than that tell throughput by themselves.
_MINUTE_S: Final = 60
_TOTAL: Final = ' class="total"'
# A table by each of these, where there is more than one of it.
_TABLES: Final = ("model", "day", "job", "label", "endpoint", "error")


def as_html(report: Report) -> str:
    """Write the page."""
    style = files("batcher.report.forms").joinpath("page.css").read_text("utf-8")
    title = escape(visible(report.title))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>\n<style>\n{style}</style></head>\n<body><main>\n"
        f'<h1>{title}</h1>\n<p class="when">{escape(_when(report))}</p>\n'
        f"{_tiles(report)}\n{_notes(report)}\n"
        f'<div class="charts">\n{_figures(list(_charts(report)))}</div>\n'
        f"{''.join(_tables(report))}{_footer(report)}</main></body></html>\n"
    )


def _when(report: Report) -> str:
    days = " to ".join(report.days) or "no results"
    return f"{days} · {plural(report.gathered.outputs, 'output')}"


def _tiles(report: Report) -> str:
    row = figures(report.table.whole)
    tiles = "".join(
        f'<div><dt>{name}</dt><dd class="figure{" first" if name == "Cost" else ""}">'
        f'{escape(value)}</dd><dd class="more">{escape(more)}</dd></div>'
        for name, value, more in _headline(row)
    )
    return f'<dl class="tiles">{tiles}</dl>'


def _headline(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    cost, least = row["cost_usd"], "at least " if row["unpriced"] else ""
    yield "Cost", _money(cost), _waste(row) if cost is not None else "nothing is priced"
    yield "Requests", _count(row["requests"]), f"{share(row['success_rate'])} succeeded"
    yield (
        "Tokens",
        short(row["total_tokens"]),
        f"{short(row['prompt_tokens'])} in, {short(row['completion_tokens'])} out",
    )
    per = row["cost_per_success_usd"]
    yield (
        "Per 1,000 successes",
        "-" if per is None else money(per * 1000),
        "-" if per is None else f"{least}{unit_money(per)} each",
    )
    yield "Latency p50", seconds(row["latency_p50_s"]), f"p95 {seconds(row['latency_p95_s'])}"
    yield "Throughput", rate_words(row["results_per_s"]), f"{_count(row['attempts'])} attempts"


def _waste(row: dict[str, Any]) -> str:
    least = "lower bound; " if row["unpriced"] else ""
    if not row["wasted_usd"]:
        return f"{least}none of it wasted"
    return f"{least}{share(float(row['wasted_usd'] / row['cost_usd']))} of it wasted"


def _money(cost: Decimal | None) -> str:
    return "-" if cost is None else money(cost)


def _count(number: int) -> str:
    return count(number) if number < 10**6 else short(number)


def _notes(report: Report) -> str:
    notes = "".join(f"<li>{escape(visible(note))}</li>" for note in report.notes())
    return f'<div class="notes"><ul>{notes}</ul></div>' if notes else ""


def _figures(found: list[Figure]) -> str:
    """Write the charts, two in a row; one that would stand alone is as wide as two."""
    if sum(not each.wide for each in found) % 2:
        found[-1] = found[-1]._replace(wide=True)
    return "".join(
        f"<figure{_WIDE if each.wide else ''}><figcaption>{escape(each.title)}</figcaption>"
        f"{each.inside}</figure>\n"
        for each in found
    )


def _charts(report: Report) -> Iterator[Figure]:
    gathered, whole = report.gathered, report.table.whole
    priced = whole.spend.cost_usd is not None
    timeline = gathered.timeline
    zone = report.made_at.tzinfo
    axis = axis_of(timeline, zone) if timeline is not None and zone is not None else None
    if axis is not None:
        if priced:
            yield charts.spend(axis)
            yield charts.cumulative(axis, report.budget_usd)
            yield charts.ranking("Spend by model", "model", _ranked(report, "model"),
                                 lambda cell: cell.spend.cost_usd or Decimal(0),
                                 money_of)  # fmt: skip
        yield charts.results(axis)
        if whole.latencies:
            yield charts.latency(whole.latencies)
            if axis.width_s > _MINUTE_S:
                yield charts.throughput(axis)
            yield charts.in_flight(axis)
    if whole.account.failed:
        yield charts.ranking("Failures by code", "error", _ranked(report, "error"),
                             lambda cell: cell.account.failed, count_of, style="bad")  # fmt: skip
    labels = [item for item in _ranked(report, "label") if item[0]]
    if labels:
        yield charts.ranking("Labels", "label", labels,
                             lambda cell: cell.account.completed, count_of, style="s4")  # fmt: skip


def money_of(value: Decimal | int) -> str:
    """Write an amount of a ranking."""
    return money(Decimal(value))


def count_of(value: Decimal | int) -> str:
    """Write a count of a ranking."""
    return count(int(value))


def _ranked(report: Report, by: str) -> list[tuple[str, Cell]]:
    return [(names[0], cell) for names, cell in report.gathered.cells.grouped((by,)).items()]


def _tables(report: Report) -> Iterator[str]:
    if report.comparison is not None:
        yield _sheet(comparison_sheet(report.comparison))
    yield _sheet(table_sheet(report.table))
    for by in _TABLES:
        found = table(report.gathered, (by,), top=_MOST_DAYS if by == "day" else _MOST_ROWS)
        if (by,) != report.table.by and len(found.rows) > 1:
            yield _sheet(table_sheet(found))


def _sheet(sheet: Sheet) -> str:
    head = "".join(
        f'<th scope="col"{_name_class(place, sheet)}>{escape(each)}</th>'
        for place, each in enumerate(sheet.headings)
    )
    body = "".join(
        f"<tr{_TOTAL if sheet.has_total and number == len(sheet.rows) else ''}>"
        f"{_cells(row, sheet)}</tr>"
        for number, row in enumerate(sheet.rows, 1)
    )
    return (
        f'<section><h2>{escape(sheet.title)}</h2><div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>\n"
    )


def _cells(row: Sequence[str], sheet: Sheet) -> str:
    words = [escape(visible(each)) for each in row]
    return "".join(
        f'<td{_name_class(place, sheet)} title="{each}">{each}</td>'
        if place in sheet.texts
        else f"<td>{each}</td>"
        for place, each in enumerate(words)
    )


def _name_class(place: int, sheet: Sheet) -> str:
    """Names come first and are kept short; a text after the figures may take several lines."""
    if place not in sheet.texts:
        return ""
    return ' class="name-of"' if set(range(place)) <= sheet.texts else ' class="text"'


def _footer(report: Report) -> str:
    prices = f"priced again with {report.prices}" if report.prices else "prices as recorded"
    made = f"{report.made_at:%Y-%m-%d %H:%M}"
    text = (
        f"Made {made} by batcher {__version__} · times in {report.zone} · {prices}. Latencies are "
        "right to 1%. Wasted: failed rows, rows without a result, and thrown-away attempts."
    )
    return f"<footer>{escape(visible(text))}</footer>\n"
