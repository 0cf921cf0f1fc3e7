"""Failed rows with the reason and their input, ready to be corrected and sent again.

Each line is a row as a source takes it: a request as a Batch line, whose `batcher_error` stands
beside the body and is not sent; with a template the data object with `batcher_error` among its
fields, which a template that does not name it passes over. A line that was no row at all, or is
nested too deeply for one, stands as a text under `line`.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from batcher.numbers import may_hold_huge
from batcher.results import Result

__all__ = ["REASON", "failed_line"]

REASON: Final = "batcher_error"

_ROUTING: Final = ("method", "url")


def failed_line(result: Result, raw: bytes, *, is_data: bool) -> bytes:
    """Write a failed row as a line of a new source.

    Args:
        result: Says why.
        raw: The row as it stood in the source.
        is_data: Whether the job's template makes every row data.
    """
    reason = {"code": result.error_code}
    if result.error_message is not None:
        reason["message"] = result.error_message
    try:
        fields = orjson.loads(raw)
        if may_hold_huge(raw):
            return _exact({**_row(result, json.loads(raw), is_data=is_data), REASON: reason})
        row = {**_row(result, fields, is_data=is_data), REASON: reason}
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError, RecursionError):
        # No JSON, no object, or nested beyond what can be written.
        text = raw.decode("utf-8", "replace")
        row = {"custom_id": result.custom_id, "line": text, REASON: reason}
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _exact(row: dict[str, Any]) -> bytes:
    """Write integers of any size digit by digit: orjson knows none beyond 64 bits."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _row(result: Result, fields: Any, *, is_data: bool) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise TypeError("not a JSON object")
    if is_data:
        return fields
    row: dict[str, Any] = {"custom_id": result.custom_id}
    if isinstance(fields.get("body"), dict):
        row |= {name: fields[name] for name in _ROUTING if name in fields}
        return {**row, "body": fields["body"]}
    body = {name: value for name, value in fields.items() if name not in ("custom_id", REASON)}
    return {**row, "body": body}
