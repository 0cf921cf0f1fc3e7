"""A `Result` to the bytes of a line.

An answer is never serialised again: the bytes that came are embedded. A raw newline can only be
white space between JSON tokens (a string may not hold one), so blanks take its place.
"""

from __future__ import annotations

import orjson

from batcher.records import Result
from batcher.spend import spend_bytes

__all__ = ["encode_attempt", "encode_result"]


def encode_result(result: Result, *, serial: str) -> bytes:
    """Write a result as one line of output, newline included.

    Args:
        result: Its `body` is JSON text, embedded as it came.
        serial: Makes the line's `id`: unique within the output.
    """
    status, error = result.status, result.error
    return b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":%b,"batcher":%b}\n' % (
        serial.encode(),
        orjson.dumps(result.custom_id),
        b"null"
        if status is None
        else b'{"status_code":%d,"request_id":%b,"body":%b}'
        % (status, orjson.dumps(result.request_id), _one_line(result.body)),
        b"null"
        if error is None
        else b'{"code":%b,"message":%b}' % (orjson.dumps(error.code), orjson.dumps(error.message)),
        _batcher(result),
    )


def encode_attempt(result: Result) -> bytes:
    """Write what a row without a result has spent so far: a line of the journal alone."""
    return b'{"object":"batch.attempt","custom_id":%b,"batcher":%b}\n' % (
        orjson.dumps(result.custom_id),
        _batcher(result),
    )


def _batcher(result: Result) -> bytes:
    return (
        b'{"row":%d,"request_hash":"%b","model":%b,"endpoint":%b,"finished_at":"%b",'
        b'"latency_s":%.3f,%b%b%b%b%b}'
        % (
            result.line,
            result.request_hash.encode(),
            orjson.dumps(result.model),
            orjson.dumps(result.endpoint),
            result.finished_at.encode(),
            result.latency_s,
            spend_bytes(result.spend),
            b',"unnamed":%d' % result.unnamed if result.unnamed else b"",
            b',"error_code":' + orjson.dumps(result.code) if result.code else b"",
            b"," + result.extra if result.extra else b"",
            b',"input":' + result.carry if result.carry else b"",
        )
    )


def _one_line(body: bytes) -> bytes:
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body
