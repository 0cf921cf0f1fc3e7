"""The file that a journal is appended to: how long it is, and whether the disk can be believed.

What the disk took and then could not sync is in doubt for ever, since the system may have dropped
it: from then on every write raises.
"""

from __future__ import annotations

import os

__all__ = ["Tape"]


class Tape:
    """A file open for appending.

    Args:
        syncs: Whether each write is put on the disk.

    Attributes:
        fd: The open file; -1 while there is none.
        written: Its length in bytes. A thread moves it.
    """

    def __init__(self, *, syncs: bool) -> None:
        self.fd = -1
        self.written = 0
        self._syncs = syncs
        # Why a sync failed: from then on nobody knows what is on the disk.
        self._doubt: OSError | None = None

    def write(self, data: bytes) -> None:
        """Append `data`; where that fails midway, `written` says how far it got.

        Raises:
            OSError: The disk refuses, or is in doubt.
        """
        view = memoryview(data)
        while view:
            count = os.write(self.fd, view)
            self.written += count
            view = view[count:]
        if self._syncs and data:
            self._sync()
        if self._doubt is not None:
            raise self._doubt

    def cut(self, size: int) -> None:
        """Take back all that was written beyond `size` bytes."""
        os.ftruncate(self.fd, size)
        self.written = size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.fd)
        self.fd = -1

    def _sync(self) -> None:
        try:
            os.fsync(self.fd)
        except OSError as error:
            self._doubt = error
