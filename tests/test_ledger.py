"""The ledger: results folded into totals, and the JSON forms of usage and spend."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.ledger import Ledger
from batcher.records import StopReason
from batcher.spend import (
    cost_text,
    read_spend,
    read_usage_json,
    spend_json,
    spend_text,
    usage_json,
)

counts = st.integers(0, 10**9)
costs = st.none() | st.integers(0, 10**24).map(lambda n: Decimal(n).scaleb(-18))
usages = st.builds(Usage, counts, counts, counts, counts, st.just(0) | counts, counts)
amounts = st.just(NO_AMOUNT) | st.builds(Amount, costs.map(lambda usd: usd or Decimal(0)), counts)
spends = st.builds(Spend, counts, st.just(0) | counts, usages, costs, st.booleans(), amounts)


class Entry(NamedTuple):
    model: str
    succeeded: bool
    error_code: str | None
    spend: Spend

    def arguments(self) -> dict[str, Any]:
        return self._asdict()


outcomes = st.sampled_from(
    [(True, None), (False, "timeout"), (False, "rate_limit_exceeded"), (False, None)]
)
entries = st.builds(
    lambda model, outcome, spend: Entry(model, outcome[0], outcome[1], spend),
    st.sampled_from(["gpt-4o", "gpt-4o-mini", "own-model", ""]),
    outcomes,
    spends,
)


def totals(ledger: Ledger, **more: Any) -> dict[str, Any]:
    """Give a ledger's totals with fixed times."""
    return ledger.totals(
        started_at="2026-11-22T03:00:00.000Z",
        finished_at="2026-11-22T03:00:31.200Z",
        wall_s=31.20004,
        version="1.2.3",
        **more,
    )


def folded(*rows: Entry) -> Ledger:
    """Fold rows into a new ledger."""
    ledger = Ledger()
    for row in rows:
        ledger.add(**row.arguments())
    return ledger


def priced(cost: str, *, attempts: int = 1, prompt: int = 10, completion: int = 5) -> Spend:
    """Give a spend with a cost."""
    usage = Usage(prompt, completion, prompt + completion)
    return Spend(attempts, 0, usage, Decimal(cost))


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        pytest.param(Decimal("0.0003750"), "0.000375", id="trailing zeros go"),
        pytest.param(Decimal("3.75E-7"), "0.000000375", id="no exponent for the small"),
        pytest.param(Decimal("1E+3"), "1000", id="no exponent for the large"),
        pytest.param(Decimal("120.00"), "120", id="no point without decimals"),
        pytest.param(Decimal(100), "100", id="zeros of a whole number stay"),
        pytest.param(Decimal("0E-18"), "0", id="nothing is 0"),
    ],
)
def test_cost_text(cost: Decimal, text: str) -> None:
    """An amount is plain decimal text."""
    assert cost_text(cost) == text


@settings(deadline=None)
@given(costs.filter(lambda cost: cost is not None))
def test_cost_text_is_exact(cost: Decimal) -> None:
    """An amount's text says the amount, without an exponent."""
    assert Decimal(cost_text(cost)) == cost
    assert "E" not in cost_text(cost)


def test_spend_json_of_a_common_row() -> None:
    """A result says attempts, usage and cost, and nothing that most rows don't need."""
    spend = Spend(2, 0, Usage(82, 17, 99), Decimal("0.000375"))
    assert list(spend_json(spend).items()) == [
        ("attempts", 2),
        (
            "usage",
            {
                "prompt_tokens": 82,
                "completion_tokens": 17,
                "total_tokens": 99,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        ),
        ("cost_usd", "0.000375"),
    ]


def test_spend_json_of_an_odd_row() -> None:
    """Attempts without usage, cache writes and a missing price show where they are."""
    fields = spend_json(Spend(3, 1, Usage(9, 1, 10, 4, 2, 1), None, unpriced=True))
    assert fields["attempts_without_usage"] == 1
    assert fields["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 4,
        "cache_write_tokens": 2,
    }
    assert fields["cost_usd"] is None
    assert fields["unpriced"] is True


@settings(deadline=None)
@given(spends)
def test_spend_text_is_the_json_form(spend: Spend) -> None:
    """The quick way writes the same bytes as the plain one."""
    assert "{" + spend_text(spend) + "}" == orjson.dumps(spend_json(spend)).decode()


@settings(deadline=None)
@given(spends)
def test_spend_is_read_back(spend: Spend) -> None:
    """What a result line says of its spend is read back equal."""
    line = orjson.loads('{"row":1,' + spend_text(spend) + ',"latency_s":0.8}')
    assert read_spend(line) == spend


@settings(deadline=None)
@given(usages)
def test_usage_is_read_back(usage: Usage) -> None:
    """What a result line says of its usage is read back equal."""
    assert read_usage_json(usage_json(usage)) == usage


def test_what_is_missing_is_zero() -> None:
    """A line that says nothing of its spend has none."""
    assert read_spend({}) == Spend()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"attempts": "2"}, "attempts", id="text for a count"),
        pytest.param({"attempts": True}, "attempts", id="a boolean is no count"),
        pytest.param({"attempts": -1}, "attempts", id="no count below zero"),
        pytest.param({"usage": []}, "usage", id="a list for an object"),
        pytest.param({"usage": {"prompt_tokens": 1.5}}, "prompt_tokens", id="half a token"),
        pytest.param({"cost_usd": 0.1}, "cost_usd", id="a float is no amount"),
        pytest.param({"cost_usd": "dear"}, "cost_usd", id="a word is no amount"),
        pytest.param({"cost_usd": "NaN"}, "cost_usd", id="NaN is no amount"),
        pytest.param({"cost_usd": "-1"}, "cost_usd", id="no amount below zero"),
    ],
)
def test_unreadable_spend(fields: dict[str, Any], named: str) -> None:
    """A spend of the wrong type is an error that names the key."""
    with pytest.raises(ValueError, match=named):
        read_spend(fields)


def test_totals_have_the_contracts_keys_in_its_order() -> None:
    """The totals of a finished job are the promised object, key by key."""
    ledger = folded(
        Entry("gpt-4o", succeeded=True, error_code=None, spend=priced("0.40")),
        Entry("gpt-4o", succeeded=False, error_code="timeout", spend=Spend(3, 3)),
        Entry("gpt-4o", succeeded=False, error_code="slow_down", spend=Spend(1)),
        Entry("gpt-4o", succeeded=False, error_code="slow_down", spend=Spend(1)),
        Entry("abc", succeeded=True, error_code=None, spend=priced("0.01")),
    )
    usage = usage_json(Usage(20, 10, 30))
    half = usage_json(Usage(10, 5, 15))
    assert orjson.dumps(totals(ledger)) == orjson.dumps(
        {
            "object": "batch.totals",
            "custom_id": None,
            "request_counts": {"total": 5, "completed": 2, "failed": 3},
            "usage": usage,
            "cost_usd": "0.41",
            "unpriced_models": [],
            "attempts": 7,
            "attempts_without_usage": 3,
            "by_model": {
                "abc": {
                    "request_counts": {"total": 1, "completed": 1, "failed": 0},
                    "usage": half,
                    "cost_usd": "0.01",
                    "attempts": 1,
                    "attempts_without_usage": 0,
                },
                "gpt-4o": {
                    "request_counts": {"total": 4, "completed": 1, "failed": 3},
                    "usage": half,
                    "cost_usd": "0.4",
                    "attempts": 6,
                    "attempts_without_usage": 3,
                },
            },
            "errors": {"slow_down": 2, "timeout": 1},
            "started_at": "2026-11-22T03:00:00.000Z",
            "finished_at": "2026-11-22T03:00:31.200Z",
            "wall_s": 31.2,
            "version": "1.2.3",
        }
    )


def test_a_stopped_run_says_why_and_what_is_left() -> None:
    """A stop adds its reason and the rows without a result, which count towards the total."""
    row = Entry("m", succeeded=True, error_code=None, spend=Spend(1))
    fields = totals(folded(row), stop_reason=StopReason.BUDGET, pending=9)
    assert fields["stop_reason"] == "budget"
    assert fields["pending"] == 9
    assert fields["request_counts"] == {"total": 10, "completed": 1, "failed": 0}


def test_totals_say_what_prices_they_were_reckoned_with() -> None:
    """The list's version or the table's hash stands beside the costs."""
    assert totals(Ledger(), prices="genai-prices 0.2.3")["prices"] == "genai-prices 0.2.3"
    assert "prices" not in totals(Ledger())


def test_unpriced_is_named_and_never_zero() -> None:
    """A model without a price is named; with nothing priced the cost is null."""
    unpriced = Spend(1, 0, Usage(1, 1, 2), None, unpriced=True)
    rows = [
        Entry("z", succeeded=True, error_code=None, spend=unpriced),
        Entry("a", succeeded=True, error_code=None, spend=unpriced),
    ]
    fields = totals(folded(*rows))
    assert (fields["cost_usd"], fields["unpriced_models"]) == (None, ["a", "z"])
    rows.append(Entry("free", succeeded=True, error_code=None, spend=priced("0")))
    fields = totals(folded(*rows))
    assert (fields["cost_usd"], fields["unpriced_models"]) == ("0", ["a", "z"])


def test_rows_that_were_never_sent_name_no_model() -> None:
    """A bad row counts as failed, yet the empty name of its model is no model."""
    fields = totals(folded(Entry("", succeeded=False, error_code="invalid_json", spend=Spend())))
    assert fields["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert fields["by_model"] == {}
    assert fields["errors"] == {"invalid_json": 1}


@settings(deadline=None)
@given(st.lists(entries, max_size=8))
def test_totals_are_the_sum_over_the_lines(rows: list[Entry]) -> None:
    """Counts, usage and cost of the totals equal the sum over the lines, to the last digit."""
    ledger = folded(*rows)
    whole = Spend()
    for row in rows:
        whole = whole.plus(row.spend)
    assert ledger.spend == whole
    assert ledger.completed == sum(row.succeeded for row in rows)
    assert ledger.failed == len(rows) - ledger.completed
    assert sum(totals(ledger)["errors"].values()) == ledger.failed


@settings(deadline=None)
@given(st.lists(entries, max_size=5), st.randoms(use_true_random=False))
def test_order_does_not_matter(rows: list[Entry], random: Any) -> None:
    """Results may come in any order."""
    shuffled = random.sample(rows, len(rows))
    assert orjson.dumps(totals(folded(*rows))) == orjson.dumps(totals(folded(*shuffled)))


@settings(deadline=None)
@given(st.lists(entries, max_size=5), st.lists(entries, max_size=5))
def test_what_is_removed_was_never_there(kept: list[Entry], replaced: list[Entry]) -> None:
    """Adding and removing cancel, down to the model's name and a cost that becomes unknown."""
    ledger = Ledger()
    for row in itertools.chain(replaced, kept):
        ledger.add(**row.arguments())
        ledger.add_spend(row.model, row.spend)
    for row in replaced:
        ledger.remove(**row.arguments())
    for row in itertools.chain(replaced, kept):
        ledger.remove_spend(row.model, row.spend)
    assert totals(ledger) == totals(folded(*kept))


@settings(deadline=None)
@given(st.lists(entries, max_size=5), st.lists(entries, max_size=5))
def test_ledgers_merge(first: list[Entry], second: list[Entry]) -> None:
    """The parts of a job, folded apart and merged, are the job."""
    ledger = folded(*first)
    ledger.merge(folded(*second))
    assert totals(ledger) == totals(folded(*first, *second))


def test_a_resumed_row_is_counted_once() -> None:
    """The spend of a row without a result gives way to the result that carries it."""
    ledger = Ledger()
    ledger.add_spend("m", priced("0.1"))
    assert totals(ledger)["cost_usd"] == "0.1"
    ledger.remove_spend("m", priced("0.1"))
    ledger.add(model="m", succeeded=True, error_code=None, spend=priced("0.3", attempts=2))
    assert ledger.spend == priced("0.3", attempts=2)


def test_what_pruned_rows_cost_stays() -> None:
    """Pruned rows are gone from the counts; what they cost stays, apart and in the sums."""
    ledger = folded(Entry("m", succeeded=True, error_code=None, spend=priced("0.25")))
    assert "pruned" not in totals(ledger)
    ledger.add_pruned(model="m", spend=priced("0.5"))
    ledger.add_pruned(model="n", spend=Spend(1, 0, Usage(1, 1, 2), None, unpriced=True), rows=2)
    fields = totals(ledger)
    assert fields["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert fields["cost_usd"] == "0.75"
    assert fields["by_model"]["m"]["cost_usd"] == "0.75"
    assert fields["unpriced_models"] == ["n"]
    assert fields["pruned"]["rows"] == 3
    assert read_spend(fields["pruned"]) == Spend(2, 0, Usage(11, 6, 17), Decimal("0.5"), True)


@settings(deadline=None)
@given(st.lists(entries, max_size=4), st.lists(entries, max_size=4))
def test_pruned_is_read_back(kept: list[Entry], pruned: list[Entry]) -> None:
    """A later run that reads the `pruned` of earlier totals says the same totals."""
    first = folded(*kept)
    for row in pruned:
        first.add_pruned(model=row.model, spend=row.spend)
    second = folded(*kept)
    second.read_pruned(orjson.loads(orjson.dumps(totals(first))).get("pruned", {}))
    assert totals(second) == totals(first)
