"""Result lines read many at once, a column at a time: what a resumed run has to read most.

Each line is asked what `read_line` asks of it, by the same parser; but types, bounds and sums are
looked at for hundreds of lines in one call. Where any line of them is not as most are, none is
read here, and each is read by itself.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from itertools import compress
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from batcher.amounts import Spend, Usage
from batcher.journal.index import DONE, FAILED, PAID, UNNAMED, identity
from batcher.journal.lines import MOST_LINES, OURS, damaged

__all__ = ["Columns", "Heads", "Kind", "head_of", "read_columns"]

Heads = Sequence[re.Match[bytes] | None]

head_of: Final = re.compile(rb'\{"id":"[^"]*","custom_id":("[^"\\]*")').match
"""Match the beginning of a result line whose id has no escapes; None on any other line."""

_FIELDS: Final = itemgetter(
    *("row", "request_hash", "model", "finished_at", "latency_s", "attempts", "usage", "cost_usd")
)
_TOKENS: Final = itemgetter(
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("prompt_tokens_details", "completion_tokens_details"),
)
_HEX: Final = re.compile("[0-9a-f]*")
_HASH_CHARS: Final = 32
_INFINITY: Final = Decimal("Infinity")

# Sums stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36 dollars so.
_EXACT: Final = Context(prec=60)

# Jobs whose lines are of more kinds than this are read a line at a time.
_MOST_KINDS: Final = 8


class Kind(NamedTuple):
    """What lines with one model and one error code, empty for successes, have cost together.

    Attributes:
        rows: How many lines.
        with_cost: How many of them have a cost.
    """

    model: str
    code: str
    rows: int
    with_cost: int
    spend: Spend


class Columns(NamedTuple):
    """What some lines say.

    Attributes:
        keys, prints, flags, lines: As in the index.
        counts: Attempts, then tokens in the order of `Usage`.
        first: When the first was finished, and what it took in seconds.
        last_at: When the last was finished.
    """

    keys: list[int]
    prints: array[int]
    flags: bytes
    lines: Sequence[int]
    kinds: list[tuple[str, str]]
    counts: list[Sequence[int]]
    costs: list[Decimal | None]
    first: tuple[str, float]
    last_at: str

    def by_kind(self) -> list[Kind]:
        """Add up what the lines have cost."""
        different = set(self.kinds)
        if len(different) == 1:
            return [_sum(self.kinds[0], self.counts, self.costs)]
        picks = ((kind, [each == kind for each in self.kinds]) for kind in different)
        return [
            _sum(kind, [list(compress(each, pick)) for each in self.counts],
                 list(compress(self.costs, pick)))
            for kind, pick in picks
        ]  # fmt: skip


def read_columns(lines: Sequence[bytes], heads: Heads) -> Columns | None:
    """Read result lines, whose beginnings are `heads`; None where one isn't as most are."""
    if any(map(damaged, lines)):
        return None
    try:
        found = [orjson.loads(raw[raw.rindex(OURS) + len(OURS) - 1 : -1]) for raw in lines]
        names = orjson.loads(b"[%b]" % b",".join([head[1] for head in heads if head]))
        return _columns(found, names)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation):
        return None


def _columns(found: list[dict[str, Any]], names: list[str]) -> Columns | None:
    if any("uncertain" in ours or "unpriced" in ours or "thrown_away" in ours
           or "attempts_without_usage" in ours for ours in found):  # fmt: skip
        return None
    rows, hashes, models, ends, took_s, attempts, usages, texts = zip(
        *map(_FIELDS, found), strict=True
    )
    codes = [ours.get("error_code", "") for ours in found]
    unnamed = [ours.get("unnamed", 0) for ours in found]
    counts = [attempts, *_tokens(usages)]
    kinds = list(zip(models, codes, strict=True))
    joined = "".join(hashes)
    costs = [text if text is None else Decimal(text) for text in texts]
    list(map(datetime.fromisoformat, ends))
    if not (
        all(set(map(type, each)) == {int} and min(each) >= 0 for each in (rows, unnamed, *counts))
        and min(rows) > 0
        and max(rows) < MOST_LINES
        and set(map(type, models)) == set(map(type, codes)) == {str}
        and set(map(type, took_s)) <= {int, float}
        and set(map(type, texts)) <= {str, type(None)}
        and set(map(len, hashes)) == {_HASH_CHARS}
        and _HEX.fullmatch(joined)
        and all(cost is None or 0 <= cost < _INFINITY for cost in set(costs))
        and len(set(kinds)) <= _MOST_KINDS
    ):
        return None
    flags = [
        DONE | (PAID if tried else 0) | (FAILED if code else 0) | (UNNAMED if which else 0)
        for tried, code, which in zip(attempts, codes, unnamed, strict=True)
    ]
    return Columns(
        _keys(names, hashes, unnamed),
        _prints(joined),
        bytes(flags),
        rows,
        kinds,
        counts,
        costs,
        (ends[0], took_s[0]),
        ends[-1],
    )


def _tokens(usages: Sequence[Any]) -> list[Sequence[int]]:
    prompt, completion, total, parts, more = zip(*map(_TOKENS, usages), strict=True)
    cached = [part["cached_tokens"] for part in parts]
    written = [part.get("cache_write_tokens", 0) for part in parts]
    return [prompt, completion, total, cached, written, [part["reasoning_tokens"] for part in more]]


def _keys(names: list[str], hashes: Sequence[str], unnamed: list[int]) -> list[int]:
    return [
        identity(None if which else name, request_hash, max(0, which - 1))
        for name, request_hash, which in zip(names, hashes, unnamed, strict=True)
    ]


def _prints(joined: str) -> array[int]:
    """Take the last 32 bits of every 128, given in hexadecimal digits."""
    words = array("I", bytes.fromhex(joined))
    if sys.byteorder == "little":
        words.byteswap()
    return words[3::4]


def _sum(
    kind: tuple[str, str], counts: Sequence[Sequence[int]], costs: Sequence[Decimal | None]
) -> Kind:
    attempts, *tokens = map(sum, counts)
    known = [cost for cost in costs if cost is not None]
    cost = reduce(_EXACT.add, known) if known else None
    return Kind(*kind, len(costs), len(known), Spend(attempts, 0, Usage(*tokens), cost))
