"""What lines have cost, decoded into typed records and added up many at once.

The decoder holds fields to their types and bounds, and passes over what nobody asks for, though no
JSON that is not sound. What is taken here, `read_spend` reads the same; the rest is for it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from functools import reduce
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.journal.lines import OURS
from batcher.spend import read_amount

__all__ = ["NOTHING", "Count", "Spent", "Sum", "add_up", "parts_of"]

_ZERO: Final = Decimal(0)

# Sums stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36 dollars so.
_EXACT: Final = Context(prec=60)

# Larger ones are no integers to `orjson`, or none to this decoder's bounds.
_MOST: Final = 2**63 - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
NOTHING: Final = msgspec.Raw()

# Of `OURS`, what stands before the object.
_BEFORE: Final = len(OURS) - 1


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count
    cache_write_tokens: Count = 0


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class Spent(msgspec.Struct, gc=False, kw_only=True):
    """Of the `batcher` object of a line; what has a default stands on few."""

    model: str
    finished_at: str
    latency_s: float
    attempts: Count
    usage: _Usage
    cost_usd: str | None
    error_code: str = ""
    attempts_without_usage: Count = 0
    thrown_away: msgspec.Raw = NOTHING
    uncertain: msgspec.Raw = NOTHING
    unpriced: bool = False


class Sum(NamedTuple):
    """What some lines have cost together.

    Attributes:
        with_cost, unpriced: How many of them have a cost, and how many are unpriced.
    """

    with_cost: int
    unpriced: int
    spend: Spend


def parts_of(lines: Sequence[bytes], *, after: bytes = b"}") -> list[bytes]:
    """Cut the `batcher` objects out of result lines.

    Args:
        after: What follows them; with the end of the line, where the lines have theirs.

    Raises:
        ValueError: A line has none, or they are no UTF-8.
    """
    before, ours, end = _BEFORE, OURS, -len(after)
    parts = [raw[raw.rindex(ours) + before : end] for raw in lines]
    # What a decoder passes over is sound but for its UTF-8.
    b"".join(parts).decode()
    return parts


def add_up(lines: Sequence[Spent]) -> Sum:
    """Add up what lines have cost.

    Raises:
        ValueError, InvalidOperation: One has an amount that is none, or may be none.
    """
    usages = [line.usage for line in lines]
    texts = [line.cost_usd for line in lines if line.cost_usd is not None]
    with localcontext(_EXACT):
        cost = sum(map(Decimal, texts), _ZERO)
    if not cost.is_finite() or "-" in "".join(texts):
        raise ValueError("an amount that may be none")
    tokens = Usage(
        sum([usage.prompt_tokens for usage in usages]),
        sum([usage.completion_tokens for usage in usages]),
        sum([usage.total_tokens for usage in usages]),
        sum([usage.prompt_tokens_details.cached_tokens for usage in usages]),
        sum([usage.prompt_tokens_details.cache_write_tokens for usage in usages]),
        sum([usage.completion_tokens_details.reasoning_tokens for usage in usages]),
    )
    uncertain = [
        read_amount({"": orjson.loads(bytes(amount))}, "")
        for amount in filter(None, [line.uncertain for line in lines])
    ]
    unpriced = sum([line.unpriced for line in lines])
    spend = Spend(
        sum([line.attempts for line in lines]),
        sum([line.attempts_without_usage for line in lines]),
        tokens,
        cost if texts else None,
        unpriced > 0,
        reduce(Amount.plus, uncertain, NO_AMOUNT),
    )
    return Sum(len(texts), unpriced, spend)
