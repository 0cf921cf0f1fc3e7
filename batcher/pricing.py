"""Usage to money: what a request cost, and the most that one can cost.

Rules:
    * Every request is priced alone, at its own time: a price may change with the length of the
      prompt (a tier is a cliff: beyond it, every token has the tier's price) and with the hour of
      the day, so prices don't add up over summed usage.
    * Cached, cache-write and reasoning tokens are parts of the prompt and of the completion. A part
      without a price of its own is priced as the rest.
    * An unknown price is None, never zero.
    * Money is `Decimal` and exact.

For some time, and between two tiers, any known price is linear in the tokens. A `Tariff` holds it
so, as whole numbers of a small unit of money: pricing takes a microsecond, where asking a price list
takes a hundred. Where prices come from is a `PriceSource`'s affair; the first that knows a model
decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from math import inf
from typing import NamedTuple, Protocol, TypeVar

from batcher.records import Usage

_T = TypeVar("_T")

__all__ = ["PriceSource", "Pricer", "Rates", "Step", "Tariff"]

# Prices per million tokens have up to 18 decimals in published lists; with the million and a
# request's tokens that is more than the 28 digits of the default context.
_EXACT = Context(prec=100)

_TOKENS_PER_PRICE_EXP = 6  # prices are per million tokens

# A product of a price, a multiplier and a currency's rate is cut here: what goes is less than a cent
# in 10^16 tokens, and what stays has at most 18 decimals a token.
_RATE_QUANTUM = Decimal("1E-12")

# Model names come from the rows: what is remembered of them is bounded.
_MAX_REMEMBERED = 4096

# A reservation is settled within a request's lifetime. A day covers any timeout and all hours of
# time-of-day prices; a dearer price that begins later is no reason to reserve more now.
_HORIZON_S = 86_400.0

# How long the prices within the horizon are looked up once rather than for each request.
_CEILING_S = 3_600.0


class Rates(NamedTuple):
    """Prices in USD per million tokens; None is unknown.

    Attributes:
        input: Of prompt tokens; without it no request has a price.
        output: Of completion tokens; without it only a request without any has a price.
        cached: Of prompt tokens read from a cache; None: as `input`.
        cache_write: Of prompt tokens written to a cache; None: as `input`.
        reasoning: Of reasoning tokens; None: as `output`.
        request: In USD per request, on top.
    """

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal = Decimal(0)

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

    Args:
        steps: By prompt length; the first is that of any prompt (`above` -1).
        since: Unix time from which it holds, in seconds.
        until: Unix time from which it holds no more.
    """

    __slots__ = ("_lines", "_unit", "since", "until")

    def __init__(self, steps: Sequence[Step], *, since: float = -inf, until: float = inf) -> None:
        self.since = since
        self.until = until
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
        units = prompt * inp + cached * cac + cache_write * wri
        units += completion * out + reasoning * rea + request
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
    def units(rate: Decimal | None, otherwise: int = 0) -> int:
        if rate is None:
            return otherwise
        return int(_EXACT.scaleb(rate, places - _TOKENS_PER_PRICE_EXP))

    rates = step.rates
    whole_input, whole_output = units(rates.input), units(rates.output)
    return _Line(
        above=step.above,
        input=whole_input,
        cached=units(rates.cached, whole_input) - whole_input,
        cache_write=units(rates.cache_write, whole_input) - whole_input,
        output=whole_output,
        reasoning=units(rates.reasoning, whole_output) - whole_output,
        request=int(_EXACT.scaleb(rates.request, places)),
        input_known=rates.input is not None,
        output_known=rates.output is not None,
    )


class PriceSource(Protocol):
    """Where prices come from."""

    @property
    def name(self) -> str:
        """What to record beside a cost, with a version or hash."""

    def warm(self) -> None:
        """Load now what would else be loaded with the first question."""

    def tariff(self, model: str, when_unix: float) -> Tariff | None:
        """The price of a model that holds at a time; None when the model is unknown."""

    def output_limit(self, model: str) -> int | None:
        """The most tokens that the model can answer with, where known."""


# The price of a model that no source knows.
_UNKNOWN = Tariff([Step(-1, Rates(None, None))])


class Pricer:
    """Prices requests from the first of its sources that knows their model.

    Pure but for its memory, and but for what a source loads with its first question (`warm` loads
    it sooner). Without sources every model is unknown.
    """

    def __init__(self, sources: Sequence[PriceSource] = ()) -> None:
        self._sources = tuple(sources)
        self._tariffs: dict[str, Tariff] = {}
        self._ceilings: dict[str, tuple[float, float, list[Tariff]]] = {}

    @property
    def source(self) -> str:
        """Where prices come from, to be recorded beside costs: `genai-prices 0.2.3`; or `none`."""
        return ", ".join(source.name for source in self._sources) or "none"

    def warm(self) -> None:
        """Load the price list now rather than with the first answer."""
        for source in self._sources:
            source.warm()

    def price(self, model: str, usage: Usage, when_unix: float) -> Decimal | None:
        """Price one request.

        Args:
            model: Its model's name, as the row gives it.
            usage: Of this request alone.
            when_unix: When it was answered; prices change with dates and hours.

        Returns:
            USD, or None when the model, or a kind of token it used, has no known price.
        """
        tariff = self._tariffs.get(model)
        if tariff is None or not tariff.since <= when_unix < tariff.until:
            tariff = self._find(model, when_unix)
            _remember(self._tariffs, model, tariff)
        return tariff.cost(usage)

    def most(
        self, model: str, prompt_tokens: int, max_output_tokens: int, when_unix: float
    ) -> Decimal | None:
        """Bound what a request that is sent now can cost, to reserve it from a budget.

        It holds for any hour of the day to come, and whatever part of the prompt is cached or
        written to a cache, as long as both counts are no less than what will be billed.

        Args:
            model: Its model's name.
            prompt_tokens: The most that its prompt may have.
            max_output_tokens: The most that its answer may have, all choices together.
            when_unix: Now.

        Returns:
            USD, or None when the model has no known price.
        """
        known = self._ceilings.get(model)
        if known is None or not known[0] <= when_unix < known[1]:
            tariffs = self._until(model, when_unix, when_unix + _CEILING_S + _HORIZON_S)
            known = (when_unix, min(when_unix + _CEILING_S, tariffs[0].until), tariffs)
            _remember(self._ceilings, model, known)
        bound: Decimal | None = None
        for tariff in known[2]:
            cost = tariff.most(prompt_tokens, max_output_tokens)
            if cost is None:
                return None
            bound = cost if bound is None else max(bound, cost)
        return bound

    def model_output_limit(self, model: str) -> int | None:
        """The most tokens that a choice of the model's answer can have, where a source knows.

        A price list knows the context window, which is an upper bound and often a loose one.
        """
        found = (source.output_limit(model) for source in self._sources)
        return next((limit for limit in found if limit is not None), None)

    def _find(self, model: str, when_unix: float) -> Tariff:
        for source in self._sources:
            tariff = source.tariff(model, when_unix)
            if tariff is not None:
                return tariff
        return _UNKNOWN

    def _until(self, model: str, when_unix: float, end_unix: float) -> list[Tariff]:
        tariffs = [self._find(model, when_unix)]
        while tariffs[-1].until < end_unix:
            tariffs.append(self._find(model, tariffs[-1].until))
        return tariffs


def _remember(memory: dict[str, _T], model: str, value: _T) -> None:
    if len(memory) >= _MAX_REMEMBERED:
        memory.clear()
    memory[model] = value
