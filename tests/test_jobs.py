"""The jobs that are there to copy: each runs as it stands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
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


def delivery_date(result: dict[str, Any]) -> str:
    """The date that the job's own function gives for a ticket's order."""
    order_id = result["batcher"]["tool_calls"][0]["arguments"]["order_id"]
    return str(date(2026, 12, 1) + timedelta(days=int(order_id[-5:]) % 28))


def text_of(result: dict[str, Any]) -> str:
    """What the model said last."""
    text: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return text


def test_delivery_dates(tmp_path: Path):
    """Every ticket ends in an answer that tells the date which the tool gave for its order."""
    _, (*results, totals) = run("delivery-dates", tmp_path)
    assert totals["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
    assert totals["attempts"] == 600
    for result in results:
        (call,) = result["batcher"]["tool_calls"]
        assert call["name"] == "get_delivery_date"
        assert call["arguments"]["order_id"].startswith("order_")
        assert delivery_date(result) in text_of(result)


@pytest.mark.local
def test_delivery_dates_with_the_real_model(tmp_path: Path):
    """The page's example, over llama.cpp: the answer states the date that the handler gave."""
    flags = ("--base-url", "local", "--limit", "1")
    _, (result, totals) = run("delivery-dates", tmp_path, *flags)
    assert totals["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    (call,) = result["batcher"]["tool_calls"]
    assert call["arguments"] == {"order_id": "order_12345"}
    assert delivery_date(result) in text_of(result)


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


def test_cost_report(tmp_path: Path):
    """A made-up month becomes a page, figures for a program and text for a mail, all the same."""
    job = tmp_path / "cost-report"
    shutil.copytree(JOBS / "cost-report", job, ignore=shutil.ignore_patterns("output"))
    subprocess.run([sys.executable, job / "month.py", "2026-02"], check=True, capture_output=True)
    environ = {**os.environ, "BATCHER": f"{sys.executable} -m batcher"}
    done = subprocess.run(
        [job / "monthly.sh", "2026-02"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((job / "output" / "2026-02.json").read_text())
    results = [
        json.loads(line)
        for path in (job / "output" / "results").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert found["totals"]["requests"] == sum("batcher" in result for result in results)
    assert f"{found['totals']['requests']:,} requests" in done.stdout
    assert (job / "output" / "2026-02.html").read_text().count("<figure") >= 8
