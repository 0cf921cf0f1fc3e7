"""A disk that forgets what was not synced, and a power that can be cut between any two calls.

The files are real; what is doubled is what would survive. Of a file that is what stood in it at its
last fsync, and of what came after, as much or as little as the draw will have it: none, a part, or
a part with zeros where a block never reached the disk. Of a folder it is the names as they stood at
its last fsync, or after any later change of them. Neither waits for the other: a name may survive
without its file's bytes, and the other way round. What a failed fsync was to save is gone for good,
whatever is synced later, though it can be read as long as the machine is up: so does Linux.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

__all__ = ["Disk", "PowerCutError"]


class PowerCutError(BaseException):
    """The power is gone; whatever is called from now on has no effect."""


class Disk:
    """One folder of files without folders in it.

    Args:
        folder: Where the files are; what stands there counts as synced.

    Attributes:
        calls: How many calls there have been that change something or sync it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._real: dict[str, Callable[..., Any]] = {}
        # By inode: a descriptor of our own to read it by, and what was synced of it.
        self._files: dict[int, int] = {}
        self._synced: dict[int, bytes] = {}
        # What a failed fsync has dropped: from where to where.
        self._holes: dict[int, tuple[int, int]] = {}
        self._names = [self._look()]
        for number, fd in self._files.items():
            self._synced[number] = _content(fd)
        self._folder_number = folder.stat().st_ino
        self._left = -1
        self._fault = 0
        self._at_cut: dict[int, bytes] | None = None
        self.calls = 0

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    @contextmanager
    def spinning(self, *, calls: int = -1, fault: int = 0) -> Iterator[None]:
        """Let what happens within run on this disk.

        Args:
            calls: Cut the power at the call after so many; never, below 0.
            fault: Let that call fail with this error number instead.
        """
        self._left, self._fault = calls, fault
        names = ("open", "write", "fsync", "rename", "unlink", "link", "ftruncate")
        self._real = {name: getattr(os, name) for name in names}
        doubles = {name: getattr(self, f"_{name}") for name in names}
        with mock.patch.multiple(os, **doubles):
            yield
        self._left = -1

    @property
    def unharmed(self) -> bool:
        """Whether the fault that was asked for, if any, has not come."""
        return not self._fault or self._left >= 0

    @property
    def settled(self) -> bool:
        """Whether the names in the folder are synced as they stand."""
        return len(self._names) == 1

    def survivors(self, draw: random.Random, *, calm: bool = False) -> dict[str, bytes]:
        """Say what stands in the folder once the power is back, or (`calm`) now."""
        assert self._at_cut is not None
        if calm:
            return {name: self._at_cut[number] for name, number in self._names[-1].items()}
        names = draw.choice(self._names)
        return {
            name: _torn(
                self._synced.get(number, b""), self._kept(number, self._at_cut[number]), draw
            )
            for name, number in names.items()
        }

    def cut(self) -> None:
        """Cut the power now."""
        if self._at_cut is None:
            self._at_cut = {number: _content(fd) for number, fd in self._files.items()}

    def _step(self) -> None:
        if self._at_cut is not None:
            raise PowerCutError
        self.calls += 1
        if self._left == 0:
            self._left = -1
            if self._fault:
                raise OSError(self._fault, os.strerror(self._fault))
            self.cut()
            raise PowerCutError
        self._left -= self._left > 0

    def _look(self) -> dict[str, int]:
        """Take the names down, and keep hold of each file."""
        names = {}
        for entry in os.scandir(self._folder):
            number = entry.inode()
            names[entry.name] = number
            if number not in self._files:
                self._files[number] = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        return names

    def _ours(self, fd: int) -> int:
        number = os.fstat(fd).st_ino
        return number if number in self._files or number == self._folder_number else 0

    def _inside(self, path: Any) -> bool:
        return Path(os.fspath(path)).parent == self._folder

    def _open(self, path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
        real = self._real["open"]
        if not (flags & os.O_CREAT and self._inside(path)):
            return real(path, flags, *arguments, **options)
        return self._rename_like(lambda: real(path, flags, *arguments, **options))

    def _write(self, fd: int, data: Any) -> Any:
        real = self._real["write"]
        if not self._ours(fd):
            return real(fd, data)
        try:
            self._step()
        except PowerCutError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC and len(data) > 1:
                # A disk that fills up takes a part first.
                self._left, self._fault = 0, errno.ENOSPC
                return real(fd, bytes(data)[: len(data) // 2])
            raise
        return real(fd, data)

    def _fsync(self, fd: int) -> None:
        number = self._ours(fd)
        if number:
            try:
                self._step()
            except OSError:
                self._drop(number)
                raise
        if number == self._folder_number:
            self._names = self._names[-1:]
        elif number:
            self._synced[number] = self._kept(number, _content(self._files[number]))

    def _drop(self, number: int) -> None:
        if number in self._files:
            begin = len(self._synced.get(number, b""))
            self._holes.setdefault(number, (begin, len(_content(self._files[number]))))

    def _kept(self, number: int, content: bytes) -> bytes:
        """Give what of a file could be on the disk."""
        begin, end = self._holes.get(number, (0, 0))
        return content[:begin] + bytes(len(content[begin:end])) + content[end:]

    def _rename(self, *arguments: Any, **options: Any) -> Any:
        return self._rename_like(lambda: self._real["rename"](*arguments, **options))

    def _unlink(self, *arguments: Any, **options: Any) -> Any:
        return self._rename_like(lambda: self._real["unlink"](*arguments, **options))

    def _link(self, *arguments: Any, **options: Any) -> Any:
        return self._rename_like(lambda: self._real["link"](*arguments, **options))

    def _ftruncate(self, fd: int, length: int) -> None:
        if self._ours(fd):
            self._step()
        self._real["ftruncate"](fd, length)

    def _rename_like(self, change: Callable[[], Any]) -> Any:
        self._step()
        with mock.patch.multiple(os, open=self._real["open"]):
            result = change()
            now = self._look()
        if now != self._names[-1]:
            self._names.append(now)
        return result


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _torn(synced: bytes, now: bytes, draw: random.Random) -> bytes:
    """Draw what is left of a file: what was synced of it, and something of the rest."""
    common = 0 if not now.startswith(synced) else len(synced)
    while common < min(len(synced), len(now)) and synced[common] == now[common]:
        common += 1
    rest = now[common:]
    match draw.randrange(4):
        case 0:
            return synced
        case 1:
            rest = rest[: draw.randint(0, len(rest))]
        case 2 if rest:
            start = draw.randrange(len(rest))
            length = draw.randint(1, len(rest) - start)
            rest = rest[:start] + bytes(length) + rest[start + length :]
    return now[:common] + rest
