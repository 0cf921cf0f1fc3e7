"""What a run tells: how it goes, and how it ended."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from batcher.errors import StoppedError
from batcher.records import BadRow, Progress, StopReason

__all__ = ["BrokenOffError", "InterruptedRunError", "Outcome", "Rehearsal", "Watch"]


class BrokenOffError(StoppedError):
    """A second signal ended the run before it had read what stands there."""

    exit_code = StopReason.SIGTERM.exit_code


class InterruptedRunError(BrokenOffError):
    """The same by SIGINT."""

    exit_code = StopReason.SIGINT.exit_code


class Watch(Protocol):
    """Is told how a run goes."""

    def update(self, progress: Progress) -> None:
        """Take the present state; called about four times a second."""

    def log(self, text: str) -> None:
        """Take a note of one line."""


class Rehearsal(NamedTuple):
    """What else a rehearsal shows: how many rows can't be sent, and the first of them."""

    bad_rows: int
    first_bad: list[BadRow]


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        totals: The totals as they stand in the output; when it stopped, those so far, with
            `stop_reason` and `pending`.
        stop: Why it stopped before the job was complete, or None.
        message: The same in plain words, or empty.
        agreement: Labels that agree with the known ones, and labels compared; None without any.
        rehearsal: Only of a rehearsal.
    """

    totals: dict[str, Any]
    stop: StopReason | None
    message: str
    agreement: tuple[int, int] | None = None
    rehearsal: Rehearsal | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that the documentation promises."""
        if self.stop is not None:
            return self.stop.exit_code
        return 3 if self.totals["request_counts"]["failed"] else 0
