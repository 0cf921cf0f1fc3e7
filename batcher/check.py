"""`batcher check`: looks a whole source over, against no output, and sends nothing."""

from __future__ import annotations

from typing import NamedTuple

from batcher.checks import Checker
from batcher.codec import RowParser
from batcher.engine.plan import make_plan
from batcher.engine.roster import Roster
from batcher.journal import State
from batcher.records import BadRow
from batcher.settings import Settings
from batcher.source import Source

__all__ = ["CheckReport", "check"]


class CheckReport(NamedTuple):
    """What a source holds.

    Attributes:
        rows: All rows, good and bad.
        bad_rows: How many of them can't be sent.
        first_bad: The first of these.
    """

    rows: int
    bad_rows: int
    first_bad: list[BadRow]


def check(settings: Settings) -> CheckReport:
    """Look over every row of the source of `settings`.

    Raises:
        UsageError: The source can't be opened, or the job's template does not parse.
        StorageError: The source can't be read on.
    """
    source = Source(settings.source, form=settings.source_format, limit=settings.limit)
    try:
        roster = Roster(RowParser.of(settings, Checker()), State.empty())
        plan = make_plan(source, roster, stopped=lambda: False)
    finally:
        source.close()
    return CheckReport(plan.total, plan.bad, plan.bad_rows)
