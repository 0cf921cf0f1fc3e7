"""Pricing: a table of the user's own, and what its documents say."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.errors import UsageError
from batcher.pricing import Pricer, load_pricer
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.table import PriceTable
from tests.pricers import MTOK, NOON, table

DOCS = Path(__file__).parent.parent / "docs" / "prices.md"


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
