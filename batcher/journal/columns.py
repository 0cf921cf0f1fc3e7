"""Result lines read many at once, a column at a time: what a resumed run has to read most.

Our part of a line is decoded into a typed record, which holds its fields to their types and bounds
and passes over what a scan has no use for, though no JSON that is not sound. All else is looked at
for hundreds of lines in one call. Where any line of them is not as most are, none is read here, and
`read_line` reads each by itself: whatever is read here, that says the same of.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation, localcontext
from functools import reduce
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.journal.index import DONE, FAILED, PAID, UNNAMED, identities
from batcher.journal.lines import MOST_LINES, OURS, Heads
from batcher.spend import read_amount, read_spend

__all__ = ["Columns", "Kind", "read_columns"]

_HASH_CHARS: Final = 32
_ZERO: Final = Decimal(0)

# Sums stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36 dollars so.
_EXACT: Final = Context(prec=60)

# Jobs whose lines are of more kinds than this are read a line at a time.
_MOST_KINDS: Final = 8

# Larger ones are no integers to `orjson`, or none to this decoder's bounds.
_MOST: Final = 2**63 - 1
_Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_NOTHING: Final = msgspec.Raw()
_LineNumber = Annotated[int, msgspec.Meta(ge=1, lt=MOST_LINES)]


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count
    cache_write_tokens: _Count = 0


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class _Ours(msgspec.Struct, gc=False):
    """The `batcher` object of a line; what has a default stands on few."""

    row: _LineNumber
    request_hash: str
    model: str
    finished_at: str
    latency_s: float
    attempts: _Count
    usage: _Usage
    cost_usd: str | None
    error_code: str = ""
    unnamed: _Count = 0
    attempts_without_usage: _Count = 0
    thrown_away: msgspec.Raw = _NOTHING
    uncertain: msgspec.Raw = _NOTHING
    unpriced: bool = False


_decode: Final = msgspec.json.Decoder(_Ours).decode


class Kind(NamedTuple):
    """What lines with one model and one error code, empty for successes, have cost together.

    Attributes:
        rows: How many lines.
        with_cost, unpriced: How many of them have a cost, and how many are unpriced.
    """

    model: str
    code: str
    rows: int
    with_cost: int
    unpriced: int
    spend: Spend


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
    """Read result lines, whose beginnings are `heads`; None where one isn't as most are."""
    try:
        parts = [raw[raw.rindex(OURS) + len(OURS) - 1 : -1] for raw in lines]
        found = list(map(_decode, parts))
        # What the decoder passes over is sound but for its UTF-8.
        b"".join(parts).decode()
        names = orjson.loads(b"[%b]" % b",".join([head[1] for head in heads if head]))
        return _columns(found, names)
    except (ValueError, InvalidOperation, RecursionError, msgspec.DecodeError):
        return None


def _columns(found: list[_Ours], names: list[str]) -> Columns | None:
    hashes = [ours.request_hash for ours in found]
    ends = [ours.finished_at for ours in found]
    prints, kinds = _prints(hashes), _by_kind(found)
    if prints is None or kinds is None:
        return None
    list(map(datetime.fromisoformat, ends))
    for thrown_away in filter(None, [ours.thrown_away for ours in found]):
        read_spend(orjson.loads(thrown_away))
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
    different = {(ours.model, ours.error_code) for ours in found}
    if len(different) == 1:
        kinds = [_sum(found, *different.pop())]
    elif len(different) <= _MOST_KINDS:
        kinds = [
            _sum([each for each in found if each.error_code == code and each.model == model],
                 model, code)
            for model, code in different
        ]  # fmt: skip
    else:
        return None
    return None if None in kinds else [kind for kind in kinds if kind]


def _sum(found: list[_Ours], model: str, code: str) -> Kind | None:
    usages = [ours.usage for ours in found]
    texts = [ours.cost_usd for ours in found if ours.cost_usd is not None]
    with localcontext(_EXACT):
        cost = sum(map(Decimal, texts), _ZERO)
    if not cost.is_finite() or "-" in "".join(texts):
        return None
    tokens = Usage(
        sum([usage.prompt_tokens for usage in usages]),
        sum([usage.completion_tokens for usage in usages]),
        sum([usage.total_tokens for usage in usages]),
        sum([usage.prompt_tokens_details.cached_tokens for usage in usages]),
        sum([usage.prompt_tokens_details.cache_write_tokens for usage in usages]),
        sum([usage.completion_tokens_details.reasoning_tokens for usage in usages]),
    )
    uncertain = [
        read_amount({"": orjson.loads(amount)}, "")
        for amount in filter(None, [ours.uncertain for ours in found])
    ]
    unpriced = sum([ours.unpriced for ours in found])
    spend = Spend(
        sum([ours.attempts for ours in found]),
        sum([ours.attempts_without_usage for ours in found]),
        tokens,
        cost if texts else None,
        unpriced > 0,
        reduce(Amount.plus, uncertain, NO_AMOUNT),
    )
    return Kind(model, code, len(found), len(texts), unpriced, spend)
