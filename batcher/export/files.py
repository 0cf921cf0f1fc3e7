"""Files that appear whole, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batcher.journal.files import open_private, storage_errors

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """Open a private file for writing bytes that takes the name `path` once it is whole.

    Raises:
        StorageError: It can't be written; what stood there is as it was.
    """
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
