"""A timer that is set for the earliest of the moments asked for: one for all rows that wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` at a point in time; made in a running loop.

    Attributes:
        at_s: When it rings, monotonic; infinite while it is not set.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ringing: asyncio.Task[None] | None = None
        self.at_s = math.inf

    def set_in(self, wait_s: float, now_s: float) -> None:
        """Ring after `wait_s`, unless it rings sooner."""
        at_s = now_s + wait_s
        if at_s < self.at_s:
            self.cancel()
            self.at_s = at_s
            self._timer = self._loop.call_later(wait_s, self._on_time)

    def cancel(self) -> None:
        """Don't ring."""
        self.at_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self.at_s = math.inf
        self._timer = None
        # anyio starts no task from a bare callback: it finds the event loop by the task it is in.
        self._ringing = self._loop.create_task(self._on_task())

    async def _on_task(self) -> None:
        self._ring()
