"""Where a command writes what it has to say: standard output, or a file that appears whole."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batcher.cli.streams import standard_output

__all__ = ["writing"]


@contextmanager
def writing(output: str | None, *, read: Sequence[Path]) -> Iterator[Any]:
    """Open what text is written to.

    Args:
        output: A file; `-` or None is standard output.
        read: The files that it must not replace.

    Raises:
        UsageError: It is one of those.
        StorageError: It can't be written; what stood there is as it was.
    """
    if output in (None, "-"):
        stream = standard_output()
        yield stream
        stream.flush()
        return
    from batcher.export.files import replacing, spare

    path = Path(str(output))
    spare(path, read)
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        yield text
        text.flush()
        text.detach()
