"""The rows of a source, found again by the line that a result names.

A source may be compressed, a table or a pipe, so its rows are copied once into an unnamed file, as
JSON lines, with an index of 12 bytes a row.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import orjson

from batcher.codec import raw_hash
from batcher.errors import UsageError
from batcher.journal.files import storage_errors
from batcher.records import BadRow, Row
from batcher.source import Source

__all__ = ["SourceRows", "require_same_row"]

Parse = Callable[[int, bytes], Row | BadRow]


class SourceRows:
    """Rows by their line; a context manager.

    Args:
        path: The source; None for standard input.
        form: As `Source` takes it.

    Raises:
        UsageError: It can't be opened.
        StorageError: It can't be read on, or there is no room for the copy.
    """

    def __init__(self, path: Path | None, *, form: str = "auto") -> None:
        self._numbers = array("I")
        self._ends = array("Q")
        source = Source(path, form=form)
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the rows
            try:
                self._copy(source)
            except BaseException:
                self._file.close()
                raise
        finally:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, number: int) -> bytes | None:
        """Return the row on a line as it stands there; None where there is none, or too long."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return None
        start = self._ends[place - 1] if place else 0
        self._file.seek(start)
        return self._file.read(self._ends[place] - start)

    def _copy(self, source: Source) -> None:
        end = 0
        while block := source.read_block():
            for line in block:
                if line.raw is not None:
                    with storage_errors("the source's rows can't be copied"):
                        self._file.write(line.raw)
                    end += len(line.raw)
                    self._numbers.append(line.number)
                    self._ends.append(end)


def require_same_row(
    raw: bytes | None, custom_id: str, ours: dict[str, Any], parse: Parse | None
) -> bytes:
    """Return the row of a result, if it is that.

    Args:
        raw: What stands on its line.
        custom_id: The result's.
        ours: Its `batcher` object.
        parse: The job's parser, where the job is known; without it the id alone is compared.

    Raises:
        UsageError: The source is not, or no longer, the one that was answered.
    """
    number = ours["row"]
    if raw is None and ours.get("error_code") == "row_too_large":
        return b""
    if raw is None or not _is_same(raw, custom_id, ours, parse):
        raise UsageError(
            f"line {number} of the source is not the row {custom_id!r} that was answered: it has"
            " changed since, or is another job's source; run the job again, or give its job file"
        )
    return raw


def _is_same(raw: bytes, custom_id: str, ours: dict[str, Any], parse: Parse | None) -> bool:
    if parse is not None:
        row = parse(ours["row"], raw)
        known = {raw_hash(raw), row.request_hash if isinstance(row, Row) else ""}
        return ours["request_hash"] in known
    try:
        given = orjson.loads(raw).get("custom_id")
    except (orjson.JSONDecodeError, AttributeError):
        return True
    return given is None or bool(ours.get("unnamed")) or str(given) == custom_id
