"""Writing to standard output and error without ever harming a run.

Nobody may be reading any more: a closed pipe, a full disk behind a redirection, a terminal that has
gone. What can't be shown is dropped, and the run and its exit code go on as they would have.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["SafeStream", "open_standard_descriptors", "standard_error", "standard_output"]

_STANDARD_ERROR = 2


class SafeStream:
    """A text stream that falls silent once it can't be written to.

    It has what rich and click ask of a stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.broken = stream is None

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
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush; a failure silences the stream."""
        if self._stream is not None and not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def line(self, text: str) -> None:
        """Write one line at once."""
        self.write(f"{text}\n")
        self.flush()

    def _give_up(self) -> None:
        """Point the descriptor at nothing: else Python fails once more, on exit, with code 120."""
        self.broken = True
        try:
            descriptor = self.fileno()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)
        except (OSError, ValueError):
            return


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
