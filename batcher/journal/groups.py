"""When results that wait are written together, and word of it once they are."""

from __future__ import annotations

from typing import Final

import anyio

__all__ = ["GATHER_BYTES", "Groups"]

# More than this has company enough: large answers must not gather in memory.
GATHER_BYTES: Final = 2 * 1024 * 1024

# Longest time that a result waits in memory for company. A crash loses what was answered within it.
_GATHER_S: Final = 0.05


class Groups:
    """Between those who have something written and the one who writes it."""

    def __init__(self) -> None:
        self._wanted = anyio.Event()
        self._hurried = anyio.Event()
        self._landed = anyio.Event()

    def want(self) -> None:
        """Have what waits written in time."""
        self._wanted.set()

    def hurry(self) -> None:
        """Have it written at once, rather than when more has gathered."""
        self._wanted.set()
        self._hurried.set()

    async def gather(self, *, waiting: bool) -> None:
        """Wait until a group is to be written.

        Args:
            waiting: Whether something waits already.
        """
        if not (waiting or self._hurried.is_set()):
            self._wanted = anyio.Event()
            await self._wanted.wait()
        with anyio.move_on_after(_GATHER_S):
            await self._hurried.wait()
        self._hurried = anyio.Event()

    def tell(self) -> None:
        """Tell that a write has ended, well or not."""
        landed, self._landed = self._landed, anyio.Event()
        landed.set()

    async def landed(self) -> None:
        """Wait for the end of the next write."""
        await self._landed.wait()
