"""JSON text that a model wrote: parsed strictly, and kept as written.

The text itself goes into the result rather than the value written anew: that loses no digit of a
large number and costs nothing. Line breaks between tokens become spaces, since a result is one
line; inside a string a JSON text can't have any.
"""

from __future__ import annotations

import orjson

from batcher.checks.lenient import lenient_json
from batcher.checks.schemas import NESTING_MAX, depth_of

__all__ = ["UnreadableError", "read_json", "read_lenient", "written"]

# How much of a broken text a complaint quotes on either side of the fault.
NEAR_CHARS = 20
# A shorter text can't be nested too deeply: each level takes two characters.
SHALLOW_MAX_CHARS = 2 * NESTING_MAX


class UnreadableError(ValueError):
    """Why a text can't be read as JSON. It may quote the text: a complaint, no error message."""


def read_json(text: str) -> tuple[object, bytes]:
    """Parse one JSON text.

    Returns:
        The value, and the text in one line.

    Raises:
        UnreadableError: It is not JSON, or nested more than `NESTING_MAX` levels deep.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(_fault(text, error)) from None
    if len(text) > SHALLOW_MAX_CHARS and text.count("{") + text.count("[") > NESTING_MAX:
        _bound(value)
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")
    return value, text.encode()


def read_lenient(text: str) -> tuple[object, bytes]:
    """Parse a text that is not JSON once the common slips in it are corrected; as `read_json`."""
    corrected = lenient_json(text)
    return read_json(text if corrected is None else corrected)


def written(value: object) -> bytes:
    """Write a value that came parsed already, within the answer's own JSON.

    Raises:
        UnreadableError: It is nested more than `NESTING_MAX` levels deep.
    """
    _bound(value)
    return orjson.dumps(value)


def _bound(value: object) -> None:
    limit = NESTING_MAX + 1
    if depth_of(value, at_most=limit) == limit:
        raise UnreadableError(f"nested more than {NESTING_MAX} levels deep")


def _fault(text: str, error: orjson.JSONDecodeError) -> str:
    if not text.strip():
        return "empty"
    near = text[max(0, error.pos - NEAR_CHARS) : error.pos + NEAR_CHARS]
    return f"not JSON: {error}, near {near!r}"
