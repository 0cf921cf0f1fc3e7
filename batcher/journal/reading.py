"""The results of an output, read back lazily: of a finished one, or of one under way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from batcher.errors import UsageError
from batcher.journal.files import Paths, usage_errors
from batcher.journal.index import DONE
from batcher.journal.scan import TOTALS, scan, whole_line
from batcher.journal.state import State

__all__ = ["is_finished", "read_totals", "result_lines"]

# More than the totals of a job with hundreds of models take.
_TAIL_BYTES: Final = 1024 * 1024


def is_finished(output: Path) -> bool:
    """Whether the results at `output` are complete.

    Raises:
        UsageError: No job has written there.
    """
    paths = Paths(output)
    if paths.output.is_file():
        return True
    if paths.partial.is_file():
        return False
    raise UsageError(f"{output}: no job has written here")


def result_lines(output: Path) -> Iterator[bytes]:
    """Give the result lines of an output without their line ends, one at a time.

    Of a job that is not finished these are the results that stand so far.

    Raises:
        UsageError: No job has written there, or it can't be read.
    """
    paths = Paths(output)
    finished = is_finished(output)
    with usage_errors(f"{output} can't be read"):
        yield from _published(paths.output) if finished else _so_far(paths.partial)


def read_totals(output: Path) -> dict[str, Any]:
    """Read the totals of a finished output.

    Raises:
        UsageError: It has none, or can't be read.
    """
    with usage_errors(f"{output} can't be read"), output.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        line = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    if not line.startswith(TOTALS):
        raise UsageError(f"{output} is no finished output: it does not end with totals")
    found: dict[str, Any] = orjson.loads(line)
    return found


def _published(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.startswith(TOTALS):
                return
            yield line.rstrip(b"\n")


def _so_far(path: Path) -> Iterator[bytes]:
    """Give the lines that stand; one that was superseded is passed over."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        state = State(lambda offset: whole_line(fd, offset))
        scan(fd, state)
        index = state.index
        for entry in index:
            if index.flags[entry] & DONE:
                yield whole_line(fd, index.offsets[entry])
    finally:
        os.close(fd)
