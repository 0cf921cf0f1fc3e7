"""`batcher status`: how a job stands, from its files alone, without disturbing who writes them."""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from batcher import __version__
from batcher.journal import Paths, is_locked, read_status
from batcher.journal.files import usage_errors
from batcher.journal.reading import read_totals
from batcher.journal.scan import scan, whole_line
from batcher.journal.state import State
from batcher.records import Hold, Progress
from batcher.spend import read_amount, read_spend

__all__ = ["Status", "status"]


class Status(NamedTuple):
    """How a job stands.

    Attributes:
        state: `running`, `stopped`, `finished` or `none`.
        progress: The last that its run told; None where nothing is known of it.
        totals: Of a finished job, and of one that is stopped as far as it got.
        pid, host: Of the run, while one goes.
        stop_reason: Why the last run stopped; None where it was killed, or did not.
    """

    state: str
    progress: Progress | None = None
    totals: dict[str, Any] | None = None
    pid: int | None = None
    host: str | None = None
    stop_reason: str | None = None


def status(output: Path) -> Status:
    """Say how the job that writes `output` stands.

    Raises:
        UsageError: A file can't be read, or `output` is no job's.
    """
    paths = Paths(output)
    said = read_status(paths.lock)
    progress = _progress(said.get("progress"))
    if is_locked(paths.lock):
        return Status("running", progress, pid=said.get("pid"), host=said.get("host"))
    if paths.partial.exists():
        totals = _totals_so_far(paths.partial)
        return Status("stopped", progress, totals, stop_reason=said.get("stop_reason"))
    if paths.output.exists():
        return Status("finished", totals=read_totals(paths.output))
    return Status("none")


def _totals_so_far(path: Path) -> dict[str, Any]:
    with usage_errors(f"{path} can't be read"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            state = State(lambda offset: whole_line(fd, offset))
            scan(fd, state)
        finally:
            os.close(fd)
    return state.ledger.totals(
        started_at=state.first_started_at,
        finished_at=state.last_finished_at,
        wall_s=state.wall_s,
        version=__version__,
    )


def _progress(fields: Any) -> Progress | None:
    try:
        limit_usd = fields["max_cost_usd"]
        read = {
            "held_by": Hold(fields["held_by"]),
            "spend": read_spend(fields["spend"]),
            "killed": read_amount(fields, "killed"),
            "max_cost_usd": None if limit_usd is None else Decimal(limit_usd),
        }
        return Progress(**{**fields, **read})
    except (TypeError, KeyError, ValueError, InvalidOperation):
        return None
