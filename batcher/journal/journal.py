"""One output's journal: scanned at the start, appended to in groups, published at the end.

Group commit: results gather in memory, and one thread at a time writes all that has gathered and
puts it on the disk. A line is never written again, and a torn last line is cut off at the next
start, so at any moment of a crash the file holds whole lines, each of which stands for itself.

What the disk refuses is kept in memory and tried again at the end. A journal whose disk is in doubt
(see `tape`) is never published, and the next run reads what is really there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from batcher.errors import StorageError, UsageError
from batcher.journal.files import Paths, reason, storage_errors
from batcher.journal.groups import GATHER_BYTES, Groups
from batcher.journal.keeper import Pledge
from batcher.journal.lines import RETRY_MARK, Lease, RunNote, encode_lease, encode_run_note
from batcher.journal.publish import publish_anew, publish_as_it_is
from batcher.journal.reserve import Reserve
from batcher.journal.scan import whole_line
from batcher.journal.standing import copy_output, open_new, open_standing, read_standing, standing
from batcher.journal.state import State
from batcher.journal.tape import Tape

__all__ = ["Journal"]

# More waiting than this, and no new request leaves until the disk has caught up.
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024

# Room kept on the disk for what is in flight when it fills up.
_RESERVE_BYTES: Final = 4 * 1024 * 1024


class Journal:
    """The results of one output, whose lock the caller holds.

    Args:
        paths: The output's files.
        durability: `fsync`, or `flush` to leave the disk to the operating system until the end.
        fresh: Leave what stands there unread; `begin` sets it aside.
        reserve_bytes: Room to keep on the disk for what is in flight when it fills up.
        halted: Asked while what stands there is read, copied or published; true breaks that off.

    Attributes:
        state: What the files say, kept up to date by what is appended.
        finished: Whether the output is complete and no journal stands beside it.
        totals: Those of the finished output, or None.
        pledge: Asked with each commit what else is to be written, and told once it is.
        failure: Why nothing more may be sent: the disk refused a write, or has no more room to
            keep; None while all is well.

    Raises:
        UsageError: What stands there can't be read, or is no job's output.
        Halted: `halted` said so.
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
        self.state = State(lambda offset: whole_line(self._tape.fd, offset))
        self.finished = False
        self.failure: StorageError | None = None
        self.pledge: Pledge | None = None
        self._paths = paths
        self._fresh = fresh
        self._halted = halted
        self._reserve = Reserve(reserve_bytes)
        self._waiting: list[bytes] = []
        self._tape = Tape(syncs=durability == "fsync")
        # The journal's length with what waits, and how long it may grow before `_look` is due.
        self._size = 0
        self._unseen_until: float = -1
        # How much of the journal is on the disk for good.
        self._safe = 0
        self._groups = Groups()
        try:
            self.totals = None if fresh else self._open()
        except BaseException:
            self.close()
            raise

    def crowded(self, in_flight: int) -> bool:
        """Whether the disk is full for one more than `in_flight`, or lags: send no more for now."""
        return (
            self.failure is not None
            or self.backlog_bytes() > _MOST_WAITING_BYTES
            or (in_flight >= self._reserve.most_in_flight and not self._make_room(in_flight))
        )

    def backlog_bytes(self) -> int:
        """How many bytes wait for the disk."""
        return self._size - self._tape.written

    def begin(self) -> list[str]:
        """Make ready to append; what an old output holds is copied into a new journal.

        Where the disk has no room to keep, `failure` says so.

        Returns:
            The names under which what stood there was set aside.

        Raises:
            StorageError: The journal can't be made.
            Halted: `halted` said so.
        """
        aside = [path.name for path in self._paths.set_aside()] if self._fresh else []
        with storage_errors(f"{self._paths.partial} can't be made"):
            if self.finished:
                self._copy_output()
            if self._tape.fd < 0:
                self._tape.fd = open_new(self._paths)
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
            due = self.pledge is not None and self.pledge.due
            await self._groups.gather(waiting=due or bool(self._waiting))
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
        self._groups.hurry()

    async def commit(self) -> None:
        """Write all that is queued, and put it on the disk.

        Raises:
            StorageError: The disk refuses it; what was not written stays queued.
        """
        pledge = self.pledge
        pledged = None if pledge is None else pledge.writing()
        taken = b"".join(self._waiting)
        self._waiting.clear()
        self._unseen_until = -1
        before, size = self._tape.written, self._size
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._tape.write, taken)
            self._safe = size
            if pledge is not None:
                pledge.written(pledged)
        except OSError as error:
            if rest := taken[self._tape.written - before :]:
                self._waiting.insert(0, rest)
            what = f"results can't be written to {self._paths.partial}"
            raise StorageError(f"{what}: {reason(error)}") from None
        finally:
            self._groups.tell()

    async def settled(self) -> bool:
        """Wait until all that is queued by now is on the disk; false where the disk refused."""
        wanted = self._size
        while self._safe < wanted and self.failure is None:
            await self._groups.landed()
        return self._safe >= wanted

    async def landed(self) -> bool:
        """Wait for the end of the next commit; false where the disk refused."""
        if self.failure is None:
            await self._groups.landed()
        return self.failure is None

    async def publish(self, totals: dict[str, Any], *, ordered: bool) -> None:
        """Make the journal the output, whole, in one step.

        Raises:
            StorageError: The disk refuses; the journal is as it was.
            Halted: `halted` said so; likewise.
        """
        await self.commit()
        line = orjson.dumps(totals, option=orjson.OPT_APPEND_NEWLINE)
        fit = self.state.tidy and (self.state.in_order or not ordered)
        parts = (self._tape, self._reserve, self._paths, line)
        work = partial(publish_as_it_is, *parts)
        if not fit:
            work = partial(publish_anew, *parts, index=self.state.index, halted=self._halted)
        with storage_errors(f"{self._paths.output} can't be published"):
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(work)
        self.finished = True

    def close(self) -> None:
        """Let go of the files. What is still queued, after a bug, is written if that can be."""
        if self._tape.fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._waiting and self.failure is None:
                self._tape.write(b"".join(self._waiting))
            self._waiting.clear()
            self._reserve.release(self._tape.fd)
        self._tape.close()

    def _open(self) -> dict[str, Any] | None:
        path = standing(self._paths)
        if path is None:
            return None
        try:
            self._tape.fd = open_standing(self._paths, path)
            parts = (self._tape.fd, self._paths, path, self.state)
            scanned = read_standing(*parts, halted=self._halted)
        except OSError as error:
            raise UsageError(f"{path} can't be opened: {reason(error)}") from None
        self._size = self._tape.written = scanned.size
        self.finished = path == self._paths.output
        return scanned.totals if self.finished else None

    def _copy_output(self) -> None:
        assert self.totals is not None
        parts = (self._paths, self.totals, self._tape.written)
        self._size = self._tape.written = copy_output(*parts, halted=self._halted)
        self.state.tidy = False
        self._tape.close()

    def _keep_room(self) -> None:
        if self.failure is None and not self._reserve.keep(self._tape.fd, self._size):
            self._be_full()

    def _make_room(self, in_flight: int) -> bool:
        """Keep room for one request more; where there is none for a single one, that is all."""
        room = self._reserve.widen(self._tape.fd, self._size, in_flight + 1)
        self._unseen_until = -1
        if not room and not in_flight:
            self._be_full()
        return room

    def _be_full(self) -> None:
        where = self._paths.partial
        self.failure = StorageError(f"the disk of {where} is full: what is in flight still fits")

    def _queue(self, line: bytes) -> None:
        self._waiting.append(line)
        if len(line) > self._reserve.large_bytes:
            self._reserve.note(len(line))
        self._size = size = self._size + len(line)
        if size > self._unseen_until:
            self._look()

    def _look(self) -> None:
        """Have what is queued written in time, and room kept for it; say when to look again."""
        # At once rather than with the next commit: a fast endpoint fills the room within a moment.
        if self._size > self._reserve.enough_until:
            self._keep_room()
        self._groups.want()
        hurry_from = self._tape.written + GATHER_BYTES
        if self._size > hurry_from:
            self._groups.hurry()
        self._unseen_until = min(self._reserve.enough_until, hurry_from)
