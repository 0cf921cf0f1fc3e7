"""What the columns of a table are called, and where in a result each value is found.

A field is one of `FIXED`, or a path: `input.NAME` (what the job carried over), `source.NAME` (the
row of the source), `answer.NAME` (the parsed answer), `body.PATH` (the endpoint's answer) and
`batcher.PATH` (our own key); a number in a path counts into a list. `title=field` renames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson

from batcher.errors import UsageError
from batcher.results import Result

__all__ = [
    "FIXED",
    "HEADS",
    "Field",
    "Kind",
    "Record",
    "as_json",
    "as_text",
    "default_fields",
    "parse_fields",
]


class Kind(Enum):
    """What a column holds: decides its type where the table has types."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    MONEY = "money"
    MOMENT = "moment"
    JSON = "json"
    UNKNOWN = "unknown"


class Record(NamedTuple):
    """A result, and the row that it answers: the source's JSON object, or None."""

    result: Result
    source: Any = None


class Field(NamedTuple):
    """A column.

    Attributes:
        title: Its name in the table.
        value: Gives its value in a record.
        kind: What it holds; `UNKNOWN` until a survey has told.
        of_source: Whether the value is the source row's.
    """

    title: str
    value: Callable[[Record], Any]
    kind: Kind = Kind.UNKNOWN
    of_source: bool = False


def _finish_reason(record: Record) -> Any:
    body = record.result.body
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0].get("finish_reason")
    return body.get("stop_reason") or body.get("status")


def _status(record: Record) -> str:
    return "completed" if record.result.succeeded else "failed"


def _of_result(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.result, name)


def _of_usage(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.result.usage, name)


def _ours(name: str) -> Callable[[Record], Any]:
    return lambda record: record.result.raw["batcher"].get(name)


FIXED: Final[Mapping[str, Field]] = {
    field.title: field
    for field in (
        Field("custom_id", _of_result("custom_id"), Kind.TEXT),
        Field("row", _of_result("row"), Kind.INTEGER),
        Field("status", _status, Kind.TEXT),
        Field("text", lambda record: record.result.text or None, Kind.TEXT),
        Field("label", _of_result("label"), Kind.UNKNOWN),
        Field("answer", _of_result("answer"), Kind.JSON),
        Field("tool_calls", _ours("tool_calls"), Kind.JSON),
        Field("finish_reason", _finish_reason, Kind.TEXT),
        Field("error_code", _of_result("error_code"), Kind.TEXT),
        Field("error_message", _of_result("error_message"), Kind.TEXT),
        Field("status_code", _of_result("status_code"), Kind.INTEGER),
        Field("model", _of_result("model"), Kind.TEXT),
        Field("attempts", _of_result("attempts"), Kind.INTEGER),
        Field("latency_s", _of_result("latency_s"), Kind.NUMBER),
        Field("prompt_tokens", _of_usage("prompt_tokens"), Kind.INTEGER),
        Field("completion_tokens", _of_usage("completion_tokens"), Kind.INTEGER),
        Field("total_tokens", _of_usage("total_tokens"), Kind.INTEGER),
        Field("cached_tokens", _of_usage("cached_tokens"), Kind.INTEGER),
        Field("reasoning_tokens", _of_usage("reasoning_tokens"), Kind.INTEGER),
        Field("cost_usd", _ours("cost_usd"), Kind.MONEY),
        Field("finished_at", _ours("finished_at"), Kind.MOMENT),
    )
}

HEADS: Final[Mapping[str, Callable[[Record], Any]]] = {
    "input": _of_result("input"),
    "source": lambda record: record.source,
    "answer": _of_result("answer"),
    "body": _of_result("body"),
    "batcher": lambda record: record.result.raw["batcher"],
}


def parse_fields(text: str) -> list[Field]:
    """Read `--fields`: names and paths, parted by commas.

    Raises:
        UsageError: One means nothing, or two columns have one name.
    """
    found = [_parse_field(part.strip()) for part in text.split(",") if part.strip()]
    titles = [field.title for field in found]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise UsageError(f"--fields: two columns are called {twice!r}; title=field renames one")
    if not found:
        raise UsageError("--fields names no field")
    return found


def default_fields(inputs: list[str], sources: list[str]) -> list[Field]:
    """Give the fixed fields, and those that the results carry and the source's rows have."""
    paths = [f"input.{name}" for name in inputs] + [f"source.{name}" for name in sources]
    dynamic = [Field(path, _below(*path.split(".", 1), whole=True)) for path in paths]
    return [*FIXED.values(), *dynamic]


def _parse_field(text: str) -> Field:
    title, given, path = text.partition("=")
    path = (path if given else text).strip()
    title = title.strip() if given else path
    if not title:
        raise UsageError(f"--fields: {text!r} has no title before =")
    if path in FIXED:
        return FIXED[path]._replace(title=title)
    head, _, rest = path.partition(".")
    if head not in HEADS or not rest:
        names = [*FIXED, *(f"{name}." for name in HEADS)]
        near = get_close_matches(path, names, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(names)}"
        raise UsageError(f"--fields: there is no field {path!r}: {hint}")
    return Field(title, _below(head, rest), of_source=head == "source")


def _below(head: str, rest: str, *, whole: bool = False) -> Callable[[Record], Any]:
    """Make what finds the value below a head; with `whole`, `rest` is one name, dots and all."""
    begin = HEADS[head]
    keys = [rest] if whole else rest.split(".")

    def value(record: Record) -> Any:
        found = begin(record)
        for key in keys:
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, list) and key.isascii() and key.isdecimal():
                found = found[int(key)] if int(key) < len(found) else None
            else:
                return None
        return found

    return value


def as_text(value: Any) -> str | None:
    """Write a value as a table without types has it; None for nothing."""
    if value is None or isinstance(value, str):
        return value
    return as_json(value).decode()


def as_json(value: Any) -> bytes:
    """Write a value that was read from JSON; one that is nested beyond what can be written is null.

    orjson reads 1,024 levels and writes 254; the standard library writes nearly 1,000.
    """
    try:
        return orjson.dumps(value, default=str)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    except RecursionError:
        return b"null"
