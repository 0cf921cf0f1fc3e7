"""`batcher report`: cost and usage of any number of outputs."""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.faults import EXIT_USAGE
from batcher.cli.inputs import job_of
from batcher.cli.outputs import writing
from batcher.cli.streams import SafeStream, standard_error, standard_output
from batcher.errors import UsageError

if TYPE_CHECKING:
    from batcher.report.clock import Period
    from batcher.report.gather import Gathered
    from batcher.report.invoice import Comparison
    from batcher.report.reading import Output
    from batcher.report.whole import Report

__all__ = ["command"]

_FORMS = ("table", "markdown", "csv", "json", "html")
_BY_SUFFIX = {
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
    ".json": "json",
    ".md": "markdown",
    ".txt": "table",
}
_MOST_SHOWN = 5
# As a job that is complete though rows failed.
_EXIT_DIFFERS = 3
# A file is not as wide as a terminal is.
_FILE_COLUMNS = 200


@click.command("report")
@click.argument("targets", metavar="OUTPUT|JOB.toml...", nargs=-1, required=True)
@click.option(
    "--by",
    multiple=True,
    metavar="NAME",
    help="What to tell apart: model, day, job, label, endpoint, error; several with commas."
    " [default: model]",
)
@click.option("--since", metavar="WHEN", help="Leave out what finished before this.")
@click.option(
    "--until",
    metavar="WHEN",
    help="Leave out what finished later. A day or a month is meant whole: until 2026-10.",
)
@click.option(
    "--time-zone",
    "zone",
    default="UTC",
    show_default=True,
    metavar="ZONE",
    help="Where days begin: an offset such as +08:00, or a name such as Asia/Shanghai.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="Show the N that cost most, and the rest as one.",
)
@click.option(
    "--prices",
    metavar="FILE|list",
    help="Reckon the costs again with a price table, or with list prices. [default: as recorded]",
)
@click.option(
    "--invoice",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A provider's usage export (CSV): say what differs by day and model, and why it can.",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="The columns of the invoice: day, model, cost; also prompt_tokens, completion_tokens,"
    " total_tokens; several with commas.",
)
@click.option("--budget", metavar="USD", help="Draw what may be spent beside what was.")
@click.option("--title", default="Cost report", show_default=True, help="What the page is called.")
@click.option(
    "--labels",
    is_flag=True,
    help="Say what the labels are instead: how often each, how they agree, what to look at.",
)
@click.option(
    "--gold",
    metavar="FIELD",
    help="With --labels: the carried field with the known label. [default: the job file's]",
)
@click.option(
    "--to",
    "form",
    type=click.Choice(_FORMS),
    help="The form. [default: by the suffix of -o; else table on a terminal, markdown elsewhere]",
)
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write it there.")
@click.option("--json", "as_json", is_flag=True, help="The same as --to json.")
def command(targets: tuple[str, ...], **given: Any) -> int:
    """Say what outputs have cost, by model, day, job, label, endpoint or error.

    Takes outputs and journals of finished, stopped and running jobs, plain or compressed, and
    globs. Exits with 2 when a line can't be read, with 3 when the invoice says something else.
    """
    form = _form(given["form"], given["output"], as_json=given["as_json"])
    if given["labels"] or given["gold"]:
        from batcher.cli.labels import labels_report

        return labels_report(targets, given, form=form)
    from batcher.report.reading import outputs

    named, budget_usd = _named(targets)
    found = outputs(named)
    report = _report(found, budget_usd, given, is_page=form == "html")
    read = [*(output.path for output in found), *filter(None, [given["invoice"]])]
    with writing(given["output"], read=read) as stream:
        _show(report, form, stream)
    broken = report.gathered.broken
    for name, number in broken[:_MOST_SHOWN]:
        standard_error().line(f"batcher: {name}:{number} can't be read")
    if len(broken) > _MOST_SHOWN:
        standard_error().line(f"batcher: and {len(broken) - _MOST_SHOWN} more lines")
    if broken:
        return EXIT_USAGE
    return _EXIT_DIFFERS if report.comparison and report.comparison.differs else 0


def _report(
    found: list[Output], budget_usd: Decimal | None, given: dict[str, Any], *, is_page: bool
) -> Report:
    from batcher.report.cells import DIMENSIONS
    from batcher.report.clock import Clock, read_period, read_zone
    from batcher.report.figures import table
    from batcher.report.gather import gather
    from batcher.report.prices import load_prices
    from batcher.report.whole import Report

    zone = read_zone(given["zone"])
    now = datetime.now(zone)
    by = _dimensions(given["by"])
    period = read_period(given["since"], given["until"], zone=zone, now=now)
    prices = load_prices(given["prices"]) if given["prices"] else None
    columns = _columns(given)
    days = ("day",) if columns else ()
    gathered = gather(
        found,
        by=DIMENSIONS if is_page else tuple(dict.fromkeys((*by, "model", *days))),
        clock=Clock(zone),
        period=period,
        price=prices.price if prices else None,
        over_time=is_page,
    )
    return Report(
        title=given["title"],
        gathered=gathered,
        table=table(gathered, by, top=given["top"]),
        period=period,
        zone=given["zone"],
        made_at=now,
        prices=prices.source if prices else "",
        budget_usd=_budget(given["budget"]) or budget_usd,
        comparison=_comparison(gathered, given["invoice"], columns, period, zone),
    )


def _comparison(
    gathered: Gathered, invoice: Path, columns: dict[str, str], period: Period, zone: tzinfo
) -> Comparison | None:
    from batcher.report.invoice import compare, read_invoice

    if not columns:
        return None
    charges = read_invoice(invoice, columns, zone=zone, period=period)
    return compare(gathered.cells.grouped(("day", "model")), charges)


def _columns(given: dict[str, Any]) -> dict[str, str]:
    from batcher.report.invoice import read_map

    if (given["invoice"] is None) != (not given["columns"]):
        raise UsageError("--invoice and --map go together")
    return read_map(given["columns"]) if given["columns"] else {}


def _dimensions(given: tuple[str, ...]) -> tuple[str, ...]:
    from batcher.report.cells import DIMENSIONS

    names = [name.strip() for each in given for name in each.split(",")] or ["model"]
    for name in names:
        if name not in DIMENSIONS:
            raise UsageError(f"--by: no such thing; one of {', '.join(DIMENSIONS)}")
    return tuple(dict.fromkeys(names))


def _budget(text: str | None) -> Decimal | None:
    try:
        budget = None if text is None else Decimal(text)
    except InvalidOperation:
        budget = Decimal(-1)
    if budget is not None and not (budget.is_finite() and budget > 0):
        raise UsageError("--budget must be an amount in USD above 0")
    return budget


def _form(given: str | None, output: str | None, *, as_json: bool) -> str:
    if as_json or given:
        return "json" if as_json else given or ""
    if output not in (None, "-"):
        suffix = Path(str(output)).suffix.lower()
        if suffix not in _BY_SUFFIX:
            raise UsageError(f"-o {output}: say --to {'|'.join(_FORMS)}, or name it so")
        return _BY_SUFFIX[suffix]
    return "table" if standard_output().isatty() else "markdown"


def _named(targets: tuple[str, ...]) -> tuple[list[str], Decimal | None]:
    """Give the outputs that are named, and the budgets of the job files among them, added up."""
    named, budgets = [], []
    for target in targets:
        settings = job_of(target)
        if settings is None:
            named.append(target)
            continue
        named.append(str(settings.output))
        budgets.append(settings.max_cost_usd)
    known = [Decimal(budget) for budget in budgets if budget is not None]
    # The sum bounds the whole only where every job has a budget.
    return named, sum(known, Decimal(0)) if known and len(known) == len(targets) else None


def _show(report: Report, form: str, stream: Any) -> None:
    if form == "table":
        from rich.console import Console

        from batcher.report.forms.text import as_table

        is_screen = isinstance(stream, SafeStream)
        console = Console(file=stream, width=None if is_screen else _FILE_COLUMNS, soft_wrap=False)
        console.print(as_table(report, width=console.width))
    else:
        stream.write(_text(report, form))


def _text(report: Report, form: str) -> str:
    from batcher.report.forms.data import as_csv, as_json
    from batcher.report.forms.page import as_html
    from batcher.report.forms.text import as_markdown

    written = {"csv": as_csv, "json": as_json, "markdown": as_markdown, "html": as_html}
    return written[form](report)
