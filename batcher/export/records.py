"""The results of an output joined with the rows that they answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from batcher.export.fields import Record
from batcher.export.rows import Parse, SourceRows, require_same_row
from batcher.numbers import may_hold_huge, read_exactly
from batcher.report.reading import Output, Standing
from batcher.results import Result, read_result

__all__ = ["Joined", "results_of"]


def results_of(output: Output) -> Iterator[Standing]:
    """Give the results that stand, one at a time."""
    return (line for line in output.standing() if line.is_result)


class Joined:
    """Results and their rows; each iteration reads the output anew.

    Args:
        rows: The source's rows, or None where nobody asked for them.
        parse: The job's parser, where it is known.
        failed: Whether to give the failed results alone.
    """

    def __init__(
        self,
        output: Output,
        *,
        rows: SourceRows | None = None,
        parse: Parse | None = None,
        failed: bool = False,
    ) -> None:
        self._output = output
        self._rows = rows
        self._parse = parse
        self._failed = failed

    def __iter__(self) -> Iterator[Record]:
        for result, raw in self.pairs():
            yield Record(result, _json(raw) if self._rows is not None else None)

    def pairs(self) -> Iterator[tuple[Result, bytes]]:
        """Give each result, and its row as it stands in the source.

        Raises:
            UsageError: A line is no result, or the source is another one.
        """
        for line in results_of(self._output):
            if self._failed and not line.ours.get("error_code"):
                continue
            where = f"{self._output.name}: line {line.number}"
            result = read_result(line.raw, where=where)
            yield result, self._row(result)

    def _row(self, result: Result) -> bytes:
        if self._rows is None:
            return b""
        raw = self._rows.get(result.row)
        return require_same_row(raw, result.custom_id, result.raw["batcher"], self._parse)


def _json(raw: bytes) -> Any:
    try:
        row = orjson.loads(raw)
        return read_exactly(raw) if may_hold_huge(raw) else row
    except (orjson.JSONDecodeError, RecursionError):
        return None
