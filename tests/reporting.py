"""Outputs made up for tests of the report, and the command that reports on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batcher.cli import group
from batcher.cli.faults import run_safely

__all__ = ["TOTALS", "Reporter", "Said", "attempt", "pruned", "result", "write"]


class Said:
    """What a report said: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Reporter:
    """Runs `batcher report` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Said:
        self._capsys.readouterr()
        words = ["report", *map(str, arguments)]
        code = run_safely(lambda: group.main(words, prog_name="batcher", standalone_mode=False))
        return Said(code, *self._capsys.readouterr())


def result(number: int, **ours: Any) -> dict[str, Any]:
    """A result line as a run writes it; `error_code` makes it a failure."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    fields = {
        "row": number,
        "request_hash": f"{number:032x}",
        "model": "gpt-4o",
        "endpoint": "openai",
        "finished_at": "2026-10-05T12:00:00.000Z",
        "latency_s": 1.0,
        "attempts": 1,
        "usage": usage,
        "cost_usd": "0.01",
        **ours,
    }
    status = 500 if "error_code" in ours else 200
    response = {"status_code": status, "request_id": "", "body": {}}
    return {
        "id": f"batch_req_{number:024x}",
        "custom_id": f"r{number}",
        "response": response,
        "error": None,
        "batcher": fields,
    }


def attempt(number: int, **ours: Any) -> dict[str, Any]:
    """A journal's line about a row without a result."""
    line = result(number, **ours)
    fields = {"object": "batch.attempt", "custom_id": line["custom_id"]}
    return {**fields, "batcher": line["batcher"]}


def pruned(model: str, rows: int) -> dict[str, Any]:
    """What totals say of rows that were dropped; together they cost half a dollar."""
    spend = {"attempts": rows, "usage": result(1)["batcher"]["usage"], "cost_usd": "0.5"}
    return {"rows": rows, **spend, "by_model": {model: spend}}


TOTALS = {
    "object": "batch.totals",
    "custom_id": None,
    "started_at": "2026-10-05T12:00:00.000Z",
    "finished_at": "2026-10-05T12:00:09.000Z",
    "wall_s": 9.0,
}


def write(path: Path, lines: Sequence[Any]) -> Path:
    """Write lines as the program does: without blanks."""
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return path
