"""Integers beyond 64 bits: orjson reads them as floats, which would change them unseen.

Floats need no such care: what is written again is the shortest text of the very same double, and
what no double holds is no JSON to orjson.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = ["are_sent_whole", "may_hold_huge", "read_exactly", "read_whole"]

_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1
_MOST_LETTERS: Final = max(len(str(_LEAST)), len(str(_MOST)))

_DIGITS: Final = bytes(ord("0") if each in b"0123456789" else ord(" ") for each in range(256))
_LONG: Final = b"0" * len(str(-_LEAST))


class _Digits(str):
    """An integer that is too large to be one."""

    __slots__ = ()


def read_whole(raw: bytes) -> Any:
    """Read JSON that orjson takes: an integer beyond 64 bits becomes the text of its digits.

    Raises:
        RecursionError: There is one, and it is nested too deeply.
    """
    return read_exactly(raw) if may_hold_huge(raw) else orjson.loads(raw)


def may_hold_huge(raw: bytes) -> bool:
    """Whether JSON may hold an integer beyond 64 bits: quickly, and true for some that does not."""
    return _LONG in raw.translate(_DIGITS)


def read_exactly(raw: bytes) -> Any:
    """Read JSON that orjson takes, with an integer beyond 64 bits as the text of its digits.

    Raises:
        RecursionError: It is nested too deeply.
    """
    return json.loads(raw, parse_int=_integer)


def are_sent_whole(body: Mapping[str, Any]) -> bool:
    """Whether a body that was read exactly has no integer beyond 64 bits."""
    try:
        orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except orjson.JSONEncodeError:
        return False
    return True


def _integer(digits: str) -> int | _Digits:
    if len(digits) > _MOST_LETTERS or not _LEAST <= (value := int(digits)) <= _MOST:
        return _Digits(digits)
    return value
