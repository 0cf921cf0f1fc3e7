r"""Blocks of bytes to lines.

Lines end with `\n`; a byte order mark and `\r` are tolerated, blank lines are skipped but counted.
A line over `MAX_ROW_BYTES` is passed over without being held, and reported by `None` in its place.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.codec import MAX_ROW_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BOM", "JsonLines", "Line", "LineSplitter"]

BOM: Final = b"\xef\xbb\xbf"

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


class Line(NamedTuple):
    """One row of a source.

    Attributes:
        number: Of its line, from 1; of the first one where it has several.
        raw: JSON text as it should be; None where it is too long.
        problem: Why it is no row of a table, or empty; `raw` is then what stood there.
    """

    number: int
    raw: bytes | None
    problem: str = ""


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
        # `bytes.split` looks at each byte by itself, which takes twice the time.
        whole = BytesIO(block).readlines()
        rest = b"" if block.endswith(b"\n") or not whole else whole.pop()
        lines: list[bytes | None] = [line[:-1] for line in whole]
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


class JsonLines:
    """The lines of a stream, a block at a time.

    Args:
        read: Gives the next block; empty at the end.
        max_bytes: A longer line is passed over.
    """

    def __init__(self, read: Callable[[], bytes], *, max_bytes: int = MAX_ROW_BYTES) -> None:
        self._read = read
        self._splitter = LineSplitter(max_bytes)
        self._number = 0
        self._ended = False

    def next_lines(self) -> list[Line]:
        """Return the next lines, blank ones left out; an empty list at the end."""
        while not self._ended:
            block = self._read()
            lines = self._splitter.split(block) if block else [self._splitter.rest()]
            self._ended = not block
            if kept := self._numbered(lines):
                return kept
        return []

    def _numbered(self, lines: list[bytes | None]) -> list[Line]:
        first = self._number + 1
        self._number += len(lines)
        if first == 1 and lines and lines[0] is not None:
            lines[0] = lines[0].removeprefix(BOM)
        return [
            _new(Line, (number, raw, ""))
            for number, raw in enumerate(lines, first)
            if raw is None or (raw and not raw.isspace())
        ]
