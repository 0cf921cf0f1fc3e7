"""A run in words: how far it is, how fast it goes and what holds it back.

Pure functions of records; whoever draws a bar, writes a line or answers `status` uses the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.records import Hold
from batcher.spend import amount_json, cost_text
from batcher.words import count, duration, money, plural, short

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from batcher.records import Progress

__all__ = [
    "cost_parts",
    "held",
    "per_thousand",
    "plain_line",
    "progress_object",
    "projected",
    "rate",
    "rows_done",
    "share",
]

_HELD = {
    Hold.SOURCE: "reading the source",
    Hold.WINDOW: "window full",
    Hold.RATE: "at the rate limit",
    Hold.PAUSE: "paused",
    Hold.ENDPOINT: "endpoint not answering",
    Hold.TOOLS: "carrying out tool calls",
    Hold.DRAINING: "finishing what is in flight",
}
# Below it, decimals say more than they cost room.
_SMALL = 10


def rate(per_s: float) -> str:
    """Rows a second, or a minute where that is the readable one."""
    if 0 < per_s < 1:
        return f"{per_s * 60:.1f} rows/min"
    return f"{per_s:.1f} rows/s" if per_s < _SMALL else f"{short(per_s)} rows/s"


def share(progress: Progress) -> float | None:
    """Of the job, how much is done, 0 to 1; None while its size is unknown."""
    if not progress.total:
        return None
    return min(1.0, progress.done / progress.total)


def rows_done(progress: Progress) -> str:
    """`148,233/240,000`, with `~` before a size that is an estimate."""
    if progress.total is None:
        return plural(progress.done, "row")
    about = "" if progress.total_exact else "~"
    return f"{count(progress.done)}/{about}{count(progress.total)}"


def held(progress: Progress) -> str:
    """What holds the run back; the engine's own words where it has some."""
    return progress.note or _HELD[progress.held_by]


def per_thousand(cost_usd: Decimal | None, done: int) -> Decimal | None:
    """What a thousand rows have cost on average; None while nothing is known of it."""
    return cost_usd * 1000 / done if cost_usd is not None and done else None


def projected(progress: Progress) -> Decimal | None:
    """What the job will have cost once it is done, if the rest costs like what is done."""
    cost, done, total = progress.spend.cost_usd, progress.done, progress.total
    return cost * total / done if cost is not None and done and total else None


def cost_parts(progress: Progress) -> list[str]:
    """Cost so far, a thousand rows' and the projected total, the most needed first."""
    cost = progress.spend.cost_usd
    if cost is None:
        return []
    least = "at least " if progress.spend.unpriced else ""
    limit = progress.max_cost_usd
    parts = [f"{least}{money(cost)}" + (f" of {money(limit)}" if limit is not None else "")]
    foreseen, each = projected(progress), per_thousand(cost, progress.done)
    if foreseen is not None and share(progress) != 1:
        parts.append(f"~{money(foreseen)} in all")
    if each is not None:
        parts.append(f"{money(each)}/1k rows")
    return parts


def plain_line(progress: Progress) -> str:
    """One line for a log."""
    part = share(progress)
    parts = [
        rows_done(progress) + (f" ({part:.0%})" if part is not None else ""),
        f"{count(progress.failed)} failed",
        rate(progress.rows_per_s),
        f"{short(progress.tokens_per_min)} tokens/min",
        f"{progress.in_flight}/{progress.window} in flight",
    ]
    if progress.retrying:
        parts.append(f"{count(progress.retrying)} retrying")
    parts += cost_parts(progress)
    if part != 1:
        parts.append(held(progress))
    parts.append(f"{duration(progress.elapsed_s)} elapsed")
    if progress.eta_s is not None and part != 1:
        parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)


def progress_object(progress: Progress) -> Mapping[str, Any]:
    """Give a progress as JSON has it."""
    spend = progress.spend
    return {
        "done": progress.done,
        "failed": progress.failed,
        "resumed": progress.resumed,
        "total": progress.total,
        "total_exact": progress.total_exact,
        "retrying": progress.retrying,
        "in_flight": progress.in_flight,
        "window": progress.window,
        "rows_per_s": round(progress.rows_per_s, 3),
        "tokens_per_min": round(progress.tokens_per_min, 1),
        "held_by": progress.held_by.value,
        "note": progress.note,
        "attempts": spend.attempts,
        "total_tokens": spend.usage.total_tokens,
        "cost_usd": _text(spend.cost_usd),
        "cost_per_1000_usd": _text(per_thousand(spend.cost_usd, progress.done)),
        "projected_usd": _text(projected(progress)),
        "unpriced": spend.unpriced,
        "max_cost_usd": _text(progress.max_cost_usd),
        "uncertain": amount_json(spend.uncertain.plus(progress.killed)),
        "elapsed_s": round(progress.elapsed_s, 3),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else cost_text(amount)
