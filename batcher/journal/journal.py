"""One output's journal: scanned at the start, appended to in groups, published at the end.

Group commit: results gather in memory, and one thread at a time writes all that has gathered and
puts it on the disk. A line is never written again, and a torn last line is cut off at the next
start, so at any moment of a crash the file holds whole lines, each of which stands for itself.
"""

from __future__ import annotations

import os
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from batcher.errors import StorageError, UsageError
from batcher.journal.files import (
    Paths,
    copy_head,
    open_private,
    reason,
    storage_errors,
    sync_folder,
)
from batcher.journal.lines import RETRY_MARK, RunNote, encode_run_note, run_note
from batcher.journal.publish import write_ordered
from batcher.journal.scan import Scanned, scan, whole_line
from batcher.journal.state import State

__all__ = ["Journal"]

# Longest time that a result waits in memory for company. A crash loses what was answered within it.
_GATHER_S: Final = 0.05

# More waiting than this, and no new request leaves until the disk has caught up.
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024


class Journal:
    """The results of one output, whose lock the caller holds.

    Args:
        paths: The output's files.
        durability: `fsync`, or `flush` to leave the disk to the operating system.

    Attributes:
        state: What the files say, kept up to date by what is appended.
        finished: Whether the output is complete and no journal stands beside it.
        totals: Those of the finished output, or None.
        failure: Why the disk refused a write; None while all is well.

    Raises:
        UsageError: What stands there can't be read, or is no job's output.
    """

    def __init__(self, paths: Paths, *, durability: str = "fsync") -> None:
        self.state = State(lambda offset: whole_line(self._fd, offset))
        self.finished = False
        self.failure: StorageError | None = None
        self._paths = paths
        self._syncs = durability == "fsync"
        self._waiting: list[bytes] = []
        # The journal's length, with and without what waits. A thread moves the second.
        self._size = 0
        self._written = 0
        self._wanted = anyio.Event()
        self._fd = -1
        self.totals = self._open()

    @property
    def crowded(self) -> bool:
        """Whether the disk lags so far behind that no more should be sent for now."""
        return self._size - self._written > _MOST_WAITING_BYTES

    def begin(self) -> None:
        """Make ready to append; what an old output holds is copied into a new journal.

        Raises:
            StorageError: The journal can't be made.
        """
        if self._fd >= 0 and not self.finished:
            return
        with storage_errors(f"{self._paths.partial} can't be made"):
            if self.finished:
                copy_head(self._paths.output, self._paths.scratch, self._written)
                self._paths.scratch.rename(self._paths.partial)
                self.close()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self._paths.partial, flags, 0o600)
            sync_folder(self._paths.partial.parent)
        if self.totals is not None:
            self.note_run(run_note(self.totals)._replace(stop_reason=""))
        self.finished = False

    def append(self, line: bytes, entry: int, number: int, *, terminal: bool) -> None:
        """Queue the line of a row; `number` is the row's line in the source."""
        self.state.note_written(entry, self._size, number, terminal=terminal)
        self._queue(line)

    def mark_retry(self) -> None:
        """Leave word that every failure so far has been taken back."""
        self._queue(RETRY_MARK)

    def note_run(self, note: RunNote) -> None:
        """Leave word of what a run took."""
        self.state.tidy = False
        self._queue(encode_run_note(note))

    async def commit_until(self, done: anyio.Event) -> None:
        """Write what is queued, in groups, until `done` is set (and `wake` called).

        A disk that refuses ends it: `failure` says why, and what is queued is kept.
        """
        while not done.is_set() and self.failure is None:
            if not self._waiting:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            with anyio.move_on_after(_GATHER_S):
                await done.wait()
            try:
                await self.commit()
            except StorageError as error:
                self.failure = error

    def wake(self) -> None:
        """Let `commit_until` look at its event again."""
        self._wanted.set()

    async def commit(self) -> None:
        """Write all that is queued, and put it on the disk.

        Raises:
            StorageError: The disk refuses it; what was not written stays queued.
        """
        taken = b"".join(self._waiting)
        self._waiting.clear()
        before = self._written
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._write, taken)
        except OSError as error:
            self._waiting.insert(0, taken[self._written - before :])
            raise StorageError(
                f"results can't be written to {self._paths.partial}: {reason(error)}"
            ) from None

    async def publish(self, totals: dict[str, Any], *, ordered: bool) -> None:
        """Make the journal the output, whole, in one step.

        Raises:
            StorageError: The disk refuses; the journal is as it was.
        """
        await self.commit()
        line = orjson.dumps(totals, option=orjson.OPT_APPEND_NEWLINE)
        fit = self.state.tidy and (self.state.in_order or not ordered)
        with storage_errors(f"{self._paths.output} can't be published"):
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._rename if fit else self._rewrite, line)
        self.finished = True

    def close(self) -> None:
        """Let go of the files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> dict[str, Any] | None:
        partial, output = self._paths.partial, self._paths.output
        path = partial if partial.exists() else output
        if not path.exists():
            return None
        flags = os.O_RDWR | os.O_APPEND if path == partial else os.O_RDONLY
        try:
            self._fd = os.open(path, flags | os.O_CLOEXEC)
            scanned = scan(self._fd, self.state)
            self._settle_end(path, scanned)
        except OSError as error:
            raise UsageError(f"{path} can't be opened: {reason(error)}") from None
        self._size = self._written = scanned.size
        self.finished = path == output
        return scanned.totals if self.finished else None

    def _settle_end(self, path: os.PathLike[str], scanned: Scanned) -> None:
        if path == self._paths.partial:
            # A torn last line, or totals whose publication was cut short.
            if os.fstat(self._fd).st_size != scanned.size:
                os.ftruncate(self._fd, scanned.size)
        elif self.state.foreign or scanned.totals is None:
            raise UsageError(
                f"{path} is not the finished output of a job; --fresh sets it aside and starts over"
            )

    def _queue(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)
        if not self._wanted.is_set():
            self._wanted.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._fd, view)
            self._written += count
            view = view[count:]
        if self._syncs and data:
            os.fsync(self._fd)

    def _rename(self, totals: bytes) -> None:
        size = self._written
        try:
            self._keep_mode(self._fd)
            self._write(totals)
            self._paths.partial.rename(self._paths.output)
        except OSError:
            os.ftruncate(self._fd, size)
            self._written = size
            raise
        sync_folder(self._paths.output.parent)

    def _rewrite(self, totals: bytes) -> None:
        with open_private(self._paths.scratch) as file:
            write_ordered(self._fd, self.state.index, file)
            file.write(totals)
            file.flush()
            self._keep_mode(file.fileno())
            os.fsync(file.fileno())
        self._paths.scratch.rename(self._paths.output)
        sync_folder(self._paths.output.parent)
        self._paths.partial.unlink()
        sync_folder(self._paths.output.parent)

    def _keep_mode(self, fd: int) -> None:
        if self._paths.output.exists():
            os.fchmod(fd, self._paths.output.stat().st_mode & 0o7777)
