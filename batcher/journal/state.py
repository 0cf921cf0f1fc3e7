"""All that the lines of a journal say: which rows are done, and what everything has cost.

A row's last line wins, and carries all that the row has cost; so a line that replaces another takes
the other's figures out of the ledger before it puts its own in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

from batcher.amounts import NO_AMOUNT
from batcher.journal.index import DONE, FAILED, PAID, UNNAMED, Index, identity
from batcher.journal.lines import (
    Heads,
    Kept,
    Lease,
    RetryMark,
    RunNote,
    damaged,
    read_line,
)
from batcher.ledger import Ledger

__all__ = ["State"]

# Lines taken in at once: enough that a call for all of them costs nothing, few enough that what
# they are read into stays in the processor's cache. Below `_FEW` each by itself is faster.
_AT_ONCE: Final = 512
_FEW: Final = 4


class State:
    """What a journal holds.

    Args:
        read_back: Gives the line that begins at an offset, without its line end.

    Attributes:
        tidy: Whether every line so far is a result that stands, so that the file is fit to be
            published as it is.
        retrying: Whether a `--retry-failed` was begun and has not been published.
        foreign, ours: How many lines were none of ours, and how many were.
        damaged: How many of the foreign were ours before a crash of the machine.
        in_order: Whether the lines of rows so far are in the order of the source.
        first_started_at, last_finished_at: Of the job's runs, RFC 3339; empty before the first.
        wall_s: How long its runs took.
    """

    def __init__(self, read_back: Callable[[int], bytes]) -> None:
        self.index = Index()
        self.ledger = Ledger()
        self.tidy = True
        self.retrying = False
        self.foreign = 0
        self.damaged = 0
        self.ours = 0
        self.in_order = True
        self.first_started_at = ""
        self.last_finished_at = ""
        self.wall_s = 0.0
        self._read_back = read_back
        self._last_line = 0
        self._run_started_at = ""
        self._run_last_at = ""

    @classmethod
    def empty(cls) -> Self:
        """The state of a journal that does not exist."""
        return cls(lambda _: b"")

    def expect(self, lines: int) -> None:
        """Make room for about so many lines."""
        self.index.expect(lines)

    def apply(self, raw: bytes, offset: int) -> None:
        """Take in a line that begins at `offset`."""
        line = read_line(raw)
        self.ours += line is not None
        if isinstance(line, Kept):
            self._apply_kept(line, offset)
            return
        self.tidy = False
        if isinstance(line, RunNote):
            self._apply_note(line)
        elif isinstance(line, Lease):
            self.ledger.note_lease(line.run, line.amount)
        elif isinstance(line, RetryMark):
            self.begin_retry()
        else:
            self.foreign += 1
            self.damaged += damaged(raw)

    def apply_all(
        self,
        lines: Sequence[bytes],
        offsets: Sequence[int],
        heads: Heads,
    ) -> None:
        """Take in lines that begin at `offsets`, as `apply` does each, but with their ends.

        Args:
            heads: What `head_of` gave.
        """
        for begin in range(0, len(lines), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            some, places = lines[part], offsets[part]
            if len(some) < _FEW or not self._apply_columns(some, places, heads[part]):
                for raw, offset in zip(some, places, strict=True):
                    self.apply(raw[:-1], offset)

    def end_scan(self) -> None:
        """Account for a last run that wrote results but no note of its end: it was killed."""
        if self._run_started_at:
            self._note_run(self._run_started_at, self._run_last_at, wall_s=None)

    def kept(self, entry: int) -> Kept | None:
        """Read back the last line of a row, or None where it has none."""
        offset = self.index.offset(entry)
        if offset < 0:
            return None
        line = read_line(self._read_back(offset))
        return line if isinstance(line, Kept) else None

    def begin_retry(self) -> None:
        """Take back every failure so far: those rows have no result now."""
        self.tidy = False
        self.retrying = True
        for entry in self.failures():
            self.reopen(entry)

    def failures(self) -> Iterator[int]:
        """Give the entries whose result is a failure."""
        wanted = DONE | FAILED
        return (e for e, flags in enumerate(self.index.flags) if flags & wanted == wanted)

    def reopen(self, entry: int) -> Kept | None:
        """Take a row's result back, keeping what it cost; return the line that it was."""
        kept = self.kept(entry)
        if kept is not None and self.index.flags[entry] & DONE:
            self._uncount(kept)
            self.ledger.add_spend(kept.model, kept.spend)
            self.tidy = False
        self.index.flags[entry] &= ~(DONE | FAILED)
        return kept

    def prune(self, entry: int) -> None:
        """Drop a row that the source no longer holds; what it cost stays in the totals."""
        kept = self.kept(entry)
        self.tidy = False
        if kept is not None:
            if self.index.flags[entry] & DONE:
                self._uncount(kept)
            else:
                self.ledger.remove_spend(kept.model, kept.spend)
            if kept.spend.attempts:
                self.ledger.add_pruned(model=kept.model, spend=kept.spend)
        self.index.flags[entry] &= ~(DONE | FAILED)

    def note_written(self, entry: int, offset: int, line: int, *, terminal: bool) -> None:
        """Remember where a line of this run stands."""
        first = self.index.put_offset(entry, offset)
        if not (terminal and first):
            self.tidy = False
        elif line < self._last_line:
            self.in_order = False
        self._last_line = line

    def _apply_columns(
        self,
        lines: Sequence[bytes],
        offsets: Sequence[int],
        heads: Heads,
    ) -> bool:
        """Take in lines that are as most are and of rows that are new; or none of them."""
        # What reads them takes 10 ms to import, and a first run has nothing to read.
        from batcher.journal.columns import read_columns

        columns = read_columns(lines, heads)
        if columns is None or not self.index.extend(
            columns.keys,
            offsets=offsets,
            prints=columns.prints,
            lines=columns.lines,
            flags=columns.flags,
        ):
            return False
        self.ours += len(lines)
        for kind in columns.kinds:
            self.ledger.add_all(
                model=kind.model,
                error_code=kind.code,
                rows=kind.rows,
                with_cost=kind.sum.with_cost,
                unpriced=kind.sum.unpriced,
                spend=kind.sum.spend,
            )
        if self.in_order:
            order = [self._last_line, *columns.lines]
            self.in_order = sorted(order) == order
        self._last_line = columns.lines[-1]
        self._run_started_at = self._run_started_at or _earlier(*columns.first)
        self._run_last_at = columns.last_at
        return True

    def _apply_kept(self, kept: Kept, offset: int) -> None:
        index = self.index
        key = identity(
            None if kept.unnamed else kept.custom_id, kept.request_hash, max(0, kept.unnamed - 1)
        )
        entry = index.find(key)
        if entry < 0:
            flags = UNNAMED if kept.unnamed else 0
            entry = index.add(key, request_hash=kept.request_hash, line=kept.line, flags=flags)
        elif (before := self.kept(entry)) is not None:
            if index.flags[entry] & DONE:
                self._uncount(before)
            else:
                self.ledger.remove_spend(before.model, before.spend)
        self.note_written(entry, offset, kept.line, terminal=kept.terminal)
        index.lines[entry] = kept.line
        index.prints[entry] = int(kept.request_hash[-8:], 16)
        index.flags[entry] = (index.flags[entry] & UNNAMED) | self._count(kept)
        self._run_started_at = self._run_started_at or _earlier(kept.finished_at, kept.latency_s)
        self._run_last_at = kept.finished_at

    def _count(self, kept: Kept) -> int:
        flags = PAID if kept.spend.attempts else 0
        if not kept.terminal:
            self.ledger.add_spend(kept.model, kept.spend)
            return flags
        self.ledger.add(
            model=kept.model, succeeded=not kept.code, error_code=kept.code, spend=kept.spend
        )
        return flags | DONE | (FAILED if kept.code else 0)

    def _uncount(self, kept: Kept) -> None:
        self.ledger.remove(
            model=kept.model, succeeded=not kept.code, error_code=kept.code, spend=kept.spend
        )

    def _apply_note(self, note: RunNote) -> None:
        self._note_run(note.started_at, note.finished_at, wall_s=note.wall_s)
        if note.pruned:
            self.ledger.read_pruned(note.pruned)
        if note.uncertain:
            self.ledger.read_uncertain(note.uncertain)
        if note.run:
            self.ledger.note_lease(note.run, NO_AMOUNT)

    def _note_run(self, started_at: str, finished_at: str, *, wall_s: float | None) -> None:
        self.last_finished_at = finished_at
        self.first_started_at = min(filter(None, (self.first_started_at, started_at)))
        if wall_s is None:
            wall_s = (_time(finished_at) - _time(started_at)).total_seconds()
        self.wall_s += max(0.0, wall_s)
        self._run_started_at = self._run_last_at = ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _earlier(text: str, by_s: float) -> str:
    moment = _time(text) - timedelta(seconds=by_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
