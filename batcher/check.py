"""`batcher check`: looks a source over and sends nothing; says what it would take, if asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batcher.budget.forecast import Forecast, Forecaster
from batcher.checks import Checker, carried_out
from batcher.codec import RowParser
from batcher.endpoints import find
from batcher.engine.plan import Plan, make_plan
from batcher.engine.roster import Roster
from batcher.handlers import known_tools
from batcher.journal import Paths, State
from batcher.journal.files import usage_errors
from batcher.journal.scan import scan, whole_line
from batcher.pricing import load_pricer
from batcher.records import BadRow, Row
from batcher.settings import Settings
from batcher.source import Line, Source

if TYPE_CHECKING:
    from batcher.codec.glance import Glance

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
        parser = RowParser.of(settings, Checker())
        roster = Roster(parser, state)
        visits = [each.add for each in (forecaster, search) if each]
        if not visits and (glance := _glance(settings, parser)):
            plan = _look_over(source, roster, glance)
        else:
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


def _glance(settings: Settings, parser: RowParser) -> Glance | None:
    # It takes 10 ms to import, which a forecast does without.
    from batcher.codec.glance import Glance

    return Glance.of(settings, parser)


def _look_over(source: Source, roster: Roster, glance: Glance) -> Plan:
    """Count the rows and find the bad ones: closely only where a glance does not do."""
    plan = Plan()
    while block := source.read_block():
        if not plan.total and (share := source.share_read):
            roster.index.expect(int(len(block) / share))
        plan.total += len(block)
        raws = [line.raw for line in block if line.raw is not None and not line.problem]
        parts = glance.parts(raws) if len(raws) == len(block) else [(len(block), None)]
        begin = 0
        for many, names in parts:
            lines = block[begin : begin + many]
            begin += many
            if names is None or not roster.enter_seen(lines, names):
                _look_closely(lines, roster, plan)
    return plan


def _look_closely(lines: list[Line], roster: Roster, plan: Plan) -> None:
    for line in lines:
        row = roster.enter(line).row
        if isinstance(row, BadRow):
            plan.note_bad(row)


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
