"""What an output says of itself as a whole: whether it is finished, and its totals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import orjson

from batcher.errors import UsageError
from batcher.journal.files import Paths, usage_errors
from batcher.journal.scan import TOTALS

__all__ = ["is_finished", "read_totals"]

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
