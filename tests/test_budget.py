"""A budget: never broken, well used, kept over runs and kills; what it can't bound isn't sent."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import batcher
from tests.harness import Job, row
from tests.purses import capped, cost_of
from tests.server import Does, Endpoint, Say, Seen, completion, refusal
from tests.talking import answer, calling, plan, tool_row, write_job


def test_a_run_stops_at_its_budget_and_goes_on_with_a_larger_one(
    priced: Job, endpoint: Endpoint
) -> None:
    """Exit 4, the rest pending; the same command with more money finishes the job."""
    priced.write(capped(100))
    ran = priced.run("--max-cost", "0.2")
    assert (ran.code, ran.totals["stop_reason"]) == (4, "budget"), ran.err
    assert "the budget of $0.2 is spent" in ran.err
    assert "with a larger budget" in ran.err
    assert "max_tokens" not in ran.err, "the rows name it"
    first = cost_of(endpoint)
    assert Decimal("0.18") < first <= Decimal("0.2")
    assert Decimal(ran.totals["cost_usd"]) == first
    assert ran.totals["pending"] == 100 - endpoint.books.attempts
    assert priced.run("--max-cost", "0.2").code == 4
    assert cost_of(endpoint) == first, "a spent budget sends nothing"
    assert priced.run("--max-cost", "1").code == 0
    priced.audit()
    assert endpoint.books.attempts == 100


def test_tokens_have_a_budget_too(priced: Job, endpoint: Endpoint) -> None:
    """--max-tokens-total bounds prompts and answers together, without any price."""
    priced.flags = ["--prices", "none"]
    priced.write(capped(200))
    ran = priced.run("--max-tokens-total", "3000")
    assert (ran.code, ran.totals["stop_reason"]) == (4, "budget")
    assert "3,000 tokens" in ran.err
    assert (
        2200
        < endpoint.books.usage["prompt_tokens"] + endpoint.books.usage["completion_tokens"]
        <= 3000
    )
    assert priced.run("--max-tokens-total", "100000").code == 0
    priced.audit()


def test_a_smaller_row_goes_before_one_that_does_not_fit(priced: Job, endpoint: Endpoint) -> None:
    """What the budget can't pay for is left, and what it can is sent."""
    big = row("big", max_tokens=1000)
    priced.write([big, *capped(5), big | {"custom_id": "big2"}, row("last", max_tokens=5)])
    ran = priced.run("--max-cost", "0.5")
    assert (ran.code, ran.totals["pending"]) == (4, 2)
    assert sorted(endpoint.books.keys) == ["last", "r1", "r2", "r3", "r4", "r5"]


def test_a_big_row_waits_for_those_in_flight(priced: Job, endpoint: Endpoint) -> None:
    """A row that fits once others have been settled is sent then."""
    endpoint.on("r1", Does.WAIT)
    priced.write([row("r1", max_tokens=100), row("big", max_tokens=100)])
    waited = []

    def look(progress: Any) -> None:
        if progress.in_flight:
            waited.append(progress.in_flight)
            if len(waited) > 1:
                endpoint.release()

    priced.watching = look
    ran = priced.run("--max-cost", "0.13")
    assert ran.code == 0, ran.err
    assert endpoint.books.most_in_flight == 1
    assert endpoint.books.keys == ["r1", "big"]


def test_a_row_without_a_price_is_not_sent(priced: Job, endpoint: Endpoint) -> None:
    """It stays without a result, the rest is done, and a table that names it sends it."""
    priced.write([row("odd", model="mystery", max_tokens=5), *capped(3)])
    ran = priced.run("--max-cost", "1")
    assert (ran.code, ran.totals["pending"]) == (4, 1)
    assert "mystery has no price (--prices gives one)" in ran.err
    assert sorted(endpoint.books.keys) == ["r1", "r2", "r3"]
    table = Path(priced.flags[1])
    table.write_text(table.read_text() + "[models.mystery]\ninput = 1\noutput = 1\n")
    assert priced.run("--max-cost", "1").code == 0
    priced.audit()


def test_a_row_of_unknown_length_is_not_sent(priced: Job, endpoint: Endpoint) -> None:
    """Without max_tokens and without a limit of the model nobody can say what it may cost."""
    priced.write([row("long", model="cheap"), row("r1", max_tokens=5)])
    ran = priced.run("--max-cost", "1")
    assert (ran.code, ran.totals["pending"]) == (4, 1)
    assert "cheap has no known limit" in ran.err
    assert endpoint.books.keys == ["r1"]


def test_a_stop_says_that_max_tokens_is_wanting(priced: Job, endpoint: Endpoint) -> None:
    """Where a row that names no limit is what no longer fits, the message says why it is dear."""
    priced.write([row("r1"), row("r2")])
    ran = priced.run("--max-cost", "0.01")
    assert ran.code == 4
    assert "a row without max_tokens reserves the longest answer of its model" in ran.err
    assert not endpoint.books.keys


def test_a_predicted_text_may_be_billed_whole(priced: Job, endpoint: Endpoint) -> None:
    """A prediction that is not used is billed as part of the answer: it is reserved too."""
    priced.write(capped(1, prediction={"type": "content", "content": "x" * 2000}))
    assert priced.run("--max-cost", "1").code == 4
    assert endpoint.books.attempts == 0
    assert priced.run("--max-cost", "5").code == 0


def test_the_models_limit_stands_in_for_max_tokens(priced: Job, endpoint: Endpoint) -> None:
    """A row without max_tokens reserves the limit that the table names."""
    priced.write([row(f"r{number}") for number in range(50)])
    ran = priced.run("--max-cost", "0.12")
    assert ran.code == 4
    # 40 tokens at most are 0.04, so the last row to leave did so with that much left.
    assert Decimal("0.07") < cost_of(endpoint) <= Decimal("0.12")


def test_what_was_seen_stands_in_for_a_limit(priced: Job, endpoint: Endpoint) -> None:
    """On the basis `seen` one row goes alone, and the others by what its answer was."""
    priced.write([row(f"r{number}", model="cheap") for number in range(50)])
    alone: list[int] = []

    def first(seen: Seen) -> Say:
        alone.append(endpoint.books.in_flight)
        return Say()

    endpoint.always(first)
    ran = priced.run("--max-cost", "0.04", "--budget-basis", "seen")
    assert ran.code == 4, ran.err
    assert alone[0] == 1
    assert 0 < cost_of(endpoint) / 10 <= Decimal("0.04")


@pytest.mark.parametrize("does", [Does.CUT, Does.RESET, Does.HANG])
def test_an_attempt_of_unknown_usage_counts_whole(
    priced: Job, endpoint: Endpoint, does: Does
) -> None:
    """What was reserved for it stays spent, stands on the line and in the totals, over runs too."""
    endpoint.on("r1", does, Say())
    priced.write(capped(1, most=100))
    ran = priced.run("--max-cost", "1", "--timeout", "0.5")
    assert ran.code == 0
    (result,) = priced.results()
    uncertain = result["batcher"]["uncertain"]
    # Every byte of the body as a token, what no body shows, and the longest answer.
    assert Decimal("0.1") < Decimal(uncertain["cost_usd"]) < Decimal("0.11")
    assert ran.totals["uncertain"] == uncertain == priced.totals()["by_model"]["m"]["uncertain"]
    priced.write(capped(3, most=100))
    assert priced.run("--max-cost", "0.2").code == 4, "0.1 of it is gone"
    assert endpoint.books.attempts == 2


def test_attempts_of_unknown_usage_can_use_a_budget_up(priced: Job, endpoint: Endpoint) -> None:
    """A row is not tried again when that could break the budget."""
    endpoint.always(Does.RESET)
    priced.write(capped(1, most=100))
    ran = priced.run("--max-cost", "0.25")
    assert (ran.code, ran.totals["pending"]) == (4, 1), ran.err
    assert endpoint.books.attempts == 2
    assert Decimal(ran.totals["uncertain"]["cost_usd"]) <= Decimal("0.25")


def test_a_refusal_costs_nothing(priced: Job, endpoint: Endpoint) -> None:
    """What was reserved for a request that was refused is free again."""
    endpoint.always(refusal(429, "rate_limit_exceeded", retry_after_ms="1"), Say(500), Say())
    priced.write(capped(3, most=100))
    ran = priced.run("--max-cost", "0.14")
    assert ran.code == 0, ran.err
    priced.audit()
    assert "uncertain" not in ran.totals


@pytest.mark.parametrize(("prompt", "answer"), [(10, 50), (5000, 1)])
def test_an_endpoint_that_counts_more_than_it_can_is_believed(
    priced: Job, endpoint: Endpoint, prompt: int, answer: int
) -> None:
    """A bound that turns out wrong is widened at once, so that it does no harm later."""

    def dear(seen: Seen) -> Say:
        body = json.loads(completion(seen))
        total = prompt + answer
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": total,
        }
        return Say(body=json.dumps(body).encode())

    endpoint.always(dear)
    priced.write(capped(50))
    ran = priced.run("--max-cost", "0.3", "--concurrency", "1")
    assert ran.code == 4
    assert cost_of(endpoint) <= Decimal("0.3")


def test_each_cost_says_which_prices_it_is_from(priced: Job, endpoint: Endpoint) -> None:
    """A table by its name and hash; where there is no cost, there is nothing to say."""
    priced.write([*capped(1), row("odd", model="mystery")])
    assert priced.run().code == 0
    said = {name: priced.result(name)["batcher"].get("prices") for name in ("r1", "odd")}
    assert said == {"r1": priced.totals()["prices"], "odd": None}
    assert said["r1"].startswith("prices.toml sha256:")


def test_replaced_and_pruned_results_count(priced: Job, endpoint: Endpoint) -> None:
    """The budget is the job's: what dropped rows and thrown-away results cost is in it."""
    priced.write(capped(10))
    assert priced.run().code == 0
    spent = cost_of(endpoint)
    priced.write(capped(1, temperature=1))
    ran = priced.run("--max-cost", str(spent), "--prune", "--resend")
    assert ran.code == 4
    assert cost_of(endpoint) == spent


def _call(seen: Seen) -> Say:
    return calling(seen, {"a": 1, "b": 2})


@pytest.mark.parametrize("concurrency", ["4", "64"])
def test_rows_of_several_turns_are_ended(priced: Job, endpoint: Endpoint, concurrency: str) -> None:
    """A tight budget is spent on rows from their first turn to their last, not on first turns."""
    endpoint.always(plan(_call, _call, lambda seen: answer(seen, {"content": "3"})))
    priced.write([tool_row(f"r{n}", max_tokens=5) for n in range(200)])
    job = write_job(priced, functions="def add(a, b):\n    return a + b\n")
    ran = priced.run("--max-cost", "1", "--concurrency", concurrency, source=job)
    assert ran.code == 4, ran.err
    cost, done = cost_of(endpoint), ran.totals["request_counts"]["completed"]
    a_row = cost / endpoint.books.attempts * 3
    assert cost <= 1
    assert done >= int(1 / a_row * Decimal("0.9"))
    assert endpoint.books.attempts <= 3 * done + 3, "what was begun was ended"


def test_a_budget_may_do_for_a_few_turns_only(priced: Job, endpoint: Endpoint) -> None:
    """A row is begun though its most turns would not be paid for: it may well take fewer."""
    endpoint.always(
        plan(
            lambda seen: calling(seen, {"a": 1, "b": 2}),
            lambda seen: answer(seen, {"content": "3"}),
        )
    )
    priced.write([tool_row(f"r{n}", max_tokens=5) for n in range(3)])
    job = write_job(priced, functions="def add(a, b):\n    return a + b\n")
    ran = priced.run("--max-cost", "0.06", source=job)
    assert ran.totals["request_counts"]["completed"] >= 1, ran.err


def test_rows_of_a_program_have_a_budget(priced: Job, endpoint: Endpoint) -> None:
    """`batcher.process` stops at the first row that it can't pay for: others may wait for it."""
    processing = batcher.process(
        capped(100), base_url=endpoint.url, prices=priced.flags[1], max_cost="0.2"
    )
    results: list[batcher.Result] = []

    async def main() -> None:
        async for result in processing:
            results.append(result)  # noqa: PERF401 - what came before the stop is wanted

    with pytest.raises(batcher.StoppedError, match="budget of"):
        asyncio.run(main())
    assert Decimal("0.18") < cost_of(endpoint) <= Decimal("0.2")
    assert processing.totals.cost_usd == cost_of(endpoint)
    assert len(results) == endpoint.books.attempts
