"""Writing to standard output and error without ever harming a run.

Nobody may be reading any more: a closed pipe, a full disk behind a redirection, a terminal that has
gone, a pipe that is full because its reader waits for our end. What can't be shown is dropped, and
the run and its exit code go on as they would have.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Final, Self

from batcher.errors import StorageError

if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

__all__ = [
    "SafeBytes",
    "SafeStream",
    "open_standard_descriptors",
    "standard_error",
    "standard_output",
]

_STANDARD_ERROR: Final = 2

# How long the words at the end wait for a reader; the progress before waits for none.
_PATIENCE_S: Final = 5.0

# A pipe that takes anything takes a page, 4,096 bytes, and a character has at most four.
_PIECE_CHARS: Final = 1000
_NEXT_PIECE_S: Final = 1.0


class SafeStream:
    """A text stream that falls silent once it can't be written to.

    It has what rich and click ask of a stream.

    Args:
        stream: What is written to; None where there is nothing.
        patience_s: How long to wait for a reader that lags behind.
    """

    def __init__(self, stream: TextIO | None, *, patience_s: float = _PATIENCE_S) -> None:
        self._stream = stream
        self._patience_s = patience_s
        self.broken = stream is None

    def hurried(self) -> Self:
        """The same stream for what goes on showing: what nobody reads at once is dropped."""
        return type(self)(self._stream, patience_s=0.0)

    @property
    def encoding(self) -> str:
        """The stream's, or UTF-8."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal is on the other side."""
        return self._stream is not None and not self.broken and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor, for the size of the terminal.

        Raises:
            OSError: When there is none.
        """
        if self._stream is None:
            raise OSError
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be written; characters that the encoding lacks become `?`."""
        if self._stream is not None and not self.broken:
            try:
                self._write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self.give_up()
        return len(text)

    def _write(self, text: str) -> None:
        assert self._stream is not None
        patience_s = self._patience_s
        for start in range(0, len(text), _PIECE_CHARS):
            if not self._has_room(patience_s):
                if patience_s:
                    self.give_up()
                return
            self._stream.write(text[start : start + _PIECE_CHARS])
            self._stream.flush()
            patience_s = max(patience_s, _NEXT_PIECE_S)

    def _has_room(self, patience_s: float) -> bool:
        """Whether a piece can be written without waiting for a reader."""
        try:
            descriptor = self.fileno()
        except (OSError, ValueError):
            return True
        return bool(select.select([], [descriptor], [], patience_s)[1])

    def flush(self) -> None:
        """Flush; a failure silences the stream."""
        if self._stream is not None and not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.give_up()

    def line(self, text: str) -> None:
        """Write one line at once."""
        self.write(f"{text}\n")
        self.flush()

    def binary(self) -> SafeBytes:
        """The same stream for bytes, which go out as they are."""
        return SafeBytes(self, getattr(self._stream, "buffer", None))

    def give_up(self) -> None:
        """Point the descriptor at nothing: else Python fails once more, on exit, with code 120."""
        self.broken = True
        try:
            descriptor = self.fileno()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)
        except (OSError, ValueError):
            return


class SafeBytes:
    """The bytes of a `SafeStream`: what is asked for, and no mere words about it."""

    def __init__(self, stream: SafeStream, buffer: BinaryIO | None) -> None:
        self._stream = stream
        self._buffer = buffer

    def write(self, data: bytes) -> int:
        """Write bytes at once; what nobody reads any more is dropped.

        Raises:
            StorageError: They go to a file that can't be written, such as one on a full disk.
        """
        if self._buffer is not None and not self._stream.broken:
            try:
                self._buffer.write(data)
                self._buffer.flush()
            except (BrokenPipeError, ValueError):
                self._stream.give_up()
            except OSError as error:
                self._stream.give_up()
                raise StorageError(
                    f"standard output can't be written: {error.strerror or error}"
                ) from None
        return len(data)


def standard_output() -> SafeStream:
    """Standard output as it is now."""
    return SafeStream(sys.stdout)


def standard_error() -> SafeStream:
    """Standard error as it is now."""
    return SafeStream(sys.stderr)


def open_standard_descriptors() -> None:
    """Fill descriptors 0 to 2 where a parent closed them.

    Else the next file that is opened, such as the results, would be standard error to whatever
    writes there.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _STANDARD_ERROR:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
