"""A `Result` to the bytes of a line.

An answer is never serialised again: the bytes that came are embedded. A raw newline can only be
white space between JSON tokens (a string may not hold one), so blanks take its place.
"""

from __future__ import annotations

from functools import lru_cache

import orjson

from batcher.records import Result, RowError
from batcher.spend import spend_text

__all__ = ["encode_attempt", "encode_result"]


def encode_result(result: Result, *, serial: str) -> bytes:
    """Write a result as one line of output, newline included.

    Args:
        result: Its `body` is JSON text, embedded as it came.
        serial: Makes the line's `id`: unique within the output.
    """
    status, request_id, body, error = result[6:10]
    response = b"null"
    if status is not None:
        known_as = orjson.dumps(request_id) if request_id else b'""'
        response = b'{"status_code":%d,"request_id":%b,"body":%b}' % (
            status,
            known_as,
            _one_line(body),
        )
    return b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":%b,%b\n' % (
        serial.encode(),
        orjson.dumps(result.custom_id),
        response,
        b"null" if error is None else _error(error),
        _batcher(result),
    )


def encode_attempt(result: Result) -> bytes:
    """Write what a row without a result has spent so far: a line of the journal alone."""
    return b'{"object":"batch.attempt","custom_id":%b,%b\n' % (
        orjson.dumps(result.custom_id),
        _batcher(result),
    )


def _error(error: RowError) -> bytes:
    return b'{"code":%b,"message":%b}' % (orjson.dumps(error.code), orjson.dumps(error.message))


def _batcher(result: Result) -> bytes:
    """Write our own member, with the brace that closes the line."""
    line, _, unnamed, request_hash, model, endpoint = result[:6]
    code, finished_at, latency_s, spend, carry, extra, prices = result[10:]
    names = _names(model, endpoint, prices if spend.cost_usd is not None else "")
    text = (
        f'"batcher":{{"row":{line},"request_hash":"{request_hash}",{names},'
        f'"finished_at":"{finished_at}","latency_s":{latency_s:.3f},{spend_text(spend)}'
    ).encode()
    if unnamed or code or carry or extra:
        unnamed_part = b',"unnamed":%d' % unnamed if unnamed else b""
        code_part = b',"error_code":' + orjson.dumps(code) if code else b""
        extra_part = b"," + extra if extra else b""
        carry_part = b',"input":' + carry if carry else b""
        return b"%b%b%b%b%b}}" % (text, unnamed_part, code_part, extra_part, carry_part)
    return text + b"}}"


@lru_cache(maxsize=256)  # a job has a handful of models and one endpoint
def _names(model: str, endpoint: str, prices: str) -> str:
    names = {"model": model, "endpoint": endpoint}
    if prices:
        names["prices"] = prices
    return orjson.dumps(names)[1:-1].decode()


def _one_line(body: bytes) -> bytes:
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body
