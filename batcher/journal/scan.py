"""Reading a journal from start to end, whole lines at a time, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from itertools import accumulate
from typing import Any, Final, NamedTuple

import orjson

from batcher.journal.files import Halted
from batcher.journal.lines import RunNote, damaged, head_of, read_line
from batcher.journal.state import State

__all__ = ["TOTALS", "Scanned", "ends_like_ours", "scan", "whole_line"]

# What a block is read into stays in the processor's cache.
_BLOCK_BYTES: Final = 512 * 1024
TOTALS: Final = b'{"object":"batch.totals"'

# How our lines begin.
_BEGINNINGS: Final = (b'{"id":"batch_req_', b'{"object":"batch.')


class Scanned(NamedTuple):
    """Where a journal ends.

    Attributes:
        size: Bytes up to the end of the last whole line, totals at the end not counted.
        totals: The totals at the end, or None where there are none.
    """

    size: int
    totals: dict[str, Any] | None


def scan(
    fd: int,
    state: State,
    *,
    published: bool = False,
    halted: Callable[[], bool] = lambda: False,
) -> Scanned:
    """Take every line of a file into `state`.

    Args:
        published: Whether the totals at the end tell of rows that were dropped and time taken.
        halted: Asked for every block.

    Raises:
        Halted: `halted` said so.
    """
    offset, totals, totals_at = 0, b"", -1
    size = os.fstat(fd).st_size
    while (text := _whole_lines(fd, offset)) is not None:
        lines = BytesIO(text).readlines()
        if not text.endswith(b"\n"):
            lines.pop()
        if not offset:
            state.expect(len(lines) * size // len(text))
        offsets = list(accumulate(map(len, lines), initial=offset))
        offset = offsets.pop()
        place = _take(lines, offsets, state, spoilt=damaged(text))
        if place >= 0:
            totals, totals_at = lines[place][:-1], offsets[place]
        if halted():
            raise Halted
    if totals_at < 0 or totals_at + len(totals) + 1 != offset:
        state.end_scan()
        return Scanned(offset, None)
    legible = isinstance(read_line(totals), RunNote)
    if published and legible:
        state.apply(totals, totals_at)
    state.end_scan()
    return Scanned(totals_at, orjson.loads(totals) if legible else None)


def _whole_lines(fd: int, offset: int) -> bytes | None:
    """Read some lines from `offset` on, and what follows them; None where no whole one is."""
    text, size = b"", _BLOCK_BYTES
    while block := os.pread(fd, size, offset + len(text)):
        text += block
        if b"\n" in block:
            return text
        size *= 4
    return None


def _take(lines: list[bytes], offsets: list[int], state: State, *, spoilt: bool) -> int:
    """Take lines into `state`, save totals; return which of them are the last totals, or -1.

    The lines have their ends, for taking them off makes each anew.

    Args:
        spoilt: Whether there is a damaged line among them.
    """
    if spoilt:
        heads = [None if damaged(raw) else head_of(raw) for raw in lines]
    else:
        heads = list(map(head_of, lines))
    begin, totals = 0, -1
    others = [] if all(heads) else [place for place, head in enumerate(heads) if head is None]
    for place in others:
        state.apply_all(lines[begin:place], offsets[begin:place], heads[begin:place])
        begin = place + 1
        if lines[place].startswith(TOTALS):
            totals = place
        else:
            state.apply(lines[place][:-1], offsets[place])
    state.apply_all(lines[begin:], offsets[begin:], heads[begin:])
    return totals


def ends_like_ours(fd: int, offset: int) -> bool:
    """Whether what stands from `offset` on, without a line end, may be a torn line of ours."""
    found = os.pread(fd, max(map(len, _BEGINNINGS)), offset)
    return (
        not found
        or damaged(found)
        or any(found[: len(each)] == each[: len(found)] for each in _BEGINNINGS)
    )


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
