"""What a handler returned, as the text that the model is told."""

from __future__ import annotations

from typing import Any, Final

import orjson

from batcher.handlers.errors import HandlerError

__all__ = ["MAX_CONTENT_BYTES", "content_of"]

# A prompt of a quarter of a million tokens; what is longer is a mistake that would be paid for.
MAX_CONTENT_BYTES: Final = 1024 * 1024


def content_of(value: Any) -> str:
    """Write a returned value as text: a text as it is, anything else as JSON.

    Raises:
        HandlerError: It can't be written, or is too long.
    """
    try:
        if isinstance(value, str):
            raw = value.encode()
        else:
            raw = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        raise HandlerError(f"what it returned can't be written as JSON: {error}") from None
    if len(raw) > MAX_CONTENT_BYTES:
        raise HandlerError("what it returned is longer than 1 MiB")
    return raw.decode()
