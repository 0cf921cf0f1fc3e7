"""Undoing `Content-Encoding`, in bounded memory."""

from __future__ import annotations

import zlib
from typing import Final

from batcher.records import FailureKind

__all__ = ["decoded"]

_GZIP: Final = b"\x1f\x8b"

# Each member is one more copy of what is left; an answer has one, a file glued of several a few.
_MOST_MEMBERS: Final = 16


def decoded(raw: bytes, encoding: str | None, max_bytes: int) -> bytes | FailureKind:
    """Undo `Content-Encoding`, holding no more than `max_bytes` of what comes out."""
    if len(raw) > max_bytes:
        return FailureKind.TOO_LARGE
    name = encoding.strip().lower() if encoding else ""
    if not raw or name in ("", "identity"):
        return raw
    if name not in ("gzip", "x-gzip", "deflate"):
        return FailureKind.BAD_ENCODING
    # 47: gzip or zlib by what the first bytes say. Some servers send bare deflate: -15.
    for window_bits in (47, -15) if name == "deflate" else (47,):
        try:
            text = _inflated(raw, window_bits, max_bytes)
        except (zlib.error, EOFError):
            continue
        return FailureKind.TOO_LARGE if len(text) > max_bytes else text
    return FailureKind.BAD_ENCODING


def _inflated(raw: bytes, window_bits: int, max_bytes: int) -> bytes:
    """Inflate up to one byte more than is allowed; a gzip file may have several members."""
    text = b""
    for _ in range(_MOST_MEMBERS):
        inflater = zlib.decompressobj(window_bits)
        text += inflater.decompress(raw, max_bytes + 1 - len(text))
        if len(text) > max_bytes:
            return text
        if not inflater.eof:
            raise EOFError
        raw = inflater.unused_data
        # What follows the last member is ignored, as gzip(1) does.
        if not raw.startswith(_GZIP):
            return text
    raise EOFError
