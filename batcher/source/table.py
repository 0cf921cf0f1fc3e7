"""A table's rows as JSON objects: CSV and TSV, with a header that names the fields.

Quoting is RFC 4180's: a field in quotes may hold delimiters and line ends, and a quote in it is
doubled. Every value is a text. The reader is `csv`'s, in C and strict; it pulls its lines from a
stream, so that nothing is held but a block and the row under way.
"""

from __future__ import annotations

import csv
from collections import deque
from typing import TYPE_CHECKING, Final

import orjson

from batcher.codec import MAX_ROW_BYTES
from batcher.errors import StorageError, UsageError
from batcher.source.lines import BOM, Line, LineSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Table"]

# Rows are handed on once they come to so many bytes, or as soon as a block is used up.
_HAND_ON_BYTES: Final = 256 * 1024

_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")

_WORDS: Final = {
    "expected after": "text after a closing quote; a quote within quotes is doubled",
    "new-line character": "a carriage return outside quotes",
}


class _TooLongError(Exception):
    """A line, or a row of several, is longer than a row may be."""


class _Lines:
    """The lines of a stream, for `csv` to pull from.

    Attributes:
        number: Of the line given last.
        record: The lines given since `record` was emptied.
        ended: Whether the stream has ended.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._splitter = LineSplitter()
        self._queue: deque[bytes | None] = deque()
        self._held = 0
        self.number = 0
        self.record: list[bytes] = []
        self.ended = False

    @property
    def drained(self) -> bool:
        """Whether the next line must be read first."""
        return not self._queue

    def begin(self) -> None:
        """Begin a record."""
        self.record.clear()
        self._held = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def peek(self) -> bytes:
        """Return the next line without taking it; empty at the end, or where it is too long."""
        return (self._queue[0] or b"") if self._fill() else b""

    def _fill(self) -> bool:
        """Have a line at hand, unless the stream has ended."""
        while not self._queue and not self.ended:
            block = self._read()
            self._queue.extend(self._splitter.split(block) if block else [self._splitter.rest()])
            self.ended = not block
        return bool(self._queue)

    def __next__(self) -> str:
        if not self._fill():
            raise StopIteration
        raw = self._queue.popleft()
        self.number += 1
        self._held += MAX_ROW_BYTES + 1 if raw is None else len(raw)
        if raw is None or self._held > MAX_ROW_BYTES:
            raise _TooLongError
        if self.number == 1:
            raw = raw.removeprefix(BOM)
        self.record.append(raw)
        # What is no UTF-8 is kept, and found out when the row is written as JSON.
        return raw.decode("utf-8", "surrogateescape") + "\n"


class Table:
    """The rows of a table, a block at a time; its header is read at once.

    Args:
        read: Gives the next block; empty at the end.
        tabs: Whether tabs part the fields. Otherwise commas do, or, where the header has none,
            semicolons, or tabs.

    Raises:
        UsageError: The header can't be one.
    """

    def __init__(self, read: Callable[[], bytes], *, tabs: bool) -> None:
        self._lines = _Lines(read)
        self._failure: StorageError | None = None
        # `csv` has one bound for the process, and 128 KiB by default; a row's own is kept here.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
        first = self._lines.peek()
        if first.startswith(_UTF_16):
            raise UsageError("the source is UTF-16; save it as UTF-8")
        delimiter = "\t" if tabs else _delimiter(first)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._columns = self._header()
        self._kept = [(at, name) for at, name in enumerate(self._columns) if name]

    def next_lines(self) -> list[Line]:
        """Return the next rows; an empty list at the end.

        Raises:
            StorageError: The source can't be read on; all rows before that place were returned.
        """
        if self._failure is not None:
            raise self._failure
        lines: list[Line] = []
        size = 0
        while size < _HAND_ON_BYTES and not (lines and self._lines.drained):
            try:
                line = self._next()
            except StorageError as error:
                if not lines:
                    raise
                self._failure = error
                break
            if line is None:
                break
            lines.append(line)
            size += len(line.raw or b"")
        return lines

    def _next(self) -> Line | None:
        """Return the next row that is not blank, or None at the end."""
        lines = self._lines
        while True:
            lines.begin()
            number = lines.number + 1
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as error:
                return self._broken(number, error)
            except _TooLongError:
                if lines.number > number:
                    raise _unclosed(number) from None
                return Line(number, None)
            if fields:
                return self._row(number, fields)

    def _row(self, number: int, fields: list[str]) -> Line:
        if len(fields) != len(self._columns):
            count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
            return self._bad(number, f"{count}, and the header has {len(self._columns)}")
        try:
            return Line(number, orjson.dumps({name: fields[at] for at, name in self._kept}))
        except orjson.JSONEncodeError:
            return self._bad(number, "not UTF-8")

    def _broken(self, number: int, error: csv.Error) -> Line:
        if "end of data" in str(error):
            raise _unclosed(number)
        return self._bad(number, _words(error))

    def _bad(self, number: int, problem: str) -> Line:
        return Line(number, b"\n".join(self._lines.record), problem)

    def _header(self) -> list[str]:
        """Read the names of the fields, blanks around them left out."""
        try:
            columns = [name.strip() for name in next(self._reader, [])]
            "".join(columns).encode()
        except (csv.Error, _TooLongError) as error:
            raise UsageError(f"the source's header can't be read: {_words(error)}") from None
        except UnicodeEncodeError:
            raise UsageError("the source's header is not UTF-8; save the file as UTF-8") from None
        twice = next((name for name in columns if name and columns.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"the source's header names two fields {twice!r}")
        return columns


def _delimiter(header: bytes) -> str:
    """Tell what parts the fields: spreadsheets write semicolons where a comma is a decimal's."""
    return next((mark for mark in ",;\t" if mark.encode() in header), ",")


def _words(error: Exception) -> str:
    return next((words for part, words in _WORDS.items() if part in str(error)), "no CSV")


def _unclosed(number: int) -> StorageError:
    return StorageError(
        f"the source can't be read on: line {number}: a quote that opens in this row never closes"
    )
