"""The rows of a source, a block at a time.

A source is read in blocks, in a thread of the caller's choice, and never held whole.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batcher.errors import StorageError, UsageError
from batcher.settings.forms import form_of
from batcher.source.lines import JsonLines, Line

if TYPE_CHECKING:
    from batcher.source.table import Table

__all__ = ["Blocks", "Source"]

# A block is a few hundred rows: large enough that a thread's hop for each costs nothing, small
# enough that a pipe's first rows are not waited for.
_BLOCK_BYTES: Final = 256 * 1024


class Source:
    """The rows' lines, read from start to end.

    Args:
        path: A file, plain, `.gz` or `.zst`; or None for standard input.
        form: `jsonl`, `csv` or `tsv`; `auto` tells by the path's name.
        limit: Take only the first so many rows.
        spool_into: A folder. Where the source can't be read twice (a pipe), all of it is first
            copied into an unnamed file there.

    Raises:
        UsageError: It can't be opened, what decompresses it is not installed, or the header of a
            table can't be one.
        StorageError: It could not be copied.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        form: str = "auto",
        limit: int | None = None,
        spool_into: Path | None = None,
    ) -> None:
        self.path = path
        self._form = form_of(path, form)
        self._limit = limit
        self._file = _open(path)
        if spool_into is not None and not _is_file(self._file):
            self._file = _spool(self._file, spool_into)
        self._opened = os.fstat(self._file.fileno())
        self.rereadable = stat.S_ISREG(self._opened.st_mode)
        # Standard input may have been read by others before us: what they took is none of ours.
        self._begin = self._at() if self.rereadable else 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def share_read(self) -> float | None:
        """How much of the file's bytes have been taken: 0 to 1; None where its size is unknown."""
        ours = self._opened.st_size - self._begin
        if not self.rereadable or ours <= 0:
            return None
        return min(1.0, (self._at() - self._begin) / ours)

    def read_block(self) -> list[Line]:
        """Return the next rows, blank lines left out; an empty list at the end. Blocks.

        Raises:
            StorageError: The source can't be read on, or is cut short; all rows before that place
                have been returned.
        """
        if self._left == 0:
            return []
        lines = self._lines.next_lines()
        if self._left is not None:
            lines = lines[: self._left]
            self._left -= len(lines)
        return lines

    def rewind(self) -> None:
        """Start again from the first line."""
        os.lseek(self._file.fileno(), self._begin, os.SEEK_SET)
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

    def _at(self) -> int:
        return os.lseek(self._file.fileno(), 0, os.SEEK_CUR)

    def _start(self) -> None:
        self._stream = _decompressed(self.path, self._file)
        self._left = self._limit
        self._lines = self._reader()

    def _reader(self) -> JsonLines | Table:
        if self._form == "jsonl":
            return JsonLines(self._read)
        from batcher.source.table import Table

        return Table(self._read, tabs=self._form == "tsv")

    def _read(self) -> bytes:
        return _read_block(self._stream, "the source can't be read on")


class Blocks:
    """The bytes of a file, decompressed: to be read through more than once.

    Raises:
        UsageError: It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)

    def __iter__(self) -> Iterator[bytes]:
        """Read from the start, a block at a time.

        Raises:
            UsageError: What decompresses it is not installed.
            StorageError: It can't be read on, or is cut short.
        """
        self._file.seek(0)
        stream = _decompressed(self.path, self._file)
        while block := _read_block(stream, f"{self.path} can't be read on"):
            yield block

    def fileno(self) -> int:
        """The file's descriptor."""
        number: int = self._file.fileno()
        return number

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_block(stream: Any, complaint: str) -> bytes:
    # read1 hands over what a cut file still held; read would drop it and raise.
    read = getattr(stream, "read1", stream.read)
    try:
        block: bytes = read(_BLOCK_BYTES)
    except Exception as error:  # noqa: BLE001 - each decompressor has errors of its own
        raise StorageError(f"{complaint}: {_reason(error)}") from None
    return block


def _open(path: Path | None) -> Any:
    if path is None:
        # It is None where the process was started without one.
        if sys.stdin is None:
            raise UsageError("standard input can't be read: it is closed")
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {_reason(error)}") from None


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
        return importlib.import_module("gzip")


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UsageError("a .zst file needs the extra: pip install 'batcher[compress]'")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it ends too early" if isinstance(error, EOFError) else type(error).__name__
