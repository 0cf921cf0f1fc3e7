"""`batcher check`: looks a source over and sends nothing; says what it would take, if asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from batcher.budget import Forecast, Forecaster
from batcher.checks import Checker, carried_out
from batcher.codec import RowParser
from batcher.endpoints import find
from batcher.engine.plan import make_plan
from batcher.engine.roster import Roster
from batcher.handlers import known_tools
from batcher.journal import Paths, State
from batcher.journal.files import usage_errors
from batcher.journal.scan import scan, whole_line
from batcher.pricing import load_pricer
from batcher.records import BadRow, Row
from batcher.settings import Settings
from batcher.source import Source

__all__ = ["CheckReport", "Unhandled", "check"]


class Unhandled(NamedTuple):
    """A tool that rows offer and nothing carries out: the first such row, and how many do."""

    tool: str
    line: int
    rows: int


class CheckReport(NamedTuple):
    """What a source holds.

    Attributes:
        rows: All rows, good and bad.
        bad_rows: How many of them can't be sent.
        first_bad: The first of these.
        forecast: What the rows that are left will take; None unless asked.
        unhandled: Tools that have no handler, though the job carries all of them out.
    """

    rows: int
    bad_rows: int
    first_bad: list[BadRow]
    forecast: Forecast | None = None
    unhandled: Sequence[Unhandled] = ()


def check(settings: Settings) -> CheckReport:
    """Look over every row of the source of `settings`.

    With `settings.cost` it is held against the output, where that is named and stands there, for
    what is left of the job.

    Raises:
        UsageError: The source can't be opened, the job's template does not parse, its handlers
            are not there, or the output can't be read.
        StorageError: The source can't be read on.
    """
    search = _Search(known_tools(settings))
    state, forecaster = State.empty(), None
    if settings.cost:
        known = find(settings.priced_as or settings.endpoint)
        pricer = load_pricer(settings.prices, provider=known.provider if known else None)
        forecaster = Forecaster(pricer, time.time())
        state = _state_of(Paths(settings.output)) if settings.output.name else state
    source = Source(settings.source, form=settings.source_format, limit=settings.limit)
    try:
        roster = Roster(RowParser.of(settings, Checker()), state)
        visits = [each.add for each in (forecaster, search) if each]
        plan = make_plan(source, roster, stopped=lambda: False, visit=_each(visits))
    finally:
        source.close()
    forecast = None
    if forecaster is not None:
        ledger = state.ledger
        forecast = forecaster.forecast(
            rpm=settings.rpm,
            tpm=settings.tpm,
            spent_usd=ledger.spend.cost_usd,
            done=ledger.completed + ledger.failed,
        )
    return CheckReport(plan.total, plan.bad, plan.bad_rows, forecast, search.found())


class _Search:
    """Looks for tools that rows offer and nothing carries out; false where any may be."""

    def __init__(self, handled: frozenset[str] | None) -> None:
        self._handled = handled
        self._found: dict[str, Unhandled] = {}

    def __bool__(self) -> bool:
        return self._handled is not None

    def add(self, row: Row) -> None:
        """Look at a row."""
        assert self._handled is not None
        for tool in carried_out(row.claims or {}) - self._handled:
            first = self._found.get(tool, Unhandled(tool, row.line, 0))
            self._found[tool] = first._replace(rows=first.rows + 1)

    def found(self) -> list[Unhandled]:
        """Say what was found, in the order of the rows."""
        return sorted(self._found.values(), key=lambda each: each.line)


def _each(visits: Sequence[Callable[[Row], None]]) -> Callable[[Row], None] | None:
    """Make one visitor of some; None of none."""
    if len(visits) < 2:  # noqa: PLR2004 - more than one
        return visits[0] if visits else None

    def visit(row: Row) -> None:
        for each in visits:
            each(row)

    return visit


def _state_of(paths: Paths) -> State:
    """Read what an output's job has done, without disturbing who writes it."""
    path = paths.partial if paths.partial.exists() else paths.output
    if not path.exists():
        return State.empty()
    with usage_errors(f"{path} can't be read"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            state = State(lambda offset: whole_line(fd, offset))
            scan(fd, state, published=path == paths.output)
        finally:
            os.close(fd)
    return state
