"""Counts, money and times as people read them."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["count", "duration", "money", "plural", "short"]

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
