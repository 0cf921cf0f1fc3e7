"""`batcher report`: the figures, held against a naive reckoning of the same lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting import TOTALS, Reporter, result, write


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Reporter:
    """The command, run in this process."""
    return Reporter(capsys)


def test_what_a_finished_output_has_cost(tmp_path: Path, report: Reporter):
    """Requests, successes, attempts, tokens, cost and waste are the sums over the lines."""
    lines = [result(1), result(2, attempts=3), result(3, error_code="timeout"), TOTALS]
    said = report(write(tmp_path / "out.jsonl", lines), "--json")
    assert said.code == 0
    totals = said.json["totals"]
    assert (totals["requests"], totals["succeeded"], totals["failed"]) == (3, 2, 1)
    assert (totals["attempts"], totals["prompt_tokens"], totals["completion_tokens"]) == (
        5,
        300,
        30,
    )
    assert (totals["cost_usd"], totals["wasted_usd"]) == ("0.03", "0.01")
