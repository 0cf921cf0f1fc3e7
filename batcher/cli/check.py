"""`batcher check`: looks a whole source over and sends nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.faults import EXIT_USAGE
from batcher.cli.forecast import forecast_lines, forecast_object
from batcher.cli.inputs import settings_for
from batcher.cli.options import GroupedCommand, settings_options
from batcher.cli.streams import standard_output
from batcher.words import count, plural

if TYPE_CHECKING:
    from batcher.check import CheckReport, Unhandled
    from batcher.records import BadRow

__all__ = ["command"]

# Enough to see what is wrong; a source of another format would fill the screen.
_SHOWN = 20


@click.command("check", cls=GroupedCommand)
@click.argument("target", metavar="SOURCE|JOB.toml", type=click.Path())
@settings_options("check")
def command(target: str, **flags: Any) -> int:
    """Check every row of a source; send nothing.

    Exits with 0 when every row can be sent, with 2 when one can't, or offers a tool that the job's
    handlers lack; their file is read, not run. Needs no endpoint and no key.
    With --cost, says what the rows that are left will take; --output names what is done already.
    """
    settings = settings_for(target, flags, sending=False)
    from batcher.check import check

    report = check(settings)
    out = standard_output()
    if settings.json:
        out.line(json.dumps(_as_object(report), ensure_ascii=False, separators=(",", ":")))
    else:
        out.line("\n".join(_lines(report)))
    return EXIT_USAGE if report.bad_rows or report.unhandled else 0


def _as_object(report: CheckReport) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "object": "batch.check",
        "rows": report.rows,
        "bad_rows": report.bad_rows,
        "first_bad": [row._asdict() for row in report.first_bad],
    }
    if report.unhandled:
        fields["tools_without_handler"] = [each._asdict() for each in report.unhandled]
    if report.forecast is not None:
        fields["cost"] = forecast_object(report.forecast)
    return fields


def _lines(report: CheckReport) -> list[str]:
    lines = _row_lines(report)
    lines += [f"  {_without_handler(each)}" for each in report.unhandled]
    if report.forecast is not None:
        lines += [f"  {line}" for line in forecast_lines(report.forecast)]
    return lines


def _row_lines(report: CheckReport) -> list[str]:
    if not report.bad_rows:
        return [f"{plural(report.rows, 'row')}, every one can be sent"]
    shown = report.first_bad[:_SHOWN]
    lines = [f"{plural(report.rows, 'row')}, {count(report.bad_rows)} can't be sent"]
    lines += [f"  {_bad(row)}" for row in shown]
    if report.bad_rows > len(shown):
        lines.append(f"  and {count(report.bad_rows - len(shown))} more")
    return lines


def _without_handler(tool: Unhandled) -> str:
    return (
        f"line {tool.line}: no function carries out the tool {tool.tool}, offered by"
        f" {plural(tool.rows, 'row')}: write one, or name in handlers.tools those to carry out"
    )


def _bad(row: BadRow) -> str:
    place = f"line {row.line}: "
    return f"{place}{row.code}: {row.message.removeprefix(place)}"
