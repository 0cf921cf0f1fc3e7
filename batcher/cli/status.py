"""`batcher status`: how a job stands, from its files alone."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.inputs import is_job_file, settings_for
from batcher.cli.options import GroupedCommand, settings_options
from batcher.cli.streams import standard_output
from batcher.cli.summary import cost_words, error_words, token_words, uncertain_words
from batcher.cli.words import per_thousand, plain_line, progress_object
from batcher.errors import UsageError
from batcher.words import count, duration, money, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.status import Status

__all__ = ["command"]


@click.command("status", cls=GroupedCommand)
@click.argument("target", metavar="OUTPUT|JOB.toml", type=click.Path())
@settings_options("status")
def command(target: str, json: bool | None) -> int:  # noqa: FBT001 - click's, by name
    """Say how a job stands: running, stopped or finished.

    Reads the files of OUTPUT; the run that writes them is not disturbed.
    """
    from batcher.status import status as status_of

    status = status_of(_output_of(target))
    out = standard_output()
    out.line(_one_line(_as_object(status)) if json else "\n".join(_lines(status, target)))
    return 0


def _output_of(target: str) -> Path:
    if not is_job_file(target):
        return Path(target)
    output = settings_for(target, {}, sending=False).output
    if output == Path():
        raise UsageError(f"{target} names no output")
    return output


def _one_line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _as_object(status: Status) -> dict[str, Any]:
    return {
        "object": "batch.status",
        "state": status.state,
        "pid": status.pid,
        "host": status.host,
        "stop_reason": status.stop_reason,
        "progress": progress_object(status.progress) if status.progress else None,
        "totals": status.totals,
    }


def _lines(status: Status, target: str) -> list[str]:
    lines = [f"{target}: {_state(status)}"]
    if status.progress is not None and status.state == "running":
        lines.append(f"  {plain_line(status.progress)}")
    if status.totals:
        lines += [f"  {line}" for line in (*_totals(status.totals), *_foreseen(status))]
    if status.state == "stopped":
        lines.append("  to go on, run the same command again")
    return lines


def _state(status: Status) -> str:
    if status.state == "running":
        where = f" on {status.host}" if status.host else ""
        return f"running (process {status.pid}{where})" if status.pid else "running"
    if status.state == "stopped" and status.stop_reason:
        return f"stopped ({status.stop_reason.replace('_', ' ')})"
    return "no job has written here" if status.state == "none" else status.state


def _foreseen(status: Status) -> list[str]:
    """Say what rows cost on average, and what the whole of an unfinished job would."""
    totals = status.totals or {}
    counts, cost = totals.get("request_counts", {}), totals.get("cost_usd")
    done = counts.get("completed", 0) + counts.get("failed", 0)
    each = per_thousand(None if cost is None else Decimal(cost), done)
    if each is None:
        return []
    words = f"{money(each)} for 1,000 rows"
    total = status.progress.total if status.progress is not None else None
    if status.state == "stopped" and total and total > done:
        words += f", about {money(each * total / 1000)} for all {count(total)}"
    return [words]


def _totals(totals: Mapping[str, Any]) -> list[str]:
    counts = totals.get("request_counts", {})
    spent = [plural(totals.get("attempts", 0), "attempt"), token_words(totals), cost_words(totals)]
    if "wall_s" in totals:
        spent.append(duration(totals["wall_s"]))
    rows = [
        plural(counts.get("total", 0), "row"),
        f"{count(counts.get('completed', 0))} completed",
        f"{count(counts.get('failed', 0))} failed",
    ]
    if isinstance(totals.get("pending"), int):
        rows.append(f"{count(totals['pending'])} pending")
    errors = error_words(totals)
    failed = [f"failed by: {errors}"] if errors else []
    return [", ".join(rows), ", ".join(spent), *uncertain_words(totals), *failed]
