"""Results read many at once say what each says by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batcher.report import gather
from tests.reporting import TOTALS, Reporter, result, write

_PARTS = {"cost_usd": "0.003", "attempts": 1}
_MORE: tuple[dict[str, Any], ...] = (
    {},
    {"label": "a", "model": "b"},
    {"label": 1, "latency_s": 0.25, "finished_at": "2026-10-05T23:59:59.999Z"},
    {"label": None, "finished_at": "2026-10-06T00:00:01.000Z"},
    {"error_code": "timeout", "attempts": 3, "attempts_without_usage": 2},
    {"error_code": "http_400", "cost_usd": None, "attempts": 1},
    {"attempts": 0, "latency_s": 0.0, "error_code": "invalid_json", "model": "", "endpoint": ""},
    {"attempts": 2, "thrown_away": _PARTS, "cost_usd": "0.0130"},
    {"attempts": 2, "thrown_away": _PARTS, "error_code": "timeout"},
    {"cost_usd": None, "unpriced": True},
    {"uncertain": {"cost_usd": "0.5", "total_tokens": 7}, "attempts_without_usage": 1},
)
_ODD: tuple[dict[str, Any], ...] = (
    {"cost_usd": "1E-7"},
    {"finished_at": "2026-10-05T14:00:00+02:00"},
    {"usage": {"prompt_tokens": 3}},
    {"latency_s": -1},
    {"cost_usd": "-1"},
    {"thrown_away": []},
    {"endpoint": 7},
)


@pytest.mark.parametrize("odd", [(), *((each,) for each in _ODD)], ids=str)
@pytest.mark.parametrize(
    "how", ["model", "day,label", "endpoint,error,job", "model --since 2026-10-06"]
)
def test_many_at_once_say_what_each_says(
    tmp_path: Path,
    report: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    odd: tuple[Any, ...],
    how: str,
) -> None:
    """Whatever results there are, the report is the one that is made of them line by line."""
    lines = [result(number, **ours) for number, ours in enumerate([*_MORE, *odd, *_MORE], 1)]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    together = report(output, "--json", "--by", *how.split())
    monkeypatch.setattr(gather, "read_together", lambda *_: None)
    alone = report(output, "--json", "--by", *how.split())
    assert (together.code, together.err) == (alone.code, alone.err)
    assert {**together.json, "made_at": ""} == {**alone.json, "made_at": ""}


def test_usual_results_are_not_read_one_by_one(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures, retries and labels are among what is read many at once."""
    lines = [result(number, **ours) for number, ours in enumerate(_MORE, 1)]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    monkeypatch.delattr(gather._Fold, "_take")
    assert report(output, "--json", "--by", "label").code == 0
