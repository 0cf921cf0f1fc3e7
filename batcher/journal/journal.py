"""One output's journal: scanned at the start, appended to in groups, published at the end.

Group commit: results gather in memory, and one thread at a time writes all that has gathered and
puts it on the disk. A line is never written again, and a torn last line is cut off at the next
start, so at any moment of a crash the file holds whole lines, each of which stands for itself.

What the disk refuses is kept in memory and tried again at the end. What it took and then could not
sync is in doubt for ever, since the system may have dropped it: such a journal is never published,
and the next run reads what is really there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from batcher.errors import StorageError, UsageError
from batcher.journal.files import (
    Paths,
    copy_head,
    reason,
    storage_errors,
    sync_folder,
)
from batcher.journal.keeper import Pledge
from batcher.journal.lines import (
    RETRY_MARK,
    Lease,
    RunNote,
    encode_lease,
    encode_run_note,
    run_note,
)
from batcher.journal.publish import keep_mode, publish_anew
from batcher.journal.reserve import Reserve
from batcher.journal.scan import Scanned, ends_like_ours, scan, whole_line
from batcher.journal.state import State

__all__ = ["Journal"]

# Longest time that a result waits in memory for company. A crash loses what was answered within it.
_GATHER_S: Final = 0.05

# More than this has company enough: large answers must not gather in memory.
_GATHER_BYTES: Final = 2 * 1024 * 1024

# More waiting than this, and no new request leaves until the disk has caught up.
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024

# Room kept on the disk for what is in flight when it fills up: a thousand answers of 4 KiB.
_RESERVE_BYTES: Final = 4 * 1024 * 1024


class Journal:
    """The results of one output, whose lock the caller holds.

    Args:
        paths: The output's files.
        durability: `fsync`, or `flush` to leave the disk to the operating system until the end.
        fresh: Leave what stands there unread; `begin` sets it aside.
        reserve_bytes: Room to keep on the disk for what is in flight when it fills up.
        halted: Asked now and then while what stands there is read; true breaks that off.

    Attributes:
        state: What the files say, kept up to date by what is appended.
        finished: Whether the output is complete and no journal stands beside it.
        totals: Those of the finished output, or None.
        pledge: Asked with each commit what else is to be written, and told once it is.
        failure: Why nothing more may be sent: the disk refused a write, or has no more room to
            keep; None while all is well.

    Raises:
        UsageError: What stands there can't be read, or is no job's output.
        ScanHalted: `halted` said so.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        durability: str = "fsync",
        fresh: bool = False,
        reserve_bytes: int = _RESERVE_BYTES,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state = State(lambda offset: whole_line(self._fd, offset))
        self.finished = False
        self.failure: StorageError | None = None
        self.pledge: Pledge | None = None
        self._paths = paths
        self._syncs = durability == "fsync"
        self._fresh = fresh
        self._reserve = Reserve(reserve_bytes)
        # Why a sync failed: from then on nobody knows what is on the disk.
        self._doubt: OSError | None = None
        self._waiting: list[bytes] = []
        # The journal's length, with and without what waits. A thread moves the second.
        self._size = 0
        self._written = 0
        self._wanted = anyio.Event()
        # How much of the journal is on the disk for good, and word of each commit.
        self._safe = 0
        self._landed = anyio.Event()
        self._hurried = anyio.Event()
        self._fd = -1
        self.totals = None if fresh else self._open(halted)

    @property
    def crowded(self) -> bool:
        """Whether the disk is full, or lags so far behind that no more should be sent for now."""
        return self.failure is not None or self._size - self._written > _MOST_WAITING_BYTES

    def begin(self) -> list[str]:
        """Make ready to append; what an old output holds is copied into a new journal.

        Where the disk has no room to keep, `failure` says so.

        Returns:
            The names under which what stood there was set aside.

        Raises:
            StorageError: The journal can't be made.
        """
        aside = [path.name for path in self._paths.set_aside()] if self._fresh else []
        with storage_errors(f"{self._paths.partial} can't be made"):
            if self.finished:
                self._copy_output()
            if self._fd < 0:
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self._paths.partial, flags, 0o600)
                sync_folder(self._paths.partial.parent)
            # Of a publication that was cut short.
            self._paths.scratch.unlink(missing_ok=True)
        self.finished = False
        self._safe = self._size
        self._keep_room()
        return aside

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

    def note_lease(self, lease: Lease) -> None:
        """Leave word of what a run may have spent unseen."""
        self.state.tidy = False
        self._queue(encode_lease(lease))

    async def commit_until(self, done: anyio.Event) -> None:
        """Write what is queued, in groups, until `done` is set (and `wake` called).

        A disk that refuses ends it: `failure` says why, and what is queued is kept.
        """
        while not done.is_set():
            if not self._waiting and not self._hurried.is_set():
                self._wanted = anyio.Event()
                await self._wanted.wait()
            with anyio.move_on_after(_GATHER_S):
                await self._hurried.wait()
            self._hurried = anyio.Event()
            try:
                await self.commit()
            except StorageError as error:
                self.failure = error
                return

    def wake(self) -> None:
        """Let `commit_until` look at its event again."""
        self.hurry()

    def hurry(self) -> None:
        """Commit at once, rather than when more has gathered."""
        self._wanted.set()
        self._hurried.set()

    async def commit(self) -> None:
        """Write all that is queued, and put it on the disk.

        Raises:
            StorageError: The disk refuses it; what was not written stays queued.
        """
        pledge = self.pledge
        pledged = None if pledge is None else pledge.writing()
        taken = b"".join(self._waiting)
        self._waiting.clear()
        before, size = self._written, self._size
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._write, taken)
            self._safe = size
            if pledge is not None:
                pledge.written(pledged)
        except OSError as error:
            if rest := taken[self._written - before :]:
                self._waiting.insert(0, rest)
            raise StorageError(
                f"results can't be written to {self._paths.partial}: {reason(error)}"
            ) from None
        finally:
            landed, self._landed = self._landed, anyio.Event()
            landed.set()

    async def settled(self) -> bool:
        """Wait until all that is queued by now is on the disk; false where the disk refused."""
        wanted = self._size
        while self._safe < wanted and self.failure is None:
            await self._landed.wait()
        return self._safe >= wanted

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

    def close(self) -> None:
        """Let go of the files. What is still queued, after a bug, is written if that can be."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._waiting and self.failure is None:
                self._write(b"".join(self._waiting))
            self._waiting.clear()
            self._reserve.release(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _open(self, halted: Callable[[], bool]) -> dict[str, Any] | None:
        partial, output = self._paths.partial, self._paths.output
        try:
            path = partial if partial.exists() else output
            if not path.exists():
                return None
            flags = os.O_RDWR | os.O_APPEND if path == partial else os.O_RDONLY
            self._fd = os.open(path, flags | os.O_CLOEXEC)
            scanned = scan(self._fd, self.state, published=path == output, halted=halted)
            self._settle_end(path, scanned)
        except OSError as error:
            raise UsageError(f"{path} can't be opened: {reason(error)}") from None
        self._size = self._written = scanned.size
        self.finished = path == output
        return scanned.totals if self.finished else None

    def _settle_end(self, path: os.PathLike[str], scanned: Scanned) -> None:
        size = os.fstat(self._fd).st_size
        if path == self._paths.output:
            ours = scanned.totals is not None and not self.state.foreign
        else:
            strange = self.state.foreign > self.state.damaged
            ours = self.state.ours > 0 or (not strange and ends_like_ours(self._fd, scanned.size))
        if not ours:
            raise UsageError(
                f"{path} was not written by a job like this; --fresh sets it aside and starts over"
            )
        if path == self._paths.partial and size != scanned.size:
            # A torn last line, or totals whose publication was cut short.
            os.ftruncate(self._fd, scanned.size)

    def _copy_output(self) -> None:
        """Make a new journal of the finished output: its rows, and a note of what they took."""
        assert self.totals is not None
        note = encode_run_note(run_note(self.totals)._replace(stop_reason=""))
        copy_head(self._paths.output, self._paths.scratch, self._written, tail=note)
        self._paths.scratch.rename(self._paths.partial)
        self._written += len(note)
        self._size = self._written
        self.state.tidy = False
        os.close(self._fd)
        self._fd = -1

    def _keep_room(self) -> None:
        if self.failure is None and not self._reserve.keep(self._fd, self._size):
            self.failure = StorageError(
                f"the disk of {self._paths.partial} is full: what is in flight still fits"
            )

    def _queue(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)
        # At once rather than with the next commit: a fast endpoint fills the room within a moment.
        if self._size > self._reserve.enough_until:
            self._keep_room()
        if len(self._waiting) == 1:
            self._wanted.set()
        if self._size - self._written > _GATHER_BYTES:
            self._hurried.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._fd, view)
            self._written += count
            view = view[count:]
        if self._syncs and data:
            self._sync()
        if self._doubt is not None:
            raise self._doubt

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._doubt = error

    def _rename(self, totals: bytes) -> None:
        size = self._written
        try:
            keep_mode(self._paths, self._fd)
            self._write(totals)
            # With `flush`, too: a name must never stand for bytes that are not there.
            os.fsync(self._fd)
            self._reserve.release(self._fd)
            self._paths.partial.rename(self._paths.output)
        except OSError:
            os.ftruncate(self._fd, size)
            self._written = size
            raise
        self._be_finished()

    def _rewrite(self, totals: bytes) -> None:
        # Nothing is in flight any more, and the copy may need the room.
        self._reserve.release(self._fd)
        publish_anew(self._fd, self.state.index, self._paths, totals)
        self._be_finished()

    def _be_finished(self) -> None:
        """The output stands: nothing that goes wrong from here on can take that back."""
        self.finished = True
        with contextlib.suppress(OSError):
            sync_folder(self._paths.output.parent)
