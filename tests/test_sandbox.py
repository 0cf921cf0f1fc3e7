"""The sandbox as an endpoint: what it answers, what it refuses, and what its books say."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest

from batcher.endpoints.sandbox import SandboxOptions, serve, serve_child

pytestmark = pytest.mark.anyio

TOOL = {
    "type": "function",
    "function": {
        "name": "get_delivery_date",
        "description": "Get the delivery date for a customer's order.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
            "additionalProperties": False,
        },
    },
}
PAGE: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "You are a helpful customer support assistant."},
        {"role": "user", "content": "When will my order arrive?"},
        {"role": "assistant", "content": "Can you please provide your order ID?"},
        {"role": "user", "content": "i think it is order_12345"},
    ],
    "tools": [TOOL],
}
HELLO: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello."}]}
CHAT = "/v1/chat/completions"


class Got(NamedTuple):
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Client:
    """A plain HTTP client of one sandbox."""

    def __init__(self, session: aiohttp.ClientSession, server: Any) -> None:
        self.root = server.base_url.removesuffix("/v1")
        self.books = server.books
        self._session = session

    async def post(self, body: Any, path: str = CHAT, **headers: str) -> Got:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(
            self.root + path, data=io.BytesIO(data), headers=sent, allow_redirects=False
        ) as got:
            return Got(got.status, got.headers, await got.read())

    async def get(self, path: str) -> Got:
        async with self._session.get(self.root + path) as got:
            return Got(got.status, got.headers, await got.read())

    async def chat(self, **changes: Any) -> Any:
        """Answer the page's example with some fields changed; None leaves a field out."""
        body = {key: value for key, value in {**PAGE, **changes}.items() if value is not None}
        return (await self.post(body)).body


@asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[Client]:
    """Serve with these options, and connect."""
    made = SandboxOptions.from_mapping(options)
    async with serve(made) as server, aiohttp.ClientSession() as session:
        yield Client(session, server)


@pytest.fixture
def anyio_backend() -> str:
    """Asyncio alone: aiohttp runs on nothing else."""
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a sandbox that never fails."""
    async with sandbox() as plain:
        yield plain


def _said(answer: Any) -> Any:
    return answer["choices"][0]["message"]


async def test_the_page_is_answered_with_its_tool_call(client: Client) -> None:
    """The page's example gets the call that the page shows, with usage."""
    answer = await client.chat()
    choice = answer["choices"][0]
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["created"], int)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_delivery_date"
    assert json.loads(call["function"]["arguments"]) == {"order_id": "order_12345"}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_the_same_request_gets_the_same_answer(client: Client) -> None:
    """To the byte, whatever came in between, with or without `/v1`, and on another sandbox."""
    first = await client.post(HELLO)
    await client.post(PAGE)
    assert (await client.post(HELLO, "/chat/completions")).raw == first.raw
    async with sandbox() as other:
        assert (await other.post(HELLO)).raw == first.raw
    async with sandbox(seed=1) as other:
        assert (await other.post(HELLO)).raw != first.raw


async def test_tool_choice(client: Client) -> None:
    """None calls nothing; required calls even after a result; a named tool is the one called."""
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    tools = [TOOL, other]
    assert "tool_calls" not in _said(await client.chat(tool_choice="none"))
    named = {"type": "function", "function": {"name": "other"}}
    called = _said(await client.chat(tools=tools, tool_choice=named))["tool_calls"]
    assert called[0]["function"]["name"] == "other"
    auto = _said(await client.chat(tools=[other, TOOL]))["tool_calls"]
    assert auto[0]["function"]["name"] == "get_delivery_date"
    turns = _with_result(await client.chat(), "It arrives on 2026-12-01.")
    assert "tool_calls" in _said(await client.chat(messages=turns, tool_choice="required"))


def _with_result(answer: Any, result: str) -> list[Any]:
    message = _said(answer)
    call = message["tool_calls"][0]["id"]
    return [
        *PAGE["messages"],
        message,
        {"role": "tool", "tool_call_id": call, "content": result},
    ]


async def test_a_tool_result_is_answered_in_words(client: Client) -> None:
    """The answer after a tool's result states what the tool said."""
    turns = _with_result(await client.chat(), "It arrives on 2026-12-01.")
    answer = await client.chat(messages=turns)
    assert "2026-12-01" in _said(answer)["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_n_answers_differ(client: Client) -> None:
    """`n` answers come back, numbered, and usage counts them all."""
    one = await client.chat(tools=None)
    three = await client.chat(tools=None, n=3)
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in three["choices"]}) == 3
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


async def test_response_format(client: Client) -> None:
    """A JSON object where one is asked for; a valid instance where a schema is given."""
    messages = [{"role": "user", "content": "Label this as json: a bad film"}]
    plain = await client.chat(
        messages=messages, tools=None, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(_said(plain)["content"]), dict)
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["good", "bad"]}},
        "required": ["label"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    labelled = await client.chat(messages=messages, tools=None, response_format=form)
    assert json.loads(_said(labelled)["content"]) == {"label": "bad"}


async def test_stop_and_max_tokens(client: Client) -> None:
    """An answer ends before a stop sequence, and at the bound with `length`."""
    whole = _said(await client.chat(tools=None, user="a"))["content"]
    # The answer depends on the request, so the stop is a letter that any sentence holds.
    cut = await client.chat(tools=None, stop=["e", " "])
    assert not {"e", " "} & set(_said(cut)["content"])
    assert cut["choices"][0]["finish_reason"] == "stop"
    short = await client.chat(tools=None, max_tokens=2)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 2
    assert len(_said(short)["content"]) < len(whole)
    half = await client.chat(max_tokens=8)
    assert half["choices"][0]["finish_reason"] == "length"


async def test_reasoning_and_cached_tokens_are_parts() -> None:
    """Reasoning is inside the completion and within its bound; cached is inside the prompt."""
    async with sandbox(reasoning_tokens=50, cached_share=0.5) as client:
        usage = (await client.chat(tools=None))["usage"]
        assert usage["completion_tokens"] > 50
        assert usage["completion_tokens_details"]["reasoning_tokens"] == 50
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert cached == usage["prompt_tokens"] // 2
        bounded = (await client.chat(tools=None, max_completion_tokens=20))["usage"]
        assert bounded["completion_tokens"] == 20


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


async def test_models() -> None:
    """Listed models are the only ones; without a list, any name will do."""
    async with sandbox(models=["small", "large"]) as client:
        listed = (await client.get("/v1/models")).body
        assert [model["id"] for model in listed["data"]] == ["small", "large"]
        assert (await client.get("/v1/models/small")).body["id"] == "small"
        got = await client.post(PAGE)
        assert (got.status, got.body["error"]["code"]) == (404, "model_not_found")
        assert (await client.post({**PAGE, "model": "small"})).status == 200


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


async def test_books_agree_with_the_answers(client: Client) -> None:
    """Usage adds up to the token, by model too; reading the books changes nothing."""
    answers = [await client.chat(), await client.chat(tools=None, n=2)]
    answers.append((await client.post({**HELLO, "model": "other"})).body)
    await client.post(b"{")
    books = (await client.get("/v1/sandbox/books")).body
    assert books["requests"] == 4
    assert books["charged"] == 3
    assert books["answers"] == {"200": 3, "400": 1}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert books["usage"][name] == sum(answer["usage"][name] for answer in answers)
    assert (
        books["by_model"]["other"]["usage"]["total_tokens"] == answers[2]["usage"]["total_tokens"]
    )
    assert (await client.get("/v1/sandbox/books")).body == books


async def test_the_same_from_a_child_process() -> None:
    """A child with the same options gives the same answers and tells its books."""
    options = SandboxOptions(seed=5, script={"a": ("503", "ok")})
    async with serve_child(options) as child, aiohttp.ClientSession() as session:
        url = f"{child.base_url}/chat/completions"
        async with session.post(url, json={**HELLO, "user": "a"}) as got:
            assert got.status == 503
        async with session.post(url, json={**HELLO, "user": "a"}) as got:
            raw = await got.read()
        async with session.get(f"{child.base_url}/sandbox/books") as got:
            books = await got.json()
        assert (books["requests"], books["faults"]) == (2, {"503": 1})
    async with serve(options) as server, aiohttp.ClientSession() as session:
        client = Client(session, server)
        await client.post({**HELLO, "user": "a"})
        assert (await client.post({**HELLO, "user": "a"})).body == json.loads(raw)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_compression(coding: str) -> None:
    """Answers are compressed for a client that accepts it, when the options say so."""
    async with sandbox(gzip=True) as client:
        got = await client.post(PAGE, Accept_Encoding=coding)
        assert got.headers.get("Content-Encoding", "identity") == coding
        assert got.body["usage"]


async def test_completions(client: Client) -> None:
    """Prompts are continued, `n` times each."""
    body = {"model": "m", "prompt": ["Once", "Twice"], "n": 2, "max_tokens": 5}
    answer = (await client.post(body, "/v1/completions")).body
    assert answer["object"] == "text_completion"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] <= 20


async def test_embeddings(client: Client) -> None:
    """The same text has the same unit vector; usage has no completion."""
    body = {"model": "m", "input": ["a", "b", "a"], "dimensions": 8}
    answer = (await client.post(body, "/v1/embeddings")).body
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-6)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_responses(client: Client) -> None:
    """A function call with its arguments; then, with its output, a text."""
    function = {"type": "function", **TOOL["function"]}  # type: ignore[dict-item]
    asked = {"role": "user", "content": "it is order_12345"}
    body = {"model": "m", "input": [asked], "tools": [function]}
    answer = (await client.post(body, "/v1/responses")).body
    (call,) = answer["output"]
    assert json.loads(call["arguments"]) == {"order_id": "order_12345"}
    assert answer["usage"]["total_tokens"] == sum(
        answer["usage"][name] for name in ("input_tokens", "output_tokens")
    )
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "on Monday"}
    body["input"] = [asked, call, output]
    answer = (await client.post(body, "/v1/responses")).body
    assert "on Monday" in answer["output"][0]["content"][0]["text"]


async def test_messages() -> None:
    """Anthropic's shapes: tool_use with an object, cached tokens beside the input, its errors."""
    async with sandbox(cached_share=0.5) as client:
        tool = {"name": "f", "input_schema": TOOL["function"]["parameters"]}  # type: ignore[index]
        asked = {"role": "user", "content": [{"type": "text", "text": "it is order_12345"}]}
        body = {"model": "m", "max_tokens": 100, "messages": [asked], "tools": [tool]}
        answer = (await client.post(body, "/v1/messages")).body
        (block,) = answer["content"]
        assert (block["type"], block["input"]) == ("tool_use", {"order_id": "order_12345"})
        assert answer["stop_reason"] == "tool_use"
        usage = answer["usage"]
        books = client.books()["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == books["prompt_tokens"]
        assert usage["cache_read_input_tokens"] == books["cached_tokens"] > 0
        result = {"type": "tool_result", "tool_use_id": block["id"], "content": "on Monday"}
        body["messages"] = [
            asked,
            {"role": "assistant", "content": [block]},
            {"role": "user", "content": [result]},
        ]
        answer = (await client.post(body, "/v1/messages")).body
        assert "on Monday" in answer["content"][0]["text"]
        refused = (await client.post({"model": "m"}, "/v1/messages")).body
        assert refused["type"] == "error"
        assert refused["error"]["type"] == "invalid_request_error"
