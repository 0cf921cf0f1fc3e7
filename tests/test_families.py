"""Every family of endpoints, through the command line: usage, success, checks, the sandbox."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.harness import Job
from tests.server import Endpoint, Say

DATE = "get_delivery_date"
SCHEMA = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
    "additionalProperties": False,
}
ASKED = [{"role": "user", "content": "Where is order_12345?"}]
NESTED = {"type": "function", "function": {"name": DATE, "parameters": SCHEMA}}
FLAT = {"type": "function", "name": DATE, "parameters": SCHEMA}

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": ASKED}),
    "completions": ("/v1/completions", {"prompt": "Once"}),
    "embeddings": ("/v1/embeddings", {"input": ["one", "two"]}),
    "responses": ("/v1/responses", {"input": "Where is order_12345?"}),
    "messages": ("/v1/messages", {"messages": ASKED, "max_tokens": 99}),
    "chat tool": ("/v1/chat/completions", {"messages": ASKED, "tools": [NESTED],
                                           "tool_choice": "required"}),
    "responses tool": ("/v1/responses", {"input": "Where?", "tools": [FLAT],
                                         "tool_choice": "required"}),
    "messages tool": ("/v1/messages", {"messages": ASKED, "max_tokens": 99,
                                       "tools": [{"name": DATE, "input_schema": SCHEMA}],
                                       "tool_choice": {"type": "any"}}),
}  # fmt: skip


def lines(model: str, *names: str) -> list[dict[str, Any]]:
    """Rows of these families."""
    return [
        {"custom_id": name, "url": ROWS[name][0], "body": {"model": model, **ROWS[name][1]}}
        for name in names or ROWS
    ]


def test_the_sandbox_serves_all(job: Job) -> None:
    """A row of each family is answered, has usage and a price, and calls its tool as it must."""
    job.write(lines("gpt-4o"))
    command = ["run", str(job.source), "-o", str(job.output), "--base-url", "sandbox", "--json"]
    ran = job.invoke(*command)
    assert ran.code == 0, ran.err
    assert ran.totals["request_counts"] == {"total": 8, "completed": 8, "failed": 0}
    assert ran.totals["attempts_without_usage"] == 0
    for name in ROWS:
        ours = job.result(name)["batcher"]
        usage = ours["usage"]
        assert usage["prompt_tokens"] > 0, name
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], name
        assert (usage["completion_tokens"] > 0) == (name != "embeddings"), name
        assert Decimal(ours["cost_usd"]) > 0, name
        if "tool" in name:
            (call,) = ours["tool_calls"]
            assert call["name"] == DATE
            assert isinstance(call["arguments"]["order_id"], str)
    job.audit(books=False)


PLAIN = {"input_tokens": 40, "output_tokens": 5}
ANSWERS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "chat": (
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55,
                   "prompt_tokens_details": {"cached_tokens": 20}}},
        (50, 5, 55, 20),
    ),
    "completions": (
        {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}},
        (50, 5, 55, 0),
    ),
    "embeddings": (
        {"data": [{"index": 0, "embedding": [0.5]}],
         "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        (8, 0, 8, 0),
    ),
    "responses": (
        {"object": "response", "status": "completed",
         "output": [{"type": "message", "content": [{"type": "output_text", "text": "x"}]}],
         "usage": {**PLAIN, "total_tokens": 45, "input_tokens_details": {"cached_tokens": 10},
                   "output_tokens_details": {"reasoning_tokens": 2}}},
        (40, 5, 45, 10),
    ),
    # Anthropic's cached tokens come on top of its input tokens.
    "messages": (
        {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn",
         "usage": {**PLAIN, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 7}},
        (77, 5, 82, 30),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_usage_in_one_form(job: Job, endpoint: Endpoint, name: str) -> None:
    """Each family's usage comes out in one normal form, in the result and in the totals."""
    body, (prompt, completion, total, cached) = ANSWERS[name]
    endpoint.always(Say(body=json.dumps(body).encode()))
    job.write(lines("m", name))
    ran = job.run()
    assert ran.code == 0
    for usage in (job.result(name)["batcher"]["usage"], ran.totals["usage"]):
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, completion)
        assert usage["total_tokens"] == total
        assert usage["prompt_tokens_details"]["cached_tokens"] == cached
    assert endpoint.books.seen[0].path == ROWS[name][0]


NO_ANSWER = {
    "completions": "no_choices",
    "embeddings": "no_data",
    "responses": "no_output",
    "messages": "no_content",
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_success_is_what_the_family_calls_so(job: Job, endpoint: Endpoint, name: str) -> None:
    """A 200 without what the family answers with is tried again, and fails by its own code."""
    good, _ = ANSWERS[name]
    endpoint.always(Say(body=b'{"id": "x"}'), Say(body=json.dumps(good).encode()))
    job.write(lines("m", name))
    assert job.run().code == 0
    assert endpoint.books.attempts == 2
    endpoint.always(Say(body=b'{"id": "x"}'))
    assert job.run("--fresh", "--max-attempts", "2").code == 3
    assert job.codes() == {name: NO_ANSWER[name]}


CALLS = {
    "chat tool": {"choices": [{"message": {"tool_calls": [
        {"id": "1", "type": "function", "function": {"name": DATE, "arguments": "{}"}}]}}]},
    "responses tool": {"status": "completed", "output": [
        {"type": "function_call", "call_id": "1", "name": DATE, "arguments": "{}"}]},
    "messages tool": {"content": [
        {"type": "tool_use", "id": "1", "name": DATE, "input": {}}], "stop_reason": "tool_use"},
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_checked(job: Job, endpoint: Endpoint, name: str) -> None:
    """A call whose arguments don't fit is found in every family that has calls."""
    endpoint.always(Say(body=json.dumps(CALLS[name]).encode()))
    job.write(lines("m", name))
    assert job.run().code == 3
    assert job.codes() == {name: "tool_arguments_schema"}
    (call,) = job.result(name)["batcher"]["tool_calls"]
    assert (call["name"], call["arguments"]) == (DATE, {})


@pytest.mark.parametrize(
    ("name", "error", "code"),
    [
        ("responses", {"error": {"code": "invalid_prompt"}}, "invalid_prompt"),
        # Anthropic has types, and no codes.
        ("messages", {"type": "error", "error": {"type": "not_found_error"}}, "http_400"),
    ],
)
def test_refusals_are_final(
    job: Job, endpoint: Endpoint, name: str, error: dict[str, Any], code: str
) -> None:
    """A refusal in each family's shape is final, and counted by its code where it has one."""
    endpoint.always(Say(400, json.dumps(error).encode()))
    job.write(lines("m", name))
    ran = job.run()
    assert (ran.code, ran.totals["errors"], ran.totals["attempts"]) == (3, {code: 1}, 1)
