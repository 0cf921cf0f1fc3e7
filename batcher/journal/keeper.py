"""What a run needs of whatever keeps its results."""

from __future__ import annotations

from typing import Any, Protocol

import anyio

from batcher.errors import StorageError
from batcher.journal.lines import Lease
from batcher.journal.state import State

__all__ = ["Keeper", "Pledge"]


class Pledge(Protocol):
    """Who must know what is safe."""

    @property
    def due(self) -> bool:
        """Whether a commit is wanted though no line waits for one."""

    def writing(self) -> Any:
        """Give what is to be written with the commit that begins; what it returns is `written`."""

    def written(self, pledged: Any) -> None:
        """Note that all that was taken at `writing` is safe."""


class Keeper(Protocol):
    """Takes the lines of a run: a `Journal` keeps them on the disk, a `Relay` hands them on.

    Attributes:
        state: What the lines say.
        failure: Why nothing more may be sent; None while all is well.
        pledge: Asked with each commit what else is to be written, and told once it is.
    """

    state: State
    failure: StorageError | None
    pledge: Pledge | None

    def crowded(self, in_flight: int) -> bool:
        """Whether nothing should be sent for now beside what is `in_flight`.

        So much waits to be kept, or there would be no room for one answer more.
        """

    def backlog_bytes(self) -> int:
        """How many bytes wait to be kept."""

    def append(self, line: bytes, entry: int, number: int, *, terminal: bool) -> None:
        """Take the line of a row; without `terminal` the row has no result yet."""

    def note_lease(self, lease: Lease) -> None:
        """Take word of what a run may have spent unseen."""

    def hurry(self) -> None:
        """Commit at once, rather than when more has gathered."""

    async def settled(self) -> bool:
        """Wait until all that was taken by now is safe; false where it can't be."""

    async def landed(self) -> bool:
        """Wait for the end of the next commit; false where nothing can be kept any more."""

    async def commit_until(self, done: anyio.Event) -> None:
        """Keep what was taken, until `done` is set (and `wake` called)."""

    def wake(self) -> None:
        """Let `commit_until` look at its event again."""
