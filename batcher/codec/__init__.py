"""Bytes of a line to a `Row`, a `Result` to bytes, and what makes a request valid."""

from batcher.codec.lines import encode_attempt, encode_result, encode_success
from batcher.codec.rows import MAX_ROW_BYTES, Renderer, RowParser, raw_hash, request_hash

__all__ = [
    "MAX_ROW_BYTES",
    "Renderer",
    "RowParser",
    "encode_attempt",
    "encode_result",
    "encode_success",
    "raw_hash",
    "request_hash",
]
