"""What can end a run: one tree of exceptions, each with the exit code that it means.

A request that fails is no exception but a `Result`; these are for the run as a whole.
"""

from __future__ import annotations

__all__ = ["BatcherError", "OutputLockedError", "StoppedError", "StorageError", "UsageError"]


class BatcherError(Exception):
    """Ends the run with `exit_code`; its text is written for the user and holds no secret."""

    exit_code: int = 1


class UsageError(BatcherError):
    """Bad usage, settings or source; nothing was sent."""

    exit_code = 2


class OutputLockedError(BatcherError):
    """Another run holds this output."""

    exit_code = 6


class StoppedError(BatcherError):
    """A run stopped before its job was complete; the same run again goes on.

    Args:
        text: Why.
        exit_code: What the command line ends with for this reason.
    """

    exit_code = 7

    def __init__(self, text: str, *, exit_code: int | None = None) -> None:
        super().__init__(text)
        if exit_code is not None:
            self.exit_code = exit_code


class StorageError(BatcherError):
    """The disk, a file or the source failed midway; what was paid for is kept."""

    exit_code = 8
