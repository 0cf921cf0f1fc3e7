"""The corpus of good and bad answers through the command line: each gets the verdict it must."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batcher.checks import Checker
from batcher.codec import RowParser
from batcher.records import BadRow
from tests.corpus.answers import CASES, Case
from tests.harness import Job
from tests.server import Endpoint, Say, Seen


def toml(value: Any) -> str:
    """Write a JSON value within a TOML file."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def by_rule() -> dict[str, list[Case]]:
    """The cases that one job can hold: those with the same `[answer]`."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        found.setdefault(json.dumps(case.rule), []).append(case)
    return found


def as_row(case: Case) -> dict[str, Any]:
    """A row that asks as the case does, and says which it is in a field that is sent along."""
    body = {**case.request, "metadata": {"case": case.id}}
    return {"custom_id": case.id, "url": case.path, "body": body}


def job_file(folder: Path, url: str, rule: str) -> Path:
    """A job over the cases with this `[answer]`."""
    path = folder / "job.toml"
    answer = json.loads(rule)
    path.write_text(
        f'source = "in.jsonl"\noutput = "out.jsonl"\nbase_url = "{url}"\nprices = "none"\n'
        + ("" if answer is None else f"answer = {toml(answer)}\n")
    )
    return path


@pytest.mark.parametrize("rule", by_rule())
def test_every_verdict(job: Job, endpoint: Endpoint, rule: str) -> None:
    """Every answer of the corpus comes out of the program with its code, and is kept as it came."""
    cases = {case.id: case for case in by_rule()[rule]}

    def answer(seen: Seen) -> Say:
        return Say(body=json.dumps(cases[seen.body["metadata"]["case"]].answer).encode())

    endpoint.always(answer)
    job.write(map(as_row, cases.values()))
    ran = job.invoke("run", str(job_file(job.folder, endpoint.url, rule)), "--json")
    results = {line["custom_id"]: line for line in job.results()}
    assert set(results) == set(cases)
    for name, case in cases.items():
        line = results[name]
        ours = line["batcher"]
        assert ours.get("error_code") == case.code, name
        assert (line["error"] or {}).get("code") == case.code, name
        if ours["attempts"]:
            assert line["response"]["body"] == case.answer, name
        for key, value in (case.extra or {}).items():
            assert ours[key] == value, name
    codes = Counter(case.code for case in cases.values() if case.code)
    assert ran.totals["errors"] == codes
    assert ran.code == (3 if codes else 0)


def test_unusable_schemas_cost_nothing(endpoint: Endpoint) -> None:
    """A case whose schema can't be used is known before it is sent, and no other is."""
    del endpoint
    parser = RowParser(fault=Checker().fault)
    for case in CASES:
        row = parser.parse(1, json.dumps(as_row(case)).encode())
        assert isinstance(row, BadRow) == (case.code == "invalid_schema"), case.id


def test_the_corpus_is_large_enough() -> None:
    """There are at least 60 answers, with every code among their verdicts."""
    assert len(CASES) >= 60
    assert len({case.id for case in CASES}) == len(CASES)
