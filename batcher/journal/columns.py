"""Result lines read many at once, a column at a time: what a resumed run has to read most.

Our part of a line is decoded into a typed record (see `spent`), all else is looked at for hundreds
of lines in one call. Where any line of them is not as most are, none is read here, and
`read_line` reads each by itself: whatever is read here, that says the same of.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from datetime import datetime
from decimal import InvalidOperation
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson

from batcher.journal.index import DONE, FAILED, PAID, UNNAMED, identities
from batcher.journal.lines import MOST_LINES, Heads
from batcher.journal.spent import Count, Spent, Sum, add_up, parts_of
from batcher.spend import read_spend

__all__ = ["Columns", "Kind", "read_columns"]

_HASH_CHARS: Final = 32

# Jobs whose lines are of more kinds than this are read a line at a time.
_MOST_KINDS: Final = 8

_LineNumber = Annotated[int, msgspec.Meta(ge=1, lt=MOST_LINES)]


class _Ours(Spent, gc=False, kw_only=True):
    row: _LineNumber
    request_hash: str
    unnamed: Count = 0


_decode: Final = msgspec.json.Decoder(_Ours).decode


class Kind(NamedTuple):
    """What lines with one model and one error code, empty for successes, have cost together.

    Attributes:
        rows: How many lines.
    """

    model: str
    code: str
    rows: int
    sum: Sum


class Columns(NamedTuple):
    """What some lines say.

    Attributes:
        keys, prints, flags, lines: As in the index.
        kinds: What they have cost.
        first: When the first was finished, and what it took in seconds.
        last_at: When the last was finished.
    """

    keys: list[int]
    prints: array[int]
    flags: bytes
    lines: list[int]
    kinds: list[Kind]
    first: tuple[str, float]
    last_at: str


def read_columns(lines: Sequence[bytes], heads: Heads) -> Columns | None:
    """Read result lines, whose beginnings are `heads`; None where one isn't as most are.

    Args:
        lines: With their ends.
    """
    try:
        found = list(map(_decode, parts_of(lines, after=b"}\n")))
        names = orjson.loads(b"[%b]" % b",".join([head[1] for head in heads if head]))
        return _columns(found, names)
    except (ValueError, AttributeError, InvalidOperation, RecursionError, msgspec.DecodeError):
        return None


def _columns(found: list[_Ours], names: list[str]) -> Columns | None:
    hashes = [ours.request_hash for ours in found]
    ends = [ours.finished_at for ours in found]
    prints, kinds = _prints(hashes), _by_kind(found)
    if prints is None or kinds is None:
        return None
    list(map(datetime.fromisoformat, ends))
    for thrown_away in filter(None, [ours.thrown_away for ours in found]):
        read_spend(orjson.loads(bytes(thrown_away)))
    return Columns(
        identities(names, hashes, [ours.unnamed for ours in found]),
        prints,
        _flags(found),
        [ours.row for ours in found],
        kinds,
        (ends[0], found[0].latency_s),
        ends[-1],
    )


def _flags(found: list[_Ours]) -> bytes:
    return bytes(
        [
            DONE
            | (PAID if ours.attempts else 0)
            | (FAILED if ours.error_code else 0)
            | (UNNAMED if ours.unnamed else 0)
            for ours in found
        ]
    )


def _prints(hashes: list[str]) -> array[int] | None:
    """Take the last 32 bits of every 128; None where one isn't 32 lower-case hexadecimal digits."""
    joined = "".join(hashes)
    if set(map(len, hashes)) != {_HASH_CHARS} or joined != joined.lower():
        return None
    words = array("I", bytes.fromhex(joined))  # which passes over blanks
    if len(words) * 8 != len(joined):
        return None
    if sys.byteorder == "little":
        words.byteswap()
    return words[3::4]


def _by_kind(found: list[_Ours]) -> list[Kind] | None:
    """Add up what the lines have cost; None where that is not for many at once to say."""
    models = [ours.model for ours in found]
    codes = [ours.error_code for ours in found]
    if models.count(models[0]) == codes.count(codes[0]) == len(found):
        return [_kind(found, models[0], codes[0])]
    different = set(zip(models, codes, strict=True))
    if len(different) > _MOST_KINDS:
        return None
    return [
        _kind([each for each in found if each.error_code == code and each.model == model],
              model, code)
        for model, code in different
    ]  # fmt: skip


def _kind(found: list[_Ours], model: str, code: str) -> Kind:
    return Kind(model, code, len(found), add_up(found))
