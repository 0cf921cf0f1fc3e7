"""The rows of a run, one at a time for the pool, read ahead: a source's, or a program's."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

import anyio
import orjson

from batcher.daemon import in_daemon
from batcher.engine.plan import Plan
from batcher.engine.roster import Member, Roster
from batcher.errors import StorageError
from batcher.source import Line, Source

__all__ = ["Feed", "RowFeed", "SourceFeed"]

# A source's lines become rows a few at a time, and at most so many bytes of them: one row after
# another takes much less time than one between other work, which the processor has to learn anew.
_ENTERED_AT_ONCE: Final = 16
_ENTERED_BYTES: Final = 256 * 1024

# Rows of a program that are held before they are sent: enough that no worker waits for the next.
_ROWS_AHEAD: Final = 64


class Feed(Protocol):
    """Members of the job that have no result yet.

    Attributes:
        failure: Why no more can be read; None while all is well.
        taken: Rows of the job taken so far, without a plan.
    """

    failure: StorageError | None
    taken: int

    @property
    def ended(self) -> bool:
        """Whether every row has been taken."""

    @property
    def share_read(self) -> float | None:
        """How much of the rows has been read: 0 to 1; None where that is unknown."""

    def take(self) -> Member | None:
        """Give the next row, or None where none is at hand: it has ended, or is being read."""

    async def read_ahead(self, wake: Callable[[], None]) -> None:
        """Keep rows at hand until they end; `wake` is called as they come."""


class SourceFeed:
    """The rows of a source, a block ahead, read in a thread.

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
        self._members: deque[Member] = deque()
        self._next: list[Line] | None = None
        self._room = anyio.Event()
        self._read_all = False
        self.failure: StorageError | None = None
        self.taken = 0

    @property
    def ended(self) -> bool:
        """Whether every row has been taken. A source read to its end may have rows left here."""
        return self._read_all and not (self._members or self._lines or self._next)

    def take(self) -> Member | None:
        """Give the next row, or None where none is at hand: it has ended, or is being read."""
        if not self._members:
            self._enter_some()
        return self._members.popleft() if self._members else None

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

    def _enter_some(self) -> None:
        members, size = self._members, 0
        while size < _ENTERED_BYTES and len(members) < _ENTERED_AT_ONCE:
            if not self._lines:
                if not self._next or self.failure is not None:
                    return
                self._lines, self._next = deque(self._next), None
                self._room.set()
            line = self._lines.popleft()
            member = self._member(line)
            if member is not None:
                members.append(member)
                size += len(line.raw or b"")

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


class RowFeed:
    """The rows that a program gives, as they come; read in its own loop.

    Args:
        rows: JSON objects, or their text.
        roster: Enters the rows.
        limit: Take only the first so many.

    Attributes:
        error: What the program's rows raised, which ends them; None while all is well.
    """

    def __init__(
        self, rows: Iterable[Any] | AsyncIterable[Any], roster: Roster, limit: int | None
    ) -> None:
        self._rows = rows
        self._roster = roster
        self._limit = limit
        self._lines: deque[Line] = deque()
        self._room = asyncio.Event()
        self._read_all = False
        self.error: Exception | None = None
        self.failure: StorageError | None = None
        self.taken = 0

    @property
    def ended(self) -> bool:
        """Whether every row has been taken."""
        return self._read_all and not self._lines

    @property
    def share_read(self) -> float | None:
        """Nobody knows how many rows a program has."""
        return None

    def take(self) -> Member | None:
        """Give the next row, or None where none is at hand."""
        if not self._lines:
            return None
        line = self._lines.popleft()
        if len(self._lines) < _ROWS_AHEAD // 2:
            self._room.set()
        self.taken += 1
        return self._roster.enter(line)

    async def read_ahead(self, wake: Callable[[], None]) -> None:
        """Take rows from the program until they end, but no more ahead than are needed."""
        number = 0
        try:
            async with aclosing(_each(self._rows)) as rows:
                while self._limit is None or number < self._limit:
                    row = await anext(rows, None)
                    if row is None:
                        break
                    number += 1
                    self._lines.append(Line(number, _json_text(row)))
                    wake()
                    if len(self._lines) >= _ROWS_AHEAD:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # noqa: BLE001 - the program's own, handed back to it
            self.error = error
        self._read_all = True
        wake()


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _json_text(row: Any) -> bytes:
    if isinstance(row, str):
        # A lone surrogate is no UTF-8: the row's own fault, as it is within a mapping.
        return row.encode("utf-8", "surrogatepass")
    if isinstance(row, bytes):
        return row
    if not isinstance(row, Mapping):
        raise TypeError("a row is a mapping, or JSON text")
    fields = row if isinstance(row, dict) else dict(row)
    try:
        return orjson.dumps(fields)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates are JSON: the row's own fault, not the run's.
        return json.dumps(fields).encode()
