r"""Lines out of files and streams, a block at a time.

A source is read in blocks, in a thread of the caller's choice, and never held whole. Lines end with
`\n`; a byte order mark and `\r` are tolerated, blank lines are skipped but counted. A line over
`MAX_ROW_BYTES` is passed over without being held, and reported by `None` in its place.
"""

from __future__ import annotations

import gzip
import importlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from batcher.codec import MAX_ROW_BYTES
from batcher.errors import StorageError, UsageError

__all__ = ["Line", "LineSplitter", "Source"]

# A block is a few hundred rows: large enough that a thread's hop for each costs nothing, small
# enough that a pipe's first rows are not waited for.
_BLOCK_BYTES: Final = 256 * 1024

_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line of a source: its 1-based number, and its bytes or None where they are too many."""

    number: int
    raw: bytes | None


class LineSplitter:
    """Cuts a stream of blocks into lines without copying a line twice.

    Args:
        max_bytes: A longer line is passed over: None stands in its place.
    """

    def __init__(self, max_bytes: int = MAX_ROW_BYTES) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._held = 0
        self._skipping = False

    def split(self, block: bytes) -> list[bytes | None]:
        """Return the lines that end within `block`, without their line ends."""
        lines: list[bytes | None] = list(block.split(b"\n"))
        rest = lines.pop()
        if lines and (self._parts or self._skipping):
            self._hold(lines[0] or b"")
            lines[0] = self._take()
        if rest:
            self._hold(rest)
        return lines

    def rest(self) -> bytes | None:
        """Return what follows the last line end: empty where nothing does."""
        return self._take()

    def _hold(self, part: bytes | None) -> None:
        self._held += len(part or b"")
        if self._held > self._max_bytes:
            self._skipping = True
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _take(self) -> bytes | None:
        line = None if self._skipping else b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        self._skipping = False
        return line


class Source:
    """The rows' lines, read from start to end.

    Args:
        path: A file, plain, `.gz` or `.zst`; or None for standard input.
        limit: Take only the first so many lines that are not blank.
        spool_into: A folder. Where the source can't be read twice (a pipe), all of it is first
            copied into an unnamed file there.

    Raises:
        UsageError: It can't be opened, or what decompresses it is not installed.
        StorageError: It could not be copied.
    """

    def __init__(
        self, path: Path | None, *, limit: int | None = None, spool_into: Path | None = None
    ) -> None:
        self.path = path
        self._limit = limit
        self._ended = False
        self._file = _open(path)
        if spool_into is not None and not _is_file(self._file):
            self._file = _spool(self._file, spool_into)
        self._opened = os.fstat(self._file.fileno())
        self.rereadable = stat.S_ISREG(self._opened.st_mode)
        self._start()

    @property
    def share_read(self) -> float | None:
        """How much of the file's bytes have been taken: 0 to 1; None where its size is unknown."""
        if not self.rereadable or not self._opened.st_size:
            return None
        return min(1.0, os.lseek(self._file.fileno(), 0, os.SEEK_CUR) / self._opened.st_size)

    def read_block(self) -> list[Line]:
        """Return the next lines, blank ones left out; an empty list at the end. Blocks.

        Raises:
            StorageError: The source can't be read on, or is cut short; all lines before that place
                have been returned.
        """
        while not self._ended:
            block = self._read()
            lines = self._splitter.split(block) if block else [self._splitter.rest()]
            self._ended = not block
            if kept := self._within_limit(self._numbered(lines)):
                return kept
        return []

    def rewind(self) -> None:
        """Start again from the first line."""
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        self._start()

    def changed(self) -> bool:
        """Whether the file is no longer as it was when it was opened."""
        if not self.rereadable:
            return False
        try:
            now = os.fstat(self._file.fileno()) if self.path is None else self.path.stat()
        except OSError:
            return True
        then = self._opened
        return (now.st_ino, now.st_size, now.st_mtime_ns) != (
            then.st_ino,
            then.st_size,
            then.st_mtime_ns,
        )

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._file.close()

    def _start(self) -> None:
        self._stream = _decompressed(self.path, self._file)
        self._splitter = LineSplitter()
        self._number = 0
        self._left = self._limit
        self._ended = False

    def _read(self) -> bytes:
        # read1 hands over what a cut file still held; read would drop it and raise.
        read = getattr(self._stream, "read1", self._stream.read)
        try:
            block: bytes = read(_BLOCK_BYTES)
        except Exception as error:  # noqa: BLE001 - each decompressor has errors of its own
            raise StorageError(f"the source can't be read on: {_reason(error)}") from None
        return block

    def _within_limit(self, lines: list[Line]) -> list[Line]:
        if self._left is None:
            return lines
        taken = lines[: self._left]
        self._left -= len(taken)
        self._ended = self._ended or not self._left
        return taken

    def _numbered(self, lines: list[bytes | None]) -> list[Line]:
        first = self._number + 1
        self._number += len(lines)
        if first == 1 and lines and lines[0] is not None:
            lines[0] = lines[0].removeprefix(_BOM)
        return [
            Line(number, raw)
            for number, raw in enumerate(lines, first)
            if raw is None or (raw and not raw.isspace())
        ]


def _open(path: Path | None) -> Any:
    if path is None:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise UsageError(f"the source {path} can't be read: {_reason(error)}") from None


def _is_file(file: Any) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _spool(file: Any, folder: Path) -> Any:
    try:
        kept = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the source closes it
        while block := file.read(_BLOCK_BYTES):
            kept.write(block)
    except OSError as error:
        raise StorageError(
            f"standard input can't be kept to read it twice: {_reason(error)}"
        ) from None
    kept.seek(0)
    return kept


def _decompressed(path: Path | None, file: Any) -> Any:
    suffix = path.suffix if path is not None else ""
    if suffix == ".gz":
        return _gzip().open(file, "rb")
    if suffix == ".zst":
        return _zstd().open(file, "rb")
    return file


def _gzip() -> Any:
    try:
        return importlib.import_module("isal.igzip")
    except ImportError:
        return gzip


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UsageError("a .zst source needs the extra: pip install 'batcher[compress]'")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it ends too early" if isinstance(error, EOFError) else type(error).__name__
