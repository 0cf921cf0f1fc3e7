"""Reading a journal from start to end, whole lines at a time, in bounded memory."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

import orjson

from batcher.journal.lines import read_line
from batcher.journal.state import State

__all__ = ["Scanned", "scan", "whole_line"]

_BLOCK_BYTES: Final = 1024 * 1024
_TOTALS: Final = b'{"object":"batch.totals"'


class Scanned(NamedTuple):
    """Where a journal ends.

    Attributes:
        size: Bytes up to the end of the last whole line, totals at the end not counted.
        totals: The totals at the end, or None where there are none.
    """

    size: int
    totals: dict[str, Any] | None


def scan(fd: int, state: State) -> Scanned:
    """Take every line of a file into `state`."""
    offset, rest, totals = 0, b"", None
    totals_at = -1
    while block := os.pread(fd, _BLOCK_BYTES, offset + len(rest)):
        *lines, rest = (rest + block).split(b"\n")
        for raw in lines:
            if raw.startswith(_TOTALS):
                totals, totals_at = raw, offset
            else:
                state.apply(raw, offset)
            offset += len(raw) + 1
    state.end_scan()
    if totals is None or totals_at + len(totals) + 1 != offset:
        return Scanned(offset, None)
    return Scanned(totals_at, orjson.loads(totals) if read_line(totals) else None)


def whole_line(fd: int, offset: int) -> bytes:
    """Return the line that begins at `offset`, without its line end."""
    parts: list[bytes] = []
    while block := os.pread(fd, 4096 if not parts else _BLOCK_BYTES, offset):
        end = block.find(b"\n")
        if end >= 0:
            parts.append(block[:end])
            break
        parts.append(block)
        offset += len(block)
    return b"".join(parts)
