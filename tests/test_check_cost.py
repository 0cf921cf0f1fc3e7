"""`batcher check --cost`: what the rows that are left will take, and where that is an estimate."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batcher.budget import tokens
from batcher.codec import RowParser
from batcher.records import Row
from tests.harness import Job, as_lines, row
from tests.server import Endpoint

PRICES = """
list = false
[models.m]
input = 10
output = 1000
[models."gpt-4o"]
input = 10
output = 1000
"""


@pytest.fixture(autouse=True)
def no_vocabulary_is_kept() -> Iterator[None]:
    """What is installed is looked up anew."""
    tokens._load.cache_clear()
    yield
    tokens._load.cache_clear()


@pytest.fixture
def priced(job: Job, tmp_path: Path) -> Job:
    """A job with a price table."""
    table = tmp_path / "prices.toml"
    table.write_text(PRICES)
    job.flags = ["--prices", str(table)]
    return job


def foreseen(job: Job, *flags: str) -> dict[str, Any]:
    """What a check of the job's source foresees."""
    ran = job.invoke("check", str(job.source), "--cost", "--json", *job.flags, *flags)
    cost: dict[str, Any] = ran.totals["cost"]
    return cost


def counted(**body: Any) -> tokens.Count:
    """Count the prompt of one request."""
    path = body.pop("path", "/v1/chat/completions")
    parsed = RowParser(url=path).parse(1, as_lines([body]))
    assert isinstance(parsed, Row)
    return tokens.count_prompt(parsed)


needs_vocabulary = pytest.mark.skipif(
    importlib.util.find_spec("quicktok") is None, reason="needs the extra tokens"
)


@needs_vocabulary
@pytest.mark.parametrize(
    ("body", "count"),
    [
        # OpenAI's cookbook: 3 around a message, 1 for its role, 3 before the answer.
        pytest.param({"messages": [{"role": "user", "content": "hello world"}]}, 9, id="chat"),
        pytest.param({"messages": [{"role": "user", "content": "hello world", "name": "ann"}]}, 11,
                     id="a name"),
        pytest.param({"path": "/v1/embeddings", "input": ["hello world", "hello"]}, 3,
                     id="embeddings"),
        pytest.param({"path": "/v1/completions", "prompt": "hello world"}, 2, id="completions"),
    ],
)  # fmt: skip
def test_known_tokenizers_count_exactly(body: dict[str, Any], count: int) -> None:
    """Plain prompts of a model whose tokenizer is known are counted to the token."""
    assert counted(model="gpt-4o", **body) == (count, True)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"model": "claude-sonnet-4-5"}, id="another maker"),
        pytest.param({"tools": [{"type": "function", "function": {"name": "f"}}]}, id="tools"),
        pytest.param({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
                     id="parts"),
    ],
)  # fmt: skip
def test_what_nobody_documents_is_estimated(more: dict[str, Any]) -> None:
    """Elsewhere the count is an estimate, and says so."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 400}], **more}
    assert not counted(**body).exact


@pytest.mark.parametrize(
    ("model", "encoding"),
    [("gpt-4", "cl100k_base"), ("gpt-4-turbo", "cl100k_base"), ("gpt-4o-mini", "o200k_base"),
     ("gpt-4.1", "o200k_base"), ("gpt-5.1-mini", "o200k_base"), ("openai/o3-mini", "o200k_base"),
     ("GPT-4o", "o200k_base"), ("text-embedding-3-small", "cl100k_base"), ("own-gpt-4", None),
     ("deepseek-chat", None)],
)  # fmt: skip
def test_which_vocabulary_a_model_has(model: str, encoding: str | None) -> None:
    """The longest beginning that is known decides; what is not known is not guessed."""
    assert tokens.encoding_of(model) == encoding


def test_without_the_package_all_is_estimated(priced: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    priced.write([row("a", model="gpt-4o", max_tokens=5)])
    assert foreseen(priced)["estimated_rows"] == 1


def test_what_is_spent_lies_between_the_bounds(priced: Job, endpoint: Endpoint) -> None:
    """A job costs no less than the low bound for its prompts, and no more than the high one."""
    priced.write([row(f"r{n}" * 20, custom_id=f"r{n}", max_tokens=8) for n in range(20)])
    cost = foreseen(priced)
    assert (cost["rows_left"], cost["unbounded_rows"]) == (20, 0)
    totals = priced.run().totals
    assert totals["usage"]["total_tokens"] <= cost["high"]["total_tokens"]
    low, high = (Decimal(cost[bound]["cost_usd"]) for bound in ("low", "high"))
    assert low < Decimal(totals["cost_usd"]) <= high
    assert low == 10 * Decimal(cost["low"]["total_tokens"]) / 1_000_000


def test_a_budget_of_the_high_bound_is_never_reached(priced: Job, endpoint: Endpoint) -> None:
    """What check calls the most is what a budget reserves for all rows."""
    priced.write([row(f"r{n}", max_tokens=8) for n in range(20)])
    high = foreseen(priced)["high"]["cost_usd"]
    assert priced.run("--max-cost", high).code == 0


def test_of_an_unfinished_job_only_what_is_left(priced: Job, endpoint: Endpoint) -> None:
    """With an output, rows that have their result are not counted, and tell the average."""
    priced.write([row(f"r{n}", max_tokens=5) for n in range(100)])
    ran = priced.run("--max-cost", "0.2")
    left, spent = ran.totals["pending"], Decimal(ran.totals["cost_usd"])
    before = priced.partial.read_bytes()
    cost = foreseen(priced, "-o", str(priced.output))
    assert cost["rows_left"] == left < 100 == foreseen(priced)["rows_left"]
    average = spent / (100 - left)
    assert Decimal(cost["average_usd"]) == pytest.approx(average * left, rel=Decimal("0.001"))
    assert priced.partial.read_bytes() == before
    assert priced.run().code == 0
    assert foreseen(priced, "-o", str(priced.output))["rows_left"] == 0


def test_rates_foretell_the_time(priced: Job) -> None:
    """The slower of requests and tokens a minute says how long it takes."""
    priced.write([row(f"r{n}", max_tokens=8) for n in range(20)])
    assert foreseen(priced)["low_s"] is None
    assert (
        foreseen(priced, "--rpm", "10")["low_s"] == foreseen(priced, "--rpm", "10")["high_s"] == 120
    )
    by_tokens = foreseen(priced, "--tpm", "1000", "--rpm", "100000")
    assert by_tokens["high_s"] == round(by_tokens["high"]["total_tokens"] * 60 / 1000, 1)
    assert by_tokens["low_s"] < by_tokens["high_s"]


def test_no_bound_is_no_bound(priced: Job) -> None:
    """Without max_tokens and without a limit of the model, nothing is made up."""
    priced.write([row("a"), row("b", max_tokens=5), row("c", model="mystery", max_tokens=5)])
    cost = foreseen(priced)
    assert (cost["unbounded_rows"], cost["high"], cost["high_s"]) == (1, None, None)
    assert cost["unpriced_models"] == ["mystery"]


def test_in_words(priced: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """What is estimated is called so; what is not priced is named."""
    from batcher.cli import group

    priced.write([row("a", max_tokens=5), row("b", model="mystery", max_tokens=5)])
    flags = [*priced.flags, "--rpm", "10"]
    group.main(["check", str(priced.source), "--cost", *flags], standalone_mode=False)
    said = capsys.readouterr().out
    for part in (
        "2 rows left, about",
        "(estimated)",
        "at least $0.0",
        "at most $0.0",
        "for want of a price: mystery",
        "12 s at the rates set",
        "prices.toml sha256:",
    ):
        assert part in said, said
