"""Making a journal the output: as it is, or written anew, in the order of the source.

Written anew it holds only what stands, and neither the results nor objects for them are held in
memory: a table of four bytes a row says which row comes next, and its line is copied from where it
stands. Rows finish nearly in order, so most of them lie within the block that was read last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from array import array
from collections.abc import Callable, Iterator
from typing import IO, Final

import orjson

from batcher.journal.files import Halted, Paths, open_private, sync_folder
from batcher.journal.index import DONE, SEEN, UNNAMED, Index, identity
from batcher.journal.lines import find_ours
from batcher.journal.reserve import Reserve
from batcher.journal.tape import Tape

__all__ = ["publish_anew", "publish_as_it_is"]

_WINDOW_BYTES: Final = 1024 * 1024
_PIECE_BYTES: Final = 16 * 1024 * 1024
_NOBODY: Final = 0xFFFF_FFFF
_NAME: Final = re.compile(rb'"custom_id":"(?:[^"\\]|\\.)*"')
_ROW: Final = re.compile(rb'\{"row":\d+,')


def publish_anew(
    tape: Tape,
    reserve: Reserve,
    paths: Paths,
    totals: bytes,
    *,
    index: Index,
    halted: Callable[[], bool],
) -> None:
    """Write the output anew from the journal, put it in its place, and drop the journal.

    Raises:
        OSError: The output is as it was.
        Halted: `halted` said so; the output is as it was.
    """
    fd = tape.fd
    # Nothing is in flight any more, and the copy may need the room.
    reserve.release(fd)
    _require_in_place(fd, paths)
    try:
        with open_private(paths.scratch) as file:
            _write_ordered(fd, index, file, halted=halted)
            file.write(totals)
            file.flush()
            _keep_mode(paths, file.fileno())
            os.fsync(file.fileno())
        _require_in_place(fd, paths)
        paths.scratch.rename(paths.output)
    except (OSError, Halted):
        with contextlib.suppress(OSError):
            paths.scratch.unlink(missing_ok=True)
        raise
    # The output stands: nothing that goes wrong from here on can take that back.
    with contextlib.suppress(OSError):
        # First the new name, then the journal: one of them is always there.
        sync_folder(paths.output.parent)
        paths.partial.unlink()
        sync_folder(paths.output.parent)


def publish_as_it_is(tape: Tape, reserve: Reserve, paths: Paths, totals: bytes) -> None:
    """End the journal with its totals, and give it the output's name.

    Raises:
        OSError: The journal is as it was.
    """
    size = tape.written
    try:
        _keep_mode(paths, tape.fd)
        tape.write(totals)
        # Though each write may go unsynced: a name must never stand for bytes that are not there.
        os.fsync(tape.fd)
        reserve.release(tape.fd)
        paths.partial.rename(paths.output)
    except OSError:
        tape.cut(size)
        raise
    with contextlib.suppress(OSError):
        sync_folder(paths.output.parent)


def _require_in_place(fd: int, paths: Paths) -> None:
    """Look whether the journal is still where it was: its disk may have been taken away.

    What stands in the folder then is another disk's, and no place for the output.

    Raises:
        OSError: It is not.
    """
    if not os.path.samestat(os.fstat(fd), paths.partial.stat()):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _keep_mode(paths: Paths, fd: int) -> None:
    """Give a file the mode of the output that it is to replace."""
    if paths.output.exists():
        os.fchmod(fd, paths.output.stat().st_mode & 0o7777)


def _write_ordered(fd: int, index: Index, target: IO[bytes], *, halted: Callable[[], bool]) -> None:
    """Copy the standing line of every row of the source from `fd` into `target`.

    A row that was given no id is named by the line on which it stands now.

    Raises:
        Halted: `halted` said so; it is asked for every piece.
    """
    window, size = _Window(fd), 0
    for entry in _in_order(index):
        line = _renumbered(window.line(index.offset(entry)), index, entry)
        target.write(line)
        target.write(b"\n")
        size += len(line)
        if size >= _PIECE_BYTES:
            size = 0
            # To the disk piece by piece: nobody can break off one long sync at the end.
            target.flush()
            os.fsync(target.fileno())
            if halted():
                raise Halted


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
    at, ours = find_ours(line)
    if ours["row"] != number:
        line = line[:at] + _ROW.sub(b'{"row":%d,' % number, line[at:], count=1)
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
