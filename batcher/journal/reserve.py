"""Room kept free on the disk behind the end of a file.

A disk that fills up while requests are in flight must still take their answers: they are paid for.
So room is set aside ahead of the end of the file, and the file grows into it. Once no more can be
set aside, nothing new may be sent; what was in flight fits into what is left.

How much is needed follows what comes: once large lines are seen, there is room for the largest of
them for every request in flight, or fewer are let go at a time.

Linux alone can do this: `fallocate` with FALLOC_FL_KEEP_SIZE gives blocks to a file without making
it longer. File systems that lack it (NFS before 4.2, FAT) and other systems go without.

Source: fallocate(2).
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

__all__ = ["LINE_BYTES", "Reserve"]

# What an answer is taken to need until a longer one has been seen: 8,000 tokens or so.
LINE_BYTES: Final = 32 * 1024

_KEEP_SIZE: Final = 0x01

# Asking for so much at a time makes the call rare: a thousand rows or so.
_STEP_BYTES: Final = 1024 * 1024

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """Room behind the end of one file.

    Args:
        ahead_bytes: How much is kept free beyond the end, at least.

    Attributes:
        enough_until: For an end up to here, there is room already; `keep` need not be asked.
        large_bytes: Longer lines are to be `note`d.
        most_in_flight: For so many requests there is room, if their lines are no longer than those
            seen; for more, `widen` is to be asked.
    """

    def __init__(self, ahead_bytes: int) -> None:
        self._ahead_bytes = ahead_bytes
        self._until = 0
        self._allocate = _fallocate()
        self.enough_until: float = -1
        self.large_bytes = LINE_BYTES
        self.most_in_flight: float = math.inf

    def note(self, line_bytes: int) -> None:
        """Note the longest line so far."""
        self.large_bytes = line_bytes
        if self._allocate is not None:
            self.most_in_flight = self._ahead_bytes // line_bytes

    def widen(self, fd: int, end: int, in_flight: int) -> bool:
        """Keep room for so many requests; return whether there is that much.

        Args:
            fd: The file, open for writing.
            end: As for `keep`.
        """
        before, wanted = self._ahead_bytes, in_flight * self.large_bytes
        more = end + wanted + _STEP_BYTES - self._until
        # Asked for too much, some file systems give all that there is, and keep nothing for others.
        if more > _free_bytes(fd):
            return False
        self._ahead_bytes = max(before, wanted)
        if not self.keep(fd, end):
            self._ahead_bytes = before
            return False
        self.note(self.large_bytes)
        return True

    def keep(self, fd: int, end: int) -> bool:
        """Keep room behind `end`; return whether there is any.

        Where rooms can't be kept at all, it says that there is.

        Args:
            fd: The file, open for writing.
            end: Where it ends, or will once all that is queued has been written.
        """
        wanted = end + self._ahead_bytes
        if self._allocate is None:
            self.enough_until = self.most_in_flight = math.inf
            return True
        if self._until >= wanted:
            self.enough_until = self._until - self._ahead_bytes
            return True
        until = wanted + _STEP_BYTES
        number = self._allocate(fd, end, until - end)
        if number in _FULL:
            return False
        if number:
            self._allocate = None
        self._until = until
        self.enough_until = until - self._ahead_bytes
        return True

    def release(self, fd: int) -> None:
        """Give back what is left of it.

        Raises:
            OSError: The file can't be cut to its length.
        """
        if self._until:
            self._until = 0
            self.enough_until = -1
            # The same length as before: that frees what lies behind it (ext4, XFS, tmpfs).
            os.ftruncate(fd, os.fstat(fd).st_size)


def _free_bytes(fd: int) -> int:
    told = os.fstatvfs(fd)
    return told.f_bavail * told.f_frsize


@cache
def _fallocate() -> Callable[[int, int, int], int] | None:
    """Find the call: file, offset and length to an error number; None where there is none."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    call: Any = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if call is None:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    call.restype = ctypes.c_int

    def allocate(fd: int, offset: int, length: int) -> int:
        while call(fd, _KEEP_SIZE, offset, length):
            number = ctypes.get_errno()
            if number != errno.EINTR:
                return number
        return 0

    return allocate
