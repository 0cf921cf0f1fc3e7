"""A run in words: counts, money and times as people read them, and what holds a run back.

Pure functions of records; whoever draws a bar, writes a line or answers `status` uses the same.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batcher.records import Hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.records import Progress

__all__ = [
    "count",
    "duration",
    "held",
    "money",
    "plain_line",
    "plural",
    "progress_object",
    "rate",
    "rows_done",
    "share",
    "short",
]

_HELD = {
    Hold.SOURCE: "reading the source",
    Hold.WINDOW: "window full",
    Hold.RATE: "at the rate limit",
    Hold.PAUSE: "paused",
    Hold.ENDPOINT: "endpoint not answering",
    Hold.DRAINING: "finishing what is in flight",
}
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
# Below it, decimals say more than they cost room.
_SMALL = 10
_DIME, _LEAST = Decimal("0.1"), Decimal("0.0001")


def count(number: int) -> str:
    """`148,233`."""
    return f"{number:,}"


def plural(number: int, word: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(number)} {word}{'' if number == 1 else 's'}"


def short(number: float) -> str:
    """`950`, `12.3k`, `1.2M`: three digits or so."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999.5 of a unit rounds up to the next one.
        if number >= size * 0.9995:
            scaled = number / size
            return (
                f"{scaled:.1f}{unit}" if scaled < _SMALL * _SMALL - 0.05 else f"{scaled:.0f}{unit}"
            )
    return f"{number:.0f}"


def rate(per_s: float) -> str:
    """Rows a second, or a minute where that is the readable one."""
    if 0 < per_s < 1:
        return f"{per_s * 60:.1f} rows/min"
    return f"{per_s:.1f} rows/s" if per_s < _SMALL else f"{short(per_s)} rows/s"


def duration(length_s: float) -> str:
    """`4.2 s`, `3m 05s`, `2h 05m`, `3d 04h`."""
    if length_s < _SMALL:
        return f"{length_s:.1f} s"
    whole_s = round(length_s)
    if whole_s < _MINUTE_S:
        return f"{whole_s} s"
    if whole_s < _HOUR_S:
        return f"{whole_s // 60}m {whole_s % 60:02}s"
    if whole_s < _DAY_S:
        return f"{whole_s // _HOUR_S}h {whole_s % _HOUR_S // 60:02}m"
    return f"{whole_s // _DAY_S}d {whole_s % _DAY_S // _HOUR_S:02}h"


def money(amount_usd: Decimal | str) -> str:
    """`$12.34`; below a dime to four places, since the first rows of a job cost little."""
    amount = Decimal(amount_usd)
    if amount >= _DIME or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= _LEAST else f"under ${_LEAST}"


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
    if progress.spend.cost_usd is not None:
        parts.append(money(progress.spend.cost_usd))
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
        "cost_usd": None if spend.cost_usd is None else str(spend.cost_usd),
        "elapsed_s": round(progress.elapsed_s, 3),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
    }
