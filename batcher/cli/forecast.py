"""What `check --cost` foresees, in words and as JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batcher.spend import amount_json, cost_text
from batcher.words import count, duration, money, plural

if TYPE_CHECKING:
    from batcher.budget.forecast import Forecast

__all__ = ["forecast_lines", "forecast_object"]

_PLACES = Decimal("0.000000001")
_NAMED = 3


def forecast_object(foreseen: Forecast) -> dict[str, Any]:
    """Give a forecast as JSON has it."""
    average = foreseen.average_usd
    return {
        "rows_left": foreseen.rows,
        "estimated_rows": foreseen.estimated_rows,
        "prompt_tokens": foreseen.prompt_tokens,
        "low": amount_json(foreseen.low),
        "high": None if foreseen.unbounded_rows else amount_json(foreseen.high),
        "unbounded_rows": foreseen.unbounded_rows,
        "unpriced_models": foreseen.unpriced_models,
        "average_usd": None if average is None else cost_text(average.quantize(_PLACES)),
        "low_s": _rounded(foreseen.low_s),
        "high_s": None if foreseen.unbounded_rows else _rounded(foreseen.high_s),
        "prices": foreseen.prices,
    }


def forecast_lines(foreseen: Forecast) -> list[str]:
    """Say it in a few lines."""
    lines = [f"{plural(foreseen.rows, 'row')} left, {_prompt(foreseen)}", _cost(foreseen)]
    if foreseen.average_usd is not None:
        lines.append(f"{money(foreseen.average_usd)} at the average of the rows that are done")
    if foreseen.unpriced_models:
        named = ", ".join(foreseen.unpriced_models[:_NAMED])
        more = ", ..." if len(foreseen.unpriced_models) > _NAMED else ""
        lines.append(f"not counted, for want of a price: {named}{more}")
    if foreseen.low_s is not None:
        lines.append(_time(foreseen))
    lines.append(f"prices: {foreseen.prices}")
    return lines


def _prompt(foreseen: Forecast) -> str:
    tokens = f"{count(foreseen.prompt_tokens)} prompt tokens"
    if not foreseen.estimated_rows:
        return tokens
    if foreseen.estimated_rows == foreseen.rows:
        return f"about {tokens} (estimated)"
    return f"about {tokens} (estimated in {plural(foreseen.estimated_rows, 'row')})"


def _cost(foreseen: Forecast) -> str:
    if foreseen.unpriced_models and not foreseen.high.usd:
        return f"nothing is priced; at most {count(foreseen.high.tokens)} tokens"
    low = f"at least {money(foreseen.low.usd)} for the prompts alone"
    if foreseen.unbounded_rows:
        what = f"{plural(foreseen.unbounded_rows, 'row')} whose answer has no known limit"
        return f"{low}; no upper bound: {what} (give max_tokens)"
    high = f"at most {money(foreseen.high.usd)} with the longest answers"
    return f"{low}, {high} ({count(foreseen.high.tokens)} tokens)"


def _time(foreseen: Forecast) -> str:
    low_s, high_s = foreseen.low_s or 0.0, foreseen.high_s or 0.0
    if foreseen.unbounded_rows or low_s == high_s:
        at_least = "at least " if foreseen.unbounded_rows else ""
        return f"{at_least}{duration(low_s)} at the rates set"
    return f"{duration(low_s)} to {duration(high_s)} at the rates set"


def _rounded(length_s: float | None) -> float | None:
    return None if length_s is None else round(length_s, 1)
