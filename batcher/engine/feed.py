"""The rows of a run, one at a time for the pool, read a block ahead in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from batcher.daemon import in_daemon
from batcher.engine.plan import Plan
from batcher.engine.roster import Member, Roster
from batcher.errors import StorageError
from batcher.source import Line, Source

__all__ = ["Feed"]


class Feed:
    """Members of the job that have no result yet.

    Args:
        source: Read from where it stands.
        roster: Enters the rows, or finds again those of `plan`.
        plan: Which lines are left; None for a first run.

    Attributes:
        failure: Why the source can't be read on; None while all is well.
        taken: Rows of the job taken so far, without a plan.
    """

    def __init__(self, source: Source, roster: Roster, plan: Plan | None) -> None:
        self._source = source
        self._roster = roster
        self._plan = plan
        self._at = 0
        self._lines: deque[Line] = deque()
        self._next: list[Line] | None = None
        self._room = anyio.Event()
        self._read_all = False
        self.failure: StorageError | None = None
        self.taken = 0

    @property
    def ended(self) -> bool:
        """Whether every row has been taken. A source read to its end may have rows left here."""
        return self._read_all and not self._lines and not self._next

    def take(self) -> Member | None:
        """Give the next row, or None where none is at hand: it has ended, or is being read."""
        while True:
            while self._lines:
                member = self._member(self._lines.popleft())
                if member is not None:
                    return member
            if not self._next or self.failure is not None:
                return None
            self._lines, self._next = deque(self._next), None
            self._room.set()

    async def read_ahead(self, wake: Callable[[], None]) -> None:
        """Keep the next block at hand until the source ends; `wake` is called for each."""
        while not self._read_all:
            self._room = anyio.Event()
            try:
                block = await in_daemon(self._source.read_block)
            except StorageError as error:
                self.failure = error
                block = []
            if not block and self.failure is None and self._source.changed():
                self.failure = StorageError(
                    "the source changed while it was read; run the same command again"
                )
            self._next = block
            self._read_all = not block
            wake()
            if block:
                await self._room.wait()

    @property
    def share_read(self) -> float | None:
        """How much of the source has been read: 0 to 1; None where that is unknown."""
        return self._source.share_read

    def _member(self, line: Line) -> Member | None:
        plan = self._plan
        if plan is None:
            self.taken += 1
            return self._roster.enter(line)
        at = self._at
        if at >= len(plan.lines) or line.number != plan.lines[at]:
            return None
        self._at += 1
        try:
            return self._roster.revisit(line, plan.entries[at], plan.unnamed[at])
        except StorageError as error:
            # What is in flight is still awaited and written.
            self.failure = error
            self._lines.clear()
            return None
