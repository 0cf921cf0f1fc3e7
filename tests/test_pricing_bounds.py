"""Pricing: the most that a request can cost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from genai_prices.types import ModelInfo, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.pricing import Pricer
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.table import PriceTable
from batcher.pricing.tariff import Rates, Step, Tariff
from tests.pricers import LISTED, MTOK, NOON, listed, moments, usages


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LISTED), usages(), moments, st.floats(0, 86_400), st.integers(0, 10**5))
def test_most_is_a_bound(
    entry: tuple[Provider, ModelInfo], usage: Usage, now: float, later_s: float, more: int
) -> None:
    """No usage within the counts costs more than the bound, at any hour within a day."""
    provider, model = entry
    pricer = listed(provider.id)
    bound = pricer.most(model.id, usage.prompt_tokens + more, usage.completion_tokens + more, now)
    cost = pricer.price(model.id, usage, now + later_s)
    if bound is not None and cost is not None:
        assert cost <= bound


@pytest.mark.parametrize(
    ("rates", "bound"),
    [
        pytest.param(Rates(Decimal(2), Decimal(8)), 10, id="the whole"),
        pytest.param(Rates(Decimal(2), Decimal(8), cached=Decimal(1)), 10, id="cheap cache reads"),
        pytest.param(Rates(Decimal(2), Decimal(8), cached=Decimal(3)), 11, id="dear cache reads"),
        pytest.param(Rates(Decimal(2), Decimal(8), cache_write=Decimal(4)), 12, id="cache writes"),
        pytest.param(Rates(Decimal(2), Decimal(8), reasoning=Decimal(9)), 11, id="dear reasoning"),
        pytest.param(Rates(Decimal(2), Decimal(8), reasoning=Decimal(3)), 10, id="cheap reasoning"),
        pytest.param(Rates(Decimal(2), Decimal(8), request=Decimal(5)), 15, id="the request"),
    ],
)
def test_most_takes_the_dearest_part(rates: Rates, bound: int) -> None:
    """The bound holds whatever parts the tokens turn out to be."""
    assert Tariff([Step(-1, rates)]).most(MTOK, MTOK) == bound


def test_most_is_tight() -> None:
    """Without a tier or a dearer part in reach the bound is the price itself."""
    pricer = listed("openai")
    cost = pricer.price("gpt-4o", Usage(1000, 500, 1500), NOON)
    assert pricer.most("gpt-4o", 1000, 500, NOON) == cost


def test_most_takes_the_tiers_in_reach() -> None:
    """A tier counts in the bound once the prompt may reach it."""
    pricer = listed("google")
    assert pricer.most("gemini-2.5-pro", 200_000, 0, NOON) == Decimal("0.25")
    assert pricer.most("gemini-2.5-pro", 400_000, 0, NOON) == Decimal("1.0")


def test_most_takes_the_dearest_hour() -> None:
    """The bound in a cheap hour is that of the dear hour to come."""
    pricer = listed("deepseek")
    hours = [NOON + hour * 3600 for hour in range(24)]
    usage = Usage(1000, 1000, 2000)
    costs = [pricer.price("deepseek-chat", usage, when) or 0 for when in hours]
    assert {pricer.most("deepseek-chat", 1000, 1000, when) for when in hours} == {max(costs)}


def test_most_forgets_prices_of_the_past() -> None:
    """A price that has been cut is reserved no more."""
    starts = {"old": (0.0, 100.0, 9), "new": (100.0, float("inf"), 1)}

    class Cut:
        name = "cut"

        def warm(self) -> None: ...

        def output_limit(self, model: str) -> int | None: ...

        def context(self, model: str) -> int | None: ...

        def tariff(self, model: str, when_unix: float) -> Tariff | None:
            del model
            for since, until, rate in starts.values():
                if since <= when_unix < until:
                    steps = [Step(-1, Rates(Decimal(rate), Decimal(rate)))]
                    return Tariff(steps, since=since, until=until)
            return None

    pricer = Pricer([Cut()])
    assert pricer.most("m", MTOK, 0, 50.0) == 9
    assert pricer.most("m", MTOK, 0, 101.0) == 1


def test_most_of_an_unknown_model() -> None:
    """A model without a price has no bound."""
    assert listed().most("smollm2", 10, 10, NOON) is None
    assert listed("openai").most("text-embedding-3-small", 10, 10, NOON) is None
    assert Pricer().most("gpt-4o", 10, 10, NOON) is None


def test_output_limits() -> None:
    """A table's word on the longest answer wins over the list's context window."""
    text = '[models."gpt-4*"]\ninput=1\nmax_output_tokens=77\n[models.own]\ninput=1\n'
    own = PriceTable(text.encode(), file_name="p")
    pricer = Pricer([own, BuiltInList()])
    assert pricer.model_output_limit("gpt-4o") == 77
    assert listed().model_output_limit("gpt-4o") == 128_000
    assert pricer.model_output_limit("own") is None
