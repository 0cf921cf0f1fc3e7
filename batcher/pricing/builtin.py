"""The built-in price list: genai-prices, turned into tariffs.

Rules:
    * The list costs a quarter of a second to import. So it is not asked for what the `extract`
      tells, and imported with the first question that this leaves open.
    * Each model is looked up with a provider: the endpoint's own where it is one that the list
      knows, else the maker that the model's name tells. So a known name has its list price on any
      host. Open weights have as many prices as hosts: away from a known host they have none.
    * A tariff is derived once per model and period, and checked against the list's own arithmetic.
      Where they differ (a newer list may have new kinds of prices) the price is unknown.
    * A model that is listed without any price is unknown, unless its name says that it is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from math import inf
from typing import TYPE_CHECKING

from batcher.amounts import Usage
from batcher.pricing.extract import Extract, installed_version
from batcher.pricing.tariff import Rates, Step, Tariff

if TYPE_CHECKING:
    import genai_prices
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

__all__ = ["BuiltInList"]

_DAY_S = 86_400

# Digits with which the list's arithmetic is exact, whatever the program around us reckons with.
_PRECISION = 100

# How far beyond the start of a tier a tariff is checked.
_PROBE_TOKENS = 100_000

# The list prices requests by the thousand.
_REQUEST_KEY = "requests_kcount"
_REQUESTS_PER_PRICE_EXP = 3

_EPOCH = date(1970, 1, 1)  # any day does to turn an hour into UTC

# The keys of a price that concern the tokens which we count, and the rates they are.
_RATE_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}


# The price of a model whose name says that it is free.
_FREE = Tariff([Step(-1, Rates(Decimal(0), Decimal(0)))])


class BuiltInList:
    """Prices of genai-prices, as of the installed version and without a network.

    Args:
        provider: The endpoint's provider, by its id or name in the list; or None.
        multiplier: What every price is multiplied by, such as a relay's discount of 0.8.
    """

    def __init__(self, provider: str | None = None, *, multiplier: Decimal | None = None) -> None:
        self._provider = provider
        self._multiplier = multiplier
        self._extract = Extract(provider)

    @property
    def name(self) -> str:
        """The list, its version, and what it is multiplied by."""
        listed = f"genai-prices {installed_version()}"
        return listed if self._multiplier is None else f"{listed} times {self._multiplier}"

    def warm(self) -> None:
        """Read the extract; the list is imported with the first question that it can't answer."""
        self._extract.find("")

    def tariff(self, model: str, when_unix: float) -> Tariff | None:
        """The list price that holds at a time; None when the list has none."""
        listed = self._extract.find(model)
        if listed is not None and listed.since <= when_unix:
            return Tariff(self._multiplied(listed.steps), since=listed.since)
        return self.looked_up(model, when_unix)

    def looked_up(self, model: str, when_unix: float) -> Tariff | None:
        """The same, from the list itself."""
        found = self._find(model)
        if found is None:
            return None
        provider, info = found
        price = info.get_prices(datetime.fromtimestamp(when_unix, UTC))
        if not any(value is not None for value in vars(price).values()):
            return _FREE if model.endswith(":free") else None
        try:
            with localcontext(prec=_PRECISION):
                return self._derived(provider, info, price, when_unix)
        except ValueError:
            return None

    def _derived(
        self, provider: Provider, info: ModelInfo, price: ModelPrice, when_unix: float
    ) -> Tariff | None:
        since, until = _period(info, when_unix)
        steps = _steps(price)
        tariff = Tariff(steps, since=since, until=until)
        if not _agrees(tariff, steps, provider, info, when_unix):
            return None
        if self._multiplier is None:
            return tariff
        return Tariff(self._multiplied(steps), since=since, until=until)

    def _multiplied(self, steps: list[Step]) -> list[Step]:
        factor = self._multiplier
        if factor is None:
            return steps
        return [Step(step.above, step.rates.times(factor)) for step in steps]

    def output_limit(self, model: str) -> int | None:
        """The model's context window, where the list has one: it knows no closer bound."""
        return self.context(model)

    def context(self, model: str) -> int | None:
        """The model's context window, where the list has one."""
        listed = self._extract.find(model)
        return self.window(model) if listed is None else listed.context_window

    def window(self, model: str) -> int | None:
        """The same, from the list itself."""
        found = self._find(model)
        return None if found is None else found[1].context_window

    def _find(self, model: str) -> tuple[Provider, ModelInfo] | None:
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
        for provider_id, name in _places_to_look(self._provider, model):
            try:
                return snapshot.find_provider_model(name, None, provider_id, None)
            except LookupError:
                continue
        return None


def _places_to_look(provider: str | None, model: str) -> Iterator[tuple[str | None, str]]:
    if provider is not None:
        yield provider, model
    yield None, model  # the maker, by the model's name
    maker, slash, name = model.partition("/")
    if slash and maker:
        yield maker, name
    # By name alone the list knows few of its older models, and no embeddings; nobody else has them.
    yield "openai", model


def _steps(price: ModelPrice) -> list[Step]:
    """Cut a price at the starts of its tiers: a tier holds for prompts above its start."""
    prices = [getattr(price, key) for key in (*_RATE_KEYS.values(), _REQUEST_KEY)]
    starts = {tier.start for value in prices for tier in getattr(value, "tiers", ())}
    return [Step(above, _rates(price, above + 1)) for above in (-1, *sorted(starts))]


def _rates(price: ModelPrice, prompt_tokens: int) -> Rates:
    rates = {rate: _at(getattr(price, key), prompt_tokens) for rate, key in _RATE_KEYS.items()}
    thousand = _at(getattr(price, _REQUEST_KEY), prompt_tokens)
    request = None if thousand is None else thousand.scaleb(-_REQUESTS_PER_PRICE_EXP)
    return Rates(**rates, request=request)


def _at(price: Decimal | TieredPrices | None, prompt_tokens: int) -> Decimal | None:
    if price is None or isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return reached[-1] if reached else price.base


def _period(info: ModelInfo, when_unix: float) -> tuple[float, float]:
    """The time around `when_unix` in which none of a model's constraints begins or ends to hold."""
    since, until = -inf, inf
    if isinstance(info.prices, list):
        for conditional in info.prices:
            for moment in _moments(conditional.constraint, when_unix):
                if moment <= when_unix:
                    since = max(since, moment)
                else:
                    until = min(until, moment)
    return since, until


def _moments(constraint: object, when_unix: float) -> list[float]:
    """The Unix times next to `when_unix` at which a constraint changes."""
    from genai_prices.types import (
        StartDateConstraint,
        TimeOfDateConstraint,
    )

    if constraint is None:
        return []
    if isinstance(constraint, StartDateConstraint):
        return [datetime.combine(constraint.start_date, time(), UTC).timestamp()]
    if isinstance(constraint, TimeOfDateConstraint):
        midnight = when_unix // _DAY_S * _DAY_S
        hours = [_second_of_day(constraint.start_time), _second_of_day(constraint.end_time)]
        return [midnight + day * _DAY_S + hour for day in (-1, 0, 1) for hour in hours]
    raise ValueError("an unknown kind of constraint")


def _second_of_day(hour: time) -> float:
    """In UTC; an hour without an offset is in UTC."""
    moment = datetime.combine(_EPOCH, hour)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp() % _DAY_S


def _agrees(
    tariff: Tariff, steps: list[Step], provider: Provider, info: ModelInfo, when_unix: float
) -> bool:
    """Whether a tariff prices as the list does, on each step and for each kind of token."""
    when = datetime.fromtimestamp(when_unix, UTC)
    for step in steps:
        for usage in _probes(step):
            asked = info.calc_price(_as_asked(usage), provider, genai_request_timestamp=when)
            if tariff.cost(usage) != asked.total_price:
                return False
    return True


def _probes(step: Step) -> Iterator[Usage]:
    """Usages at the start of a step that have each kind of token, where the step prices it."""
    prompt = step.above + _PROBE_TOKENS
    completion = 7 if step.rates.output is not None else 0
    yield Usage(prompt, completion)
    yield Usage(prompt, completion, cached_tokens=prompt // 2, cache_write_tokens=prompt // 3)
    yield Usage(prompt, completion, cached_tokens=prompt, reasoning_tokens=completion // 2)


def _as_asked(usage: Usage) -> genai_prices.Usage:
    from genai_prices import Usage as Asked

    return Asked(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
