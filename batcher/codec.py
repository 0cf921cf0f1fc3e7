"""Bytes of a line to a `Row`, a `Result` to the bytes of a line; and what makes a request valid.

A body is sent as it stands: unknown fields pass, defaults fill what it leaves out. Of a chat row
only `model` and `messages` are required; the fields that the endpoint documents have the documented
type, or null. An answer is never serialised again: the bytes that came are embedded. A raw newline
can only be white space between JSON tokens (a string may not hold one), so blanks take its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol, Self

import orjson

from batcher.checks import CLAIM_FIELDS, Checker
from batcher.records import BadRow, Result, Row, RowError
from batcher.settings import Settings
from batcher.settings.forms import is_row_path
from batcher.spend import spend_bytes
from batcher.template import Template

__all__ = [
    "MAX_ROW_BYTES",
    "Renderer",
    "RowParser",
    "encode_attempt",
    "encode_result",
    "raw_hash",
    "request_hash",
]

# What the contract promises; it also bounds the memory that one line may take.
MAX_ROW_BYTES: Final = 64 * 1024 * 1024

_BIG_FLOAT: Final = re.compile(rb"\de\+\d")
_ROUTING_KEYS: Final = frozenset({"custom_id", "method", "url"})


class Renderer(Protocol):
    """Fills a request template with the fields of a data row."""

    def __call__(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request body; raise `ValueError` with a safe text where that can't be done."""


class RowParser:
    """Turns lines of a source into rows, by the settings of one job.

    Args:
        url: The path of rows that name none.
        defaults: Body fields for what a row leaves out.
        render: The job's template, which makes every row data; or None.
        id_field: The data field that names the row.
        carry: Fields copied into the result.
        fault: Says why the answers to a row with these claims could never be checked.
    """

    def __init__(
        self,
        *,
        url: str = "/v1/chat/completions",
        defaults: Mapping[str, Any] | None = None,
        render: Renderer | None = None,
        id_field: str | None = None,
        carry: tuple[str, ...] = (),
        fault: Callable[[Mapping[str, Any]], RowError | None] | None = None,
    ) -> None:
        self._url = url
        self._defaults = dict(defaults or {})
        self._render = render
        self._id_field = id_field or "custom_id"
        self._carry = carry
        self._fault = fault

    @classmethod
    def of(cls, settings: Settings, checker: Checker) -> Self:
        """Make the parser that a job asks for.

        Raises:
            UsageError: The job's template does not parse.
        """
        return cls(
            url=settings.url,
            defaults=settings.defaults,
            render=None if settings.template is None else Template(settings.template),
            id_field=settings.id_field,
            carry=settings.carry,
            fault=checker.fault if settings.check_answers else None,
        )

    def parse(self, line: int, raw: bytes) -> Row | BadRow:
        """Make a row of one line, or say why it can't be sent; never raises for what it holds."""
        try:
            fields = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return BadRow(line, None, "invalid_json", f"line {line}: not JSON: {error}")
        if type(fields) is not dict:
            return _invalid(line, None, "not a JSON object")
        id_field = "custom_id" if self._render is None else self._id_field
        given = fields.get(id_field)
        custom_id = _id_text(given)
        try:
            if type(given) is float:
                custom_id = _as_written(raw, id_field)
            if custom_id is None and given is not None:
                return _invalid(line, None, "its id is neither a text nor a number")
            return self._row(line, raw, fields, custom_id)
        except (orjson.JSONEncodeError, RecursionError):
            # It can be read, but not written again: orjson reads deeper than it writes.
            return _invalid(line, custom_id, "nested too deeply")

    def _row(
        self, line: int, raw: bytes, fields: dict[str, Any], custom_id: str | None
    ) -> Row | BadRow:
        try:
            path, body = self._request(fields)
            _check_body(path, body)
        except _StreamError:
            message = f"line {line}: stream is true, and an answer is one JSON document here"
            return BadRow(line, custom_id, "stream_not_supported", message)
        except ValueError as error:
            return _invalid(line, custom_id, str(error))
        claims = _claims(body)
        if claims is not None and self._fault is not None and (why := self._fault(claims)):
            return BadRow(line, custom_id, why.code, f"line {line}: {why.message}")
        sent = orjson.dumps(body)
        if b"+" in sent and _BIG_FLOAT.search(sent) and _has_huge_integer(raw):
            return _invalid(line, custom_id, "an integer in it does not fit into 64 bits")
        return Row(
            line,
            f"row-{line}" if custom_id is None else custom_id,
            custom_id is not None,
            request_hash(path, body),
            path,
            sent,
            body.get("model") or "",
            self._carried(fields) if self._carry else b"",
            claims,
            _max_output_tokens(body),
        )

    def _request(self, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        path = self._url
        if self._render is not None:
            body = self._render(fields)
        elif "body" in fields and type(fields["body"]) is dict:
            body = fields["body"]
            path = _routing(fields, path)
        elif not fields.keys().isdisjoint(_ROUTING_KEYS - {"custom_id"}):
            raise ValueError("body is missing or no JSON object")
        else:
            body = fields
            body.pop("custom_id", None)
        return path, {**self._defaults, **body} if self._defaults else body

    def _carried(self, fields: Mapping[str, Any]) -> bytes:
        return orjson.dumps({name: fields[name] for name in self._carry if name in fields})


class _StreamError(ValueError):
    """The row asks for a stream."""


def request_hash(path: str, body: Mapping[str, Any]) -> str:
    """Name a request by what it asks: 32 hex digits over the path and the body's canonical JSON.

    Canonical: keys sorted, no white space, so that neither changes what a row is.
    """
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return sha256(b"%b\0%b" % (path.encode(), canonical)).hexdigest()[:32]


def raw_hash(raw: bytes) -> str:
    """Name a line that is no request by its bytes: 32 hex digits."""
    return sha256(b"\0%b" % raw).hexdigest()[:32]


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


def _invalid(line: int, custom_id: str | None, why: str) -> BadRow:
    return BadRow(line, custom_id, "invalid_request", f"line {line}: {why}")


def _id_text(given: object) -> str | None:
    if type(given) is str:
        return given
    return str(given) if type(given) is int else None


def _as_written(raw: bytes, name: str) -> str:
    """Give a number of the outermost object by its digits: a float can't tell large ones apart."""
    return str(json.loads(raw, parse_int=str, parse_float=str)[name])


def _routing(fields: Mapping[str, Any], path: str) -> str:
    if fields.get("method", "POST") != "POST":
        raise ValueError("method is not POST")
    if "headers" in fields:
        raise ValueError("a row can't set headers")
    url = fields.get("url")
    if url is None:
        return path
    if not isinstance(url, str) or not is_row_path(url):
        raise ValueError("url is not a path: one / at its start, and no //, \\, .. or @")
    return url


def _has_huge_integer(raw: bytes) -> bool:
    found = False

    def note(digits: str) -> int:
        nonlocal found
        found = found or len(digits) > len("-9223372036854775808")
        return 0

    json.loads(raw, parse_int=note)
    return found


def _claims(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if body.keys().isdisjoint(CLAIM_FIELDS):
        return None
    return {name: body[name] for name in CLAIM_FIELDS if body.get(name)} or None


def _max_output_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        most = body.get(name)
        if type(most) is int and most >= 0:
            choices = body.get("n")
            return most * choices if type(choices) is int and choices > 1 else most
    return None


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_integer(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_object(value: object) -> bool:
    return type(value) is dict


def _is_stop(value: object) -> bool:
    return type(value) is str or (type(value) is list and all(map(_is_text, value)))


def _is_tools(value: object) -> bool:
    return type(value) is list and all(map(_is_tool, value))


def _is_tool(value: object) -> bool:
    if type(value) is not dict:
        return False
    if value.get("type") != "function":
        return True
    function = value.get("function")
    return type(function) is dict and type(function.get("name")) is str


# Source: the endpoint's page, and the OpenAI reference where real traffic goes beyond the page.
_TYPES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "n": (_is_integer, "an integer"),
    "stop": (_is_stop, "a text or an array of texts"),
    "max_tokens": (_is_integer, "an integer"),
    "max_completion_tokens": (_is_integer, "an integer"),
    "presence_penalty": (_is_number, "a number"),
    "frequency_penalty": (_is_number, "a number"),
    "logit_bias": (_is_object, "an object"),
    "user": (_is_text, "a text"),
    "response_format": (_is_object, "an object"),
    "seed": (_is_integer, "an integer"),
    "seen": (_is_integer, "an integer"),
    "tools": (_is_tools, "an array of objects, each function with its name"),
    "tool_choice": (lambda value: type(value) in (str, dict), "a text or an object"),
}


def _check_body(path: str, body: Mapping[str, Any]) -> None:
    stream = body.get("stream")
    if stream is True:
        raise _StreamError
    if not path.endswith("/chat/completions"):
        model = body.get("model")
        if model is not None and type(model) is not str:
            raise ValueError("model is not a text")
        return
    if stream not in (None, False):
        raise ValueError("stream is not true or false")
    model = body.get("model")
    if type(model) is not str or not model:
        raise ValueError("model is missing or no text" if not model else "model is not a text")
    _check_messages(body.get("messages"))
    for name, value in body.items():
        known = _TYPES.get(name)
        if known is not None and value is not None and not known[0](value):
            raise ValueError(f"{name} is not {known[1]}")


def _check_messages(messages: object) -> None:
    if type(messages) is not list or not messages:
        raise ValueError("messages is missing, empty or no array")
    for number, message in enumerate(messages, 1):
        if type(message) is not dict:
            raise ValueError(f"message {number} is not an object")
        if type(message.get("role")) is not str:
            raise ValueError(f"message {number} has no role, or one that is no text")
        content = message.get("content")
        if content is not None and type(content) not in (str, list):
            raise ValueError(f"the content of message {number} is neither a text nor an array")
