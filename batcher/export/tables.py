"""Flat tables, a row at a time: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from batcher.errors import UsageError
from batcher.export.fields import Field, Kind, Record, as_json, as_text

__all__ = ["write_csv", "write_jsonl", "write_parquet"]

Write = Callable[[bytes], object]

_CHUNK_CHARS: Final = 256 * 1024

# A row group is what is held: so many rows, or so much text.
_GROUP_ROWS: Final = 10_000
_GROUP_CHARS: Final = 32 * 1024 * 1024


def write_csv(fields: list[Field], records: Iterable[Record], write: Write) -> None:
    """Write a table as CSV with a header: UTF-8, quoted as RFC 4180 has it, nothing for null."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.title for field in fields])
    for record in records:
        writer.writerow([as_text(field.value(record)) for field in fields])
        if buffer.tell() > _CHUNK_CHARS:
            _hand_on(buffer, write)
    _hand_on(buffer, write)


def write_jsonl(fields: list[Field], records: Iterable[Record], write: Write) -> None:
    """Write a table as one JSON object a row, values as they are."""
    for record in records:
        row = {field.title: field.value(record) for field in fields}
        try:
            line = orjson.dumps(row, default=str)
        except orjson.JSONEncodeError:
            line = orjson.dumps({name: orjson.Fragment(as_json(row[name])) for name in row})
        write(line + b"\n")


def write_parquet(fields: list[Field], records: Iterable[Record], file: Any) -> None:
    """Write a table as Parquet, a row group at a time.

    Args:
        fields: Their kinds are known.
        file: Binary, open for writing.

    Raises:
        UsageError: The extra is not installed.
    """
    arrow, parquet = _arrow()
    types = _types(arrow)
    schema = arrow.schema([(field.title, types[field.kind]) for field in fields])
    columns: list[list[Any]] = [[] for _ in fields]
    held = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for record in records:
            for column, field in zip(columns, fields, strict=True):
                value = _typed(field.kind, field.value(record))
                column.append(value)
                held += len(value) if isinstance(value, str) else 8
            if len(columns[0]) >= _GROUP_ROWS or held >= _GROUP_CHARS:
                writer.write_table(arrow.table(columns, schema=schema))
                columns = [[] for _ in fields]
                held = 0
        writer.write_table(arrow.table(columns, schema=schema))


def _hand_on(buffer: io.StringIO, write: Write) -> None:
    write(buffer.getvalue().encode())
    buffer.seek(0)
    buffer.truncate()


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("Parquet needs the extra: pip install 'batcher[parquet]'") from None


def _types(arrow: Any) -> Mapping[Kind, Any]:
    return {
        Kind.TEXT: arrow.string(),
        Kind.JSON: arrow.string(),
        Kind.INTEGER: arrow.int64(),
        Kind.NUMBER: arrow.float64(),
        Kind.TRUTH: arrow.bool_(),
        # Exact; a tenth of a billionth of a cent is below any price.
        Kind.MONEY: arrow.decimal128(38, 18),
        Kind.MOMENT: arrow.timestamp("ms", tz="UTC"),
    }


def _typed(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.JSON:
        return as_json(value).decode()
    if kind is Kind.MONEY:
        return Decimal(value)
    if kind is Kind.MOMENT:
        return datetime.fromisoformat(value)
    if kind is Kind.NUMBER:
        return float(value)
    return as_text(value) if kind is Kind.TEXT else value
