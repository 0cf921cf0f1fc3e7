"""Usage to money: what a request cost, and the most that one can cost.

Rules:
    * Every request is priced alone, at its own time: a price may change with the length of the
      prompt and with the hour of the day, so prices don't add up over summed usage.
    * An unknown price is None, never zero.
    * Where prices come from is a `PriceSource`'s affair; the first that knows a model decides.

Asking a price list takes a hundred times as long as pricing by a `Tariff`. So a source gives the
tariff that holds at a time, and the pricer remembers it by model until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol, TypeVar

from batcher.amounts import Usage
from batcher.pricing.tariff import Rates, Step, Tariff

__all__ = ["PriceSource", "Pricer"]

_T = TypeVar("_T")

# Model names come from the rows: what is remembered of them is bounded.
_MAX_REMEMBERED = 4096

# A reservation is settled within a request's lifetime. A day covers any timeout and all hours of
# time-of-day prices; a dearer price that begins later is no reason to reserve more now.
_HORIZON_S = 86_400.0

# How long the prices within the horizon are looked up once rather than for each request.
_CEILING_S = 3_600.0


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

    def context(self, model: str) -> int | None:
        """The most tokens that a request and its answer can have together, where known."""


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

    def model_context(self, model: str) -> int | None:
        """The most tokens that a request of the model can have, where a source knows."""
        found = (source.context(model) for source in self._sources)
        return next((context for context in found if context is not None), None)

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
