"""A `Result` to the bytes of a line.

An answer is never serialised again: the bytes that came are embedded. A raw newline can only be
white space between JSON tokens (a string may not hold one), so blanks take its place.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

import orjson

from batcher.amounts import Usage
from batcher.records import Reply, Result, Row, RowError
from batcher.spend import cost_text, spend_text

__all__ = ["encode_attempt", "encode_result", "encode_success"]


def encode_result(result: Result, *, serial: str) -> bytes:
    """Write a result as one line of output, newline included.

    Args:
        result: Its `body` is JSON text, embedded as it came.
        serial: Makes the line's `id`: unique within the output.
    """
    status, request_id, body, error = result[6:10]
    response = b"null" if status is None else _response(status, request_id, body)
    return b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":%b,%b\n' % (
        serial.encode(),
        orjson.dumps(result.custom_id),
        response,
        b"null" if error is None else _error(error),
        _batcher(result),
    )


def encode_success(
    row: Row,
    reply: Reply,
    usage: Usage,
    cost: Decimal | None,
    *,
    serial: str,
    unnamed: int,
    endpoint: str,
    prices: str,
    request_id: str,
    finished_at: str,
    extra: bytes,
) -> bytes:
    """Write the result of a row that succeeded at its first attempt: `encode_result`, in less time.

    Args:
        row: Gives the names, and what is carried.
        reply: Its `body` is JSON text.
        usage, cost: Of this attempt.
        serial, unnamed, endpoint, prices, request_id, finished_at, extra: As in a `Result`.
    """
    line, custom_id, _, request_hash, _, _, model, carry, *_ = row
    status, _, body, latency_s = reply
    prompt, completion, total, cached, written, reasoning = usage
    names = _names(model, endpoint, prices if cost is not None else "")
    written_part = f',"cache_write_tokens":{written}' if written else ""
    money = 'null,"unpriced":true' if cost is None else f'"{cost_text(cost)}"'
    ours = (
        f'"batcher":{{"row":{line},"request_hash":"{request_hash}",{names},'
        f'"finished_at":"{finished_at}","latency_s":{latency_s:.3f},"attempts":1,'
        f'"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},'
        f'"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached}{written_part}}},'
        f'"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}},"cost_usd":{money}'
    ).encode()
    if unnamed or carry:
        ours += _more(unnamed, "", extra, carry)
    elif extra:
        ours += b"," + extra
    return b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":null,%b}}\n' % (
        serial.encode(),
        orjson.dumps(custom_id),
        _response(status, request_id, body),
        ours,
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
        text += _more(unnamed, code, extra, carry)
    return text + b"}}"


def _more(unnamed: int, code: str, extra: bytes, carry: bytes) -> bytes:
    """Write what stands in our member only where there is something to say."""
    unnamed_part = b',"unnamed":%d' % unnamed if unnamed else b""
    code_part = b',"error_code":' + orjson.dumps(code) if code else b""
    extra_part = b"," + extra if extra else b""
    carry_part = b',"input":' + carry if carry else b""
    return b"%b%b%b%b" % (unnamed_part, code_part, extra_part, carry_part)


def _response(status: int, request_id: str, body: bytes) -> bytes:
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    known_as = orjson.dumps(request_id) if request_id else b'""'
    return b'{"status_code":%d,"request_id":%b,"body":%b}' % (status, known_as, body)


@lru_cache(maxsize=256)  # a job has a handful of models and one endpoint
def _names(model: str, endpoint: str, prices: str) -> str:
    names = {"model": model, "endpoint": endpoint}
    if prices:
        names["prices"] = prices
    return orjson.dumps(names)[1:-1].decode()
