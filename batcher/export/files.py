"""Files that appear whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from batcher.errors import UsageError
from batcher.journal.files import open_private, storage_errors

__all__ = ["replacing", "spare"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """Open a file for writing bytes that takes the name `path` once it is whole.

    It is private, or has the mode of the file that it replaces. A link is followed; a pipe or a
    device is written to as it stands.

    Raises:
        StorageError: It can't be written; what stood there is as it was.
    """
    path = path.resolve()
    with storage_errors(f"{path} can't be written"):
        mode = path.stat().st_mode if path.exists() else None
        if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            with path.open("wb") as device:
                yield device
            return
    with _scratch(path) as file:
        if mode is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(mode))
        yield file


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Any]:
    scratch = path.with_name(f".{path.name}.new")
    with storage_errors(f"{path} can't be written"):
        file = open_private(scratch)
    try:
        with storage_errors(f"{path} can't be written"):
            with file:
                yield file
            scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def spare(path: Path, read: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        UsageError: `path` is one of `read`.
    """
    if path.exists() and any(each.exists() and path.samefile(each) for each in read):
        raise UsageError(f"{path} is what is read: give another name by -o")
