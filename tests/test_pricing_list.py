"""Pricing: the built-in list, and the extract of it that comes along."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import genai_prices
import pytest
from genai_prices.types import ModelInfo, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.extract import Extract
from tests.pricers import LISTED, MTOK, NOON, PROVIDERS, listed, moments, usages
from tests.prices import PLACE, extract


def asked(provider: Provider, model: ModelInfo, usage: Usage, when_unix: float) -> Decimal:
    """Give the list's own answer."""
    wanted = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    when = datetime.fromtimestamp(when_unix, UTC)
    return model.calc_price(wanted, provider, genai_request_timestamp=when).total_price


def findable(provider: Provider, model: ModelInfo) -> bool:
    """Whether the list finds a model by its own id."""
    return provider.find_model(model.id, all_providers=list(PROVIDERS)) is model


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LISTED), usages(), moments)
def test_list_price_is_the_lists_own(
    entry: tuple[Provider, ModelInfo], usage: Usage, when_unix: float
) -> None:
    """The quick way prices as the list itself does, for any model, usage and time."""
    provider, model = entry
    cost = listed(provider.id).price(model.id, usage, when_unix)
    if cost is not None and findable(provider, model):
        assert cost == asked(provider, model, usage, when_unix)


def test_every_token_price_of_the_list_is_understood() -> None:
    """No model that is listed with token prices is left unpriced."""
    left = []
    for provider, model in LISTED:
        source = BuiltInList(provider.id)
        price = model.get_prices(datetime.fromtimestamp(NOON, UTC))
        if findable(provider, model) and price.input_mtok is not None:
            completion = 0 if price.output_mtok is None else 10
            tariff = source.tariff(model.id, NOON)
            if tariff is None or tariff.cost(Usage(10, completion)) is None:
                left.append((provider.id, model.id))
    assert left == []


def test_one_pricer_follows_the_hours() -> None:
    """What a pricer remembers of a model ends when the price does."""
    pricer = listed("deepseek")
    provider = next(provider for provider in PROVIDERS if provider.id == "deepseek")
    model = provider.find_model("deepseek-chat")
    assert model is not None
    usage = Usage(1000, 1000, 2000, 10)
    hours = [NOON + quarter * 900 for quarter in range(-100, 100)]
    costs = [pricer.price("deepseek-chat", usage, when) for when in hours]
    assert costs == [asked(provider, model, usage, when) for when in hours]
    assert len(set(costs)) > 1


def test_a_tier_is_a_cliff() -> None:
    """Beyond a tier's start every token has the tier's price; at its start none has."""
    pricer = listed("google")
    at = pricer.price("gemini-2.5-pro", Usage(200_000, 0), NOON)
    beyond = pricer.price("gemini-2.5-pro", Usage(200_001, 0), NOON)
    assert (at, beyond) == (Decimal("0.25"), Decimal("0.5000025"))


@pytest.mark.parametrize(
    ("provider", "model", "cost"),
    [
        pytest.param("openai", "gpt-4o", "2.5", id="at its maker"),
        pytest.param(None, "gpt-4o", "2.5", id="on an unknown host"),
        pytest.param("yunwu", "gpt-4o", "2.5", id="on a host that the list doesn't know"),
        pytest.param(None, "openai/gpt-4o", "2.5", id="with its maker before the name"),
        pytest.param("deepseek", "gpt-4o", "2.5", id="on a host that doesn't list it"),
        pytest.param(None, "GPT-4o", "2.5", id="in capitals"),
        pytest.param(None, "meta-llama/Llama-3.3-70B-Instruct", None, id="open weights anywhere"),
        pytest.param(None, "smollm2", None, id="a model of our own"),
        pytest.param(None, "", None, id="no name"),
        pytest.param(None, "/", None, id="a slash for a name"),
        pytest.param(
            "openrouter", "agentica-org/deepcoder-14b-preview:free", "0", id="free by name"
        ),
        pytest.param("google", "gemma-3-27b-it", None, id="listed without a price"),
    ],
)
def test_where_a_model_is_looked_up(provider: str | None, model: str, cost: str | None) -> None:
    """A known name has its list price on any host; an unknown one has none, never zero."""
    price = listed(provider).price(model, Usage(MTOK, 0, MTOK), NOON)
    assert price == (None if cost is None else Decimal(cost))


def test_unknown_models_have_no_price_even_for_no_tokens() -> None:
    """An unknown price is None, whatever was used."""
    assert listed().price("smollm2", Usage(), NOON) is None
    assert listed().price("gpt-4o", Usage(), NOON) == 0


@pytest.mark.parametrize("model", ["text-embedding-3-small", "chatgpt-4o-latest"])
def test_a_maker_that_the_list_does_not_tell_by_the_name(model: str) -> None:
    """OpenAI's own models have their list price on any host, also where the list knows no maker."""
    usage = Usage(MTOK, 0, MTOK)
    assert listed().price(model, usage, NOON) == listed("openai").price(model, usage, NOON)
    assert listed().price(model, usage, NOON)


def test_output_without_a_price_is_unpriced() -> None:
    """A model that is listed for input alone has no price for an answer with output."""
    pricer = listed("openai")
    assert pricer.price("text-embedding-3-small", Usage(MTOK, 0, MTOK), NOON) == Decimal("0.02")
    assert pricer.price("text-embedding-3-small", Usage(MTOK, 1, MTOK + 1), NOON) is None


def test_parts_larger_than_their_whole_are_cut() -> None:
    """An endpoint that reports more cached tokens than prompt tokens is priced all the same."""
    pricer = listed("openai")
    odd = pricer.price("gpt-4o", Usage(10, 5, 15, cached_tokens=900, reasoning_tokens=70), NOON)
    assert odd == pricer.price("gpt-4o", Usage(10, 5, 15, cached_tokens=10), NOON)


def test_the_list_names_its_version() -> None:
    """What stands beside a cost says which list it is from."""
    assert listed().source == f"genai-prices {genai_prices.__version__}"


def test_the_list_is_imported_with_the_first_question() -> None:
    """A name that only the list itself can tell imports it; making and warming a pricer don't."""
    code = (
        "import sys; from batcher.pricing import load_pricer; from batcher.amounts import Usage\n"
        "pricer = load_pricer('list'); pricer.warm(); print('genai_prices' in sys.modules)\n"
        "pricer.price('gpt-4o-2024-08-06', Usage(1), 0.0); print('genai_prices' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_a_price_that_is_not_understood_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a newer list reckons in a way that tariffs don't, nothing is priced wrongly."""

    class Odd:
        total_price = Decimal(1)

    monkeypatch.setattr(ModelInfo, "calc_price", lambda *_args, **_more: Odd())
    assert BuiltInList("openai").looked_up("gpt-4o", NOON) is None


def test_the_context_of_the_program_changes_no_cost() -> None:
    """A program that reckons with three digits still gets an exact cost."""
    with localcontext(prec=3):
        cost = listed("openai").price("gpt-4o", Usage(1234, 4321, 5555), NOON)
    assert cost == Decimal("0.0462950")


def test_the_extract_is_what_the_list_says() -> None:
    """Prices known without the list are the list's; if not, run `python -m tests.prices`."""
    assert PLACE.read_bytes() == extract()


def test_an_extract_of_another_version_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once genai-prices is updated, the prices are those of the new list."""
    monkeypatch.setattr("batcher.pricing.extract.installed_version", lambda: "0.0.0")
    assert Extract(None).find("gpt-4o") is None
    assert BuiltInList().tariff("gpt-4o", NOON) is not None


def test_a_known_name_needs_no_list() -> None:
    """A model that is listed by its own name is priced without importing the list."""
    script = (
        "import sys; from batcher.pricing import load_pricer; from batcher.amounts import Usage\n"
        "pricer = load_pricer('list')\n"
        "print(pricer.price('gpt-4o-mini', Usage(1000, 100), 1.8e9) is None)\n"
        "print(pricer.source, 'genai_prices' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    said = ["False", "genai-prices", genai_prices.__version__, "False"]
    assert done.stdout.split() == said
