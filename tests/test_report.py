"""`batcher report`: the figures, held against a naive reckoning of the same lines."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.cli import group
from batcher.cli.faults import run_safely
from batcher.report.sketch import RELATIVE_ERROR
from tests.reporting import TOTALS, Reporter, attempt, pruned, result, write

NAMES = st.sampled_from(["a", "b", "=1+1", "<b>", "naïve", "x" * 300])
MOMENTS = st.tuples(st.integers(1, 3), st.integers(0, 23)).map(
    lambda at: f"2026-10-{at[0]:02}T{at[1]:02}:30:00.5Z"
)
ROW = st.fixed_dictionaries(
    {
        "model": NAMES,
        "label": NAMES,
        "endpoint": st.sampled_from(["openai", "yunwu"]),
        "finished_at": MOMENTS,
        "latency_s": st.integers(1, 10**6).map(lambda ms: ms / 1000),
        "attempts": st.integers(1, 4),
        "cost_usd": st.none() | st.integers(0, 10**9).map(lambda n: str(Decimal(n).scaleb(-7))),
    },
    optional={"error_code": st.sampled_from(["timeout", "http_500"])},
)


def naive(lines: list[dict[str, Any]], by: str) -> dict[str, dict[str, Any]]:
    """Add up lines one by one, in the plainest way."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        ours = line["batcher"]
        name = ours["finished_at"][:10] if by == "day" else ours.get(by, "")
        groups[name if len(name) <= 200 else name[:200] + "..."].append(ours)
    found = {}
    for name, group_ in groups.items():
        failed = [ours for ours in group_ if ours.get("error_code")]
        priced = [ours["cost_usd"] for ours in group_ if ours["cost_usd"] is not None]
        latencies = sorted(ours["latency_s"] for ours in group_)
        found[name] = {
            "requests": len(group_),
            "failed": len(failed),
            "attempts": sum(ours["attempts"] for ours in group_),
            "prompt_tokens": sum(ours["usage"]["prompt_tokens"] for ours in group_),
            "cost_usd": sum(map(Decimal, priced), Decimal(0)) if priced else None,
            "wasted_usd": sum((Decimal(ours["cost_usd"] or 0) for ours in failed), Decimal(0)),
            "latency_p95_s": latencies[math.ceil(0.95 * len(latencies)) - 1],
        }  # fmt: skip
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROW, max_size=30), by=st.sampled_from(["model", "label", "endpoint", "day"]))
def test_every_group_is_the_sum_of_its_lines(
    rows: list[dict[str, Any]], by: str, tmp_path_factory: pytest.TempPathFactory
):
    """By whatever one looks, each row of the table is the plain sum; a quantile is right to 1%."""
    lines = [result(number, **row) for number, row in enumerate(rows, 1)]
    folder = tmp_path_factory.mktemp("report")
    output = write(folder / "out.jsonl", [*lines, TOTALS])
    words = ["report", str(output), "--by", by, "-o", str(folder / "report.json")]
    assert run_safely(lambda: group.main(words, standalone_mode=False)) == 0
    said = json.loads((folder / "report.json").read_text())
    shown = {row[by]: row for row in said["rows"]}
    expected = naive(lines, by)
    assert shown.keys() == expected.keys()
    for name, sums in expected.items():
        for key in ("requests", "failed", "attempts", "prompt_tokens"):
            assert shown[name][key] == sums[key]
        cost = shown[name]["cost_usd"]
        assert (None if cost is None else Decimal(cost)) == sums["cost_usd"]
        if cost is not None:
            assert Decimal(shown[name]["wasted_usd"]) == sums["wasted_usd"]
        assert shown[name]["latency_p95_s"] == pytest.approx(
            sums["latency_p95_s"], rel=RELATIVE_ERROR + 1e-5
        )
    assert said["totals"]["requests"] == len(lines)


def test_what_a_finished_output_has_cost(tmp_path: Path, report: Reporter):
    """Requests, successes, attempts, tokens, cost and waste are the sums over the lines."""
    lines = [result(1), result(2, attempts=3), result(3, error_code="timeout"), TOTALS]
    said = report(write(tmp_path / "out.jsonl", lines), "--json")
    assert said.code == 0
    totals = said.json["totals"]
    assert (totals["requests"], totals["succeeded"], totals["failed"]) == (3, 2, 1)
    assert (totals["attempts"], totals["prompt_tokens"]) == (5, 300)
    assert (totals["cost_usd"], totals["wasted_usd"]) == ("0.03", "0.01")


def test_of_a_journal_the_last_line_of_a_row_stands(tmp_path: Path, report: Reporter):
    """Attempts count as spend of rows without a result; a torn last line is passed over."""
    lines = [
        attempt(1, cost_usd="0.01"),
        result(1, attempts=2, cost_usd="0.03"),
        result(2, error_code="timeout", cost_usd=None),
        result(2, attempts=2, cost_usd="0.05"),
        attempt(3, cost_usd="0.07"),
    ]
    journal = write(tmp_path / "out.jsonl.partial", lines)
    with journal.open("ab") as file:
        file.write(b'{"id":"batch_req_torn","custom_id":"r4","resp')
    said = report(tmp_path / "out.jsonl", "--json")
    assert (said.code, said.err) == (0, "")
    totals = said.json["totals"]
    assert (totals["requests"], totals["succeeded"], totals["unfinished"]) == (2, 2, 1)
    assert (totals["attempts"], totals["cost_usd"], totals["wasted_usd"]) == (5, "0.15", "0.07")
    assert said.json["unfinished_outputs"] == [str(tmp_path / "out.jsonl")]


def test_failures_taken_back_are_spend_without_a_result(tmp_path: Path, report: Reporter):
    """While --retry-failed is under way, what had failed before has no result."""
    mark = {"object": "batch.retry_failed", "custom_id": None}
    lines = [result(1), result(2, error_code="timeout"), mark, result(3, error_code="timeout")]
    totals = report(write(tmp_path / "out.jsonl.partial", lines), "--json").json["totals"]
    assert (totals["requests"], totals["failed"], totals["unfinished"]) == (2, 1, 1)
    assert totals["cost_usd"] == "0.03"


def test_what_may_have_been_spent_is_told_apart(tmp_path: Path, report: Reporter):
    """What attempts without usage, and killed runs, may have cost is no cost, and is named."""
    lease = {"object": "batch.lease", "custom_id": None, "run": "a", "total_tokens": 5}
    most = {"cost_usd": "0.5", "total_tokens": 9}
    lines = [
        {**lease, "cost_usd": "7"},
        result(1, attempts=2, attempts_without_usage=1, uncertain=most),
        {**lease, "cost_usd": "2"},
    ]
    said = report(write(tmp_path / "out.jsonl.partial", lines), "--json")
    assert (said.code, said.err) == (0, "")
    totals = said.json["totals"]
    assert (totals["cost_usd"], totals["uncertain_usd"]) == ("0.01", "0.5")
    assert any("up to $0.50" in note for note in said.json["notes"])
    assert any("up to $2.00" in note for note in said.json["notes"])


def test_thrown_away_answers_are_waste(tmp_path: Path, report: Reporter):
    """Of a success, what went before the attempt that counted is waste, and is priced again too."""
    spend = {"attempts": 1, "usage": result(1)["batcher"]["usage"], "cost_usd": "0.004"}
    line = result(1, attempts=2, cost_usd="0.01", thrown_away=spend)
    output = write(tmp_path / "out.jsonl", [line, TOTALS])
    assert report(output, "--json").json["totals"]["wasted_usd"] == "0.004"
    again = report(output, "--prices", "list", "--json").json["totals"]
    assert again["wasted_usd"] == "0.00035"


def test_pruned_rows_are_waste(tmp_path: Path, report: Reporter):
    """What dropped rows have cost stays in the sum, as in the totals."""
    output = write(tmp_path / "out.jsonl", [result(1), {**TOTALS, "pruned": pruned("gpt-4o", 2)}])
    totals = report(output, "--json").json["totals"]
    assert (totals["requests"], totals["cost_usd"], totals["wasted_usd"]) == (1, "0.51", "0.5")


@pytest.mark.parametrize(
    ("flags", "days"),
    [
        (["--since", "2026-10-02"], [2, 3]),
        (["--until", "2026-10-02"], [1, 2]),
        (["--since", "2026-10-02", "--until", "2026-10-02"], [2]),
        (["--until", "2026-10-02T23:30Z"], [1]),
        (["--since", "2026-10-03T08:00+08:00"], [3]),
        (["--since", "2026-10", "--until", "2026-10"], [1, 2, 3]),
        (["--until", "2026-09"], []),
        (["--since", "3d"], [2, 3]),
        (["--since", "36h"], [3]),
        (["--since", "2026-10-03", "--time-zone", "+08:00"], [2, 3]),
        (["--until", "2026-10-01", "--time-zone", "Asia/Shanghai"], []),
    ],
)
def test_periods(
    tmp_path: Path, report: Reporter, time_machine: Any, flags: list[str], days: list[int]
):
    """A day or a month is meant whole, a time is exact, and the zone says where a day begins."""
    time_machine.move_to("2026-10-05T11:30:00Z")
    moments = [f"2026-10-{day:02}T23:59:59.999Z" for day in (1, 2, 3)]
    lines = [result(number, finished_at=at) for number, at in enumerate(moments, 1)]
    said = report(write(tmp_path / "out.jsonl", [*lines, TOTALS]), *flags, "--json")
    assert said.code == 0, said.err
    assert said.json["totals"]["requests"] == len(days)
    assert said.json["totals"]["attempts"] == len(days)


def test_top_keeps_what_costs_most(tmp_path: Path, report: Reporter):
    """The rest is one row, so that the rows still add up."""
    lines = [result(number, model=f"m{number}", cost_usd=f"{number}") for number in range(1, 6)]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    said = report(output, "--top", "2", "--json").json
    assert [row["model"] for row in said["rows"]] == ["m5", "m4", "(all others)"]
    assert said["rows"][-1]["cost_usd"] == "6"
    assert said["left_out"] == 3


def test_days_come_in_order(tmp_path: Path, report: Reporter):
    """By day the table is a calendar, whatever each day has cost."""
    days = {"2026-10-03": "1", "2026-10-01": "2", "2026-10-02": "3"}
    lines = [result(number, finished_at=f"{day}T00:00:00.000Z", cost_usd=cost)
             for number, (day, cost) in enumerate(days.items(), 1)]  # fmt: skip
    said = report(write(tmp_path / "out.jsonl", [*lines, TOTALS]), "--by", "day", "--json").json
    assert [row["day"] for row in said["rows"]] == sorted(days)


def test_unpriced_is_not_zero(tmp_path: Path, report: Reporter):
    """Without a price there is no cost; with some, the sum is a lower bound that names the rest."""
    none = result(1, model="mine", cost_usd=None, unpriced=True)
    output = write(tmp_path / "out.jsonl", [none, TOTALS])
    totals = report(output, "--json").json["totals"]
    assert (totals["cost_usd"], totals["unpriced"]) == (None, True)
    assert "nothing is priced" in report(output).out
    write(output, [none, result(2), TOTALS])
    said = report(output)
    assert "at least $0.01" in said.out
    assert "no price for mine" in said.out


def test_prices_again(tmp_path: Path, report: Reporter):
    """A price table reckons old results anew, and says what it can't recover."""
    prices = tmp_path / "prices.toml"
    prices.write_text('list = false\n[models."gpt-4o"]\ninput = 10\noutput = 100\n')
    lines = [result(1), result(2, attempts=2, error_code="x"), result(3, model="other"), TOTALS]
    output = write(tmp_path / "out.jsonl", lines)
    said = report(output, "--prices", prices, "--json").json
    totals = said["totals"]
    assert (totals["cost_usd"], totals["wasted_usd"], totals["unpriced"]) == (
        "0.004",
        "0.002",
        True,
    )
    assert "prices.toml" in said["prices"]
    assert any("reckoned again" in note and "prices.toml" in note for note in said["notes"])
    assert any("1 result sum" in note and "can't be recovered" in note for note in said["notes"])


def test_prices_again_of_one_usage(tmp_path: Path, report: Reporter):
    """A result whose other attempts brought no usage can be reckoned anew without a loss."""
    line = result(1, attempts=3, attempts_without_usage=2)
    output = write(tmp_path / "out.jsonl", [line, TOTALS])
    notes = report(output, "--prices", "list", "--json").json["notes"]
    assert any("reckoned again" in note for note in notes)
    assert not any("sum the usage" in note for note in notes)


def test_list_prices_are_those_of_each_result(tmp_path: Path, report: Reporter):
    """The list's price of gpt-4o holds on any host; a model that no list knows stays unpriced."""
    lines = [result(1, cost_usd=None, unpriced=True, endpoint="host"), TOTALS]
    said = report(write(tmp_path / "out.jsonl", lines), "--prices", "list", "--json").json
    # 100 x 2.50 + 10 x 10.00 dollars a million
    assert said["totals"]["cost_usd"] == "0.00035"
    assert "genai-prices" in said["prices"]


def test_more_names_than_fit(tmp_path: Path, report: Reporter):
    """Beyond a thousand labels the rest is one, and the sums stay right."""
    lines = [result(number, label=f"label {number}") for number in range(1, 1_501)]
    said = report(write(tmp_path / "out.jsonl", [*lines, TOTALS]), "--by", "label", "--json").json
    assert len(said["rows"]) == 1_001
    assert said["rows"][0] | {"label": "(other)", "requests": 500} == said["rows"][0]
    assert said["totals"]["cost_usd"] == "15"


def test_the_budget_of_a_job_file_is_drawn(tmp_path: Path, report: Reporter):
    """A job file stands for its output, and its `max_cost` is the budget line of the page."""
    write(tmp_path / "out.jsonl", [result(1), TOTALS])
    job_file = tmp_path / "job.toml"
    job_file.write_text('source = "in.jsonl"\noutput = "out.jsonl"\nmax_cost = 12.5\n')
    assert "budget $12.50" in report(job_file, "--to", "html").out
    assert "budget $" not in report(tmp_path / "out.jsonl", "--to", "html").out
