"""Bytes of a line to a `Row`.

A body is sent as it stands: unknown fields pass, defaults fill what it leaves out, the row wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol, Self

import orjson

from batcher.answers import has_choices
from batcher.checks import Checker, carried_out
from batcher.codec.shapes import Shapes, choices_asked, max_output_tokens
from batcher.codec.validity import StreamError, check_body
from batcher.numbers import are_sent_whole, may_hold_huge, read_exactly
from batcher.records import BadRow, Row, RowError
from batcher.settings import Settings
from batcher.settings.forms import is_row_path

__all__ = ["MAX_ROW_BYTES", "Renderer", "RowParser", "raw_hash", "request_hash"]

# What the contract promises; it also bounds the memory that one line may take.
MAX_ROW_BYTES: Final = 64 * 1024 * 1024

# As orjson writes what it has read of an integer beyond 64 bits.
_BIG_FLOAT: Final = re.compile(rb"\de\+\d")
_ROUTING_KEYS: Final = frozenset({"custom_id", "method", "url"})
# Rows that claim the same share one mapping. A job has one or a few dozen; where every row has
# claims of its own, no more than this is held.
_MOST_CLAIMS: Final = 64
_MOST_CLAIMS_BYTES: Final = 64 * 1024

_SEVERAL: Final = "n is above 1, and tools are carried out for one choice"

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


_Claims = tuple[Mapping[str, Any], RowError | None]


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
        votes: How many choices are asked for where the row does not say, 1 for no more than one.
        carries_out: Whether calls are carried out, which goes on from one choice and no more.
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
        votes: int = 1,
        carries_out: bool = False,
        fault: Callable[[Mapping[str, Any]], RowError | None] | None = None,
    ) -> None:
        self._url = url
        self._defaults = dict(defaults or {})
        self._render = render
        self._id_field = id_field or "custom_id"
        self._carry = carry
        self._votes = votes
        self._carries_out = carries_out
        self._fault = fault
        self._claims_known: dict[bytes, _Claims] = {}
        self._shapes = Shapes()

    @classmethod
    def of(cls, settings: Settings, checker: Checker) -> Self:
        """Make the parser that a job asks for.

        Raises:
            UsageError: The job's template does not parse.
        """
        render = None
        if settings.template is not None:
            # The template engine takes 20 ms to import, and few jobs need it.
            from batcher.template import Template

            render = Template(settings.template)
        return cls(
            url=settings.url,
            defaults=settings.defaults,
            render=render,
            id_field=settings.id_field,
            carry=settings.carry,
            votes=settings.answer.get("votes", 1),
            carries_out=bool(settings.handlers),
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
            if self._render is not None and may_hold_huge(raw):
                fields = read_exactly(raw)
            return self._row(line, raw, fields, custom_id)
        except StreamError:
            message = f"line {line}: stream is true, and an answer is one JSON document here"
            return BadRow(line, custom_id, "stream_not_supported", message)
        except ValueError as error:
            return _invalid(line, custom_id, str(error))
        except (orjson.JSONEncodeError, RecursionError):
            # It can be read, but not written again: orjson reads deeper than it writes.
            return _invalid(line, custom_id, "nested too deeply")

    def _row(
        self, line: int, raw: bytes, fields: dict[str, Any], custom_id: str | None
    ) -> Row | BadRow:
        path, body = self._request(fields)
        shape = self._shapes.of(body)
        claimed = _claimed(body, shape.claims) if shape.claims else None
        known = None if claimed is None else self._claims_known.get(claimed)
        check_body(path, body, shape.others if known else shape.rules)
        claims = None
        if claimed is not None:
            claims, why = known or self._learn(claimed)
            if why is not None:
                return BadRow(line, custom_id, why.code, f"line {line}: {why.message}")
        sent = orjson.dumps(body)
        choices = choices_asked(body) if shape.many else 1
        if choices > 1 and self._carries_out and claims and carried_out(claims):
            return _invalid(line, custom_id, _SEVERAL)
        if b"+" in sent and _BIG_FLOAT.search(sent) and self._render is None:
            _, exact = self._request(read_exactly(raw))
            if not are_sent_whole(exact):
                return _invalid(line, custom_id, "an integer in it does not fit into 64 bits")
        made = (
            line,
            f"row-{line}" if custom_id is None else custom_id,
            custom_id is not None,
            request_hash(path, body),
            path,
            sent,
            body.get("model") or "",
            self._carried(fields) if self._carry else b"",
            claims,
            max_output_tokens(path, body, choices) if shape.bounded else None,
            choices,
        )
        return _new(Row, made)

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
        if self._defaults:
            body = {**self._defaults, **body}
        if self._votes > 1 and "n" not in body and has_choices(path):
            body = {**body, "n": self._votes}
        return path, body

    def _learn(self, claimed: bytes) -> _Claims:
        """Give claims that are of the right types, and why they could never be checked."""
        claims = orjson.loads(claimed)
        learnt = (claims, None if self._fault is None else self._fault(claims))
        if len(claimed) <= _MOST_CLAIMS_BYTES:
            if len(self._claims_known) >= _MOST_CLAIMS:
                self._claims_known.clear()
            self._claims_known[claimed] = learnt
        return learnt

    def _carried(self, fields: Mapping[str, Any]) -> bytes:
        return orjson.dumps({name: fields[name] for name in self._carry if name in fields})


def request_hash(path: str, body: Mapping[str, Any]) -> str:
    """Name a request by what it asks: 32 hex digits over the path and the body's canonical JSON.

    Canonical: keys sorted, no white space, so that neither changes what a row is.
    """
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return sha256(b"%b\0%b" % (path.encode(), canonical)).hexdigest()[:32]


def raw_hash(raw: bytes) -> str:
    """Name a line that is no request by its bytes: 32 hex digits."""
    return sha256(b"\0%b" % raw).hexdigest()[:32]


def _claimed(body: Mapping[str, Any], names: tuple[str, ...]) -> bytes | None:
    """Write what a body claims of its answer as JSON; None where that is nothing."""
    claims = {name: body[name] for name in names if body[name] is not None}
    return orjson.dumps(claims) if claims else None


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
