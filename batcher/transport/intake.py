"""How many bytes of answers are held at once: those that would be too many are read later.

An answer may have 64 MiB and hundreds are in flight, so that their sum needs a bound of its own.
None is refused: it waits in the network, where it holds its sender back, until others are done. The
first `SMALL_BYTES` of each are read in any case, so that ordinary answers never come here. Of those
that are larger, the one that came first goes on, so that none waits for another for ever. What was
read and waits for the disk counts as well; where that is too much by itself, none goes on until
some of it is written, or until a run that stops gives up what is in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["MOST_BYTES", "SMALL_BYTES", "STEP_BYTES", "Intake", "Pause", "Reading"]

SMALL_BYTES: Final = 256 * 1024

# As much as one answer may have.
MOST_BYTES: Final = 64 * 1024 * 1024

# What a connection brings at most when it is read once more.
STEP_BYTES: Final = 256 * 1024

# Turns of the loop until an answer that is whole has been taken over by who awaits it.
_HANDED_ON: Final = 4


class Reading(Protocol):
    """An answer that is being read.

    Attributes:
        task: Who awaits it.
        step_bytes: How much of it may come before it asks again.
    """

    task: asyncio.Task[Any] | None
    step_bytes: int

    def hold(self) -> None:
        """Read no more for now."""

    def go_on(self) -> None:
        """Read on."""


class Intake:
    """Says which answers are read on.

    Args:
        elsewhere: How many bytes of answers are held by those who took them.
        postpone: Told for how long, in seconds, the answer of a task was not read.
        most_bytes: Of all large answers together.
    """

    def __init__(
        self,
        *,
        elsewhere: Callable[[], int],
        postpone: Callable[[asyncio.Task[Any] | None, float], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._elsewhere = elsewhere
        self._postpone = postpone
        self._most_bytes = most_bytes
        # In the order in which they became large; and since when some are held.
        self._large: dict[Reading, int] = {}
        self._held: dict[Reading, float] = {}
        self._bytes = 0
        # Whole answers, on their way to who awaits them: they count among the bytes.
        self._on_their_way = 0

    @property
    def full(self) -> bool:
        """Whether no more should be taken in."""
        return self._bytes + self._elsewhere() > self._most_bytes

    def holds(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task's answer is not being read."""
        return any(reading.task is task for reading in self._held)

    def grow(self, reading: Reading, size: int) -> None:
        """Note that `size` bytes of an answer have come, more than `SMALL_BYTES`."""
        self._bytes += size - self._large.get(reading, 0)
        self._large[reading] = size
        if not self.full or reading in self._held:
            return
        first = reading is next(iter(self._large)) and not self._on_their_way
        if not first or self._elsewhere() > self._most_bytes:
            self._held[reading] = time.monotonic()
            reading.hold()

    def end(self, reading: Reading) -> None:
        """Note that an answer is done with, if it was large."""
        size = self._large.pop(reading, None)
        if size is not None:
            self._held.pop(reading, None)
            self._on_their_way += 1
            self._handed_on(size, _HANDED_ON)

    def hand_on(self, size: int) -> None:
        """Note that an answer of `size` bytes is on its way to who awaits it."""
        self._bytes += size
        self._on_their_way += 1
        self._handed_on(size, _HANDED_ON)

    def _handed_on(self, size: int, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._handed_on, size, turns - 1)
        else:
            self._bytes -= size
            self._on_their_way -= 1
            self._let_go(first=self._elsewhere() <= self._most_bytes // 2)

    def look(self) -> None:
        """Let those go on that may; to be called now and then.

        The first of them goes on a step each time, unless what others hold is too much by itself: a
        disk that stalls, or a program that takes no results, must not fill the memory.
        """
        self._let_go(first=self._elsewhere() <= self._most_bytes)

    def _let_go(self, *, first: bool) -> None:
        room = self._most_bytes - self._bytes - self._elsewhere()
        for reading in [reading for reading in self._large if reading in self._held]:
            if room <= 0 and not first:
                return
            first = False
            room -= reading.step_bytes
            self._postpone(reading.task, time.monotonic() - self._held.pop(reading))
            reading.go_on()

    async def turn(self) -> None:
        """Wait, where it is full, until a small answer may become a large one."""
        if self.full:
            pause = Pause(self._most_bytes)
            try:
                self.grow(pause, 0)
                await pause.over()
            finally:
                self.end(pause)


class Pause:
    """The reading of a task that asks before it reads on."""

    def __init__(self, step_bytes: int = STEP_BYTES) -> None:
        self.task = asyncio.current_task()
        self.step_bytes = step_bytes
        self._over = asyncio.Event()
        self._over.set()

    def hold(self) -> None:
        """See `Reading`."""
        self._over.clear()

    def go_on(self) -> None:
        """See `Reading`."""
        self._over.set()

    async def over(self) -> None:
        """Wait while it is held."""
        await self._over.wait()
