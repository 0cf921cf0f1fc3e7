"""Prices to reckon old results with."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from batcher.amounts import Usage
from batcher.endpoints.named import find
from batcher.pricing import Pricer, load_pricer
from batcher.report.gather import Price

__all__ = ["Prices", "load_prices"]


class Prices(NamedTuple):
    """Prices, and the name of what they are from."""

    price: Price
    source: str


def load_prices(prices: str) -> Prices:
    """Load the prices that `--prices` names; list prices are those of each result's endpoint.

    Raises:
        UsageError: The file can't be read, or is no price table.
    """
    pricers: dict[str | None, Pricer] = {None: load_pricer(prices)}

    def price(endpoint: str, model: str, usage: Usage, when_unix: float) -> Decimal | None:
        known = find(endpoint)
        provider = known.provider if known else None
        pricer = pricers.get(provider)
        if pricer is None:
            pricer = pricers[provider] = load_pricer(prices, provider=provider)
        return pricer.price(model, usage, when_unix)

    return Prices(price, pricers[None].source)
