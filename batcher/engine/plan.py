"""What a run has to do: the whole source, held against the journal before anything is sent.

A first run needs no plan: its rows are entered as they are read. Where the journal holds results,
or every row is to be checked first, the source is read once before, and again for the rows that are
left; twelve bytes are kept for each of these.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from batcher.engine.roster import Roster
from batcher.errors import UsageError
from batcher.journal import State
from batcher.journal.index import DONE, PAID, SEEN
from batcher.records import BadRow, Row
from batcher.source import Source

__all__ = ["Plan", "make_plan", "require_same_job"]

# The contract's bounds: where both are passed, the change looks like a mistake.
_CHANGED_SHARE = 0.01
_CHANGED_ROWS = 100

_SHOWN_BAD_ROWS = 5


@dataclass(slots=True, eq=False, repr=False)
class Plan:
    """The rows that are left, in order, and what reading the source showed.

    Attributes:
        lines, entries, unnamed: Of each row that is left: its line, its entry in the index, and
            which of its like it is (0 for a row with an id).
        total: All rows of the job.
        bad: How many rows can't be sent; `bad_rows` are the first of them.
        changed_entries: Of each row whose result is of another request; `changed_paid` of them
            were paid for.
        matched: Rows that the journal knew.
    """

    lines: array[int] = field(default_factory=lambda: array("I"))
    entries: array[int] = field(default_factory=lambda: array("I"))
    unnamed: array[int] = field(default_factory=lambda: array("I"))
    total: int = 0
    bad: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    changed_entries: array[int] = field(default_factory=lambda: array("I"))
    changed_paid: int = 0
    matched: int = 0

    def note_bad(self, row: BadRow) -> None:
        """Count a row that can't be sent."""
        self.bad += 1
        if len(self.bad_rows) < _SHOWN_BAD_ROWS:
            self.bad_rows.append(row)

    def refuse_bad_rows(self) -> None:
        """Raise `UsageError`, naming the first bad rows, if there are any."""
        if self.bad:
            shown = "".join(f"\n  {row.code}: {row.message}" for row in self.bad_rows)
            raise UsageError(f"{self.bad} rows can't be sent, so nothing was:{shown}")


def make_plan(
    source: Source,
    roster: Roster,
    *,
    stopped: Callable[[], bool],
    visit: Callable[[Row], None] | None = None,
) -> Plan:
    """Read the whole source. Blocks; a stop leaves it half done.

    Args:
        stopped: Asked for every block.
        visit: Shown every row that is left.

    Raises:
        StorageError: The source can't be read on.
    """
    plan = Plan()
    before = len(roster.index)
    while not stopped() and (block := source.read_block()):
        for line in block:
            member = roster.enter(line)
            plan.total += 1
            plan.matched += member.entry < before
            if isinstance(member.row, BadRow):
                plan.note_bad(member.row)
            if member.changed:
                plan.changed_entries.append(member.entry)
                plan.changed_paid += member.paid
            if not member.standing:
                plan.lines.append(line.number)
                plan.entries.append(member.entry)
                plan.unnamed.append(member.unnamed)
                if visit is not None and isinstance(member.row, Row):
                    visit(member.row)
    return plan


def require_same_job(plan: Plan, state: State, *, resend: bool, prune: bool) -> list[int]:
    """Refuse a source that does not belong to this output.

    Returns:
        The entries of rows that the source no longer holds, to be pruned.

    Raises:
        UsageError: It is another job's output, too many rows have changed, or rows have vanished.
    """
    flags = state.index.flags
    paid = sum(1 for each in flags if each & PAID)
    gone = [entry for entry, each in enumerate(flags) if not each & SEEN]
    gone_paid = sum(1 for entry in gone if flags[entry] & PAID)
    if plan.total and paid and not plan.matched:
        raise UsageError("no row of the source stands in this output: it is another job's")
    if (
        not resend
        and plan.changed_paid > _CHANGED_ROWS
        and plan.changed_paid > _CHANGED_SHARE * paid
    ):
        raise UsageError(
            f"{plan.changed_paid} of {paid} paid rows have changed since they were answered;"
            " --resend sends them again"
        )
    if gone_paid and not prune:
        raise UsageError(
            f"{gone_paid} rows of the output have vanished from the source; --prune drops them"
        )
    return [entry for entry in gone if flags[entry] & (DONE | PAID)]
