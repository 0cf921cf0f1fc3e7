"""Made-up answers and real ones never stand in one output.

A row is known by its request, not by who answered it: a job that was tried out on the sandbox would
count as finished once it is pointed at a real endpoint, and its made-up answers would pass for
real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from batcher.errors import UsageError
from batcher.journal import Paths, read_ours
from batcher.journal.files import usage_errors

__all__ = ["refuse_mixture"]

_MADE_UP: Final = "sandbox"


def refuse_mixture(paths: Paths, *, endpoint: str) -> None:
    """Refuse to go on with made-up answers at a real endpoint, or the other way round.

    Args:
        paths: The output's; its first result tells.
        endpoint: Who would answer now.

    Raises:
        UsageError: The answers would be mixed.
    """
    before = _first_endpoint(paths.partial if paths.partial.exists() else paths.output)
    if before is None or (before == _MADE_UP) == (endpoint == _MADE_UP):
        return
    if before == _MADE_UP:
        words = "its answers were made up by the sandbox, and would stand beside real ones"
    else:
        words = "its answers are real, and made-up ones of the sandbox would stand beside them"
    raise UsageError(
        f"{paths.output.name}: {words}; --fresh starts over and keeps it as .bak, -o names another"
    )


def _first_endpoint(path: Path) -> str | None:
    """Read who answered the first row of an output or a journal; None where there is none."""
    with usage_errors(f"{path} can't be read"):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            for line in file:
                if line.startswith(b'{"id":') and line.endswith(b"\n"):
                    endpoint = read_ours(line.rstrip(b"\n")).get("endpoint")
                    return endpoint if isinstance(endpoint, str) else None
    return None
