"""The files of an output: its lock, its journal `OUTPUT.partial`, and the step that publishes it.

Nobody ever sees half an OUTPUT: it is renamed into place when it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from batcher.errors import OutputLockedError, StorageError, UsageError

__all__ = ["Halted", "Lock", "Paths", "reason", "storage_errors", "sync_folder"]

_LOCK: Final = ".lock"

# `status` holds a lock for as long as it takes to see that nobody else does.
_LOOKS: Final = 5
_LOOK_S: Final = 0.01

# What file systems without hard links say, and Linux's where those of others' files are protected.
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)

_COPY_BYTES: Final = 1024 * 1024


class Halted(Exception):  # noqa: N818 - no error: it was asked for
    """Work on the files was broken off: the run is to stop at once. They are as they were."""


class Paths:
    """Where the files of one output are.

    Attributes:
        output: The finished results; a link is followed, so that it stays a link.
        partial: The journal.
        scratch: A copy in the making, renamed when it is whole.
        lock: Held by the run that owns the output, and what it says of itself.
    """

    def __init__(self, output: Path) -> None:
        self.output = Path(os.path.realpath(output))
        name = self.output.name
        self.partial = self.output.with_name(name + ".partial")
        self.scratch = self.output.with_name(name + ".partial.tmp")
        self.lock = self.output.with_name(name + _LOCK)

    def check(self, source: Path | None = None) -> None:
        """Raise `UsageError` unless an output can stand here and leaves the `source` alone."""
        if source is not None:
            self._spare(source)
        with usage_errors(f"the output {self.output} can't be looked at"):
            if self.output.exists() and not self.output.is_file():
                raise UsageError(f"the output {self.output} is not a file")
        with usage_errors(f"the output's folder {self.output.parent} can't be made"):
            self.output.parent.mkdir(parents=True, exist_ok=True)

    def _spare(self, source: Path) -> None:
        where = Path(os.path.realpath(source))
        for path in (self.output, self.partial, self.scratch, self.lock):
            with usage_errors(f"{path} can't be looked at"):
                same = where == path or (path.exists() and where.exists() and path.samefile(where))
            if same:
                raise UsageError(f"the results would replace the source: {path} is kept by the run")

    def set_aside(self) -> list[Path]:
        """Keep what is there as `.bak`, never over an older one; return the new names.

        The output stays where it is, too, until a new one replaces it.
        """
        kept = []
        with storage_errors("what is there can't be set aside"):
            for path in (self.output, self.partial):
                if path.exists():
                    kept.append(_free_name(path))
                    if path == self.partial or not _linked(path, kept[-1]):
                        path.rename(kept[-1])
            sync_folder(self.output.parent)
        return kept


class Lock:
    """The one run that owns an output: `flock` on `OUTPUT.lock`, gone with its process.

    Raises:
        OutputLockedError: Another run holds it.
        UsageError: The file can't be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            with usage_errors(f"the output {_output_of(path)} can't be written"):
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take()
            # Its last owner may have removed the file while we waited for it to open.
            with contextlib.suppress(OSError):
                if os.fstat(self._fd).st_ino == path.stat().st_ino:
                    return
            os.close(self._fd)

    def write(self, status: dict[str, Any]) -> None:
        """Say how the run is going, for `status`. A full disk is no reason to stop for this."""
        text = orjson.dumps(status, option=orjson.OPT_APPEND_NEWLINE)
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))

    def release(self, *, remove: bool) -> None:
        """Let go; with `remove`, leave no file behind."""
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._fd)

    def _take(self) -> None:
        try:
            self._try_for_a_while()
        except BlockingIOError:
            owner = read_status(self._path).get("pid")
            os.close(self._fd)
            who = f"process {owner}" if owner else "a process"
            raise OutputLockedError(
                f"another run holds this output ({who}); see: batcher status"
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise UsageError(
                f"the output {_output_of(self._path)} can't be locked: {reason(error)}"
            ) from None

    def _try_for_a_while(self) -> None:
        for _ in range(_LOOKS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_LOOK_S)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _output_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(_LOCK))


def is_locked(path: Path) -> bool:
    """Whether a living run holds the lock at `path`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def read_status(path: Path) -> dict[str, Any]:
    """Read what the owner of the lock at `path` last said; empty where nothing is legible."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def copy_head(
    source: Path, target: Path, size: int, *, tail: bytes, halted: Callable[[], bool]
) -> None:
    """Copy the first `size` bytes of a file, and `tail`, into a new private one, to the disk.

    Raises:
        Halted: `halted` said so; it is asked for every block.
    """
    with source.open("rb") as old, open_private(target) as new:
        left = size
        while left and (block := old.read(min(left, _COPY_BYTES))):
            new.write(block)
            left -= len(block)
            if halted():
                raise Halted
        new.write(tail)
        new.flush()
        shutil.copymode(source, target)
        os.fsync(new.fileno())


def open_private(path: Path) -> Any:
    """Open a new file for writing, readable by its owner alone."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def sync_folder(folder: Path) -> None:
    """Put the names of a folder on the disk; file systems that can't are left alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(fd)


def reason(error: OSError) -> str:
    """Say in words what the operating system refused."""
    return error.strerror or type(error).__name__


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {reason(error)}") from None


@contextlib.contextmanager
def usage_errors(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into a `UsageError`."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{what}: {reason(error)}") from None


def _linked(path: Path, name: Path) -> bool:
    """Give a file a second name, where the file system can.

    Raises:
        OSError: It can, but not now.
    """
    try:
        name.hardlink_to(path)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _free_name(path: Path) -> Path:
    candidate = path.with_name(path.name + ".bak")
    number = 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.bak{number}")
    return candidate
