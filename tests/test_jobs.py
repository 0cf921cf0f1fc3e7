"""The jobs that are there to copy: each runs as it stands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

JOBS = Path(__file__).parent.parent / "jobs"


def run(name: str, folder: Path, *flags: str) -> tuple[str, list[dict[str, Any]]]:
    """Run a copy of a job in a process of its own; return what it said, and its output."""
    job = folder / name
    shutil.copytree(JOBS / name, job, ignore=shutil.ignore_patterns("output"))
    command = [sys.executable, "-m", "batcher", "run", str(job / "job.toml"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stderr
    lines = (job / "output" / "results.jsonl").read_text().splitlines()
    return done.stderr, [json.loads(line) for line in lines]


def test_delivery_dates(tmp_path: Path):
    """Every ticket ends in a call of the tool with an order's id."""
    _, (*results, totals) = run("delivery-dates", tmp_path)
    assert totals["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
    for result in results:
        (call,) = result["batcher"]["tool_calls"]
        assert call["name"] == "get_delivery_date"
        assert call["arguments"]["order_id"].startswith("order_")


@pytest.mark.local
def test_reviews(tmp_path: Path):
    """The real model labels the first reviews, and the run says how many labels agree."""
    said, (*results, totals) = run("reviews", tmp_path, "--limit", "24")
    assert totals["request_counts"] == {"total": 24, "completed": 24, "failed": 0}
    labels = [result["batcher"]["label"] for result in results]
    agreed = sum(
        result["batcher"]["input"]["label"] == label
        for result, label in zip(results, labels, strict=True)
    )
    assert set(labels) <= {"positive", "negative"}
    assert f"{agreed} of 24 labels agree" in said
