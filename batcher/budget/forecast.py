"""What a job will take: tokens, money and time of the rows that are left, between two bounds.

The lower bound is the prompts alone, each sent once and answered with nothing. The upper one is
what a budget would reserve for all of them: the longest answers, at the dearest price. What rows
have cost so far tells, for a job under way, where between them it will end.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount, Usage
from batcher.budget.bounds import Bounds, Unbounded
from batcher.budget.tokens import count_prompt
from batcher.pricing import Pricer
from batcher.records import Row

__all__ = ["Forecast", "Forecaster"]

_EXACT: Final = Context(prec=60)
_MINUTE_S: Final = 60.0


class Forecast(NamedTuple):
    """What is foreseen of the rows that are left.

    Attributes:
        rows: How many.
        estimated_rows: Of how many the prompt's tokens are an estimate.
        prompt_tokens: Of all prompts, counted or estimated.
        low: Prompts alone. Without a price, rows cost nothing here: see `unpriced_models`.
        high: The most that all can cost; of rows that have no such bound, the prompts alone.
        unbounded_rows: How many have none.
        unpriced_models: Models without a known price.
        average_usd: What the rows would cost at the average so far; None where there is none.
        low_s, high_s: Time that the rates set for the run take; None without any.
        prices: Where prices come from.
    """

    rows: int
    estimated_rows: int
    prompt_tokens: int
    low: Amount
    high: Amount
    unbounded_rows: int
    unpriced_models: list[str]
    average_usd: Decimal | None
    low_s: float | None
    high_s: float | None
    prices: str


class Forecaster:
    """Adds up what rows will take.

    Args:
        pricer: Prices, and limits of models.
        now_unix: When they will be sent: prices change with time.
    """

    def __init__(self, pricer: Pricer, now_unix: float) -> None:
        self._pricer = pricer
        self._bounds = Bounds(pricer, priced=False)
        self._now_unix = now_unix
        self._rows = self._estimated = self._unbounded = self._prompt_tokens = 0
        self._low = self._high = NO_AMOUNT
        self._unpriced: set[str] = set()

    def add(self, row: Row) -> None:
        """Add a row that is left."""
        prompt = count_prompt(row)
        usd = self._pricer.price(row.model, Usage(prompt.tokens), self._now_unix)
        if usd is None:
            self._unpriced.add(row.model)
        low = Amount(usd or NO_AMOUNT.usd, prompt.tokens)
        self._rows += 1
        self._estimated += not prompt.exact
        self._prompt_tokens += prompt.tokens
        self._low = self._low.plus(low)
        self._high = self._high.plus(self._most(row, prompt.tokens, low, exact=prompt.exact))

    def _most(self, row: Row, prompt_tokens: int, low: Amount, *, exact: bool) -> Amount:
        bound = self._bounds.most(row, row.body, self._now_unix)
        if isinstance(bound, Unbounded):
            self._unbounded += 1
            return low
        if not exact:
            return bound.amount.larger(low)
        usd = self._pricer.most(row.model, prompt_tokens, bound.answer, self._now_unix)
        return Amount(NO_AMOUNT.usd if usd is None else usd, prompt_tokens + bound.answer)

    def forecast(
        self,
        *,
        rpm: float | None,
        tpm: float | None,
        spent_usd: Decimal | None = None,
        done: int = 0,
    ) -> Forecast:
        """Say what has been added up.

        Args:
            rpm, tpm: Rates set for the run.
            spent_usd: What the `done` rows have cost; None where that is not known.
            done: Rows that have their result.
        """
        average = None
        if spent_usd is not None and done:
            average = _EXACT.divide(_EXACT.multiply(spent_usd, self._rows), done)
        return Forecast(
            self._rows,
            self._estimated,
            self._prompt_tokens,
            self._low,
            self._high,
            self._unbounded,
            sorted(self._unpriced),
            average,
            self._time_s(self._low.tokens, rpm, tpm),
            self._time_s(self._high.tokens, rpm, tpm),
            self._pricer.source,
        )

    def _time_s(self, tokens: int, rpm: float | None, tpm: float | None) -> float | None:
        rates = [(self._rows, rpm), (tokens, tpm)]
        times = [_MINUTE_S * amount / rate for amount, rate in rates if rate is not None]
        return max(times, default=None)
