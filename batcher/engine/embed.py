"""What of an answer goes into its row's line: its text as it came, and the id that it has there."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import orjson

from batcher.answers import NOT_JSON
from batcher.records import Reply

__all__ = ["is_too_deep", "json_text", "read_again", "request_id_of"]

# Source: RFC 8259, 8.1: none should be written, and a reader may pass over it.
_BOM: Final = b"\xef\xbb\xbf"

# Python's own reader gives up at about 990 levels, orjson at 1,024.
_MOST_NESTED: Final = 500
_ORJSON_NESTED: Final = 1024


def request_id_of(reply: Reply) -> str:
    """Find the endpoint's id of a request, under any of its names; empty where it has none."""
    get = reply.headers.get
    found = get("x-request-id")
    if found is None:
        found = get("request-id")
    if found is None:
        found = get("x-oneapi-request-id")
    if found is None:
        found = get("apim-request-id")
    if not found:
        return ""
    # Bytes that are no UTF-8 come as lone surrogates, which JSON can't hold.
    return found if found.isascii() else found.encode("utf-8", "replace").decode()


def read_again(reply: Reply) -> tuple[Reply, Any]:
    """Read a body that seems to be no JSON: behind a byte order mark it may well be.

    Returns:
        The reply without that mark, and its body parsed; else as it is, and `NOT_JSON`.
    """
    if reply.body.startswith(_BOM):
        body = reply.body.removeprefix(_BOM)
        with contextlib.suppress(orjson.JSONDecodeError):
            return reply._replace(body=body), orjson.loads(body)
    return reply, NOT_JSON


def json_text(body: bytes, answer: object) -> bytes:
    """Give a body as it came; one that is no JSON as a JSON text that holds it."""
    if answer is not NOT_JSON and not is_too_deep(body):
        return body
    return orjson.dumps(body.decode("utf-8", "replace"))


def is_too_deep(body: bytes) -> bool:
    """Whether a body is nested more deeply than a result's readers could read its line."""
    # A level takes two characters at least. To count them is to look at each by itself, up to
    # Python 3.12; what is replaced is searched for, many characters at once.
    size = len(body)
    if size <= 2 * _MOST_NESTED or (
        2 * size - len(body.replace(b"[", b"")) - len(body.replace(b"{", b"")) <= _MOST_NESTED
    ):
        return False
    rest = _ORJSON_NESTED - _MOST_NESTED
    try:
        orjson.loads(b"%b%b%b" % (b"[" * rest, body, b"]" * rest))
    except orjson.JSONDecodeError:
        return True
    return False
