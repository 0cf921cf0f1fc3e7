"""Writing a journal anew, in the order of the source, with only what stands.

Neither the results nor objects for them are held: a table of four bytes a row says which row comes
next, and its line is copied from where it stands. Rows finish nearly in order, so most of them lie
within the block that was read last.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from typing import IO, Final

import orjson

from batcher.journal.index import DONE, SEEN, UNNAMED, Index, identity

__all__ = ["write_ordered"]

_WINDOW_BYTES: Final = 1024 * 1024
_NOBODY: Final = 0xFFFF_FFFF
_NAME: Final = re.compile(rb'"custom_id":"(?:[^"\\]|\\.)*"')
_ROW: Final = re.compile(rb',"batcher":\{"row":\d+,')


def write_ordered(fd: int, index: Index, target: IO[bytes]) -> None:
    """Copy the standing line of every row of the source from `fd` into `target`.

    A row that was given no id is named by the line on which it stands now.
    """
    window = _Window(fd)
    for entry in _in_order(index):
        line = window.line(index.offsets[entry])
        target.write(_renumbered(line, index, entry))
        target.write(b"\n")


class _Window:
    """Lines of a file by their offsets, through a block that moves with them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._block = b""

    def line(self, offset: int) -> bytes:
        """Return the line that begins at `offset`, without its line end."""
        at = offset - self._start
        end = self._block.find(b"\n", at) if 0 <= at < len(self._block) else -1
        size = _WINDOW_BYTES
        while end < 0:
            self._start, at = offset, 0
            self._block = os.pread(self._fd, size, offset)
            end = self._block.find(b"\n")
            if end < 0 and len(self._block) < size:
                raise OSError(0, "the journal is shorter than it was")
            size *= 4
        return self._block[at:end]


def _in_order(index: Index) -> Iterator[int]:
    wanted = DONE | SEEN
    last = max(index.lines, default=0)
    by_line = array("I", [_NOBODY]) * (last + 1)
    for entry, flags in enumerate(index.flags):
        if flags & wanted == wanted:
            by_line[index.lines[entry]] = entry
    return (entry for entry in by_line if entry != _NOBODY)


def _renumbered(line: bytes, index: Index, entry: int) -> bytes:
    number = index.lines[entry]
    said = b',"batcher":{"row":%d,' % number
    if said not in line:
        at = line.rfind(b',"batcher":{"row":')
        line = line[:at] + _ROW.sub(said, line[at:], count=1)
    if index.flags[entry] & UNNAMED:
        name = orjson.dumps(_free_name(index, number))
        line = _NAME.sub(lambda _: b'"custom_id":' + name, line, count=1)
    return line


def _free_name(index: Index, number: int) -> str:
    name, again = f"row-{number}", 1
    while _is_given(index, name):
        again += 1
        name = f"row-{number}.{again}"
    return name


def _is_given(index: Index, name: str) -> bool:
    entry = index.find(identity(name, ""))
    return entry >= 0 and bool(index.flags[entry] & SEEN)
