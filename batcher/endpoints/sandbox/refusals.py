"""Refusals in the shape of the family that was asked, and the checks that raise them.

The texts follow OpenAI's own closely enough to be recognised by what reads them; a message names
fields and types, never a value that the request held beyond a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

__all__ = [
    "COMMON",
    "Check",
    "Refusal",
    "array",
    "bad",
    "boolean",
    "check_fields",
    "integer",
    "mapping",
    "missing",
    "number",
    "one_of",
    "stops",
    "text",
    "type_name",
    "wrong_type",
]

Check = Callable[[str, Any], None]

_KINDS: Mapping[int, str] = {
    401: "invalid_request_error",
    403: "permission_error",
    429: "requests",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
_ANTHROPIC_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_BAD_REQUEST = 400
_SERVER_ERROR = 500

_TYPE_NAMES: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
}

# OpenAI's own bound on stop sequences.
_STOPS_MAX = 4


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """An HTTP refusal.

    Args:
        status: HTTP status.
        message: In the endpoint's words.
        param: The field that is wrong.
        code: The machine's word for it.
        kind: The error's `type`; by default the status's own.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind or _KINDS.get(status, "invalid_request_error")
        self.headers = headers or {}

    def body(self, *, anthropic: bool) -> bytes:
        """Return the JSON body in OpenAI's shape, or in Anthropic's."""
        if anthropic:
            api_error = "api_error" if self.status >= _SERVER_ERROR else "invalid_request_error"
            kind = _ANTHROPIC_KINDS.get(self.status, api_error)
            shape: dict[str, Any] = {
                "type": "error",
                "error": {"type": kind, "message": self.message},
            }
        else:
            shape = {
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.code,
                }
            }
        return orjson.dumps(shape)


def bad(message: str, param: str | None, code: str | None) -> Refusal:
    """Return a 400."""
    return Refusal(_BAD_REQUEST, message, param=param, code=code)


def missing(param: str) -> Refusal:
    """Return the refusal of a request without a required field."""
    return bad(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def type_name(value: object) -> str:
    """Name a JSON value's type as OpenAI's messages do."""
    return _TYPE_NAMES.get(type(value), "an object")


def wrong_type(param: str, wanted: str, value: object) -> Refusal:
    """Return the refusal of a field of the wrong type."""
    said = f"Invalid type for '{param}': expected {wanted}, but got {type_name(value)} instead."
    return bad(said, param, "invalid_type")


def check_fields(body: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check the fields that are there and not null; fields without a check pass."""
    for name, value in body.items():
        if value is not None and name in checks:
            checks[name](name, value)


def text(param: str, value: object) -> None:
    """Check a string."""
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)


def boolean(param: str, value: object) -> None:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)


def mapping(param: str, value: object) -> None:
    """Check an object."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)


def array(param: str, value: object) -> None:
    """Check a non-empty array."""
    if not isinstance(value, list):
        raise wrong_type(param, "an array of objects", value)
    if not value:
        raise bad(
            f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param,
            "empty_array",
        )


def number(least: float, most: float) -> Check:
    """Return a check of a number within bounds."""

    def check(param: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(param, "a decimal", value)
        _bounded(param, value, least, most, "decimal")

    return check


def integer(least: int, most: float) -> Check:
    """Return a check of an integer within bounds."""

    def check(param: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(param, "an integer", value)
        _bounded(param, value, least, most, "integer")

    return check


def _bounded(param: str, value: float, least: float, most: float, kind: str) -> None:
    if value < least:
        side, sign, bound = "below minimum", ">=", least
    elif value > most:
        side, sign, bound = "above maximum", "<=", most
    else:
        return
    raise bad(
        f"Invalid '{param}': {kind} {side} value. Expected a value {sign} {bound:g}, but got "
        f"{value:g} instead.",
        param,
        f"{kind}_{side.split()[0]}_{side.split()[1][:3]}_value",
    )


def stops(param: str, value: object) -> None:
    """Check stop sequences: a string, or an array of at most four."""
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise wrong_type(param, "one of a string or array of strings", value)
    if len(value) > _STOPS_MAX:
        said = f"Invalid '{param}': array too long. Expected an array with maximum length 4."
        raise bad(said, param, "array_above_max_length")
    for at, item in enumerate(value):
        text(f"{param}[{at}]", item)


def one_of(param: str, value: object, allowed: Sequence[str]) -> None:
    """Check a string of a closed set."""
    text(param, value)
    if value not in allowed:
        names = ", ".join(f"'{name}'" for name in allowed)
        raise bad(
            f"Invalid value for '{param}'. Supported values are: {names}.", param, "invalid_value"
        )


# The fields that most families have in common.
COMMON: Mapping[str, Check] = {
    "max_tokens": integer(1, math.inf),
    "max_output_tokens": integer(1, math.inf),
    "metadata": mapping,
    "n": integer(1, 128),
    "stop": stops,
    "temperature": number(0, 2),
    "tools": array,
    "top_p": number(0, 1),
    "user": text,
}
