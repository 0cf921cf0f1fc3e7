"""The usual answer, seen at a glance: a head and a body of known length that came in one piece.

That is what nearly every answer is, and all that is wanted of its head are its status and a header
or two. So one pattern holds the head to the grammar, and the headers stay bytes until somebody asks
for one. Whatever is not as usual (other framing, another version, a single odd character) is none
of ours: the parser has it, which is slower and knows all of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

__all__ = ["Answer", "Headers", "at_a_glance"]

# Stricter than RFC 9112 asks: no control character in a value, no line end but CR LF, no folding,
# no space before a colon. 1xx, 204 and 304 end without a body, whatever length they tell.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9])(?: [^\0-\x1f\x7f]*+)?\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\0-\x08\n-\x1f\x7f]*+\r\n){1,100}+\r\n"
)

# The parser's own bound for a line: a head within it has none that is longer.
_MAX_HEAD_BYTES: Final = 8190

_FRAMING: Final = re.compile(
    rb"\n(content-length|content-encoding|connection|transfer-encoding|upgrade):[ \t]*([^\r]*)"
)
_PLAIN: Final = frozenset({b"content-length", b"content-encoding", b"connection"})
_KEPT: Final = frozenset({None, b"keep-alive"})
_MOST_DIGITS: Final = 12

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


class Answer(NamedTuple):
    """An answer as it came: its head parsed, its body not yet decompressed.

    Attributes:
        encoding: What has to be undone; empty for nothing.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    encoding: str


class Headers(Mapping[str, str]):
    """The headers of an answer, looked up in the bytes that came; the case of a name is no matter.

    Args:
        head: The head of an answer, in keeping with the grammar.
        lower: The same in small letters.
    """

    __slots__ = ("_head", "_lower")

    def __init__(self, head: bytes, lower: bytes) -> None:
        self._head = head
        self._lower = lower

    def get(self, name: str, default: Any = None) -> Any:
        """See `Mapping`; most that is asked for is not there."""
        at = self._lower.find(_begin_of(name))
        return default if at < 0 else self._value_at(at)

    def __getitem__(self, name: str) -> str:
        at = self._lower.find(_begin_of(name))
        if at < 0:
            raise KeyError(name)
        return self._value_at(at)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _begin_of(name) in self._lower

    def __iter__(self) -> Iterator[str]:
        lines = self._lower.split(b"\r\n")[1:-2]
        return iter(dict.fromkeys(line.partition(b":")[0].decode() for line in lines))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _value_at(self, at: int) -> str:
        raw = self._head[at : self._lower.index(b"\r", at)].partition(b":")[2]
        return raw.strip(b" \t").decode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)  # nobody asks for more than a few dozen
def _begin_of(name: str) -> bytes:
    return b"\n%b:" % name.lower().encode()


def at_a_glance(data: bytes, max_bytes: int) -> Answer | None:
    """Read an answer that is all of `data`, if it is a usual one of at most `max_bytes`."""
    found = _HEAD.match(data)
    if found is None or (end := found.end()) > _MAX_HEAD_BYTES:
        return None
    lower = data[:end].lower()
    told = _FRAMING.findall(lower)
    framing = dict(told)
    length = framing.get(b"content-length", b"")
    size = len(data) - end
    if (
        not length.isdigit()
        or len(length) > _MOST_DIGITS
        or int(length) != size
        or size > max_bytes
        or len(framing) < len(told)
        or framing.get(b"connection") not in _KEPT
        or not framing.keys() <= _PLAIN
    ):
        return None
    encoding = framing.get(b"content-encoding")
    return _new(
        Answer,
        (
            int(found[1]),
            Headers(data[:end], lower),
            data[end:],
            encoding.rstrip(b" \t").decode("latin-1") if encoding else "",
        ),
    )
