"""Results on their way to a program that asked for them: a journal that keeps nothing.

It holds the lines that the program has not taken yet. Once they are many, nothing more is sent
until it takes some; what is in flight then still finds room.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio

from batcher.errors import StorageError
from batcher.journal.keeper import Pledge
from batcher.journal.lines import Lease
from batcher.journal.state import State

__all__ = ["Relay"]

_MOST_LINES: Final = 256
_MOST_BYTES: Final = 16 * 1024 * 1024


class Relay:
    """Hands results on; see `Keeper`."""

    def __init__(self) -> None:
        self.state = State.empty()
        self.failure: StorageError | None = None
        self.pledge: Pledge | None = None
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._news = anyio.Event()

    def crowded(self, in_flight: int = 0) -> bool:
        """Whether the program lags so far behind that no more should be sent for now."""
        del in_flight
        return len(self._lines) >= _MOST_LINES or self._bytes >= _MOST_BYTES

    def backlog_bytes(self) -> int:
        """How many bytes wait to be taken."""
        return self._bytes

    def append(self, line: bytes, entry: int, number: int, *, terminal: bool) -> None:
        """Take a result; an attempt without one is in the ledger already."""
        del entry, number
        if terminal:
            self._lines.append(line)
            self._bytes += len(line)
            self._news.set()

    def note_lease(self, lease: Lease) -> None:
        """Nothing is kept, and nobody will ask after the process."""

    def hurry(self) -> None:
        """Nothing is kept, so that all of it is safe at once."""
        if self.pledge is not None:
            self.pledge.written(self.pledge.writing())

    async def settled(self) -> bool:
        """Nothing is kept, so nothing is to be waited for."""
        return True

    async def landed(self) -> bool:
        """Nothing is kept, so nothing is to be waited for."""
        return True

    async def commit_until(self, done: anyio.Event) -> None:
        """Nothing is kept."""
        await done.wait()

    def wake(self) -> None:
        """`commit_until` sees its event by itself."""

    async def take(self) -> bytes | None:
        """Await the next result; None once all have been taken and no more will come."""
        while not self._lines:
            if self._ended:
                return None
            self._news = anyio.Event()
            await self._news.wait()
        line = self._lines.popleft()
        self._bytes -= len(line)
        return line

    def end(self) -> None:
        """Say that no more will come."""
        self._ended = True
        self._news.set()
