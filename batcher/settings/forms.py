"""The kinds of value that are texts, paths, headers or tables; numbers and time are in `values`.

What goes onto the wire is checked here: a header can't break out of its line, and a row's path
can't leave the base URL's host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from batcher.settings.values import Kind, UnfitError, plain_number

__all__ = [
    "HEADERS",
    "HEADER_NAME",
    "LABELS",
    "PATH",
    "POINTER",
    "PRICES",
    "ROW_PATH",
    "TABLE",
    "TEXT",
    "TEXTS",
    "VARIABLE",
    "form_of",
    "is_row_path",
]


def _string(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UnfitError
    return value


_TEXT_SCHEMA = {"type": "string", "minLength": 1}
TEXT = Kind("TEXT", "a text", _string, _string, _TEXT_SCHEMA)


def _path(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_string(value))


PATH = Kind("FILE", "the path of a file", _path, _path, _TEXT_SCHEMA, is_path=True)


def _prices(value: object) -> str | Path:
    return str(value) if value in {"list", "none"} else _path(value)


PRICES = Kind(
    "FILE|list|none",
    "list, none or the path of a price table",
    _prices,
    _prices,
    _TEXT_SCHEMA,
    is_path=True,
)


def _variable(value: object) -> str:
    text = _string(value)
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text, re.ASCII) is None:
        raise UnfitError
    return text


VARIABLE = Kind(
    "NAME",
    "the name of an environment variable",
    _variable,
    _variable,
    {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
)


@lru_cache(maxsize=1024)
def is_row_path(path: str) -> bool:
    """Whether a row's `url` stays on the base URL's host: `/v1/...` without tricks."""
    return (
        re.fullmatch(r"/[!-~]*", path, re.ASCII) is not None
        and not path.startswith("//")
        and not any(trick in path for trick in ("//", "\\", "..", "@", "#"))
    )


def form_of(path: Path | None, said: str) -> str:
    """Say how the rows of a source are written: `jsonl`, `csv` or `tsv`.

    Args:
        path: None for standard input.
        said: One of these, or `auto`: as the path's name says, whatever compresses it.
    """
    if said != "auto":
        return said
    suffixes = [suffix.lower() for suffix in path.suffixes] if path else []
    if suffixes[-1:] in ([".gz"], [".zst"]):
        suffixes.pop()
    return {".csv": "csv", ".tsv": "tsv"}.get(suffixes[-1] if suffixes else "", "jsonl")


def _row_path(value: object) -> str:
    text = _string(value)
    if not is_row_path(text):
        raise UnfitError
    return text


ROW_PATH = Kind(
    "PATH",
    "a path such as /v1/chat/completions, without a host",
    _row_path,
    _row_path,
    {"type": "string", "pattern": r"^/(?!/)(?!.*(//|\\|\.\.|@|#))[!-~]*$"},
)


def _pointer(value: object) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise UnfitError
    return value


POINTER = Kind(
    "POINTER",
    "a JSON pointer such as /label",
    _pointer,
    _pointer,
    {"type": "string", "pattern": "^(/.*)?$"},
)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UnfitError
    return tuple(_string(item) for item in value)


TEXTS = Kind(
    "TEXT,...",
    "an array of texts",
    lambda text: _texts([part.strip() for part in text.split(",")]),
    _texts,
    {"type": "array", "items": _TEXT_SCHEMA},
)

# What a JSON number can be for every parser: beyond it, they disagree.
_MAX_INTEGER = 2**63 - 1


def _labels(value: object) -> tuple[str | int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise UnfitError
    return tuple(label if isinstance(label, int) else _string(label) for label in value)


LABELS = Kind(
    "",
    "an array of labels: texts, whole numbers, true or false",
    lambda _: _labels(()),
    _labels,
    {"type": "array", "minItems": 1, "items": {"type": ["string", "integer", "boolean"]}},
)


def _json(value: object) -> object:
    """Copy a TOML value as JSON; dates, `nan` and huge integers have no JSON."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, float):
        return plain_number(value)
    raise UnfitError


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnfitError
    return {str(key): _json(item) for key, item in value.items()}


def _no_text(_: str) -> Mapping[str, Any]:
    raise UnfitError


TABLE = Kind(
    "",
    "a table of JSON values (no dates, no nan)",
    _no_text,
    _table,
    {"type": "object"},
)


_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def _header_name(value: object) -> str:
    """An HTTP token. Source: RFC 9110, 5.6.2."""
    text = _string(value)
    if re.fullmatch(_NAME, text, re.ASCII) is None:
        raise UnfitError
    return text


def _header_value(value: object) -> str:
    """Visible ASCII, blanks and tabs: no CR, no LF. Source: RFC 9110, 5.5."""
    text = _string(value).strip(" \t")
    if re.fullmatch(r"[\t -~]+", text, re.ASCII) is None:
        raise UnfitError
    return text


HEADER_NAME = Kind(
    "NAME",
    "the name of a header",
    _header_name,
    _header_name,
    {"type": "string", "pattern": f"^{_NAME}$"},
)


def _header_text(text: str) -> tuple[tuple[str, str], ...]:
    name, _, value = text.partition(":")
    return ((_header_name(name), _header_value(value)),)


def _header_table(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise UnfitError
    return tuple((_header_name(name), _header_value(text)) for name, text in value.items())


HEADERS = Kind(
    "'NAME: VALUE'",
    "'Name: value' on one line, in plain ASCII",
    _header_text,
    _header_table,
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{_NAME}$"},
        "additionalProperties": {"type": "string", "pattern": "^[\\t -~]*[!-~][\\t -~]*$"},
    },
    repeats=True,
)
