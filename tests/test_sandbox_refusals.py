"""The sandbox as an endpoint: what it refuses, and how it says so."""

import json
from typing import Any

import pytest

from tests.sandboxes import CHAT, HELLO, PAGE, Client, sandbox

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        pytest.param(
            {"messages": None}, "missing_required_parameter", "messages", id="no messages"
        ),
        pytest.param({"messages": []}, "empty_array", "messages", id="empty messages"),
        pytest.param({"messages": "hi"}, "invalid_type", "messages", id="messages no array"),
        pytest.param({"messages": ["hi"]}, "invalid_type", "messages[0]", id="message no object"),
        pytest.param(
            {"messages": [{"content": "x"}]},
            "missing_required_parameter",
            "messages[0].role",
            id="no role",
        ),
        pytest.param(
            {"messages": [{"role": "boss", "content": "x"}]},
            "invalid_value",
            "messages[0].role",
            id="unknown role",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": 3}]},
            "invalid_type",
            "messages[0].content",
            id="content of the wrong type",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": None}]},
            "invalid_type",
            "messages[0].content",
            id="a user without content",
        ),
        pytest.param(
            {"messages": [{"role": "tool", "content": "x"}]},
            "missing_required_parameter",
            "messages[0].tool_call_id",
            id="a result of no call",
        ),
        pytest.param(
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]},
            None,
            "messages.[0].role",
            id="a result without its call",
        ),
        pytest.param(
            {
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
                    {"role": "user", "content": "x"},
                ]
            },
            None,
            "messages.[1].role",
            id="a call without its result",
        ),
        pytest.param({"model": None}, None, None, id="no model"),
        pytest.param({"model": 4}, None, None, id="model no text"),
        pytest.param({"temperature": "hot"}, "invalid_type", "temperature", id="temperature"),
        pytest.param({"temperature": 2.5}, "decimal_above_max_value", "temperature", id="too hot"),
        pytest.param({"n": 0}, "integer_below_min_value", "n", id="n below 1"),
        pytest.param({"n": True}, "invalid_type", "n", id="n no integer"),
        pytest.param({"max_tokens": 0}, "integer_below_min_value", "max_tokens", id="max_tokens"),
        pytest.param({"stop": list("abcde")}, "array_above_max_length", "stop", id="stops"),
        pytest.param({"stop": [1]}, "invalid_type", "stop[0]", id="stop no text"),
        pytest.param({"stream": True}, "unsupported_value", "stream", id="streaming"),
        pytest.param({"tools": []}, "empty_array", "tools", id="empty tools"),
        pytest.param({"tools": [3]}, "invalid_type", "tools[0]", id="tool no object"),
        pytest.param(
            {"tools": [{"type": "function"}]},
            "missing_required_parameter",
            "tools[0].function",
            id="tool without function",
        ),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "invalid_value",
            "tools[0].function.name",
            id="tool's name",
        ),
        pytest.param(
            {"tools": [{"function": {"name": "a", "parameters": {"type": "string"}}}]},
            "invalid_function_parameters",
            "tools[0].function.parameters",
            id="parameters no object",
        ),
        pytest.param(
            {"tools": [{"function": {"name": "a", "parameters": {"properties": 3}}}]},
            "invalid_function_parameters",
            "tools[0].function.parameters",
            id="parameters no schema",
        ),
        pytest.param(
            {"tools": None, "tool_choice": "required"}, None, "tool_choice", id="choice, no tools"
        ),
        pytest.param({"tool_choice": "always"}, "invalid_value", "tool_choice", id="tool_choice"),
        pytest.param(
            {"tool_choice": {"type": "function", "function": {"name": "x"}}},
            None,
            "tool_choice",
            id="choice of an unknown tool",
        ),
        pytest.param(
            {"response_format": {"type": "xml"}},
            "invalid_value",
            "response_format.type",
            id="response_format",
        ),
        pytest.param(
            {"response_format": {"type": "json_object"}}, None, "messages", id="no word json"
        ),
        pytest.param(
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "response_format.json_schema",
            id="no schema",
        ),
    ],
)
async def test_a_bad_request_is_refused(
    client: Client, changes: Any, code: str | None, param: str | None
) -> None:
    """400 in OpenAI's shape, naming the code and the field."""
    body = {key: value for key, value in {**PAGE, **changes}.items() if value is not None}
    got = await client.post(body)
    assert got.status == 400
    error = got.body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    "body", [pytest.param(b"{", id="broken"), pytest.param(b"", id="empty"), b"[1]", b"\xff"]
)
async def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    """400, whatever it is instead."""
    assert (await client.post(body)).status == 400


async def test_what_is_not_there(client: Client) -> None:
    """404 for an unknown path; 405 for another method."""
    assert (await client.post(PAGE, "/v1/nothing")).status == 404
    assert (await client.get(CHAT)).status == 405


async def test_too_long() -> None:
    """413 above the body's bound, 400 above the context's; what follows is still answered."""
    async with sandbox(max_body_bytes=2000, context_tokens=100) as client:
        big = {**HELLO, "messages": [{"role": "user", "content": "x" * 3000}]}
        got = await client.post(big)
        assert (got.status, got.body["error"]["code"]) == (413, "request_too_large")
        long = {**HELLO, "messages": [{"role": "user", "content": "x" * 1000}]}
        got = await client.post(long)
        assert (got.status, got.body["error"]["code"]) == (400, "context_length_exceeded")
        assert (await client.post(HELLO)).status == 200
        assert client.books()["answers"] == {"200": 1, "400": 1, "413": 1}


async def test_a_request_above_aiohttps_own_bound_passes(client: Client) -> None:
    """A request of two megabytes, and an answer that long, are nothing special."""
    big = {**HELLO, "messages": [{"role": "user", "content": "x" * 2**21}]}
    assert (await client.post(big)).status == 200
    vectors = {"model": "m", "input": ["x"] * 100, "dimensions": 1000}
    assert len((await client.post(vectors, "/v1/embeddings")).body["data"]) == 100


async def test_keys_and_quotas() -> None:
    """No key and a wrong one: 401; a key that is used up: `insufficient_quota`."""
    keys = {"good": {}, "two": {"requests": 2}, "few": {"tokens": 1}, "poor": {"usd": 1e-9}}
    async with sandbox(keys=keys) as client:
        assert (await client.post(HELLO)).status == 401
        wrong = await client.post(HELLO, Authorization="Bearer wrong")
        assert (wrong.status, wrong.body["error"]["code"]) == (401, "invalid_api_key")
        assert (await client.post(HELLO, Authorization="Bearer good")).status == 200
        assert (await client.post(HELLO, api_key="good")).status == 200
        for key, answers in (("two", 2), ("few", 1), ("poor", 1)):
            for _ in range(answers):
                assert (await client.post(HELLO, Authorization=f"Bearer {key}")).status == 200
            got = await client.post(HELLO, Authorization=f"Bearer {key}")
            assert (got.status, got.body["error"]["code"]) == (429, "insufficient_quota")
        told = json.dumps(client.books())
        assert not any(f'"{key}"' in told for key in keys)
        assert len(client.books()["by_key"]) == len(keys)
