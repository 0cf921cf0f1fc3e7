"""The parser of answers: aiohttp's, made for one answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp.http import HttpResponseParser, RawResponseMessage

__all__ = ["content_length", "new_parser"]

# aiohttp's ClientSession has the same: what is larger is no head of an honest answer.
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 128


def new_parser(protocol: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """Make a parser for one answer, set as aiohttp's session sets its own."""
    return HttpResponseParser(
        protocol,
        loop,
        2**30,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADERS,
        response_with_body=True,
        read_until_eof=True,
        auto_decompress=False,
    )


def content_length(head: RawResponseMessage) -> int:
    """Say what an answer's head tells of its length; 0 where it tells nothing legible."""
    text = head.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else 0
