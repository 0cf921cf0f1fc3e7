"""A model's price, for as long as it doesn't change with time.

Rules:
    * Between two tiers any known price is linear in the tokens. A tier is a cliff: beyond it, every
      token of the request has the tier's price.
    * Cached, cache-write and reasoning tokens are parts of the prompt and of the completion. A part
      without a price of its own is priced as the rest.
    * Money is `Decimal` and exact. Inside, a price is a whole number of a small unit of money per
      token, so that pricing a request takes a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from math import inf
from typing import NamedTuple

from batcher.amounts import Usage

__all__ = ["Rates", "Step", "Tariff"]

# Prices per million tokens have up to 18 decimals in published lists; with the million and a
# request's tokens that is more than the 28 digits of the default context.
_EXACT = Context(prec=100)

_TOKENS_PER_PRICE_EXP = 6  # prices are per million tokens

# A product of a price, a multiplier and a currency's rate is cut here: less than a cent goes in
# 10^16 tokens, and what stays has at most 18 decimals a token.
_RATE_QUANTUM = Decimal("1E-12")


class Rates(NamedTuple):
    """Prices in USD per million tokens; None is unknown.

    Attributes:
        input: Of prompt tokens; without it no request has a price.
        output: Of completion tokens; without it only a request without any has a price.
        cached: Of prompt tokens read from a cache; None: as `input`.
        cache_write: Of prompt tokens written to a cache; None: as `input`.
        reasoning: Of reasoning tokens; None: as `output`.
        request: In USD per request, on top; None: nothing.
    """

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal | None = None

    def times(self, factor: Decimal) -> Rates:
        """Multiply every rate, to 12 decimals."""
        return Rates(*(rate if rate is None else _times(rate, factor) for rate in self))


class Step(NamedTuple):
    """The rates of requests with more than `above` prompt tokens; -1 for all of them."""

    above: int
    rates: Rates


class _Line(NamedTuple):
    """A step in units of money per token; a part's number is what it adds to its whole's."""

    above: int
    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    request: int
    input_known: bool
    output_known: bool


class Tariff:
    """A model's price while it doesn't change with time.

    Attributes:
        steps: By prompt length; the first is that of any prompt (`above` -1).
        since: Unix time from which it holds, in seconds.
        until: Unix time from which it holds no more.
    """

    __slots__ = ("_lines", "_unit", "since", "steps", "until")

    def __init__(self, steps: Sequence[Step], *, since: float = -inf, until: float = inf) -> None:
        self.since = since
        self.until = until
        self.steps = tuple(steps)
        places = max(_places(step.rates) for step in steps)
        self._unit = Decimal(1).scaleb(-places)
        self._lines = tuple(
            _line(step, places) for step in sorted(steps, key=lambda step: -step.above)
        )

    def cost(self, usage: Usage) -> Decimal | None:
        """Price one request; None when a kind of token that it used has no known price.

        Parts larger than their whole (endpoints have reported such) are cut to it.
        """
        prompt, completion, _, cached, cache_write, reasoning = usage
        if cached + cache_write > prompt or reasoning > completion:
            cached = min(cached, prompt)
            cache_write = min(cache_write, prompt - cached)
            reasoning = min(reasoning, completion)
        for line in self._lines:
            if prompt > line[0]:
                break
        _, inp, cac, wri, out, rea, request, input_known, output_known = line
        if not input_known or (completion and not output_known):
            return None
        units = prompt * inp + completion * out + request
        if cached or cache_write or reasoning:
            units += cached * cac + cache_write * wri + reasoning * rea
        return _EXACT.multiply(units, self._unit)

    def most(self, prompt_tokens: int, max_output_tokens: int) -> Decimal | None:
        """Bound the cost of a request with at most so many tokens, whatever parts they have."""
        units = 0
        for line in self._lines:
            if line.above >= max(prompt_tokens, 0):
                continue
            if not line.input_known or (max_output_tokens and not line.output_known):
                return None
            dearest_input = line.input + max(0, line.cached, line.cache_write)
            dearest_output = line.output + max(0, line.reasoning)
            bound = prompt_tokens * dearest_input + max_output_tokens * dearest_output
            units = max(units, bound + line.request)
        return _EXACT.multiply(units, self._unit)


def _times(rate: Decimal, factor: Decimal) -> Decimal:
    return _EXACT.quantize(_EXACT.multiply(rate, factor), _RATE_QUANTUM)


def _places(rates: Rates) -> int:
    """How many decimals the price of one token needs."""
    most = 0
    for name, rate in rates._asdict().items():
        if rate is not None:
            shift = 0 if name == "request" else _TOKENS_PER_PRICE_EXP
            most = max(most, shift - int(rate.as_tuple().exponent))
    return most


def _line(step: Step, places: int) -> _Line:
    def units(rate: Decimal | None, otherwise: int = 0, exp: int = _TOKENS_PER_PRICE_EXP) -> int:
        return otherwise if rate is None else int(_EXACT.scaleb(rate, places - exp))

    rates = step.rates
    whole_input, whole_output = units(rates.input), units(rates.output)
    return _Line(
        above=step.above,
        input=whole_input,
        cached=units(rates.cached, whole_input) - whole_input,
        cache_write=units(rates.cache_write, whole_input) - whole_input,
        output=whole_output,
        reasoning=units(rates.reasoning, whole_output) - whole_output,
        request=units(rates.request, exp=0),
        input_known=rates.input is not None,
        output_known=rates.output is not None,
    )
