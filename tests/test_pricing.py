"""Pricing: the built-in list, a table of the user's own, and bounds for a budget."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.errors import UsageError
from batcher.pricing import Pricer, load_pricer
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.extract import Extract
from batcher.pricing.table import PriceTable
from batcher.pricing.tariff import Rates, Step, Tariff
from tests.prices import PLACE, extract

DOCS = Path(__file__).parent.parent / "docs" / "prices.md"
PROVIDERS: Sequence[Provider] = get_snapshot().providers
LISTED = [(provider, model) for provider in PROVIDERS for model in provider.models]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
MTOK = 1_000_000


@st.composite
def usages(draw: st.DrawFn, most: int = 2 * MTOK) -> Usage:
    """Draw a usage whose parts fit into their wholes."""
    prompt, completion = draw(st.integers(0, most)), draw(st.integers(0, most))
    cached = draw(st.just(0) | st.integers(0, prompt))
    written = draw(st.just(0) | st.integers(0, prompt - cached))
    reasoning = draw(st.just(0) | st.integers(0, completion))
    return Usage(prompt, completion, prompt + completion, cached, written, reasoning)


moments = st.floats(
    datetime(2023, 1, 1, tzinfo=UTC).timestamp(), datetime(2028, 1, 1, tzinfo=UTC).timestamp()
)


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


def table(text: str) -> Pricer:
    """Make a pricer of a table without the list."""
    return Pricer([PriceTable(text.encode(), file_name="prices.toml")])


def listed(provider: str | None = None) -> Pricer:
    """Make a pricer of the built-in list."""
    return Pricer([BuiltInList(provider)])


# The built-in list


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


# Bounds


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


# A table of the user's own


def test_each_part_has_its_price() -> None:
    """Cached, cache-write and reasoning tokens are parts, never additions."""
    pricer = table("[models.m]\ninput=10\ncached_input=1\ncache_write=12\noutput=100")
    usage = Usage(1000, 100, 1100, cached_tokens=300, cache_write_tokens=200, reasoning_tokens=60)
    cost = Decimal(500 * 10 + 300 * 1 + 200 * 12 + 100 * 100) / MTOK
    assert pricer.price("m", usage, NOON) == cost


def test_parts_without_a_price_are_priced_as_the_rest() -> None:
    """Without prices of their own, cached and written tokens cost what input costs."""
    pricer = table("[models.m]\ninput=10\noutput=100")
    whole = pricer.price("m", Usage(1000, 100, 1100), NOON)
    assert pricer.price("m", Usage(1000, 100, 1100, 300, 200, 60), NOON) == whole


def test_a_price_by_the_request() -> None:
    """A price by the request comes on top; tokens without a price are then free."""
    pricer = table("[models.m]\nrequest=0.05\n[models.n]\nrequest=0.05\ninput=10\noutput=20")
    assert pricer.price("m", Usage(1000, 1000, 2000), NOON) == Decimal("0.05")
    assert pricer.price("n", Usage(1000, 1000, 2000), NOON) == Decimal("0.08")
    assert pricer.most("n", 1000, 1000, NOON) == Decimal("0.08")


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        pytest.param("gpt-4o", 1, id="exact"),
        pytest.param("GPT-4O", 1, id="capitals make no difference"),
        pytest.param("gpt-4o-mini", 3, id="the longer pattern"),
        pytest.param("gpt-4.1", 2, id="the shorter pattern"),
        pytest.param("gpt-4o.mini", 2, id="a dash is a dash"),
        pytest.param("own[1]?", 5, id="nothing but * is special"),
        pytest.param("own1", None, id="no pattern"),
    ],
)
def test_which_entry_prices_a_model(model: str, rate: int | None) -> None:
    """An exact name wins over a pattern, a longer pattern over a shorter."""
    pricer = table(
        '[models]\n"gpt-*"={input=2}\n"gpt-4o-*"={input=3}\n"gpt-4o"={input=1}\n'
        '"*-4o*"={input=4}\n"own[1]?"={input=5}\n"gpt-4o.*x"={input=6}'
    )
    assert pricer.price(model, Usage(MTOK, 0, MTOK), NOON) == rate


def test_numbers_are_kept_as_written() -> None:
    """No float comes near a price."""
    pricer = table("multiplier=0.1\n[models.m]\ninput=0.3\noutput=0.7")
    assert pricer.price("m", Usage(1, 0, 1), NOON) == Decimal("0.00000003")


@settings(deadline=None)
@given(
    st.decimals(0, 10**6, places=6),
    st.decimals(0, 100, places=4),
    st.integers(0, 10**7),
)
def test_multipliers_are_exact(rate: Decimal, multiplier: Decimal, prompt: int) -> None:
    """A price times a multiplier is exact to 12 decimals per million tokens."""
    pricer = table(f"multiplier={multiplier}\n[models.m]\ninput={rate}\n")
    assert pricer.price("m", Usage(prompt), NOON) == rate * multiplier * prompt / MTOK


def test_a_table_wins_over_the_list(tmp_path: Path) -> None:
    """A model in the table has the table's price, another its list price times a multiplier."""
    path = tmp_path / "prices.toml"
    usage = Usage(MTOK, 0, MTOK)
    path.write_text("[models.gpt-4o]\ninput=1", encoding="utf-8")
    pricer = load_pricer(str(path))
    assert pricer.price("gpt-4o", usage, NOON) == 1
    assert pricer.price("gpt-4o-mini", usage, NOON) == Decimal("0.15")
    path.write_text("list_multiplier=0.5\n", encoding="utf-8")
    pricer = load_pricer(str(path))
    assert pricer.price("gpt-4o", usage, NOON) == Decimal("1.25")
    assert pricer.source.endswith("times 0.5")
    path.write_text("list=false\n[models.gpt-4o]\ninput=1", encoding="utf-8")
    pricer = load_pricer(str(path))
    assert pricer.price("gpt-4o-mini", usage, NOON) is None


def test_none_prices_nothing() -> None:
    """`none` has no price for anything."""
    pricer = load_pricer("none")
    pricer.warm()
    assert pricer.price("gpt-4o", Usage(1, 1, 2), NOON) is None
    assert (pricer.source, pricer.model_output_limit("gpt-4o")) == ("none", None)


def test_a_table_is_known_by_name_and_hash() -> None:
    """What stands beside a cost tells two versions of a table apart."""
    first, second = table("[models.m]\ninput=1"), table("[models.m]\ninput=2")
    assert re.fullmatch(r"prices\.toml sha256:[0-9a-f]{12}", first.source)
    assert first.source != second.source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("mutliplier=1", "mutliplier is unknown; did you mean multiplier?", id="top"),
        pytest.param(
            '[models."gpt-4o"]\ninput=1\noutptu=2',
            'models."gpt-4o".outptu is unknown; did you mean output?',
            id="key of a model",
        ),
        pytest.param("zzz=1", "zzz is unknown; known: list,", id="like none"),
        pytest.param("[models.m]\noutput=1", 'models."m".input is missing', id="no input"),
        pytest.param('[models.m]\ninput="1"', 'models."m".input must be a number', id="text"),
        pytest.param("[models.m]\ninput=true", 'models."m".input must be a number', id="boolean"),
        pytest.param("[models.m]\ninput=-1", 'models."m".input must be a number', id="below 0"),
        pytest.param("[models.m]\ninput=nan", 'models."m".input must be a number', id="nan"),
        pytest.param("[models.m]\ninput=inf", 'models."m".input must be a number', id="infinite"),
        pytest.param("[models.m]\ninput=1e999999", "must be a number from 0", id="monstrous"),
        pytest.param("models=1", "models must be a table", id="models"),
        pytest.param("[models]\nm=1", 'models."m" must be a table', id="a model"),
        pytest.param("list=1", "list must be true or false", id="list"),
        pytest.param("currency=1", "currency must be text", id="currency"),
        pytest.param('currency="CNY"', "usd_per_unit is missing: what one CNY", id="no rate"),
        pytest.param("usd_per_unit=2", "usd_per_unit needs a currency", id="no currency"),
        pytest.param(
            '[models.m]\ninput=1\ncurrency="CNY"',
            'models."m".usd_per_unit is missing',
            id="no rate of a model's own",
        ),
        pytest.param(
            "[models.m]\ninput=1\nmax_output_tokens=0",
            'models."m".max_output_tokens must be a whole number',
            id="no room to answer",
        ),
        pytest.param("[models]\nM={input=1}\nm={input=2}", 'models."m" stands twice', id="twice"),
        pytest.param("list=", "not TOML", id="no TOML"),
    ],
)
def test_errors_of_a_table_name_the_key(text: str, said: str) -> None:
    """A wrong table is bad usage, and says what is wrong in which file."""
    with pytest.raises(UsageError) as caught:
        table(text)
    assert str(caught.value).startswith("prices.toml: ")
    assert said in str(caught.value)


def test_errors_of_the_file(tmp_path: Path) -> None:
    """A file that can't be read, or is no text, is bad usage."""
    with pytest.raises(UsageError, match=r"can't read .*nowhere\.toml: No such file"):
        load_pricer(str(tmp_path / "nowhere.toml"))
    with pytest.raises(UsageError, match=r"can't read .*: Is a directory"):
        load_pricer(str(tmp_path))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: not UTF-8 text"):
        load_pricer(str(tmp_path / "bytes.toml"))


def test_a_tiny_number_is_no_burden() -> None:
    """A price with a million decimals is cut, not worked out."""
    assert table("[models.m]\ninput=1e-999999").price("m", Usage(1), NOON) == 0


def test_names_are_remembered_within_bounds() -> None:
    """Rows may name any number of models; the prices stay right and the memory small."""
    pricer = table('[models]\n"*1"={input=1}\n"*2"={input=2}')
    for number in range(10_000):
        pricer.price(f"model-{number}", Usage(1), NOON)
    assert len(pricer._tariffs) <= 4096
    assert pricer.price("model-2", Usage(MTOK), NOON) == 2


# The documents


def test_the_example_of_the_documents() -> None:
    """The table in docs/prices.md is read, and its reckoning comes out as it says."""
    text = DOCS.read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    said = re.search(r"`([\d.]+)` dollars", text)
    assert example is not None
    assert said is not None
    own = PriceTable(example[1].encode(), file_name="prices.toml")
    pricer = Pricer([own, BuiltInList(multiplier=own.list_multiplier)])
    usage = Usage(1_000_000, 100_000, 1_100_000, cached_tokens=400_000)
    assert pricer.price("gpt-4o", usage, NOON) == Decimal(said[1])
    million = Usage(MTOK, 0, MTOK)
    assert pricer.price("deepseek-chat", million, NOON) == Decimal("0.28")
    assert pricer.price("claude-any", million, NOON) == Decimal("2.4")
    assert pricer.price("picture-captions", million, NOON) == Decimal("0.0056")
    assert pricer.price("gpt-4o-mini", million, NOON) == Decimal("0.135")


def test_every_key_is_documented() -> None:
    """docs/prices.md has each key of a table."""
    text = DOCS.read_text(encoding="utf-8")
    with pytest.raises(UsageError) as top:
        table("zzz=1")
    with pytest.raises(UsageError) as model:
        table("[models.m]\nzzz=1")
    known = [str(caught.value).partition("known: ")[2].split(", ") for caught in (top, model)]
    keys = {key for part in known for key in part} - {"models"}
    assert {key for key in keys if f"`{key}`" not in text} == set()


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
