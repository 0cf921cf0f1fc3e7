"""JSON text that a model wrote: parsed strictly, and kept as written.

The text itself goes into the result rather than the value written anew: that loses no digit of a
large number and costs nothing. Line breaks between tokens become spaces, since a result is one
line; inside a string a JSON text can't have any.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from batcher.checks.lenient import lenient_json
from batcher.checks.schemas import NESTING_MAX, depth_of

__all__ = ["Parsed", "parse", "parsed_value"]

# How much of a broken text a complaint quotes on either side of the fault.
NEAR_CHARS = 20
_TOO_DEEP = f"nested more than {NESTING_MAX} levels deep"


class Parsed(NamedTuple):
    """A text and its value.

    Attributes:
        value: The parsed value; None when `fault` is not empty.
        text: One line of JSON.
        fault: Why it could not be read, quoting it; empty when it could.
        lenient: Whether it needed correction first.
    """

    value: Any
    text: bytes
    fault: str = ""
    lenient: bool = False


def parse(text: str, *, lenient: bool) -> Parsed:
    """Parse one JSON text; `lenient` corrects common slips of models where it is not JSON."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if lenient and (corrected := lenient_json(text)) is not None:
            return parse(corrected, lenient=False)._replace(lenient=True)
        return Parsed(None, b"null", _fault(text, error))
    if text.count("{") + text.count("[") > NESTING_MAX:
        limit = NESTING_MAX + 1
        if depth_of(value, at_most=limit) == limit:
            return Parsed(None, b"null", _TOO_DEEP)
    raw = text.encode()
    if b"\n" in raw or b"\r" in raw:
        raw = raw.replace(b"\n", b" ").replace(b"\r", b" ").strip()
    return Parsed(value, raw)


def parsed_value(value: object) -> Parsed:
    """Take a value that came parsed already, within the answer's own JSON."""
    limit = NESTING_MAX + 1
    if depth_of(value, at_most=limit) == limit:
        return Parsed(None, b"null", _TOO_DEEP)
    return Parsed(value, orjson.dumps(value))


def _fault(text: str, error: orjson.JSONDecodeError) -> str:
    if not text.strip():
        return "empty"
    near = text[max(0, error.pos - NEAR_CHARS) : error.pos + NEAR_CHARS]
    return f"not JSON: {error}, near {near!r}"
