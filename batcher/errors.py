"""What can end a run: one tree of exceptions, each with the exit code that it means.

A request that fails is no exception but a `Result`; these are for the run as a whole.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["BatcherError", "OutputLockedError", "StorageError", "UsageError"]


class BatcherError(Exception):
    """Ends the run with `exit_code`; its text is written for the user and holds no secret."""

    exit_code: ClassVar[int] = 1


class UsageError(BatcherError):
    """Bad usage, settings or source; nothing was sent."""

    exit_code = 2


class OutputLockedError(BatcherError):
    """Another run holds this output."""

    exit_code = 6


class StorageError(BatcherError):
    """The disk, a file or the source failed midway; what was paid for is kept."""

    exit_code = 8
