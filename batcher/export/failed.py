"""Failed rows with the reason and their input, ready to be corrected and sent again.

Each line is a row as a source takes it: a request as a Batch line, whose `batcher_error` stands
beside the body and is not sent; with a template the data object with `batcher_error` among its
fields, which a template that does not name it passes over. A line that was no row at all stands as
a text under `line`.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

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
    except orjson.JSONDecodeError:
        fields = None
    row = _row(result, fields, raw, is_data=is_data)
    return orjson.dumps({**row, REASON: reason}, option=orjson.OPT_APPEND_NEWLINE)


def _row(result: Result, fields: Any, raw: bytes, *, is_data: bool) -> dict[str, Any]:
    if not isinstance(fields, dict):
        text = raw.decode("utf-8", "replace")
        return {"custom_id": result.custom_id, "line": text}
    if is_data:
        return fields
    row: dict[str, Any] = {"custom_id": result.custom_id}
    if isinstance(fields.get("body"), dict):
        row |= {name: fields[name] for name in _ROUTING if name in fields}
        return {**row, "body": fields["body"]}
    body = {name: value for name, value in fields.items() if name not in ("custom_id", REASON)}
    return {**row, "body": body}
